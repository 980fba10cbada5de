/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an engine does for a flush: it executes operations, in any order, and reports their
 * completion. Splitting, retries, rate limit and errors are handled by flush.c. All calls come from
 * the flush's single thread.
 */
#ifndef BEAM_DISK_ENGINE_H
#define BEAM_DISK_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum beam_disk_verb { BEAM_DISK_WRITE, BEAM_DISK_FSYNC };

/* One operation. It belongs to the flush, and to the engine between start and next_done. */
struct beam_disk_op {
	struct beam_disk_op *next;
	enum beam_disk_verb verb;
	int fd;
	/* Set on completion: bytes written (may be fewer than requested), 0, or -errno. */
	int result;
	const uint8_t *buf;
	size_t len_bytes; /* <= 1 GiB */
	uint64_t offset;
	/* private to the flush */
	struct beam_disk_write *write;
	uint32_t retries;
	bool direct; /* O_DIRECT was set when it was started */
};

struct beam_disk_engine_state;

/* Every member is set. */
struct beam_disk_engine_ops {
	const char *name;
	/* `event` is an eventfd to signal at each completion. At most `depth` operations will be in
	 * flight. 0 or -errno. */
	int (*open)(int event, uint32_t depth, struct beam_disk_engine_state **out);
	void (*add_buffer)(struct beam_disk_engine_state *engine, void *base, uint64_t len_bytes);
	void (*start)(struct beam_disk_engine_state *engine, struct beam_disk_op *op);
	/* Submits the started operations. 0; -EAGAIN: some were not submitted, call again later. */
	int (*submit)(struct beam_disk_engine_state *engine);
	/* Returns a completed operation, or NULL if there is none. With `wait`, waits for one; NULL
	 * then means that none is in flight. */
	struct beam_disk_op *(*next_done)(struct beam_disk_engine_state *engine, bool wait);
	/* Drops operations that were not submitted, waits for the others, and frees the engine: no
	 * buffer is read afterwards. */
	void (*close)(struct beam_disk_engine_state *engine);
};

extern const struct beam_disk_engine_ops beam_disk_uring;
extern const struct beam_disk_engine_ops beam_disk_posix;

/* A list of operations, first in, first out. */
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
