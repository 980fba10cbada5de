/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The executables of rdbeamd and of the waiter. They are opened once and held, so that daemons and
 * waiters always come from the same build as the module that starts them, even after an upgrade has
 * replaced the files.
 */
#ifndef BEAM_PROGRAM_H
#define BEAM_PROGRAM_H

#include <stddef.h>

/* Writes the path by which rdbeamd is executed. As long as there is no file, each call looks again.
 * A file that cannot be held (a script, unreadable, no /proc) is run by its name, which argv[0]
 * shows in any case. */
void beam_program_path(char *out, size_t cap);

/* The same for the waiter: rdbeam-wait beside rdbeamd. If it was not there when rdbeamd was opened,
 * is of another version, or was overwritten since, or if rdbeamd is not held, it is rdbeamd, which
 * takes the same arguments. */
void beam_program_waiter_path(char *out, size_t cap);

/* The environment for the programs we start: the server's. The symbol `environ` will not do: if the
 * server loads modules with RTLD_DEEPBIND (Valkey 8.1), it is the C library's own, which is NULL.
 * The first call must not be made in a child. */
char **beam_program_environment(void);

/* Closes the held files; the next beam_program_path() looks again. */
void beam_program_close(void);

#endif
