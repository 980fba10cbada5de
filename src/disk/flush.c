/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A flush over either engine. A write is cut into operations of at most write_bytes; an operation
 * that came out short or was refused for the moment goes again, before new ones. The one fd that
 * the caller polls is an epoll of an eventfd (completions, and our own nudges) and a timerfd (the
 * rate limit's next token).
 *
 *	queue -> (depth, tokens) -> operations under way -> done -> finished -> the callback
 *	                    again <-------- short, EAGAIN --'
 * After the first error nothing new is started; every write and the finish end with that error.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "engine.h"
#include "fault.h"
#include "log.h"
#include "sockets.h"

#define BLOCK_BYTES         4096u
#define DEPTH_DEFAULT       8u
#define DEPTH_MAX           128u
#define WRITE_BYTES_DEFAULT (4u << 20)
#define WRITE_BYTES_MAX     (1u << 30)
#define RATE_MAX            (1ull << 40) /* bytes per second: beyond it, no limit */
#define RATE_PIECE_MIN      (64u << 10)
#define RETRIES_MAX         64u /* of one operation without any progress */
#define RETRY_NS            1000000u
#define NS_PER_S            1000000000ull

struct beam_disk_write {
	struct beam_disk_write *next;
	const uint8_t *buf;
	uint64_t offset, cookie;
	size_t len_bytes; /* of the caller's data */
	size_t padded;    /* what is written */
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
	int fd, event, timer, epoll;
	bool direct;
	int error; /* the first one, for good */
	uint32_t write_bytes;
	uint32_t under_way;
	uint32_t depth;
	struct beam_disk_op *slots; /* depth of them; an idle one has no write */
	struct beam_disk_fifo idle, again;
	struct write_fifo queue, finished;
	uint64_t written;
	uint64_t end; /* file offset behind the last byte ever asked for, padding included */
	enum finish_state finish;
	uint64_t file_bytes;
	uint64_t rate; /* 0: none */
	int64_t tokens;
	uint64_t tokens_ns;
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

/* --- readiness ---------------------------------------------------------------------------- */

static void nudge(struct beam_flush *f)
{
	uint64_t one = 1;

	if (write(f->event, &one, sizeof(one)) < 0 && errno != EAGAIN)
		beam_log(BEAM_LOG_WARNING, "flush: eventfd: %s", strerror(errno));
}

static void wake_in(struct beam_flush *f, uint64_t ns)
{
	struct itimerspec at = {
	    .it_value = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)}};

	if (timerfd_settime(f->timer, 0, &at, NULL))
		beam_log(BEAM_LOG_WARNING, "flush: timerfd: %s", strerror(errno));
}

static void clear_readiness(struct beam_flush *f)
{
	uint64_t count;

	if ((read(f->event, &count, sizeof(count)) < 0 && errno != EAGAIN) ||
	    (read(f->timer, &count, sizeof(count)) < 0 && errno != EAGAIN))
		beam_log(BEAM_LOG_WARNING, "flush: read of event: %s", strerror(errno));
}

static int watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static void close_fds(struct beam_flush *f)
{
	beam_close(&f->epoll);
	beam_close(&f->timer);
	beam_close(&f->event);
}

static int open_fds(struct beam_flush *f)
{
	int err;

	f->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (f->event < 0 || f->timer < 0 || f->epoll < 0)
		err = -errno;
	else
		err = watch(f->epoll, f->event);
	err = err ? err : watch(f->epoll, f->timer);
	if (err)
		close_fds(f);
	return err;
}

/* --- rate limit: a bucket that may be overdrawn by one operation -------------------------- */

static void fill_bucket(struct beam_flush *f)
{
	uint64_t now = beam_now_ns();
	unsigned __int128 grown = (unsigned __int128)f->rate * (now - f->tokens_ns) / NS_PER_S;

	if (grown == 0)
		return; /* the time counts for the next call */
	f->tokens_ns = now;
	f->tokens = grown > f->write_bytes ? f->write_bytes : f->tokens + (int64_t)grown;
	if (f->tokens > (int64_t)f->write_bytes)
		f->tokens = f->write_bytes;
}

/* True if an operation may start now; else the timer is set for when it may. */
static bool may_start(struct beam_flush *f)
{
	if (!f->rate)
		return true;
	fill_bucket(f);
	if (f->tokens > 0)
		return true;
	wake_in(f, (uint64_t)(1 - f->tokens) * NS_PER_S / f->rate + 1);
	return false;
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

/* Cuts the next operation off the first write of the queue. */
static void start_next(struct beam_flush *f)
{
	struct beam_disk_write *write = f->queue.first;
	struct beam_disk_op *op = beam_disk_pop(&f->idle);
	size_t left = write->padded - write->started;

	*op = (struct beam_disk_op){
	    .verb = BEAM_DISK_WRITE,
	    .fd = f->fd,
	    .buf = write->buf + write->started,
	    .len_bytes = left < f->write_bytes ? left : f->write_bytes,
	    .offset = write->offset + write->started,
	    .write = write,
	};
	write->started += op->len_bytes;
	write->under_way++;
	if (write->started == write->padded)
		pop_write(&f->queue);
	if (f->rate)
		f->tokens -= (int64_t)op->len_bytes;
	start_op(f, op);
}

/* After an error: what was not started ends, what was is waited for. */
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

/* All writes are done: the size, then fsync. Operations in a row write beyond the image's end only
 * where the last one was padded. */
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

/* Starts all that may start, and submits it. */
static void pump(struct beam_flush *f)
{
	struct beam_disk_op *op;

	if (f->error)
		give_up_queue(f);
	while ((op = beam_disk_pop(&f->again)))
		start_op(f, op);
	while (f->queue.first && f->idle.first && may_start(f))
		start_next(f);
	if (f->finish == FINISH_WANTED && !f->queue.first && !f->under_way)
		start_finish(f);
	/* Completions call again; when none is to come, the clock has to. */
	if (f->ops->submit(f->engine))
		wake_in(f, RETRY_NS);
}

/* The same outside of reap: what ended without an engine's completion has to wake the caller. */
static void pump_and_wake(struct beam_flush *f)
{
	pump(f);
	if (f->finished.first || f->finish == FINISH_DONE)
		nudge(f);
}

/* The file system took O_DIRECT at open and refuses it now: the rest goes through the page cache.
 */
static void drop_direct(struct beam_flush *f)
{
	int flags = fcntl(f->fd, F_GETFL);

	if (!f->direct)
		return;
	f->direct = false;
	if (flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_DIRECT))
		fail(f, -errno, "fcntl to buffered", 0, 0);
	else
		beam_log(BEAM_LOG_NOTICE,
			 "flush: the file system refuses direct writes: going on buffered");
}

/* What the operation came to: a count of bytes, or -errno. With O_DIRECT only whole blocks count:
 * the rest of a block has to be written again anyway. */
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

/* True if the operation must go again, as it is now. */
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
		err = f->ops->open(f->event, depth, &f->engine);
		if (!err || wanted == BEAM_DISK_URING)
			return err;
		if (!atomic_exchange(&said, true))
			beam_log(BEAM_LOG_NOTICE,
				 "flush: io_uring cannot be used here (%s): writing with pwrite",
				 strerror(-err));
	}
	f->ops = &beam_disk_posix;
	return f->ops->open(f->event, depth, &f->engine);
}

static void set_limits(struct beam_flush *f, const struct beam_flush_opts *opts)
{
	uint32_t size = opts->write_bytes ? opts->write_bytes : WRITE_BYTES_DEFAULT;

	f->rate = opts->rate_limit < RATE_MAX ? opts->rate_limit : 0;
	if (f->rate) {
		/* Small steps, so that a slow limit is no train of bursts. */
		uint64_t piece = f->rate / 16 > RATE_PIECE_MIN ? f->rate / 16 : RATE_PIECE_MIN;

		size = size < piece ? size : (uint32_t)piece;
	}
	size = size < WRITE_BYTES_MAX ? size : WRITE_BYTES_MAX;
	f->write_bytes = size < BLOCK_BYTES ? BLOCK_BYTES : size - size % BLOCK_BYTES;
	f->tokens = f->write_bytes;
	f->tokens_ns = beam_now_ns();
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
	set_limits(f, opts);
	f->slots = calloc(depth, sizeof(*f->slots));
	if (!f->slots)
		goto free_flush;
	for (uint32_t i = 0; i < depth; i++)
		beam_disk_push(&f->idle, &f->slots[i]);
	err = open_fds(f);
	if (err)
		goto free_slots;
	err = open_engine(f, opts->engine, depth);
	if (err)
		goto close_events;
	*out = f;
	return 0;
close_events:
	close_fds(f);
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
	return f->epoll;
}

int beam_flush_write(struct beam_flush *f, const void *buf, size_t len_bytes, uint64_t offset,
		     uint64_t cookie)
{
	struct beam_disk_write *write = calloc(1, sizeof(*write));

	if (!write)
		return -ENOMEM;
	*write = (struct beam_disk_write){
	    .buf = buf,
	    .offset = offset,
	    .cookie = cookie,
	    .len_bytes = len_bytes,
	    .padded = len_bytes,
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

	clear_readiness(f);
	while ((op = f->ops->next_done(f->engine, false)))
		complete(f, op);
	pump(f);
	while ((write = pop_write(&f->finished))) {
		uint64_t cookie = write->cookie;

		free(write);
		done(arg, cookie, f->error);
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

/* A write that has left the queue belongs to its operations: the last one given up frees it. */
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
	close_fds(f);
	free_started(f);
	free_writes(&f->finished);
	free_writes(&f->queue);
	free(f->slots);
	free(f);
	*flush = NULL;
}
