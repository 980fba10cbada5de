/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sends the keys of rdbeam fill, pipelined. Two windows of commands are on the way at once, so that
 * the server works while the next window is made. One thread.
 */
#ifndef BEAM_FILLER_H
#define BEAM_FILLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis.h"
#include "values.h"

#define BEAM_FILLER_TYPES_MAX 16 /* words in a list of types */

/* What to fill with. */
struct beam_filling {
	uint64_t value_size;              /* of a string, or of each element; > 0 */
	int64_t ttl_s;                    /* 0: none */
	const char *prefix;               /* at most BEAM_FILLER_PREFIX_MAX bytes */
	int64_t fields;                   /* elements of each collection */
	int64_t pipeline;                 /* commands before their replies are read */
	bool clear_first;                 /* remove a key before a collection of its name is made */
	int types[BEAM_FILLER_TYPES_MAX]; /* that keys take in turn, by beam_filler_type */
	int ntypes;
};

#define BEAM_FILLER_PREFIX_MAX 1024

struct beam_filler {
	const struct beam_filling *what;
	struct beam_redis *redis;
	struct beam_values values;
	char *value_bytes;     /* room for the values of one command */
	int64_t waiting;       /* commands without a reply yet */
	uint64_t unread_bytes; /* sent since a reply was read */
	uint64_t bytes;        /* of keys, fields and values, so far */
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* Number of the type whose name is text[0..len), or -1. */
int beam_filler_type(const char *text, size_t len);

/* `what` and `redis` stay the caller's and must outlive the filler. 0 or -ENOMEM. */
int beam_filler_open(const struct beam_filling *what, struct beam_redis *redis, uint64_t seed,
		     bool raw, struct beam_filler *filler);
void beam_filler_close(struct beam_filler *filler);

/* Sends the commands that choose a database or make key `number`, and reads replies as the
 * pipeline fills up. 0, or a negative code with a line in `error`: also for an earlier command. */
int beam_filler_select(struct beam_filler *filler, int64_t db);
int beam_filler_key(struct beam_filler *filler, int64_t number);

/* Reads all replies that are missing. As above. */
int beam_filler_drain(struct beam_filler *filler);

#endif
