/* SPDX-License-Identifier: BSD-3-Clause
 * Prefetching of hashes and sets. The server's iterator visits the buckets in order, first those of
 * table 0, then those of table 1. Each step here does the same, two parts ahead of the serializer:
 * it prefetches the entries of the next buckets, and what the entries of the buckets before those
 * point to. */
#include "ahead.h"

#include <string.h>

#include "object.h"
#include "own_memory.h"
#include "peek_layout.h"

#define PROOFS        8
#define LEAST         32768 /* elements; smaller collections stay in the processor's caches */
#define STEP_BUCKETS  64
#define PROOF_BUCKETS 64
#define NUMBER_MAX    11             /* characters of a 32-bit integer */
#define CHAIN_MAX     32             /* of a chain; the serializer waits for the rest */
#define SET_TABLE     (2u | 2u << 4) /* server.h: type | encoding << 4 */
#define HASH_TABLE    (4u | 2u << 4)
#define SORTED_SET    (3u | 7u << 4)
#define USED_WORD     3 /* of a dict: type, two table pointers, two counts of used entries */

/* dict.c: entries without a value (sets since Redis 7.2) have their form in the low bits of the
 * pointer to them. A server uses one of two tags for an entry with a key and a next pointer; `bare`
 * holds the one that was seen. */
#define TAG_MASK 7u
#define TAG_KEY  1u /* no entry: the pointer is the key itself */
#define BARE_7   2u /* key and next: Redis 7.2 and 7.4, Valkey before 8.1 */
#define BARE_8   4u /* the same in Redis 8 */

struct element {
	uintptr_t key, value, next;
};

static bool has_entry(uintptr_t tagged)
{
	return !(tagged & TAG_KEY);
}

static const uintptr_t *entry_of(uintptr_t tagged)
{
	return (const uintptr_t *)(tagged & ~(uintptr_t)TAG_MASK);
}

static bool known_entry(const struct beam_ahead *ahead, uintptr_t tagged)
{
	unsigned tag = tagged & TAG_MASK;

	return !has_entry(tagged) || tag == 0 || tag == ahead->bare;
}

static struct element element_from(uintptr_t at, const uintptr_t *words)
{
	if (!has_entry(at))
		return (struct element){.key = at};
	if (at & TAG_MASK)
		return (struct element){.key = words[0], .next = words[1]};
	return (struct element){words[0], words[1], words[2]};
}

static struct element element_at(uintptr_t at)
{
	return element_from(at, entry_of(at));
}

/* Checks an entry with reads that cannot fault. The first entry without a value tells which tag
 * this server uses. */
static bool entry_looks_right(struct beam_ahead *ahead, uintptr_t at)
{
	unsigned tag = at & TAG_MASK;
	uintptr_t words[3] = {0};
	size_t len = (tag ? 2 : 3) * sizeof(words[0]);

	if (has_entry(at)) {
		if (!ahead->bare && (tag == BARE_7 || tag == BARE_8))
			ahead->bare = (uint8_t)tag;
		if (!known_entry(ahead, at) ||
		    !beam_read_memory((uintptr_t)entry_of(at), words, len))
			return false;
	}
	struct element element = element_from(at, words);

	/* A string has its type byte in front of it and a terminator. An entry with a value must be
	 * followed by an aligned pointer to the next entry. */
	return element.key && beam_memory_there((const char *)element.key - 1, 2) &&
	       (tag || element.next % sizeof(void *) == 0) && known_entry(ahead, element.next);
}

/* Checks buckets at the end of the table, because a rehash empties these last. */
static bool looks_right(struct beam_ahead *ahead)
{
	uint64_t n = ahead->nbuckets[0];

	for (uint64_t b = n < PROOF_BUCKETS ? 0 : n - PROOF_BUCKETS; b < n; b++) {
		uintptr_t at;

		if (!beam_read_memory(ahead->buckets[0] + b * sizeof(at), &at, sizeof(at)) ||
		    (at && !entry_looks_right(ahead, at)))
			return false;
	}
	return true;
}

static bool prove(struct beam_ahead *ahead, uintptr_t dict)
{
	struct beam_peek_table table = {0};

	if (!peek_chain.open(dict, &table) || !table.here)
		return false;
	memcpy(ahead->buckets, table.buckets, sizeof(ahead->buckets));
	memcpy(ahead->nbuckets, table.nbuckets, sizeof(ahead->nbuckets));
	return looks_right(ahead);
}

/* A proof takes system calls, and most collections are small. After PROOFS successful proofs the
 * number of elements is read directly. */
static bool is_large(struct beam_ahead *ahead, uintptr_t dict)
{
	const uintptr_t *words = (const uintptr_t *)dict;

	if (ahead->proofs < PROOFS) {
		if (!prove(ahead, dict)) {
			ahead->disproved = true;
			return false;
		}
		ahead->proofs++;
	}
	return words[USED_WORD] + words[USED_WORD + 1] >= LEAST;
}

void beam_ahead_open(struct beam_ahead *ahead, const void *object)
{
	uint8_t layout = *(const uint8_t *)object;
	uintptr_t dict;

	ahead->on = ahead->list.on = false;
	ahead->nmarks = 0;
	ahead->due = 0;
	if (layout == SORTED_SET)
		beam_ahead_list_open(&ahead->list, object);
	if (ahead->disproved || (layout != SET_TABLE && layout != HASH_TABLE))
		return;
	memcpy(&dict, (const uint8_t *)object + BEAM_OBJECT_HEAD_BYTES, sizeof(dict));
	if (dict % sizeof(void *) || !is_large(ahead, dict) || !prove(ahead, dict))
		return;
	ahead->on = true;
	ahead->table = 0;
	ahead->asked = ahead->read = ahead->part = 0;
	ahead->number_writes = layout == SET_TABLE ? 1 : 2;
	beam_ahead_step(ahead);
}

void beam_ahead_close(struct beam_ahead *ahead)
{
	beam_ahead_list_close(&ahead->list);
}

/* Whether the serializer writes the string as an integer: it does so for what fits in 32 bits. */
static bool is_number(uintptr_t string)
{
	const char *text = (const char *)string, *at = text + (*text == '-');
	int64_t number = 0;

	if (*at == '0')
		return at == text && !at[1];
	for (; *at >= '0' && *at <= '9' && at - text < NUMBER_MAX; at++)
		number = number * 10 + (*at - '0');
	if (*text == '-')
		number = -number;
	return number && !*at && number >= INT32_MIN && number <= INT32_MAX;
}

static void mark(struct beam_ahead *ahead, uintptr_t key, uintptr_t value)
{
	if (!is_number(key))
		ahead->marks[ahead->nmarks++] = key;
	else if (value && !is_number(value))
		ahead->marks[ahead->nmarks++] = value;
}

/* Marks the strings of a chain, which have been prefetched by now. Returns how many more elements
 * may be marked. */
static unsigned mark_chain(struct beam_ahead *ahead, uintptr_t at, unsigned left)
{
	for (; at && left; left--) {
		struct element element = element_at(at);

		mark(ahead, element.key, element.value);
		at = element.next;
	}
	return left;
}

static void read_chain(struct beam_ahead *ahead, uintptr_t at)
{
	for (unsigned depth = 0; at && depth < CHAIN_MAX; depth++) {
		if (!known_entry(ahead, at)) {
			ahead->on = false;
			return;
		}
		struct element element = element_at(at);

		ahead->elements++;
		__builtin_prefetch((const void *)(element.key - 8));
		__builtin_prefetch((const void *)(element.value - 8));
		at = element.next;
	}
}

/* Decides what triggers the next step: a marked string of the part just read or, if that part has
 * numbers only, the number of writes that the part before it takes. */
static void set_due(struct beam_ahead *ahead, uint64_t part)
{
	uint64_t before = ahead->part;

	ahead->part = part;
	ahead->due = 0;
	if (part && !ahead->nmarks)
		ahead->due = before ? before * ahead->number_writes : 1;
}

void beam_ahead_step(struct beam_ahead *ahead)
{
	uint64_t had = ahead->elements;
	unsigned left = BEAM_AHEAD_MARKS;

	ahead->nmarks = 0;
	while (ahead->on && ahead->elements == had && ahead->table < 2) {
		const uintptr_t *from = (const uintptr_t *)ahead->buckets[ahead->table];
		uint64_t n = ahead->nbuckets[ahead->table], read = ahead->asked;
		uint64_t end = read + STEP_BUCKETS < n ? read + STEP_BUCKETS : n;

		for (uint64_t b = read; b < end; b++)
			__builtin_prefetch(entry_of(from[b]));
		ahead->asked = end;
		for (uint64_t b = ahead->read; b < read && ahead->on; b++)
			read_chain(ahead, from[b]);
		for (uint64_t b = ahead->read; b < read && ahead->on && left; b++)
			left = mark_chain(ahead, from[b], left);
		ahead->read = read;
		if (read == n) {
			ahead->table++;
			ahead->asked = ahead->read = 0;
		}
	}
	set_due(ahead, ahead->elements - had);
}
