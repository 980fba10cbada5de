/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unnamed files for bytes that do not fit into the memory buffer. However the process ends, nothing
 * is left on disk.
 */
#ifndef BEAM_SCRATCH_H
#define BEAM_SCRATCH_H

/* Opens an unlinked, private file in `dir`. Returns the fd, or -errno (failures of the last attempt
 * are logged). */
int beam_scratch_open(const char *dir);

#endif
