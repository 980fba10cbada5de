/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Spares the server a checksum that it would throw away. It computes the CRC64 of all it loads, in
 * its only thread, and ignores the result if the file's own sum is 0. That is so in a pull's
 * stream, whose segments the pull has verified. During a load by module the sum is therefore left
 * out (docs/adr/0100). Main thread, one load at a time.
 */
#ifndef BEAM_LOAD_SUM_H
#define BEAM_LOAD_SUM_H

#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

struct beam_stream;

/* The stream that an AUX record comes from, and its state at one moment. */
struct beam_load_sum_look {
	struct beam_stream *stream; /* NULL: not found */
	uint64_t cksum;
	size_t processed_bytes;
};

/* Takes a look at the stream. Call it before a string is read by the module API. */
void beam_load_sum_look(RedisModuleIO *io, struct beam_load_sum_look *look);

/* Call it after that string was read: `len_bytes` (below 64) at `bytes`. If the stream's position
 * and checksum have advanced by exactly that string, the stream is what it was taken for, and is no
 * longer summed. Otherwise nothing is changed. */
void beam_load_sum_leave_out(const struct beam_load_sum_look *look, const void *bytes,
			     size_t len_bytes);

/* Restores the stream at its end. After a load that failed there is nothing to restore: the stream
 * is gone. */
void beam_load_sum_end(RedisModuleIO *io);

#endif
