/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a command prints when a signal ends it: with --json the reader gets an object in this case,
 * too. The process then ends by that signal, as its caller expects. Commands that handle signals
 * themselves install their own handlers later.
 */
#ifndef BEAM_INTERRUPT_H
#define BEAM_INTERRUPT_H

#include "command.h"

/* Installs the handlers for SIGINT, SIGTERM and SIGHUP, except those that our caller ignores. */
void beam_interrupt_init(const struct beam_common *common);

/* From now on a signal is the command's normal end: nothing is printed, and beam_interrupted
 * returns true. A blocking system call is interrupted. */
void beam_interrupt_is_the_end(void);
bool beam_interrupted(void);

#endif
