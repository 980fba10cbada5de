/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of a generation, and periodic chores.
 *
 * The fence: no new grants or sessions (RETIRING), the reads of all sessions stopped, all disk
 * writes reaped, all writers gone. Only then are its slots free. The chores: retention, and giving
 * memory back.
 */
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "memory.h"
#include "rdbeam/error.h"

#define CHORES_MS 1000
#define LAZY_MS   10000 /* if nothing is due earlier */
/* An image is kept for this long even if memory is short: whoever had it made will come for it
 * soon. */
#define IDLE_MS 5000
/* What the next image may need beyond a quarter more than the last. */
#define SPARE_SLOTS 8

void generation_retire(struct generation *gen, const char *why)
{
	struct daemon *d = gen->d;

	if (gen->state == GEN_RETIRING || gen->state == GEN_FENCED)
		return;
	status_remember(d, gen);
	gen->state = GEN_RETIRING;
	if (d->filling == gen)
		d->filling = NULL;
	atomic_store(&gen->table->aborted, 1);
	/* Count one more fence until all have been asked, because they may complete at once. */
	gen->revokes_pending++;
	if (!gen->silent_writers)
		writers_hear_strangers(d);
	if (BEAM_FAULT("daemon.retire"))
		beam_log(BEAM_LOG_INFO, "fault at the fence of generation %llu",
			 (unsigned long long)gen->id.counter);
	listeners_revoke(gen, why);
	gen->revokes_pending--;
	flushes_close(gen);
	generation_fence(gen);
	status_changed(d);
}

void generation_fence(struct generation *gen)
{
	struct daemon *d = gen->d;

	if (gen->state != GEN_RETIRING || gen->revokes_pending || writers_alive(gen) ||
	    signing_reads(gen))
		return;
	for (struct writer *w = d->writers, *next; w; w = next) {
		next = w->next;
		if (w->gen == gen)
			writers_detach(w);
	}
	(void)BEAM_FAULT("daemon.fenced");
	generation_give_slots(gen, 0);
	gen->state = GEN_FENCED;
	d->trim_at_ms = beam_now_ms() + d->config.retain_s * 1000ull;
	generation_free_if_unused(gen);
	grants_pump(d);
	chores_schedule(d);
}

/* A connection that is open after COPIED belongs to a waiter. Should it think the daemon dead, it
 * reads the slots itself. */
static bool can_retire(const struct generation *gen)
{
	return gen->state == GEN_READY && !gen->coordinator;
}

static bool newest_whole(const struct generation *gen)
{
	for (const struct generation *g = gen->d->gens; g != gen; g = g->next)
		if (!g->ngone && (g->state == GEN_READY || g->state == GEN_FLUSHING))
			return false;
	return true;
}

uint64_t retire_pending(const struct daemon *d)
{
	uint64_t slots = 0;

	for (const struct generation *gen = d->gens; gen; gen = gen->next)
		if (gen->state == GEN_RETIRING)
			slots += gen->nslots;
	return slots;
}

uint64_t retire_could_give(const struct daemon *d)
{
	uint64_t slots = retire_pending(d);

	for (const struct generation *gen = d->gens; gen; gen = gen->next)
		if (can_retire(gen))
			slots += gen->nslots;
	return slots;
}

bool retire_for_slots(struct daemon *d)
{
	struct generation *victim = NULL;
	bool victim_idle = false;

	/* The oldest one without readers, otherwise the oldest. */
	for (struct generation *gen = d->gens; gen; gen = gen->next) {
		if (!can_retire(gen))
			continue;
		bool idle = !listeners_sessions(gen);

		if (!victim || idle || !victim_idle) {
			victim = gen;
			victim_idle = idle;
		}
	}
	if (!victim)
		return false;
	beam_log(BEAM_LOG_NOTICE, "generation %llu is given up for a new snapshot%s",
		 (unsigned long long)victim->id.counter,
		 victim_idle ? "" : ", and its pulls end: rdbeam.region-size cannot hold both");
	generation_retire(victim, "its memory is needed for a new snapshot");
	return true;
}

static bool in_use(struct generation *gen)
{
	return gen->refs || listeners_sessions(gen) ||
	       tickets_name(&gen->d->tickets, gen->id, beam_now_ms());
}

void retire_superseded(struct daemon *d)
{
	for (struct generation *gen = d->gens, *next; gen; gen = next) {
		next = gen->next;
		if (!can_retire(gen) || newest_whole(gen) || in_use(gen))
			continue;
		generation_retire(gen, "a newer image is whole");
		next = d->gens; /* the fence may have freed more than this one */
	}
}

/* True if no replica can continue from the image any more: its cut has no position in a stream, or
 * in another stream than the server's, or the backlog has moved past it. RDBEAM.TICKET offers it to
 * nobody. */
static bool out_of_reach(const struct generation *gen, const struct beam_ctl_begin *begin)
{
	const struct beam_cut *cut = &gen->begin.cut, *now = &begin->cut;

	if (!cut->replid[0])
		return true;
	return now->replid[0] && (strncmp(cut->replid, now->replid, sizeof(cut->replid)) != 0 ||
				  cut->offset + 1 < begin->backlog_first);
}

/* A pull whose connection broke comes back for the same image. */
static bool may_be_resumed(const struct generation *gen)
{
	return gen->broken_ms &&
	       beam_now_ms() - gen->broken_ms < gen->d->config.stall_timeout_s * 1000ull;
}

void retire_out_of_reach(struct daemon *d, const struct beam_ctl_begin *begin)
{
	for (struct generation *gen = d->gens, *next; gen; gen = next) {
		next = gen->next;
		if (!can_retire(gen) || in_use(gen) || may_be_resumed(gen) ||
		    !out_of_reach(gen, begin))
			continue;
		generation_retire(
		    gen, "no replica could continue from it, and a new snapshot needs memory");
		next = d->gens;
	}
}

static void retire_expired(struct daemon *d)
{
	uint64_t now = beam_now_ms();

	for (struct generation *gen = d->gens, *next; gen; gen = next) {
		next = gen->next;
		if (!can_retire(gen) || in_use(gen) ||
		    now - gen->ready_ms < d->config.retain_s * 1000ull)
			continue;
		generation_retire(gen, "rdbeam.retain is over");
		d->trim_at_ms = now;
		next = d->gens;
	}
}

static bool is_idle(struct generation *gen)
{
	return can_retire(gen) && !in_use(gen);
}

/* Logs the reason for giving the image up, if memory is short. */
static bool memory_is_short(const struct generation *gen)
{
	struct beam_memory_left left;

	beam_memory_look(0, &left);
	gen->d->memory_near = left.is_near;
	if (!left.is_short && !BEAM_FAULT("daemon.memory"))
		return false;
	beam_log(BEAM_LOG_NOTICE,
		 "generation %llu is given up, memory is short: %" PRIu64 " MiB are left%s",
		 (unsigned long long)gen->id.counter, left.bytes >> 20,
		 left.group_limit ? " by the limit of the unit or container (MemoryMax, MemoryHigh)"
				  : "");
	return true;
}

/* Gives up images that are kept for later pulls before they cost the server its life: a server with
 * limited memory would grow into the limit, and be killed for memory that may never be asked
 * for. */
static void retire_for_memory(struct daemon *d)
{
	uint64_t now = beam_now_ms();

	for (struct generation *gen = d->gens, *next; gen; gen = next) {
		next = gen->next;
		if (!is_idle(gen) || now - gen->ready_ms < IDLE_MS)
			continue;
		if (!memory_is_short(gen))
			return;
		generation_retire(gen, "memory is short");
		d->trim_at_ms = now;
		next = d->gens;
	}
}

/* The buffers of a flush remain mapped until its end, and a filling image needs more memory, not
 * less. */
static bool can_trim(const struct daemon *d)
{
	for (const struct generation *gen = d->gens; gen; gen = gen->next)
		if (gen->flush || gen->state == GEN_FILLING)
			return false;
	return d->region != NULL;
}

/* Nobody has used an image for a while, and none is being made. */
static bool is_quiet(const struct daemon *d)
{
	for (struct generation *gen = d->gens; gen; gen = gen->next)
		if (beam_now_ms() - gen->ready_ms < IDLE_MS || listeners_sessions(gen))
			return false;
	return can_trim(d);
}

/* While saves come more often than rdbeam.retain, there is always an image, and retention never ends.
 * Memory that only an earlier, larger image needed is given back nevertheless: the next one will be
 * about as large as the last. */
static void trim_surplus(struct daemon *d)
{
	uint64_t before = beam_region_bytes(d->region);
	uint32_t nslots = d->gens ? d->gens->nslots : 0;

	if (!nslots || d->gens->ngone)
		return;
	beam_region_trim(d->region, nslots + nslots / 4 + SPARE_SLOTS);
	if (beam_region_bytes(d->region) != before)
		status_moved(d);
}

static void chores(void *arg)
{
	struct daemon *d = arg;

	(void)BEAM_FAULT("daemon.chores");
	retire_superseded(d);
	retire_expired(d);
	retire_for_memory(d);
	if (d->trim_at_ms && beam_now_ms() >= d->trim_at_ms && can_trim(d)) {
		(void)BEAM_FAULT("daemon.trim");
		beam_region_trim(d->region, 0);
		d->trim_at_ms = 0;
		status_moved(d);
	}
	if (is_quiet(d)) {
		trim_surplus(d);
		beam_region_renew(d->region);
	}
	grants_configure(d);
	chores_schedule(d);
}

static bool only_grows_old(const struct daemon *d)
{
	const struct generation *gen = d->gens;

	return d->segment_bytes == d->config.segment_bytes &&
	       (!gen || (!gen->next && can_retire(gen)));
}

/* Returns when the chores may next have something to do. Most of the time a daemon has one image
 * that nobody asks for, or none, and need not wake up every second, unless memory may become
 * short. */
static uint64_t chores_due_ms(const struct daemon *d)
{
	uint64_t soon = beam_now_ms() + CHORES_MS, due = soon - CHORES_MS + LAZY_MS;

	if (!only_grows_old(d) || (d->gens && d->memory_near))
		return soon;
	if (d->gens && d->gens->ready_ms + IDLE_MS > soon && d->gens->ready_ms + IDLE_MS < due)
		due = d->gens->ready_ms + IDLE_MS;
	if (d->gens && d->gens->ready_ms + d->config.retain_s * 1000ull < due)
		due = d->gens->ready_ms + d->config.retain_s * 1000ull;
	if (d->trim_at_ms && d->trim_at_ms < due)
		due = d->trim_at_ms;
	return due > soon ? due : soon;
}

void chores_schedule(struct daemon *d)
{
	uint64_t due = chores_due_ms(d);

	if ((!d->gens && !d->trim_at_ms) || (d->chores && d->chores_at_ms <= due))
		return;
	d->chores_at_ms = due;
	beam_timer_set(d->loop, due - beam_now_ms(), chores, d, &d->chores);
}
