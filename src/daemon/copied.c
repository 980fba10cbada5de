/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of a copy: verifies the image against its own checksums, completes it on disk, and
 * reports to the waiter. After COPIED the waiter hears from the daemon every second, including the
 * outcome.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "crc64.h"
#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"

#define HEARTBEAT_MS 1000

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* since Linux 5.1 */
#endif

/* An RDB file ends with the CRC of all bytes before it, so the CRC of the whole file is 0. */
static int check_crc(const struct generation *gen, uint32_t total)
{
	struct beam_crc64_shift full, last;
	uint64_t crc = 0;

	beam_crc64_shift_init(&full, gen->segment_bytes);
	beam_crc64_shift_init(&last, gen->segments[total - 1].len_bytes);
	for (uint32_t i = 0; i < total; i++)
		crc = beam_crc64_append(crc, gen->segments[i].crc, i + 1 < total ? &full : &last);
	return crc ? BEAM_E_CRC : 0;
}

/* Verifies that the image is complete. Returns 0, or a code; `text` then says more, or remains
 * empty. Workers and coordinator have sockets of their own, so a seal may not have been announced
 * yet: this takes in those, too. */
static int check_whole(struct generation *gen, const struct beam_ctl_copied *copied, uint32_t total,
		       char text[BEAM_TEXT_BYTES])
{
	uint32_t claimed = atomic_load(&gen->table->next_index);
	uint64_t bytes = 0;
	int err = BEAM_FAULT("daemon.copied");

	if (err)
		return err;
	if (!total || total > gen->capacity || total != claimed) {
		snprintf(text, BEAM_TEXT_BYTES,
			 "image of %u segments, but %u claimed of a table of %u", total, claimed,
			 gen->capacity);
		return BEAM_E_TORN;
	}
	for (uint32_t i = 0; i < total; i++) {
		err = generation_take(gen, i);
		bool full = gen->segments[i].len_bytes == gen->segment_bytes;

		if (err || (!full && i + 1 < total)) {
			snprintf(text, BEAM_TEXT_BYTES, "segment %u of %u is %s", i, total,
				 err ? "not sealed" : "not full");
			return BEAM_E_TORN;
		}
		bytes += gen->segments[i].len_bytes;
	}
	if (bytes != copied->image_bytes) {
		snprintf(text, BEAM_TEXT_BYTES, "image of %llu bytes, but segments of %llu",
			 (unsigned long long)copied->image_bytes, (unsigned long long)bytes);
		return BEAM_E_TORN;
	}
	err = check_crc(gen, total);
	if (err)
		snprintf(text, BEAM_TEXT_BYTES, "CRC64 of the whole image is wrong");
	return err;
}

static void tell_outcome(struct generation *gen)
{
	struct beam_ctl_durable durable = {.file_bytes = gen->copied.image_bytes};

	if (!gen->coordinator)
		return;
	(void)BEAM_FAULT("daemon.outcome");
	if (gen->outcome == OUTCOME_DURABLE)
		writers_send(gen->coordinator, BEAM_CTL_DURABLE, &durable, sizeof(durable), -1);
	else if (gen->outcome == OUTCOME_FAILED)
		writers_send_text(gen->coordinator, BEAM_CTL_FAILED, gen->failed_code,
				  gen->failed_text);
}

static void heartbeat(void *arg)
{
	struct generation *gen = arg;
	struct beam_ctl_progress progress = {.flushed_bytes = gen->flushed_bytes,
					     .image_bytes = gen->copied.image_bytes};

	if (!gen->coordinator)
		return;
	(void)BEAM_FAULT("daemon.heartbeat");
	if (gen->flush)
		progress.flushed_bytes = beam_flush_written(gen->flush);
	/* Each message supersedes the previous one, so do not queue any for a waiter that does not
	 * read. */
	if (!gen->coordinator->box.count) {
		writers_send(gen->coordinator, BEAM_CTL_PROGRESS, &progress, sizeof(progress), -1);
		tell_outcome(gen);
	}
	if (beam_timer_set(gen->d->loop, HEARTBEAT_MS, heartbeat, gen, &gen->heartbeat))
		beam_log(BEAM_LOG_WARNING, "no memory for the heartbeat of generation %llu",
			 (unsigned long long)gen->id.counter);
}

static void stays_in_memory(struct generation *gen, int code, const char *text)
{
	beam_log(BEAM_LOG_WARNING, "generation %llu stays in memory only: %s",
		 (unsigned long long)gen->id.counter, text);
	status_error(gen->d, text);
	gen->outcome = OUTCOME_FAILED;
	gen->failed_code = code;
	snprintf(gen->failed_text, sizeof(gen->failed_text), "%s", text);
}

void generation_finish(struct generation *gen, int code, const char *text)
{
	struct daemon *d = gen->d;
	uint64_t now = beam_now_ms();

	(void)BEAM_FAULT("daemon.finish");
	if (gen->flush_start_ms)
		gen->flush_ms = now - gen->flush_start_ms;
	flushes_close(gen);
	gen->state = GEN_READY;
	gen->ready_ms = now;
	if (code) {
		stays_in_memory(gen, code, text);
	} else {
		gen->outcome = OUTCOME_DURABLE;
		gen->durable_before_ms = d->last_durable_ms;
		if (gen->begin.kind == BEAM_SNAPSHOT_DISK)
			d->last_durable_ms = beam_wall_ms();
	}
	tell_outcome(gen);
	retire_superseded(d);
	chores_schedule(d);
	status_changed(d);
}

void generation_unsaved(struct generation *gen, int code, const char *text)
{
	if (gen->outcome != OUTCOME_DURABLE || gen->begin.kind != BEAM_SNAPSHOT_DISK)
		return;
	gen->d->last_durable_ms = gen->durable_before_ms;
	stays_in_memory(gen, code, text);
	status_changed(gen->d);
}

/* Rejects a copy that cannot be used after all; generation_fail() tells the coordinator. */
static void copy_refused(struct generation *gen, int code, const char *text)
{
	gen->silent_writers = true;
	generation_fail(gen, code, text);
}

/* The child's clock is the same as ours (monotonic). */
static uint64_t ms_since_fork(const struct generation *gen)
{
	uint64_t now_ns = beam_now_ns(), fork_ns = gen->begin.fork_ns;

	return fork_ns && fork_ns < now_ns ? (now_ns - fork_ns + 500000) / 1000000 : 0;
}

void generation_waiting(struct generation *gen)
{
	if (gen->state != GEN_FLUSHING && gen->state != GEN_READY)
		return;
	gen->cow_window_ms = ms_since_fork(gen);
	status_changed(gen->d);
}

void generation_copied(struct writer *writer, const struct beam_ctl_copied *copied)
{
	struct generation *gen = writer->gen;
	struct daemon *d = gen->d;
	char text[BEAM_TEXT_BYTES] = "";

	if (gen->state != GEN_FILLING) {
		/* It has been told why. It has stopped writing now, and the fence waits for
		 * that. */
		gen->silent_writers = true;
		if (gen->state == GEN_RETIRING)
			generation_fence(gen);
		return;
	}
	uint32_t total = atomic_load_explicit(&gen->table->total, memory_order_acquire);
	int err = check_whole(gen, copied, total, text);

	if (err) {
		copy_refused(gen, err, text[0] ? text : beam_strerror(err));
		return;
	}
	gen->copied = *copied;
	gen->total = total;
	gen->copy_ms = gen->cow_window_ms = ms_since_fork(gen);
	gen->silent_writers = true;
	d->filling = NULL;
	/* Nobody needs to map the table for writing from now on. */
	if (fcntl(gen->table_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE))
		beam_log(BEAM_LOG_INFO, "sealing the table against writing: %s", strerror(errno));
	generation_give_slots(gen, total);
	beam_region_enough(d->region);
	listeners_published(gen);
	if (gen->begin.kind == BEAM_SNAPSHOT_MEMORY) {
		generation_finish(gen, 0, "");
		return;
	}
	gen->state = GEN_FLUSHING;
	heartbeat(gen);
	status_changed(d);
	flushes_finish(gen);
}
