/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Text of man pages, for programs that print their own.
 */
#ifndef BEAM_ROFF_H
#define BEAM_ROFF_H

#include <stdio.h>

/* Prints text, and escapes what roff would interpret: backslashes, hyphens of options, and a period
 * or quote at the beginning of a line. */
void beam_roff_put(const char *text, FILE *out);

#endif
