/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The images that a replica can be given: where each was cut, which of them the server's stream still
 * goes on from, and the one that was begun last. Main thread.
 */
#ifndef BEAM_IMAGES_H
#define BEAM_IMAGES_H

#include <stdbool.h>

#include "ctl.h"
#include "redis_api.h"

/* The server's own stream, now. */
struct beam_stream {
	bool backlog;
	bool cut_off; /* a replica without its primary: the stream's database is not to be had */
	char replid[BEAM_REPLID_BYTES];
	long long first, offset;
};

void beam_stream_read(RedisModuleCtx *ctx, struct beam_stream *stream);
/* A replica can go on from the cut: same history, and the backlog still holds all that came after. */
bool beam_stream_reaches(const struct beam_stream *stream, const struct beam_cut *cut);

void beam_images_on_opened(const struct beam_ctl_opened *opened);
/* Whether the newest generation is being copied. */
bool beam_images_copying(void);
/* What is being copied, or else what can be served; counter 0: nothing. */
const struct beam_gen *beam_images_newest(void);
/* The cut of a generation that is here or was opened last; of another one an empty one. */
void beam_images_cut(const struct beam_gen *gen, struct beam_cut *cut);
/* Chooses an image that is there, or is being copied, or (`relayed`) that relays still hold. False:
 * none can be continued from, and nothing is written. */
bool beam_images_choose(const struct beam_stream *stream, bool relayed, struct beam_gen *gen,
			struct beam_cut *cut);
/* A child that was killed could not remove a temporary file that has a name. */
void beam_images_remove_temp(void);

#endif
