/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A save of a server, followed from outside by INFO and RDBEAM.STATUS: BGSAVE with or without the
 * module, or RDBEAM.SNAPSHOT. Redis tells nobody when a save ends, so it is asked again and again.
 * One thread.
 */
#ifndef BEAM_SAVE_H
#define BEAM_SAVE_H

#include <stdbool.h>
#include <stdint.h>

#include "redis.h"
#include "view.h"

enum beam_save_state {
	BEAM_SAVE_COPYING,  /* or waiting for the first word of it */
	BEAM_SAVE_FLUSHING, /* the image is whole in memory, the save has not ended */
	BEAM_SAVE_READY,    /* ended: in memory, not on disk */
	BEAM_SAVE_DURABLE,  /* ended: on disk */
	BEAM_SAVE_FAILED,   /* ended: the reason is in `error` */
};

struct beam_save {
	struct beam_redis *redis;
	struct beam_view view; /* as of the last look */
	bool memory;           /* RDBEAM.SNAPSHOT */
	bool module;           /* the server has rdbeam.so */
	bool in_memory_only;   /* rdbeam.durable no: BGSAVE writes no file */
	enum beam_save_state state;
	/* before it began */
	char old_generation[64];
	int64_t old_saves, old_fallbacks, old_save_time;
	uint64_t keys; /* when it began, by the server's count */
	uint64_t began_ms;
	uint64_t booked_ms; /* when the server was first seen to be done with it, or 0 */
	char file[1024];    /* dir/dbfilename, "" when not known */
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* Looks at the server and says whether a save can begin now. 0; BEAM_E_BUSY, BEAM_E_UNSUPPORTED
 * (no module for `memory`), or what a command returned; then `error` has the line. */
int beam_save_prepare(struct beam_redis *redis, bool memory, struct beam_save *save);

/* Begins the save. 0 or as above. */
int beam_save_begin(struct beam_save *save);

/* Looks again, moves `state`. 0, or a negative code with the line in `error` when the server could
 * not be asked. */
int beam_save_look(struct beam_save *save);

/* The image of this save stands in RDBEAM.STATUS (not an older one, and not stock saving). */
bool beam_save_by_image(const struct beam_save *save);

/* The module will make, or has made, an image for this save. */
bool beam_save_expects_image(const struct beam_save *save);

/* Stock saving took over from the module; the reason is last_fallback_reason. */
bool beam_save_fell_back(const struct beam_save *save);

void beam_save_close(struct beam_save *save);

#endif
