/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a command says when a signal ends it: who reads --json gets an object in this case too. The
 * process then ends by that signal, as its caller expects. Commands that end by themselves on a
 * signal set their own handlers later.
 */
#ifndef BEAM_INTERRUPT_H
#define BEAM_INTERRUPT_H

#include "command.h"

void beam_interrupt_init(const struct beam_common *common);

/* From here on a signal is the command's usual end: it says nothing and sets the flag that
 * beam_interrupted returns. A system call that waits is interrupted. */
void beam_interrupt_is_the_end(void);
bool beam_interrupted(void);

#endif
