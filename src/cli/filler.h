/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sends the keys of rdbeam fill in a pipeline. Two windows of commands are in flight at once, so
 * that the server is busy while the next window is made. Single-threaded.
 */
#ifndef BEAM_FILLER_H
#define BEAM_FILLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis.h"
#include "values.h"

#define BEAM_FILLER_TYPES_MAX 16 /* words in a list of types */

/* What to fill a server with. */
struct beam_filling {
	uint64_t value_size; /* of a string, or of each element; > 0 */
	int64_t ttl_s;       /* 0: none */
	const char *prefix;  /* at most BEAM_FILLER_PREFIX_MAX bytes */
	int64_t fields;      /* number of elements in each collection */
	int64_t pipeline;    /* commands sent before their replies are read */
	/* Delete a key before making a collection with its name. */
	bool clear_first;
	int types[BEAM_FILLER_TYPES_MAX]; /* used in turn; from beam_filler_type */
	int ntypes;
};

#define BEAM_FILLER_PREFIX_MAX 1024

struct beam_filler {
	const struct beam_filling *what;
	struct beam_redis *redis;
	struct beam_values values;
	char *value_bytes;     /* buffer for the values of one command */
	int64_t waiting;       /* commands without a reply yet */
	uint64_t unread_bytes; /* sent since a reply was last read */
	uint64_t bytes;        /* of keys, fields and values so far */
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* Number of the type named text[0..len), or -1. */
int beam_filler_type(const char *text, size_t len);

/* Opens a filler. `what` and `redis` stay the caller's and must outlive it. Returns 0 or
 * -ENOMEM. */
int beam_filler_open(const struct beam_filling *what, struct beam_redis *redis, uint64_t seed,
		     bool raw, struct beam_filler *filler);
/* Frees the buffer; the connection stays open. */
void beam_filler_close(struct beam_filler *filler);

/* Send the commands that select a database or make key `number`, and read replies as the pipeline
 * fills up. Return 0, or a negative code with a line in `error`, also when an earlier command has
 * failed. */
int beam_filler_select(struct beam_filler *filler, int64_t db);
int beam_filler_key(struct beam_filler *filler, int64_t number);

/* Reads all outstanding replies. Returns as above. */
int beam_filler_drain(struct beam_filler *filler);

#endif
