/* SPDX-License-Identifier: BSD-3-Clause
 * Skip lists (source: server.h, t_zset.c of Redis 7.0.15, 7.4.1, Valkey 8.0.1; zskiplist.h of Valkey 9).
 * Which one it is, is found by the links: the list's end is walked back by reads that cannot fault, and
 * each node must be the next one of the node before it. */
#include "ahead_list.h"

#include <stdlib.h>
#include <string.h>

#include "object.h"
#include "own_memory.h"

#define PROOFS      8    /* lists */
#define PROOF_NODES 64   /* of each, from its end, and as many of the level above */
#define LOOKS       4096 /* at lists too short for a proof */
#define LEAST       1024 /* elements */
#define LEVEL       3    /* every 64th node reaches it, by chance */
#define STREAMS     32   /* parts of the list that are fetched side by side */
#define EARLY       64   /* elements before the end of what is fetched */
#define LIST_WORDS  4
#define LIST_TAIL   1 /* in either kind */

/* In words. A level is a pointer and a number. */
struct beam_list_layout {
	unsigned backward, level;
	unsigned length; /* of what the sorted set points to */
	bool has_header; /* which points to the header in its first word; else it is the header */
	bool elements_outside; /* the node's first word points to its element */
};

static const struct beam_list_layout layouts[] = {
    {.backward = 2, .level = 3, .length = 2, .has_header = true, .elements_outside = true},
    {.backward = 1, .level = 2, .length = 2, .has_header = true},
    {.backward = 1, .level = 2, .length = 0},
};

#define NLAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

/* What a sorted set says of its list. */
struct view {
	uintptr_t header, tail;
	uint64_t length;
};

static unsigned forward_word(const struct beam_list_layout *layout, unsigned level)
{
	return layout->level + 2 * level;
}

static struct view view_of(const struct beam_list_layout *layout, uintptr_t at,
			   const uintptr_t words[LIST_WORDS])
{
	return (struct view){.header = layout->has_header ? words[0] : at,
			     .tail = words[LIST_TAIL],
			     .length = words[layout->length]};
}

/* ---- proof ---------------------------------------------------------------------------------- */

static bool read_words(uintptr_t at, uintptr_t *words, unsigned n)
{
	return at && at % sizeof(*words) == 0 && beam_read_memory(at, words, n * sizeof(*words));
}

/* One word of a node: not more of it is there for sure. */
static bool read_word(uintptr_t at, unsigned word, uintptr_t *out)
{
	return at && read_words(at + word * sizeof(*out), out, 1);
}

/* Whether the node before it says that it is the next one. */
static bool is_linked(const struct beam_list_layout *layout, uintptr_t node, uintptr_t *before)
{
	uintptr_t next;

	*before = UINTPTR_MAX;
	return read_word(node, layout->backward, before) &&
	       read_word(*before, forward_word(layout, 0), &next) && next == node;
}

static bool prove(const struct beam_list_layout *layout, const struct view *view)
{
	uintptr_t node = view->tail, next, before;

	if (view->length < PROOF_NODES || !read_word(node, forward_word(layout, 0), &next) || next)
		return false;
	for (unsigned i = 1; i < PROOF_NODES; i++, node = before)
		if (!is_linked(layout, node, &before))
			return false;
	node = view->header;
	for (unsigned i = 0; i < PROOF_NODES; i++) {
		if (!read_word(node, forward_word(layout, LEVEL), &node))
			return false;
		if (!node)
			break;
		/* The first of all has none before it. */
		if (!is_linked(layout, node, &before) && before)
			return false;
	}
	return true;
}

static bool find_layout(struct beam_ahead_list *list, uintptr_t at,
			const uintptr_t words[LIST_WORDS], bool *is_short)
{
	*is_short = false;
	for (size_t i = 0; i < NLAYOUTS; i++) {
		struct view view = view_of(&layouts[i], at, words);

		if (list->layout && list->layout != &layouts[i])
			continue;
		if (prove(&layouts[i], &view)) {
			list->layout = &layouts[i];
			return true;
		}
		*is_short |= view.length < PROOF_NODES;
	}
	return false;
}

/* Some lists are looked at with care; then the number of elements is read straight from where it was found. */
static bool is_known(struct beam_ahead_list *list, uintptr_t zset, struct view *view)
{
	uintptr_t words[LIST_WORDS], at;
	bool is_short;

	if (list->proofs == PROOFS) {
		at = ((const uintptr_t *)zset)[1];
		*view = view_of(list->layout, at, (const uintptr_t *)at);
		return true;
	}
	list->disproved = ++list->looks == LOOKS || !read_word(zset, 1, &at) ||
			  !read_words(at, words, LIST_WORDS);
	if (list->disproved)
		return false;
	if (!find_layout(list, at, words, &is_short)) {
		list->disproved = !is_short;
		return false;
	}
	list->proofs++;
	*view = view_of(list->layout, at, words);
	return true;
}

/* ---- fetching ------------------------------------------------------------------------------- */

static bool add_mark(struct beam_ahead_list *list, uintptr_t node)
{
	if (list->nmarks == list->marks_cap) {
		size_t cap = list->marks_cap ? list->marks_cap * 2 : 1024;
		uintptr_t *grown = realloc(list->marks, cap * sizeof(*grown));

		if (!grown)
			return false;
		list->marks = grown;
		list->marks_cap = cap;
	}
	list->marks[list->nmarks++] = node;
	return true;
}

static bool find_marks(struct beam_ahead_list *list, const struct view *view)
{
	unsigned word = forward_word(list->layout, LEVEL);
	uintptr_t node = ((const uintptr_t *)view->header)[word];

	list->nmarks = 0;
	for (; node && list->nmarks < view->length; node = ((const uintptr_t *)node)[word])
		if (!add_mark(list, node))
			return false;
	return !node;
}

void beam_ahead_list_open(struct beam_ahead_list *list, const void *object)
{
	struct view view;
	uintptr_t zset;

	list->on = false;
	memcpy(&zset, (const uint8_t *)object + BEAM_OBJECT_HEAD_BYTES, sizeof(zset));
	if (list->disproved || zset % sizeof(void *) || !is_known(list, zset, &view))
		return;
	if (view.length < LEAST || !find_marks(list, &view))
		return;
	list->on = true;
	list->at = view.tail;
	list->rest = view.length;
	beam_ahead_list_step(list);
	list->left = list->left > EARLY ? list->left - EARLY : 1;
}

void beam_ahead_list_close(struct beam_ahead_list *list)
{
	free(list->marks);
	list->marks = NULL;
	list->marks_cap = 0;
}

struct stream {
	uintptr_t at, stop;
};

/* Asks for what the serializer reads of the node in front of this one, which has come by now, and for this
 * one's element. */
static uintptr_t fetch_before(const struct beam_list_layout *layout, uintptr_t node)
{
	const uintptr_t *words = (const uintptr_t *)node;
	uintptr_t before = words[layout->backward];

	if (layout->elements_outside) {
		__builtin_prefetch((const void *)(words[0] - 8));
		__builtin_prefetch((const void *)(words[0] + 24));
		__builtin_prefetch((const void *)(before + 24));
	} else {
		__builtin_prefetch((const void *)(before + 64));
	}
	__builtin_prefetch((const void *)before);
	return before;
}

/* All parts to their ends. More nodes than there can be are none of a list. */
static uint64_t fetch(const struct beam_list_layout *layout, struct stream *streams, unsigned n,
		      uint64_t most)
{
	uint64_t nodes = 0, had;

	do {
		had = nodes;
		for (unsigned i = 0; i < n; i++)
			if (streams[i].at != streams[i].stop && streams[i].at) {
				streams[i].at = fetch_before(layout, streams[i].at);
				nodes++;
			}
	} while (nodes > had && nodes <= most);
	return nodes;
}

/* The parts between marks, the last ones of what is left: each from its last node on. */
void beam_ahead_list_step(struct beam_ahead_list *list)
{
	struct stream streams[STREAMS] = {{0, 0}};
	unsigned n = 0;

	while (n < STREAMS && list->at) {
		uintptr_t stop = list->nmarks ? list->marks[--list->nmarks] : 0;

		__builtin_prefetch((const void *)list->at);
		streams[n++] = (struct stream){.at = list->at, .stop = stop};
		list->at = stop;
	}
	list->left = fetch(list->layout, streams, n, list->rest);
	list->disproved = list->left > list->rest;
	list->rest -= list->left;
	list->elements += list->left;
	list->on = list->at && list->left && !list->disproved;
}
