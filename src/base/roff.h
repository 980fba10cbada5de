/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Text for man pages: for programs that print their own.
 */
#ifndef BEAM_ROFF_H
#define BEAM_ROFF_H

#include <stdio.h>

/* Prints text with what roff would take for its own escaped: backslashes, hyphens of options, and a
 * period or quote that begins a line. */
void beam_roff_put(const char *text, FILE *out);

#endif
