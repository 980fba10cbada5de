/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes a generation to disk: segments are handed to the flush as they are sealed. An error before
 * COPIED fails the copy, so that the child can still save the stock way; a later one fails the
 * save.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "clock.h"
#include "daemon.h"
#include "fault.h"
#include "image_reader.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define HOLD_MS     250
#define BLOCK_BYTES 4096u
#define HOLD_CPUS   4

static void write_done(void *arg, uint64_t cookie, int result)
{
	struct generation *gen = arg;

	if (result && !gen->failed_code) {
		gen->failed_code = result;
		if (cookie == BEAM_FLUSH_FINISHED)
			snprintf(gen->failed_text, sizeof(gen->failed_text),
				 "setting the dump's size, or its fsync: %s",
				 beam_strerror(result));
		else
			snprintf(gen->failed_text, sizeof(gen->failed_text),
				 "write of %u bytes of the dump at offset %llu: %s",
				 gen->segments[cookie].len_bytes,
				 (unsigned long long)cookie * gen->segment_bytes,
				 beam_strerror(result));
	}
	if (cookie == BEAM_FLUSH_FINISHED && !result)
		gen->outcome = OUTCOME_DURABLE;
	else if (!result)
		reuse_written(gen, (uint32_t)cookie);
}

static void failed(struct generation *gen)
{
	char text[BEAM_TEXT_BYTES];

	snprintf(text, sizeof(text), "%s",
		 gen->failed_text[0] ? gen->failed_text : beam_strerror(gen->failed_code));
	if (gen->state == GEN_FILLING)
		generation_fail(gen, gen->failed_code, text);
	else
		generation_finish(gen, gen->failed_code, text);
}

void flushes_pump(struct generation *gen)
{
	if (!gen->flush)
		return;
	int err = beam_flush_reap(gen->flush, write_done, gen);

	if (!err)
		err = BEAM_FAULT("daemon.flush");
	if (err && !gen->failed_code)
		gen->failed_code = err;
	status_moved(gen->d);
	if (gen->failed_code)
		failed(gen);
	else if (gen->outcome == OUTCOME_DURABLE)
		generation_finish(gen, 0, "");
	else if (gen->on_need)
		reuse_pump(gen);
}

static void flush_event(int fd, uint32_t events, void *arg)
{
	(void)fd;
	(void)events;
	flushes_pump(arg);
}

/* Finds the filler of a segment, in whole blocks, if leaving it out is worth while: a small image
 * is mostly filler. The bytes themselves are checked, because the file must equal the image,
 * whatever a footer says. */
static void find_hole(const struct generation *gen, const uint8_t *base, uint32_t len_bytes,
		      size_t *hole, size_t *hole_end)
{
	uint32_t from, to;

	*hole = *hole_end = 0;
	if (len_bytes % BLOCK_BYTES ||
	    !beam_chunk_padding(&gen->id, base + len_bytes, len_bytes, &from, &to))
		return;
	from += (BLOCK_BYTES - from % BLOCK_BYTES) % BLOCK_BYTES;
	to -= to % BLOCK_BYTES;
	if (to <= from || to - from < len_bytes / 16 || base[from] ||
	    memcmp(base + from, base + from + 1, to - from - 1))
		return;
	*hole = from;
	*hole_end = to;
}

void flushes_write(struct generation *gen, uint32_t index)
{
	const struct segment *segment = &gen->segments[index];

	if (!gen->flush || gen->flush_hold)
		return;
	if (!gen->flush_start_ms)
		gen->flush_start_ms = beam_now_ms();
	gen->nunwritten++;
	const uint8_t *base = beam_region_at(gen->d->region, segment->slot);
	size_t hole, hole_end;

	find_hole(gen, base, segment->len_bytes, &hole, &hole_end);
	int err =
	    beam_flush_write_around(gen->flush, base, segment->len_bytes,
				    (uint64_t)index * gen->segment_bytes, hole, hole_end, index);

	if (err)
		write_done(gen, index, err);
}

static void write_sealed(struct generation *gen)
{
	for (uint32_t i = 0; i < gen->reach; i++)
		if (gen->segments[i].len_bytes)
			flushes_write(gen, i);
}

void flushes_release(struct generation *gen)
{
	if (!gen->flush_hold)
		return;
	beam_timer_cancel(&gen->flush_hold);
	write_sealed(gen);
}

static void hold_ended(void *arg)
{
	write_sealed(arg); /* the timer is gone by now, so they are not held back again */
	flushes_pump(arg);
}

/* Holds back the first writes. With few processors, each write takes time away from the copy; and
 * if the copy is short, the flush has the disk to itself afterwards. */
static void hold(struct generation *gen)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) > HOLD_CPUS)
		return;
	if (beam_timer_set(gen->d->loop, HOLD_MS, hold_ended, gen, &gen->flush_hold))
		beam_log(BEAM_LOG_INFO, "flush: begins at once: no memory for a timer");
}

int flushes_open(struct generation *gen, bool direct)
{
	struct daemon *d = gen->d;
	struct beam_flush_opts opts = {.fd = gen->file_fd,
				       .direct = direct,
				       .engine = BEAM_DISK_AUTO,
				       .rate_limit = d->config.flush_rate_limit};
	int err = BEAM_FAULT("daemon.flush-open");

	err = err ? err : beam_flush_open(&opts, &gen->flush);
	if (err)
		return err;
	err = beam_watch_add(d->loop, beam_flush_fd(gen->flush), EPOLLIN, flush_event, gen,
			     &gen->flush_watch);
	if (err)
		flushes_close(gen);
	else
		hold(gen);
	return err;
}

void flushes_finish(struct generation *gen)
{
	int err = BEAM_FAULT("daemon.flush-finish");

	flushes_release(gen);
	err = err ? err : beam_flush_finish(gen->flush, gen->copied.image_bytes);

	if (err)
		write_done(gen, BEAM_FLUSH_FINISHED, err);
	flushes_pump(gen);
}

void flushes_close(struct generation *gen)
{
	if (gen->flush)
		gen->flushed_bytes = beam_flush_written(gen->flush);
	beam_timer_cancel(&gen->flush_hold);
	beam_watch_remove(&gen->flush_watch);
	beam_flush_close(&gen->flush);
	beam_close(&gen->file_fd);
}
