/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The text of RDBEAM.HELP, which also goes into rdbeam.so's man page.
 */
#ifndef BEAM_HELP_H
#define BEAM_HELP_H

/* Lines, ended by NULL; the text below a command is indented by four spaces. */
extern const char *const beam_command_help[];

#endif
