/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeamd's file. It is opened once and then held: daemons and waiters are of one build with the module that
 * starts them, whatever an upgrade has put into the file's place meanwhile.
 */
#ifndef BEAM_PROGRAM_H
#define BEAM_PROGRAM_H

#include <stddef.h>

/* What to run. As long as there is no such file each call looks again; one that cannot be held (a script, one
 * that may not be read, no /proc) is run by its name, which argv[0] is in any case. */
void beam_program_path(char *out, size_t cap);

/* The server's environment, for what is started. Not by the name `environ`: where a server loads modules with
 * RTLD_DEEPBIND (Valkey 8.1), that is the C library's own, which is NULL. The first call is not to be a child's. */
char **beam_program_environment(void);

void beam_program_close(void);

#endif
