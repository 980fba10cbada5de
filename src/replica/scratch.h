/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Files without a name, for bytes that do not fit the buffer: whatever ends the process, nothing
 * stays on disk. */
#ifndef BEAM_SCRATCH_H
#define BEAM_SCRATCH_H

/* Opens an unlinked, private file in `dir`. Returns the fd, or -errno. */
int beam_scratch_open(const char *dir);

#endif
