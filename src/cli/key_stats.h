/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Statistics about the keys in a file: by type, by database, and the largest ones. Single-threaded.
 */
#ifndef BEAM_KEY_STATS_H
#define BEAM_KEY_STATS_H

#include <cjson/cJSON.h>

#include "image_reader.h"

#define BEAM_KEY_STATS_LARGEST 10
#define BEAM_KEY_STATS_DBS     1024 /* counted separately; other databases are summed up */
#define BEAM_KEY_TEXT_BYTES    160

/* Sizes are bytes in the file: the key's name and its value as they are stored. */
struct beam_key_sum {
	uint64_t keys, expires, bytes;
};

struct beam_large_key {
	uint64_t bytes;
	uint32_t db;
	uint8_t type;
	int64_t expire_ms;              /* -1: none */
	char text[BEAM_KEY_TEXT_BYTES]; /* printable ASCII, other bytes as \xNN; cut with "..." */
};

struct beam_key_stats {
	struct beam_key_sum types[BEAM_VERIFY_TYPES];
	struct beam_key_sum dbs[BEAM_KEY_STATS_DBS];
	uint32_t db_numbers[BEAM_KEY_STATS_DBS];
	size_t ndbs, last_db;
	struct beam_key_sum other_dbs;
	struct beam_large_key largest[BEAM_KEY_STATS_LARGEST]; /* the largest first */
	size_t nlargest;
};

/* Counts one key. The struct starts zeroed. */
void beam_key_stats_add(struct beam_key_stats *stats, const struct beam_item *item);

void beam_key_stats_print(const struct beam_key_stats *stats);

/* Adds "types", "databases" and "largest" to the object. */
void beam_key_stats_json(const struct beam_key_stats *stats, cJSON *object);

#endif
