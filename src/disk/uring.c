/* SPDX-License-Identifier: BSD-3-Clause
 * The io_uring engine: one ring per flush. Buffers are registered in a sparse table, so that the
 * kernel does not pin and unpin the same pages for each write. Closing a file descriptor does not
 * cancel operations in flight, so close reaps every completion. */
#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "disk.h"
#include "engine.h"
#include "fault.h"
#include "log.h"
#include "schedule.h"

#define BUFFERS_MAX 1024 /* as many as the region has extents */

struct buffer {
	const uint8_t *base;
	uint64_t len_bytes;
	enum { UNTRIED, REGISTERED, REFUSED } state;
};

struct beam_disk_engine_state {
	struct io_uring ring;
	uint32_t submitted; /* and not reaped */
	bool fixed;         /* the kernel has a buffer table for us */
	bool said_slow;
	uint32_t nbuffers;
	struct buffer buffers[BUFFERS_MAX];
};

static int check_opcodes(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool good = probe && io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
		    io_uring_opcode_supported(probe, IORING_OP_WRITE_FIXED) &&
		    io_uring_opcode_supported(probe, IORING_OP_FSYNC);

	io_uring_free_probe(probe);
	return good ? 0 : -ENOSYS;
}

/* A system call filter may kill the process for any of these calls, so each is tried. */
static void try_calls(void)
{
	struct io_uring_params params = {0};

	(void)syscall(__NR_io_uring_setup, 1, &params);
	(void)syscall(__NR_io_uring_register, -1, IORING_REGISTER_PROBE, NULL, 0);
	(void)syscall(__NR_io_uring_enter, -1, 0, 0, 0, NULL, 0);
}

static bool deadly;

int beam_disk_try(void)
{
	int may = beam_may_call(try_calls);

	deadly = may == 0;
	return may < 0 ? may : 0;
}

static int uring_open(int event, uint32_t depth, struct beam_disk_engine_state **out)
{
	struct beam_disk_engine_state *engine = calloc(1, sizeof(*engine));
	int err = BEAM_FAULT("disk.uring");

	if (!engine)
		return -ENOMEM;
	err = !err && deadly ? -EPERM : err;
	/* One more entry than there are operations, so the queue is never full. */
	err = err ? err : io_uring_queue_init(depth + 1, &engine->ring, IORING_SETUP_CLAMP);
	if (err) {
		free(engine);
		return err;
	}
	err = check_opcodes(&engine->ring);
	err = err ? err : io_uring_register_eventfd(&engine->ring, event);
	if (err) {
		io_uring_queue_exit(&engine->ring);
		free(engine);
		return err;
	}
	engine->fixed = io_uring_register_buffers_sparse(&engine->ring, BUFFERS_MAX) == 0;
	*out = engine;
	return 0;
}

static void say_slow(struct beam_disk_engine_state *engine, uint64_t len_bytes, int err)
{
	if (engine->said_slow)
		return;
	engine->said_slow = true;
	beam_log(BEAM_LOG_NOTICE,
		 "flush: %" PRIu64 " MiB of memory not registered with io_uring (%s): writes cost "
		 "more CPU; a higher memlock limit may help",
		 len_bytes >> 20, strerror(-err));
}

/* Registering takes 5 ms per GB, which would delay a copy; so the first write from the buffer does
 * it. */
static void uring_add_buffer(struct beam_disk_engine_state *engine, void *base, uint64_t len_bytes)
{
	if (engine->fixed && engine->nbuffers < BUFFERS_MAX)
		engine->buffers[engine->nbuffers++] = (struct buffer){base, len_bytes, UNTRIED};
	else
		say_slow(engine, len_bytes, -ENOSYS);
}

static bool is_registered(struct beam_disk_engine_state *engine, uint32_t number)
{
	struct buffer *b = &engine->buffers[number];
	struct iovec iov = {.iov_base = (void *)(uintptr_t)b->base, .iov_len = b->len_bytes};
	__u64 tag = 0;

	if (b->state == UNTRIED) {
		int err = BEAM_FAULT("disk.register");

		if (!err)
			err = io_uring_register_buffers_update_tag(&engine->ring, number, &iov,
								   &tag, 1);
		b->state = err < 0 ? REFUSED : REGISTERED;
		if (err < 0)
			say_slow(engine, b->len_bytes, err);
	}
	return b->state == REGISTERED;
}

/* Index of the registered buffer that contains all bytes of the operation, or -1. */
static int find_buffer(struct beam_disk_engine_state *engine, const struct beam_disk_op *op)
{
	for (uint32_t i = 0; i < engine->nbuffers; i++) {
		const struct buffer *b = &engine->buffers[i];
		uint64_t at = (uintptr_t)op->buf - (uintptr_t)b->base;

		if (op->buf >= b->base && at < b->len_bytes && op->len_bytes <= b->len_bytes - at)
			return is_registered(engine, i) ? (int)i : -1;
	}
	return -1;
}

static void uring_start(struct beam_disk_engine_state *engine, struct beam_disk_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&engine->ring);
	int buffer = op->verb == BEAM_DISK_WRITE ? find_buffer(engine, op) : -1;

	if (op->verb == BEAM_DISK_FSYNC)
		io_uring_prep_fsync(sqe, op->fd, 0);
	else if (buffer >= 0)
		io_uring_prep_write_fixed(sqe, op->fd, op->buf, (unsigned)op->len_bytes, op->offset,
					  buffer);
	else
		io_uring_prep_write(sqe, op->fd, op->buf, (unsigned)op->len_bytes, op->offset);
	io_uring_sqe_set_data(sqe, op);
}

static int uring_submit(struct beam_disk_engine_state *engine)
{
	int n = BEAM_FAULT("disk.submit");

	n = n ? n : io_uring_submit(&engine->ring);

	if (n > 0)
		engine->submitted += (uint32_t)n;
	return io_uring_sq_ready(&engine->ring) ? -EAGAIN : 0;
}

static struct beam_disk_op *uring_next_done(struct beam_disk_engine_state *engine, bool wait)
{
	struct io_uring_cqe *cqe;
	int err;

	if (engine->submitted == 0)
		return NULL;
	do {
		err = wait ? io_uring_wait_cqe(&engine->ring, &cqe)
			   : io_uring_peek_cqe(&engine->ring, &cqe);
	} while (wait && err);
	if (err)
		return NULL;
	struct beam_disk_op *op = io_uring_cqe_get_data(cqe);

	op->result = cqe->res;
	io_uring_cqe_seen(&engine->ring, cqe);
	engine->submitted--;
	return op;
}

static void uring_close(struct beam_disk_engine_state *engine)
{
	while (uring_next_done(engine, true))
		;
	/* Do this at once: the kernel destroys a ring lazily, and would keep the pages pinned until
	 * then. */
	if (engine->fixed)
		io_uring_unregister_buffers(&engine->ring);
	io_uring_queue_exit(&engine->ring);
	free(engine);
}

const struct beam_disk_engine_ops beam_disk_uring = {
    .name = "io_uring",
    .open = uring_open,
    .add_buffer = uring_add_buffer,
    .start = uring_start,
    .submit = uring_submit,
    .next_done = uring_next_done,
    .close = uring_close,
};
