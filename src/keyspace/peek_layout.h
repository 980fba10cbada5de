/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Interface between peek_table.c, which proves a table and hands out its keys, and the layouts of
 * tables: peek_chain.c (dict: buckets of chained entries), peek_kvobj.c (dict of objects with
 * embedded keys) and peek_bucket.c (hashtable: buckets of one cache line). Until a table is proved
 * only `open`, `has` and `count` are called; these must not fault, whatever they are given.
 */
#ifndef BEAM_PEEK_LAYOUT_H
#define BEAM_PEEK_LAYOUT_H

#include "peek_table.h"

#define PEEK_BATCH  64 /* keys in flight */
#define PEEK_BUCKET 64 /* keys compared per bucket; more disprove the layout */

/* A key found by the walk. */
struct peek_entry {
	uintptr_t value;  /* the object */
	const char *name; /* a string of the server's, with its header in front */
	bool knows_expire;
	int64_t expire_ms;
};

/* Consecutive buckets. */
struct peek_range {
	uintptr_t buckets; /* the array that holds them */
	uint64_t first, n;
};

/* What is left of one part of a walk. */
struct peek_part {
	uint32_t number, parts; /* share of the tables that all parts divide among themselves */
	bool shared;            /* the open table is one of these */
	int t;                  /* next of the open table's two arrays */
	uint32_t slot, end;     /* slots still to come that belong to this part alone */
	unsigned large;         /* next of the large slots, which are shared */
};

struct peek_layout {
	enum beam_table_walk walked; /* how the walk is reported */
	/* Opens the table at address `at` if it looks like one of this layout. For a table without
	 * keys no buckets are filled in. */
	bool (*open)(uintptr_t at, struct beam_peek_table *table);
	/* Whether bucket `b` of table `t` holds this object under this name. */
	bool (*has)(const struct beam_peek_table *table, int t, uint64_t b, uintptr_t value,
		    const char *name, size_t name_bytes);
	/* Number of keys in that bucket; more than PEEK_BUCKET if there are too many or they cannot
	 * be read. */
	unsigned (*count)(const struct beam_peek_table *table, int t, uint64_t b);
	/* Hands out the keys of all ranges of the part, which peek_next_range returns. 0, what
	 * `each` returned, or -1 for an unknown kind of entry. */
	int (*walk)(struct beam_peek_table *table, struct peek_part *part, beam_open_key_fn *each,
		    void *arg);
};

extern const struct peek_layout peek_kvobj, peek_chain, peek_bucket;

/* Gets the next range of buckets of a part. 1; 0 if there are no more; -1 if a slot's table cannot
 * be opened. */
int peek_next_range(struct beam_peek_table *table, struct peek_part *part,
		    struct peek_range *range);

/* Calls `each` for each entry. 0, what `each` returned, or -1 for an unknown kind of name. */
int peek_emit(struct beam_peek_table *table, const struct peek_entry *entries, unsigned n,
	      beam_open_key_fn *each, void *arg);
/* Whether there is a string of the server's with these bytes at the address. Does not fault. */
bool peek_is_name(const struct beam_peek_table *table, uintptr_t at, const char *name,
		  size_t name_bytes);

#endif
