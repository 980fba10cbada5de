/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The server sums all that it loads, in its one thread, and throws the sum away where the file's own is 0, as in
 * a pull's stream, whose segments were checked before. While a load is shared it is left out (docs/adr/0100).
 * Main thread, one load at a time.
 */
#ifndef BEAM_LOAD_SUM_H
#define BEAM_LOAD_SUM_H

#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

struct beam_stream;

/* The stream behind an AUX record, and how far it has come. */
struct beam_load_sum_look {
	struct beam_stream *stream; /* NULL: not found */
	uint64_t cksum;
	size_t processed_bytes;
};

/* Before a string is read by the API. */
void beam_load_sum_look(RedisModuleIO *io, struct beam_load_sum_look *look);

/* Behind it: `len_bytes` (below 64) came from `bytes`. Where sum and place have gone on by just that, the stream is
 * what it was taken for, and is summed no longer; else nothing is touched. */
void beam_load_sum_leave_out(const struct beam_load_sum_look *look, const void *bytes,
			     size_t len_bytes);

/* The stream's end: as the server had it. A load that failed has taken its stream along: nothing to do. */
void beam_load_sum_end(RedisModuleIO *io);

#endif
