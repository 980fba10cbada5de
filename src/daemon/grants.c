/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Slots for writers. They are granted in advance, up to the estimate, then some ahead of the
 * claims; each extent is announced before a slot in it is granted. Memory comes from the region's
 * thread. If no more can be had, older images give up theirs; then, if the image goes to disk,
 * slots are reused (reuse.c); otherwise the copy fails.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"

/* Slots granted beyond the claims, once the estimate is used up. A small image gets few of them,
 * because each takes 4 MiB for as long as rdbeam.retain. */
#define AHEAD       32
#define AHEAD_SHARE 16 /* of the estimate */

static void send_extent(struct writer *writer, uint32_t extent)
{
	struct beam_ctl_extent message = {.extent = extent};
	void *base;
	int fd;

	if (beam_region_extent(writer->d->region, extent, &fd, &base, &message.bytes))
		writers_send(writer, BEAM_CTL_EXTENT, &message, sizeof(message), fd);
}

void grants_send_extents(struct writer *writer, uint32_t known)
{
	for (uint32_t i = known; i < BEAM_EXTENTS_MAX; i++)
		if (writer->gen->extents[i])
			send_extent(writer, i);
}

static void announce_extent(struct generation *gen, uint32_t extent)
{
	uint64_t bytes;
	void *base;
	int fd;

	(void)BEAM_FAULT("daemon.extent");
	gen->extents[extent] = true;
	for (struct writer *w = gen->d->writers; w; w = w->next)
		if (w->gen == gen)
			send_extent(w, extent);
	if (gen->flush && beam_region_extent(gen->d->region, extent, &fd, &base, &bytes))
		beam_flush_add_buffer(gen->flush, base, bytes);
}

void grants_answer(struct writer *writer)
{
	struct beam_ctl_index message = {.index = writer->need};

	if (writer->waiting && writer->gen->segments[writer->need].slot) {
		writer->waiting = false;
		writers_send(writer, BEAM_CTL_GRANTED, &message, sizeof(message), -1);
	}
}

/* The number of slots that should be granted by now. */
static uint32_t wanted(const struct generation *gen)
{
	uint64_t claimed = atomic_load(&gen->table->next_index);
	/* Each worker leaves one unfinished segment. */
	uint64_t want = (uint64_t)gen->need_segments + gen->begin.nworkers + 2;
	uint64_t ahead = 1 + want / AHEAD_SHARE;

	ahead = ahead < AHEAD ? ahead : AHEAD;
	if (want < claimed + ahead)
		want = claimed + ahead;
	for (const struct writer *w = gen->d->writers; w; w = w->next)
		if (w->gen == gen && w->waiting && want < (uint64_t)w->need + 1)
			want = (uint64_t)w->need + 1;
	return want > gen->capacity ? gen->capacity : (uint32_t)want;
}

static bool somebody_waits(const struct generation *gen)
{
	for (const struct writer *w = gen->d->writers; w; w = w->next)
		if (w->gen == gen && w->waiting)
			return true;
	return false;
}

void grants_put(struct generation *gen, uint32_t index, uint32_t slot)
{
	if (!gen->extents[BEAM_SLOT_EXTENT(slot)])
		announce_extent(gen, BEAM_SLOT_EXTENT(slot));
	gen->segments[index].slot = slot;
	gen->nslots++;
	if (gen->reach <= index)
		gen->reach = index + 1;
	atomic_store_explicit(&gen->table->entry[index].slot, slot, memory_order_release);
}

static void take_slots(struct generation *gen, uint32_t want)
{
	uint32_t reach = gen->reach, slot;

	while (gen->reach < want && !beam_region_take(gen->d->region, &slot))
		grants_put(gen, gen->reach, slot);
	if (gen->reach == reach)
		return;
	(void)BEAM_FAULT("daemon.granted");
	for (struct writer *w = gen->d->writers; w; w = w->next)
		if (w->gen == gen)
			grants_answer(w);
}

void grants_tell_full(const struct generation *gen, const char *what, char text[BEAM_TEXT_BYTES])
{
	const struct daemon *d = gen->d;
	int n = snprintf(text, BEAM_TEXT_BYTES,
			 "%u segments of %u bytes %s, and there are no more: ", gen->nslots,
			 gen->segment_bytes, what);

	/* Memory may have run out, or file descriptors. */
	if (d->region_full)
		snprintf(text + n, BEAM_TEXT_BYTES - (size_t)n, "%s", beam_region_error(d->region));
	else
		snprintf(text + n, BEAM_TEXT_BYTES - (size_t)n,
			 "the region is full: raise rdbeam.region-size (%llu now)",
			 (unsigned long long)d->config.region_bytes);
}

/* A writer waits for a slot that the region cannot provide. */
static void out_of_slots(struct generation *gen)
{
	struct daemon *d = gen->d;
	char granted[48], text[BEAM_TEXT_BYTES];

	/* The end of a fence pumps again. */
	if (retire_pending(d) || retire_for_slots(d))
		return;
	if (gen->begin.kind == BEAM_SNAPSHOT_DISK) {
		reuse_begin(gen);
		return;
	}
	snprintf(granted, sizeof(granted), "granted, at least %u needed",
		 atomic_load(&gen->table->next_index));
	grants_tell_full(gen, granted, text);
	generation_fail(gen, BEAM_E_FULL, text);
}

bool grants_grow(struct daemon *d, uint32_t want)
{
	/* Do not ask for more than is possible: the region logs a warning when it has to refuse. */
	uint64_t room = d->region_full ? 0 : beam_region_could_hold(d->region, want);
	uint64_t ask = want < room ? want : room;

	if (ask)
		beam_region_grow(d->region, (uint32_t)ask);
	return ask != 0;
}

void grants_pump(struct daemon *d)
{
	struct generation *gen = d->filling;

	if (!gen)
		return;
	if (gen->on_need) {
		reuse_pump(gen);
		return;
	}
	uint32_t want = wanted(gen);

	if (BEAM_FAULT("daemon.grant")) {
		generation_fail(gen, BEAM_E_FULL, "fault at a grant");
		return;
	}
	take_slots(gen, want);
	/* More than is wanted may have been granted, because a claim can be taken back. */
	if (gen->reach >= want)
		return;
	if (beam_region_growing(d->region))
		return;
	if (!grants_grow(d, want - gen->reach) && somebody_waits(gen))
		out_of_slots(gen);
}

static void region_event(int fd, uint32_t events, void *arg)
{
	struct daemon *d = arg;

	(void)fd;
	(void)events;
	/* The region may have got less than was asked for in advance. That may suffice: report it
	 * only if a writer has to go without. */
	if (beam_region_collect(d->region))
		d->region_full = true;
	grants_pump(d);
	status_moved(d);
}

static int open_region(struct daemon *d, const struct beam_region_opts *opts)
{
	int err = BEAM_FAULT("daemon.region");

	if (!err)
		err = beam_region_open(opts, &d->region);
	if (err)
		return err;
	err = beam_watch_add(d->loop, beam_region_fd(d->region), EPOLLIN, region_event, d,
			     &d->region_watch);
	if (err)
		beam_region_close(&d->region);
	return err;
}

void grants_configure(struct daemon *d)
{
	struct beam_region_opts opts = {.max_bytes = d->config.region_bytes,
					.segment_bytes = d->config.segment_bytes,
					.hugepages = (enum beam_hugepages)d->config.hugepages};
	int err;

	if (!d->configured)
		return;
	err = d->region ? beam_region_configure(d->region, &opts) : open_region(d, &opts);
	if (!err) {
		d->segment_bytes = opts.segment_bytes;
		return;
	}
	/* A new segment size must wait until the last image with the old one is gone. Apply the
	 * other limits now. */
	if (err == -EBUSY) {
		opts.segment_bytes = d->segment_bytes;
		err = beam_region_configure(d->region, &opts);
	}
	if (err) {
		beam_log(BEAM_LOG_WARNING, "region of segments of %u bytes: %s", opts.segment_bytes,
			 beam_strerror(err));
		status_error(d, beam_strerror(err));
	}
}
