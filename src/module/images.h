/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The images that a replica can be given: the cut of each, which of them the server's replication
 * backlog still reaches, and the one begun last. Main thread.
 */
#ifndef BEAM_IMAGES_H
#define BEAM_IMAGES_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"

/* The server's own replication stream, as it is now. */
struct beam_stream {
	bool backlog;
	bool cut_off; /* a replica without its primary: the stream's database is unknown */
	char replid[BEAM_REPLID_BYTES];
	long long first, offset;
};

/* Reads the stream's state from INFO replication. */
void beam_stream_read(RedisModuleCtx *ctx, struct beam_stream *stream);
/* True if a replica can continue from the cut: same replication id, and the backlog still holds all
 * that came after. */
bool beam_stream_reaches(const struct beam_stream *stream, const struct beam_cut *cut);

/* The daemon reports that a generation has begun: it is the newest from now on. */
void beam_images_on_opened(const struct beam_ctl_opened *opened);
/* True while the newest generation is being copied. */
bool beam_images_copying(void);
/* The generation being copied, otherwise the one that can be served; counter 0: none. */
const struct beam_gen *beam_images_newest(void);
/* Writes the cut of a generation that is here, was opened last, or is held by a relay. For any
 * other generation *cut is zeroed. */
void beam_images_cut(const struct beam_gen *gen, struct beam_cut *cut);
/* Chooses an image that is ready, is being copied, or (`relayed`) is still held by relays. Returns
 * false, and writes nothing, if none can be continued from. */
bool beam_images_choose(const struct beam_stream *stream, bool relayed, struct beam_gen *gen,
			struct beam_cut *cut);
/* Removes the named temporary file of the last save to disk, which a child that was killed could
 * not remove. */
void beam_images_remove_temp(void);

#endif
