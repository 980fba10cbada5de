/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What RDBEAM.HELP says, and the man page of rdbeam.so with it.
 */
#ifndef BEAM_HELP_H
#define BEAM_HELP_H

/* Lines; those of a command's text are indented by four. Ends with NULL. */
extern const char *const beam_command_help[];

#endif
