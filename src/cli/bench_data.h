/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The data sets of the benchmarks, each named by a letter, and how to fill a server with one.
 */
#ifndef BEAM_BENCH_DATA_H
#define BEAM_BENCH_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "progress.h"
#include "redis.h"

/* Keys of one kind. */
struct beam_bench_part {
	const char *types; /* as for rdbeam fill */
	const char *prefix;
	int64_t keys; /* at 100 percent */
	uint64_t value_size;
	int64_t fields;
	int64_t ttl_s;
	/* First database, and over how many databases the keys are spread (0: one). */
	int64_t db, dbs;
	bool groups; /* streams: with a consumer group and pending entries */
};

/* What a client reads and writes while the server saves. */
enum beam_bench_touch {
	BEAM_TOUCH_RANGE, /* a few bytes inside a string, in place */
	BEAM_TOUCH_VALUE, /* a whole string of 20 bytes */
	BEAM_TOUCH_FIELD, /* a field of a hash */
};

struct beam_bench_data {
	char letter;
	const char *what; /* "1M x 1 KB" */
	const struct beam_bench_part *parts;
	size_t nparts;
	/* In the first part and its first database: every `touch_step`th key. */
	enum beam_bench_touch touch;
	int64_t touch_step;
};

#define BEAM_BENCH_DATA_MAX 8

/* Parses "S,M,..." into list[0..*n). Returns 0, or -EINVAL with the wrong item in `bad` (of `cap`
 * bytes). */
int beam_bench_data_parse(const char *text, const struct beam_bench_data **list, size_t *n,
			  char *bad, size_t cap);

/* Number of keys of a part at `scale` percent; at least one. */
int64_t beam_bench_part_keys(const struct beam_bench_part *part, int64_t scale);

/* Fills an empty server, with the same data each time. Returns 0, or a negative code with the line
 * in `error` (BEAM_REDIS_ERROR_BYTES). */
int beam_bench_data_fill(const struct beam_bench_data *data, int64_t scale,
			 struct beam_redis *redis, struct beam_progress *progress, char *error);

#endif
