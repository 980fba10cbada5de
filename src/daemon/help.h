/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The texts of rdbeamd: --help and, from the same table, rdbeamd(8).
 */
#ifndef DAEMON_HELP_H
#define DAEMON_HELP_H

#include <stdio.h>

/* Prints the text of --help. */
void help_print(FILE *out);

/* Prints the man page as roff. */
void help_man(FILE *out);

#endif
