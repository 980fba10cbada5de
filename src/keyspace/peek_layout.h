/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Between peek_table.c, which proves a table and hands out its keys, and the layouts of tables:
 * peek_chain.c (dict: buckets of chained entries), peek_kvobj.c (dict of objects with keys inside) and
 * peek_bucket.c (hashtable: buckets of a cache line). Until a table is proved only `open`, `has` and
 * `count` are called, and these must not fault whatever they are given.
 */
#ifndef BEAM_PEEK_LAYOUT_H
#define BEAM_PEEK_LAYOUT_H

#include "peek_table.h"

#define PEEK_BATCH  64 /* keys in flight */
#define PEEK_BUCKET 64 /* keys of one bucket that can be compared; with more it is not believed */

/* A key as the walk found it. */
struct peek_entry {
	uintptr_t value;  /* the object */
	const char *name; /* a string of the server's, with its header in front */
	bool knows_expire;
	int64_t expire_ms;
};

/* Buckets in a row. */
struct peek_range {
	uintptr_t buckets; /* the array that they are in */
	uint64_t first, n;
};

/* What is left of a part of the walk. */
struct peek_part {
	uint32_t number, parts; /* of the tables that all parts share */
	bool shared;            /* the open one is */
	int t;                  /* of its two, the next */
	uint32_t slot, end;     /* slots that are to come, and are this part's alone */
	unsigned large;         /* the next of those that are not */
};

struct peek_layout {
	enum beam_table_walk walked; /* what the walk is called */
	/* Takes over the tables of what lies at `at`, if that looks like one of this layout: none of
	 * one without keys. */
	bool (*open)(uintptr_t at, struct beam_peek_table *table);
	/* Whether bucket `b` of table `t` holds this object under this name. */
	bool (*has)(const struct beam_peek_table *table, int t, uint64_t b, uintptr_t value,
		    const char *name, size_t name_bytes);
	/* Keys in that bucket; more than PEEK_BUCKET: too many, or not readable. */
	unsigned (*count)(const struct beam_peek_table *table, int t, uint64_t b);
	/* Hands out the keys of all ranges of the part, by peek_next_range. 0, what `each` returned, or
	 * -1 for an entry of an unknown kind. */
	int (*walk)(struct beam_peek_table *table, struct peek_part *part, beam_open_key_fn *each,
		    void *arg);
};

extern const struct peek_layout peek_kvobj, peek_chain, peek_bucket;

/* The next buckets of a part. 1, 0 when there are no more, or -1. */
int peek_next_range(struct beam_peek_table *table, struct peek_part *part,
		    struct peek_range *range);

/* Calls `each` with each entry. 0, what it returned, or -1 for a name of an unknown kind. */
int peek_emit(struct beam_peek_table *table, const struct peek_entry *entries, unsigned n,
	      beam_open_key_fn *each, void *arg);
/* Whether it is the name of a key: a string of the server's with those bytes. Does not fault. */
bool peek_is_name(uintptr_t at, const char *name, size_t name_bytes);

#endif
