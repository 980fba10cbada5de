/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What rdbeamd says of itself: --help, and rdbeamd(8) from the same table.
 */
#ifndef DAEMON_HELP_H
#define DAEMON_HELP_H

#include <stdio.h>

void help_print(FILE *out);

/* The man page in roff. */
void help_man(FILE *out);

#endif
