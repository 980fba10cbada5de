/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A save of a server, observed from outside by INFO and RDBEAM.STATUS: BGSAVE with or without the
 * module, or RDBEAM.SNAPSHOT. Redis does not notify anyone when a save ends, so the server is
 * polled. Single-threaded.
 */
#ifndef BEAM_SAVE_H
#define BEAM_SAVE_H

#include <stdbool.h>
#include <stdint.h>

#include "redis.h"
#include "view.h"

enum beam_save_state {
	BEAM_SAVE_COPYING,  /* or nothing is known about it yet */
	BEAM_SAVE_FLUSHING, /* the image is complete in memory; the save goes on */
	BEAM_SAVE_READY,    /* ended: in memory, not on disk */
	BEAM_SAVE_DURABLE,  /* ended: on disk */
	BEAM_SAVE_FAILED,   /* ended: the reason is in `error` */
};

struct beam_save {
	struct beam_redis *redis;
	struct beam_view view; /* from the last poll */
	bool memory;           /* RDBEAM.SNAPSHOT */
	bool module;           /* the server has rdbeam.so */
	bool in_memory_only;   /* rdbeam.durable no: BGSAVE writes no file */
	enum beam_save_state state;
	/* Values before the save began. */
	char old_generation[64];
	int64_t old_saves, old_fallbacks, old_save_time;
	uint64_t keys; /* when it began, by the server's count */
	uint64_t began_ms;
	/* When the server was first seen to have finished the save, or 0. */
	uint64_t booked_ms;
	char file[1024]; /* dir/dbfilename, "" when unknown */
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* Looks at the server and checks whether a save can start now. Returns 0; BEAM_E_BUSY;
 * BEAM_E_UNSUPPORTED (no module for `memory`); or a command's error. On failure `error` has the
 * line. */
int beam_save_prepare(struct beam_redis *redis, bool memory, struct beam_save *save);

/* Starts the save. Returns as above. */
int beam_save_begin(struct beam_save *save);

/* Polls the server and updates `state`. Returns 0, or a negative code with the line in `error` when
 * the server could not be asked. */
int beam_save_look(struct beam_save *save);

/* True when RDBEAM.STATUS shows the image of this save (not an older one, and not stock saving). */
bool beam_save_by_image(const struct beam_save *save);

/* True when the module will make, or has made, an image for this save. */
bool beam_save_expects_image(const struct beam_save *save);

/* True when stock saving took over from the module; last_fallback_reason tells why. */
bool beam_save_fell_back(const struct beam_save *save);

/* Frees the view; the connection stays open. */
void beam_save_close(struct beam_save *save);

#endif
