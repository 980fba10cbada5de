/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an engine does for a flush: carries out operations, in any order, and says when one is done.
 * Splitting, retries, rate limit and errors are flush.c's. All calls from the flush's one thread.
 */
#ifndef BEAM_DISK_ENGINE_H
#define BEAM_DISK_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum beam_disk_verb { BEAM_DISK_WRITE, BEAM_DISK_FSYNC };

/* One operation. The flush owns it; between start and next_done the engine does. */
struct beam_disk_op {
	struct beam_disk_op *next;
	enum beam_disk_verb verb;
	int fd;
	int result; /* set when done: bytes written (may be fewer than asked for), 0, or -errno */
	const uint8_t *buf;
	size_t len_bytes; /* <= 1 GiB */
	uint64_t offset;
	/* the flush's */
	struct beam_disk_write *write;
	uint32_t retries;
	bool direct; /* O_DIRECT was set when it was started */
};

struct beam_disk_engine_state;

/* Every member is set. */
struct beam_disk_engine_ops {
	const char *name;
	/* `event` is an eventfd to add to at each completion; at most `depth` operations will be
	 * under way. 0 or -errno. */
	int (*open)(int event, uint32_t depth, struct beam_disk_engine_state **out);
	void (*add_buffer)(struct beam_disk_engine_state *engine, void *base, uint64_t len_bytes);
	void (*start)(struct beam_disk_engine_state *engine, struct beam_disk_op *op);
	/* Makes the started operations go. 0; -EAGAIN: some did not, call again later. */
	int (*submit)(struct beam_disk_engine_state *engine);
	/* A completed operation, or NULL when there is none; with `wait`, only when none is under
	 * way. */
	struct beam_disk_op *(*next_done)(struct beam_disk_engine_state *engine, bool wait);
	/* Gives up what does not go yet, waits for the rest, frees: no buffer is read afterwards.
	 */
	void (*close)(struct beam_disk_engine_state *engine);
};

extern const struct beam_disk_engine_ops beam_disk_uring;
extern const struct beam_disk_engine_ops beam_disk_posix;

/* Operations in a list, first in, first out. */
struct beam_disk_fifo {
	struct beam_disk_op *first, *last;
};

static inline void beam_disk_push(struct beam_disk_fifo *fifo, struct beam_disk_op *op)
{
	op->next = NULL;
	if (fifo->first)
		fifo->last->next = op;
	else
		fifo->first = op;
	fifo->last = op;
}

static inline struct beam_disk_op *beam_disk_pop(struct beam_disk_fifo *fifo)
{
	struct beam_disk_op *op = fifo->first;

	if (op)
		fifo->first = op->next;
	return op;
}

#endif
