/* SPDX-License-Identifier: BSD-3-Clause
 * Prefetching of skip lists (source: server.h, t_zset.c of Redis 7.0.15, 7.4.1, Valkey 8.0.1;
 * zskiplist.h of Valkey 9). Which of their layouts a server has is found by checking links: the
 * list is walked backward from its end with reads that cannot fault, and each node must be the
 * successor of the node before it. */
#include "ahead_list.h"

#include <stdlib.h>
#include <string.h>

#include "object.h"
#include "own_memory.h"

#define PROOFS      8    /* lists to check before the layout is taken for granted */
#define PROOF_NODES 64   /* nodes to check per list, from its end; as many on the upper level */
#define LOOKS       4096 /* attempts with lists too short for a proof before giving up */
#define LEAST       1024 /* elements; shorter lists are not prefetched */
#define LEVEL       3    /* about every 64th node has this level */
#define STREAMS     32   /* sections of the list that are walked side by side */
#define EARLY       64   /* elements left of the prefetched ones when the next step begins */
#define LIST_WORDS  4
#define LIST_TAIL   1 /* in all layouts */

/* Offsets in words. A level is two words: a pointer and a number. */
struct beam_list_layout {
	unsigned backward, level;
	unsigned length; /* within what the sorted set points to */
	bool has_header; /* its first word points to the header node; else it is the header */
	/* the node's first word points to its element */
	bool elements_outside;
};

static const struct beam_list_layout layouts[] = {
    {.backward = 2, .level = 3, .length = 2, .has_header = true, .elements_outside = true},
    {.backward = 1, .level = 2, .length = 2, .has_header = true},
    {.backward = 1, .level = 2, .length = 0},
};

#define NLAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

/* A sorted set's list, as its header describes it. */
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

/* Reads one word of a node. More words are not certain to be there, since nodes differ in
 * length. */
static bool read_word(uintptr_t at, unsigned word, uintptr_t *out)
{
	return at && read_words(at + word * sizeof(*out), out, 1);
}

/* Whether the node's predecessor (*before) points back to it. */
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
		/* The first node of the list has no predecessor. */
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

/* The first PROOFS lists are checked. After that the header is read directly. */
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

/* Prefetches what the serializer reads of the previous node, and this node's element. This node
 * itself is in the cache by now. */
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

/* Walks all sections to their ends, in turn. If there are more nodes than the list has elements, it
 * is not a list. */
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

/* Prefetches the next STREAMS sections. A section ends at a mark; each is walked backward from its
 * last node. */
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
