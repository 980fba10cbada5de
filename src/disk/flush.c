/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A flush on either engine. A write is split into operations of at most write_bytes. An operation
 * that was short, or refused temporarily, is started again, before new ones.
 *
 *	queue -> (depth, tokens) -> operations in flight -> done -> finished -> the callback
 *	                    again <-------- short, EAGAIN --'
 *
 * After the first error nothing new is started; all writes and the finish complete with that error.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "fault.h"
#include "log.h"
#include "pace.h"

#define BLOCK_BYTES         4096u
#define DEPTH_DEFAULT       8u
#define DEPTH_MAX           128u
#define WRITE_BYTES_DEFAULT (4u << 20)
#define WRITE_BYTES_MAX     (1u << 30)
#define RETRIES_MAX         64u /* of one operation, without any progress */
#define RETRY_NS            1000000u

struct beam_disk_write {
	struct beam_disk_write *next;
	const uint8_t *buf;
	uint64_t offset, cookie;
	size_t len_bytes;      /* of the caller's data */
	size_t padded;         /* bytes to write */
	size_t hole, hole_end; /* not written: what lies between */
	size_t started;
	uint32_t under_way;
};

struct write_fifo {
	struct beam_disk_write *first, *last;
};

enum finish_state { FINISH_NONE, FINISH_WANTED, FINISH_SYNCING, FINISH_DONE, FINISH_TOLD };

struct beam_flush {
	const struct beam_disk_engine_ops *ops;
	struct beam_disk_engine_state *engine;
	int fd;
	struct beam_disk_pace pace;
	bool direct;
	int error; /* the first one; permanent */
	uint32_t write_bytes;
	uint32_t under_way;
	uint32_t depth;
	struct beam_disk_op *slots; /* `depth` of them; an idle one has no write */
	struct beam_disk_fifo idle, again;
	struct write_fifo queue, finished;
	uint64_t written;
	uint64_t end; /* end of the last byte requested so far, including padding */
	enum finish_state finish;
	uint64_t file_bytes;
};

static void push_write(struct write_fifo *fifo, struct beam_disk_write *write)
{
	write->next = NULL;
	if (fifo->first)
		fifo->last->next = write;
	else
		fifo->first = write;
	fifo->last = write;
}

static struct beam_disk_write *pop_write(struct write_fifo *fifo)
{
	struct beam_disk_write *write = fifo->first;

	if (write)
		fifo->first = write->next;
	return write;
}

/* --- operations --------------------------------------------------------------------------- */

static void fail(struct beam_flush *f, int err, const char *what, uint64_t len, uint64_t offset)
{
	if (f->error)
		return;
	f->error = err;
	beam_log(BEAM_LOG_WARNING, "flush: %s of %" PRIu64 " bytes at %" PRIu64 " by %s: %s", what,
		 len, offset, f->ops->name, strerror(-err));
}

static void make_idle(struct beam_flush *f, struct beam_disk_op *op)
{
	op->write = NULL;
	beam_disk_push(&f->idle, op);
}

static void start_op(struct beam_flush *f, struct beam_disk_op *op)
{
	op->direct = f->direct;
	f->under_way++;
	f->ops->start(f->engine, op);
}

/* Starts the next operation of the first write in the queue. */
static void start_next(struct beam_flush *f)
{
	struct beam_disk_write *write = f->queue.first;
	struct beam_disk_op *op = beam_disk_pop(&f->idle);
	size_t end = write->started < write->hole ? write->hole : write->padded;
	size_t left = end - write->started;

	*op = (struct beam_disk_op){
	    .verb = BEAM_DISK_WRITE,
	    .fd = f->fd,
	    .buf = write->buf + write->started,
	    .len_bytes = left < f->write_bytes ? left : f->write_bytes,
	    .offset = write->offset + write->started,
	    .write = write,
	};
	write->started += op->len_bytes;
	if (write->started == write->hole) {
		write->started = write->hole_end;
		f->written += write->hole_end - write->hole;
	}
	write->under_way++;
	if (write->started == write->padded)
		pop_write(&f->queue);
	beam_disk_pace_spend(&f->pace, op->len_bytes);
	start_op(f, op);
}

/* After an error: completes what was not started. What is in flight is waited for. */
static void give_up_queue(struct beam_flush *f)
{
	struct beam_disk_write *write;
	struct beam_disk_op *op;

	while ((op = beam_disk_pop(&f->again))) {
		if (--op->write->under_way == 0 && op->write->started == op->write->padded)
			push_write(&f->finished, op->write);
		make_idle(f, op);
	}
	while ((write = pop_write(&f->queue))) {
		write->started = write->padded;
		if (write->under_way == 0)
			push_write(&f->finished, write);
	}
}

/* All writes are done: sets the file's size, then fsyncs. Operations write past the end of the
 * image only if the last one was padded. */
static void start_finish(struct beam_flush *f)
{
	int err = f->error ? f->error : BEAM_FAULT("disk.trim");

	if (!err && f->end != f->file_bytes && ftruncate(f->fd, (off_t)f->file_bytes))
		err = -errno;
	if (err) {
		fail(f, err, "trim", f->file_bytes, 0);
		f->finish = FINISH_DONE;
		return;
	}
	struct beam_disk_op *op = beam_disk_pop(&f->idle);

	*op = (struct beam_disk_op){.verb = BEAM_DISK_FSYNC, .fd = f->fd};
	f->finish = FINISH_SYNCING;
	start_op(f, op);
}

/* Starts everything that may start, and submits it. */
static void pump(struct beam_flush *f)
{
	struct beam_disk_op *op;

	if (f->error)
		give_up_queue(f);
	while ((op = beam_disk_pop(&f->again)))
		start_op(f, op);
	while (f->queue.first && f->idle.first && beam_disk_pace_may_start(&f->pace))
		start_next(f);
	if (f->finish == FINISH_WANTED && !f->queue.first && !f->under_way)
		start_finish(f);
	/* Completions trigger the next attempt; since there may be none to come, set a timer,
	 * too. */
	if (f->ops->submit(f->engine))
		beam_disk_pace_wake_in(&f->pace, RETRY_NS);
}

/* For calls outside of reap: what completes without the engine must wake the caller. */
static void pump_and_wake(struct beam_flush *f)
{
	pump(f);
	if (f->finished.first || f->finish == FINISH_DONE)
		beam_disk_pace_nudge(&f->pace);
}

/* The file system accepted O_DIRECT at open but refuses it now: the rest goes through the page
 * cache. */
static void drop_direct(struct beam_flush *f)
{
	int flags = fcntl(f->fd, F_GETFL);

	if (!f->direct)
		return;
	f->direct = false;
	if (flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_DIRECT))
		fail(f, -errno, "fcntl to buffered", 0, 0);
	else
		beam_log(BEAM_LOG_NOTICE, "flush: the file system refuses direct writes: "
					  "continuing with buffered writes");
}

/* The result of an operation: a number of bytes, or -errno. With O_DIRECT only whole blocks count,
 * since the rest of a block must be written again anyway. */
static int64_t outcome(const struct beam_disk_op *op)
{
	int64_t result = op->result;
	int fault = BEAM_FAULT(op->verb == BEAM_DISK_FSYNC ? "disk.fsync" : "disk.write");

	if (fault == BEAM_FAULT_SHORT && result > 0)
		result /= 2;
	else if (fault && fault != BEAM_FAULT_SHORT)
		result = fault;
	if (result <= 0)
		return result;
	if ((uint64_t)result > op->len_bytes)
		return -EIO;
	if (op->direct && (uint64_t)result < op->len_bytes)
		result -= result % BLOCK_BYTES;
	return result;
}

/* True if the operation must be started again, as it is now. */
static bool take_outcome(struct beam_flush *f, struct beam_disk_op *op)
{
	int64_t n = outcome(op);

	if (n > 0) {
		uint64_t data_end = op->write->offset + op->write->len_bytes;
		uint64_t data = op->offset < data_end ? data_end - op->offset : 0;

		f->written += (uint64_t)n < data ? (uint64_t)n : data;
		op->buf += n;
		op->offset += (uint64_t)n;
		op->len_bytes -= (size_t)n;
		op->retries = 0;
		return op->len_bytes > 0;
	}
	if (n == -EINVAL && op->direct) {
		drop_direct(f);
		return true;
	}
	if ((n == 0 || n == -EAGAIN || n == -ECANCELED || n == -EINTR) &&
	    ++op->retries < RETRIES_MAX)
		return true;
	fail(f, n == 0 ? -EIO : (int)n, "write", op->len_bytes, op->offset);
	return false;
}

static void complete(struct beam_flush *f, struct beam_disk_op *op)
{
	struct beam_disk_write *write = op->write;

	f->under_way--;
	if (op->verb == BEAM_DISK_FSYNC) {
		int64_t result = outcome(op);

		if (result)
			fail(f, (int)result, "fsync", f->file_bytes, 0);
		f->finish = FINISH_DONE;
	} else if (take_outcome(f, op) && !f->error) {
		beam_disk_push(&f->again, op);
		return;
	} else if (--write->under_way == 0 && write->started == write->padded) {
		push_write(&f->finished, write);
	}
	make_idle(f, op);
}

/* --- the contract ------------------------------------------------------------------------- */

static int open_engine(struct beam_flush *f, enum beam_disk_engine wanted, uint32_t depth)
{
	static atomic_bool said;
	int err = -ENOSYS;

	if (wanted != BEAM_DISK_POSIX) {
		f->ops = &beam_disk_uring;
		err = f->ops->open(f->pace.event, depth, &f->engine);
		if (!err || wanted == BEAM_DISK_URING)
			return err;
		if (!atomic_exchange(&said, true))
			beam_log(BEAM_LOG_NOTICE,
				 "flush: io_uring cannot be used here (%s): writing with pwrite",
				 strerror(-err));
	}
	f->ops = &beam_disk_posix;
	return f->ops->open(f->pace.event, depth, &f->engine);
}

static uint32_t choose_write_bytes(const struct beam_flush_opts *opts)
{
	uint64_t size = opts->write_bytes ? opts->write_bytes : WRITE_BYTES_DEFAULT;
	uint64_t piece = beam_disk_pace_piece(opts->rate_limit);

	size = size < piece ? size : piece;
	size = size < WRITE_BYTES_MAX ? size : WRITE_BYTES_MAX;
	return (uint32_t)(size < BLOCK_BYTES ? BLOCK_BYTES : size - size % BLOCK_BYTES);
}

int beam_flush_open(const struct beam_flush_opts *opts, struct beam_flush **out)
{
	uint32_t depth = opts->depth ? opts->depth : DEPTH_DEFAULT;
	struct beam_flush *f = calloc(1, sizeof(*f));
	int err = -ENOMEM;

	if (!f)
		return err;
	depth = depth < DEPTH_MAX ? depth : DEPTH_MAX;
	f->fd = opts->fd;
	f->depth = depth;
	f->direct = opts->direct;
	f->write_bytes = choose_write_bytes(opts);
	f->slots = calloc(depth, sizeof(*f->slots));
	if (!f->slots)
		goto free_flush;
	for (uint32_t i = 0; i < depth; i++)
		beam_disk_push(&f->idle, &f->slots[i]);
	err = beam_disk_pace_open(&f->pace, opts->rate_limit, f->write_bytes);
	if (err)
		goto free_slots;
	err = open_engine(f, opts->engine, depth);
	if (err)
		goto close_events;
	*out = f;
	return 0;
close_events:
	beam_disk_pace_close(&f->pace);
free_slots:
	free(f->slots);
free_flush:
	free(f);
	beam_log(BEAM_LOG_WARNING, "flush: could not open: %s", strerror(-err));
	return err;
}

void beam_flush_add_buffer(struct beam_flush *f, void *base, uint64_t len_bytes)
{
	f->ops->add_buffer(f->engine, base, len_bytes);
}

int beam_flush_fd(const struct beam_flush *f)
{
	return f->pace.epoll;
}

int beam_flush_write(struct beam_flush *f, const void *buf, size_t len_bytes, uint64_t offset,
		     uint64_t cookie)
{
	return beam_flush_write_around(f, buf, len_bytes, offset, 0, 0, cookie);
}

int beam_flush_write_around(struct beam_flush *f, const void *buf, size_t len_bytes,
			    uint64_t offset, size_t hole, size_t hole_end, uint64_t cookie)
{
	struct beam_disk_write *write = BEAM_FAULT("disk.queue") ? NULL : calloc(1, sizeof(*write));

	if (!write)
		return -ENOMEM;
	*write = (struct beam_disk_write){
	    .buf = buf,
	    .offset = offset,
	    .cookie = cookie,
	    .len_bytes = len_bytes,
	    .padded = len_bytes,
	    .hole = hole,
	    .hole_end = hole_end,
	};
	if (f->direct)
		write->padded += (BLOCK_BYTES - len_bytes % BLOCK_BYTES) % BLOCK_BYTES;
	if (offset + write->padded > f->end)
		f->end = offset + write->padded;
	push_write(write->padded ? &f->queue : &f->finished, write);
	pump_and_wake(f);
	return 0;
}

int beam_flush_finish(struct beam_flush *f, uint64_t file_bytes)
{
	if (f->finish != FINISH_NONE)
		return -EBUSY;
	f->finish = FINISH_WANTED;
	f->file_bytes = file_bytes;
	pump_and_wake(f);
	return 0;
}

int beam_flush_reap(struct beam_flush *f, beam_flush_done_fn *done, void *arg)
{
	struct beam_disk_write *write;
	struct beam_disk_op *op;

	(void)BEAM_FAULT("disk.reap");
	beam_disk_pace_clear(&f->pace);
	while ((op = f->ops->next_done(f->engine, false)))
		complete(f, op);
	int of_writes = f->error; /* pump() may start the finish, which is no write's failure */

	pump(f);
	while ((write = pop_write(&f->finished))) {
		uint64_t cookie = write->cookie;

		free(write);
		done(arg, cookie, of_writes);
	}
	if (f->finish == FINISH_DONE) {
		f->finish = FINISH_TOLD;
		done(arg, BEAM_FLUSH_FINISHED, f->error);
	}
	return f->error;
}

uint64_t beam_flush_written(const struct beam_flush *f)
{
	return f->written;
}

const char *beam_flush_engine(const struct beam_flush *f)
{
	return f->ops->name;
}

static void free_writes(struct write_fifo *fifo)
{
	struct beam_disk_write *write;

	while ((write = pop_write(fifo)))
		free(write);
}

/* A write that has left the queue belongs to its operations: the last of these frees it. */
static void free_started(struct beam_flush *f)
{
	for (uint32_t i = 0; i < f->depth; i++) {
		struct beam_disk_write *write = f->slots[i].write;

		if (write && --write->under_way == 0 && write->started == write->padded)
			free(write);
	}
}

void beam_flush_close(struct beam_flush **flush)
{
	struct beam_flush *f = *flush;

	if (!f)
		return;
	f->ops->close(f->engine);
	beam_disk_pace_close(&f->pace);
	free_started(f);
	free_writes(&f->finished);
	free_writes(&f->queue);
	free(f->slots);
	free(f);
	*flush = NULL;
}
