/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A bounded FIFO of bytes: first in memory, then in a ring in an unlinked file. It holds the
 * replication stream while the replica loads. Not thread-safe: the stream locks it.
 */
#ifndef BEAM_SPOOL_H
#define BEAM_SPOOL_H

#include <stddef.h>
#include <stdint.h>

struct beam_spool;

/* Allocates the memory. `spill_dir` is used only when memory is full. Returns 0 or -ENOMEM. */
int beam_spool_open(uint64_t memory_bytes, uint64_t spill_bytes, const char *spill_dir,
		    struct beam_spool **out);
/* Accepts NULL; clears the pointer. */
void beam_spool_close(struct beam_spool **spool);

/* Appends all bytes or none. Returns 0; BEAM_E_FULL when memory and file are full; -errno of the
 * file. */
int beam_spool_put(struct beam_spool *spool, const void *data, size_t len_bytes);
/* Takes up to `cap` bytes in order. Returns how many (0: empty), or -errno of the file. */
long beam_spool_get(struct beam_spool *spool, void *out, size_t cap);

uint64_t beam_spool_length(const struct beam_spool *spool); /* bytes in it now */
const char *beam_spool_dir(const struct beam_spool *spool);
uint64_t beam_spool_spilled(const struct beam_spool *spool); /* bytes ever written to the file */

#endif
