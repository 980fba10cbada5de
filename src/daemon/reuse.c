/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reuses slots within one image, if the region is smaller than the image (docs/adr/0010).
 *
 * A slot is granted only to an index that a writer waits for, so that indexes claimed in advance
 * hold no memory. It is taken from a segment whose fence is complete: sealed, its disk write
 * reaped, and all readers done with it. The segment that has been on disk for longest goes first,
 * and only when a writer would otherwise have to wait.
 *
 *   sealed -> nunwritten -> written queue -> gone: entry.slot 0, bytes in the file only
 *
 * Readers may delay a writer for rdbeam.stall-timeout, and are dropped then. The disk may delay it
 * without limit.
 */
#include <errno.h>
#include <stdio.h>

#include "clock.h"
#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"

#define TICK_MS  1000
#define STUCK_MS 10000 /* for a writer at work to seal something */

/* A worker may have three open chunks: one for small items, one for large ones, and one with a
 * single item. */
#define OPEN_CHUNKS 3

uint32_t reuse_least(const struct beam_ctl_begin *begin)
{
	return begin->nworkers < BEAM_SEGMENTS_MAX ? OPEN_CHUNKS * begin->nworkers + 1
						   : BEAM_SEGMENTS_MAX;
}

void reuse_begin(struct generation *gen)
{
	gen->on_need = true;
	flushes_release(gen);
	beam_log(BEAM_LOG_NOTICE,
		 "generation %llu: an image of about %llu MiB is written to disk through a region "
		 "of %llu MiB, whose memory is reused: the image cannot be retained, and pulls "
		 "that begin late are refused",
		 (unsigned long long)gen->id.counter,
		 (unsigned long long)(gen->begin.estimate_bytes >> 20),
		 (unsigned long long)(beam_region_could_hold(gen->d->region, UINT64_MAX) *
					  gen->segment_bytes >>
				      20));
	grants_grow(gen->d, gen->need_segments);
	reuse_pump(gen);
}

/* ---- what can be used again ----------------------------------------------------------------- */

void reuse_written(struct generation *gen, uint32_t index)
{
	struct written_queue *queue = &gen->written;

	gen->nunwritten--;
	gen->segments[index].written_next = 0;
	if (queue->last)
		gen->segments[queue->last - 1].written_next = index + 1;
	else
		queue->first = index + 1;
	queue->last = index + 1;
}

/* Returns the slot of a segment that nobody reads any more, or 0. */
static uint32_t take_back(struct generation *gen)
{
	struct written_queue *queue = &gen->written;
	uint32_t before = 0;

	/* A ticket promises the whole image. It expires within seconds. */
	if (tickets_name(&gen->d->tickets, gen->id, beam_now_ms()))
		return 0;
	for (uint32_t at = queue->first; at; before = at, at = gen->segments[at - 1].written_next) {
		struct segment *segment = &gen->segments[at - 1];
		uint32_t slot = segment->slot;

		if (!listeners_done(gen, at - 1) || signing_reads_segment(gen, at - 1))
			continue;
		*(before ? &gen->segments[before - 1].written_next : &queue->first) =
		    segment->written_next;
		if (queue->last == at)
			queue->last = before;
		segment->slot = 0;
		gen->nslots--;
		gen->ngone++;
		/* Clear the entry before the slot is given to another one: otherwise the waiter
		 * would take that one's bytes for this segment. */
		atomic_store_explicit(&gen->table->entry[at - 1].slot, 0, memory_order_release);
		return slot;
	}
	return 0;
}

/* ---- who waits ------------------------------------------------------------------------------ */

static bool waits(const struct generation *gen, const struct writer *w)
{
	return w->gen == gen && w->waiting;
}

static bool anybody_waits(const struct generation *gen)
{
	for (const struct writer *w = gen->d->writers; w; w = w->next)
		if (waits(gen, w))
			return true;
	return false;
}

/* True if no memory can come back: all of it is being filled by writers that wait for more. A
 * writer that does not wait may still seal something, but only for a limited time. */
static bool is_stuck(const struct generation *gen)
{
	if (gen->written.first || gen->nunwritten)
		return false;
	if (beam_now_ms() - gen->sealed_ms >= STUCK_MS)
		return true;
	for (const struct writer *w = gen->d->writers; w; w = w->next)
		if (w->gen == gen && w->fd >= 0 && !w->waiting)
			return false;
	return true;
}

/* Gives slots to the waiting writers. Returns true if all of them got one. */
static bool serve(struct generation *gen, bool used_ones)
{
	for (struct writer *w = gen->d->writers; w; w = w->next) {
		uint32_t slot = 0;

		if (!waits(gen, w))
			continue;
		if (!gen->segments[w->need].slot) {
			if (beam_region_take(gen->d->region, &slot) && used_ones)
				slot = take_back(gen);
			if (!slot)
				return false;
			grants_put(gen, w->need, slot);
			gen->stalled_ms = 0;
		}
		grants_answer(w);
	}
	return true;
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* Ends the sessions that prevent the oldest segment on disk from being reused. */
static void drop_readers(struct generation *gen)
{
	char why[BEAM_TEXT_BYTES];

	snprintf(why, sizeof(why),
		 "this pull held the snapshot up for rdbeam.stall-timeout (%u s): the image is "
		 "larger than rdbeam.region-size (%llu bytes): raise either, or read faster",
		 gen->d->config.stall_timeout_s, (unsigned long long)gen->d->config.region_bytes);
	uint32_t n = listeners_drop(gen, gen->written.first - 1, why);

	if (n)
		beam_log(BEAM_LOG_WARNING,
			 "generation %llu: its copy waited %u s for memory that %u pull%s had not "
			 "read: dropped",
			 (unsigned long long)gen->id.counter, gen->d->config.stall_timeout_s, n,
			 n == 1 ? "" : "s");
	gen->stalled_ms = 0;
}

/* Called every second while a writer waits: shows the writer that the daemon lives, and drops
 * readers that are too late. */
static void tick(void *arg)
{
	struct generation *gen = arg;
	struct beam_ctl_progress progress = {0};

	if (gen->state != GEN_FILLING)
		return;
	progress.flushed_bytes = beam_flush_written(gen->flush);
	for (struct writer *w = gen->d->writers; w; w = w->next)
		if (waits(gen, w) && !w->box.count)
			writers_send(w, BEAM_CTL_PROGRESS, &progress, sizeof(progress), -1);
	if (gen->stalled_ms && gen->written.first &&
	    beam_now_ms() - gen->stalled_ms >= gen->d->config.stall_timeout_s * 1000ull)
		drop_readers(gen);
	reuse_pump(gen);
}

/* Called if there is no memory for a writer at present. */
static void stand_still(struct generation *gen)
{
	struct daemon *d = gen->d;
	char text[BEAM_TEXT_BYTES];

	if (gen->written.first && !gen->stalled_ms)
		gen->stalled_ms = beam_now_ms();
	if (is_stuck(gen) && !retire_pending(d) && !retire_for_slots(d)) {
		grants_tell_full(gen, "are all being written", text);
		generation_fail(gen, BEAM_E_FULL, text);
		return;
	}
	if (!gen->reuse_tick && beam_timer_set(d->loop, TICK_MS, tick, gen, &gen->reuse_tick))
		generation_fail(gen, -ENOMEM, "no memory for a timer");
}

void reuse_pump(struct generation *gen)
{
	struct daemon *d = gen->d;

	if (gen->state != GEN_FILLING)
		return;
	/* A write that could not be queued has no completion to report its error. */
	if (gen->failed_code) {
		flushes_pump(gen);
		return;
	}
	if (BEAM_FAULT("daemon.reuse")) {
		generation_fail(gen, BEAM_E_FULL, "fault at a slot used again");
		return;
	}
	if (serve(gen, false) || beam_region_growing(d->region) || grants_grow(d, 1))
		return;
	if (!serve(gen, true))
		stand_still(gen);
}

static void soon(void *arg)
{
	reuse_pump(arg);
}

void reuse_later(struct generation *gen)
{
	/* If there is no timer, the tick will do the same later. */
	if (gen->on_need && gen->state == GEN_FILLING && !gen->reuse_soon && anybody_waits(gen))
		beam_timer_set(gen->d->loop, 0, soon, gen, &gen->reuse_soon);
}

void reuse_close(struct generation *gen)
{
	beam_timer_cancel(&gen->reuse_soon);
	beam_timer_cancel(&gen->reuse_tick);
}
