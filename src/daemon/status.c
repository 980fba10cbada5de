/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The figures behind INFO. A STATUS is sent at each change of state. While only numbers change, the
 * page that the module reads on demand is updated every 100 ms; without a page, a STATUS is sent
 * instead.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "clock.h"
#include "daemon.h"
#include "fault.h"

#define STATUS_PERIOD_MS 100

static enum beam_state state_of(const struct generation *gen)
{
	if (gen->failed)
		return BEAM_STATE_FAILED;
	switch (gen->state) {
	case GEN_FILLING:
		return BEAM_STATE_COPYING;
	case GEN_FLUSHING:
		return BEAM_STATE_FLUSHING;
	case GEN_READY:
		return gen->outcome == OUTCOME_FAILED ? BEAM_STATE_FAILED : BEAM_STATE_READY;
	case GEN_RETIRING:
	case GEN_FENCED:
		break;
	}
	return BEAM_STATE_IDLE;
}

static uint64_t permille(uint64_t done, uint64_t all)
{
	return !all ? 0 : done >= all ? 1000 : done * 1000 / all;
}

static void of_generation(struct generation *gen, struct beam_ctl_status *s)
{
	bool whole = gen->total != 0;

	s->state = state_of(gen);
	s->nworkers = gen->begin.nworkers;
	s->gen = gen->id;
	s->keys = whole ? gen->copied.keys : gen->table ? gen->table->keys_done : 0;
	s->expired = gen->copied.expired;
	s->image_bytes = whole ? gen->copied.image_bytes : gen->table ? gen->table->bytes_done : 0;
	s->copy_ms = gen->copy_ms;
	s->cow_window_ms = gen->cow_window_ms;
	s->flush_ms = gen->flush_ms;
	s->flushed_bytes = gen->flush ? beam_flush_written(gen->flush) : gen->flushed_bytes;
	if (!whole)
		s->progress_permille = permille(s->keys, gen->begin.keys_expected);
	else if (gen->state == GEN_FLUSHING)
		s->progress_permille = permille(s->flushed_bytes, s->image_bytes);
	else
		s->progress_permille = 1000;
}

/* The image that a pull would get: the newest complete one, otherwise the one being copied, which
 * can be read from its first segment on. */
static const struct generation *servable(const struct daemon *d)
{
	const struct generation *copying = NULL;

	for (const struct generation *gen = d->gens; gen; gen = gen->next) {
		if (gen->ngone)
			continue;
		if (gen->state == GEN_FLUSHING || gen->state == GEN_READY)
			return gen;
		if (gen->state == GEN_FILLING)
			copying = gen;
	}
	return copying;
}

static void tell_device(const struct beam_server_device *device, struct beam_ctl_device *out)
{
	*out = (struct beam_ctl_device){.port = device->port,
					.mtu = device->mtu,
					.depth = device->depth,
					.registered_bytes = device->registered_bytes};
	snprintf(out->name, sizeof(out->name), "%s", device->name);
	snprintf(out->gid, sizeof(out->gid), "%s", device->gid);
}

static void build(struct daemon *d, struct beam_ctl_status *s)
{
	struct beam_server_counts counts;
	const struct generation *gen = servable(d);

	*s = d->past;
	if (d->gens && d->gens->id.counter == d->counter)
		of_generation(d->gens, s);
	if (d->region) {
		s->region_bytes = beam_region_bytes(d->region);
		s->page_bytes = beam_region_page_bytes(d->region);
	}
	listeners_counts(d, &counts);
	s->pulls_active = counts.active;
	s->pulls_waiting = counts.waiting;
	s->npulls = listeners_pulls(d, s->pulls);
	tell_device(&counts.device, &s->device);
	s->pulls_total = d->pulls_total;
	s->pull_bytes_total = d->pull_bytes_total;
	s->tickets_denied = d->tickets_denied;
	s->last_durable_ms = d->last_durable_ms;
	if (gen) {
		s->cut = gen->begin.cut;
		s->servable = gen->id;
	}
	memcpy(s->last_error, d->last_error, sizeof(s->last_error));
}

void status_remember(struct daemon *d, struct generation *gen)
{
	if (gen->id.counter == d->counter)
		of_generation(gen, &d->past);
}

void status_error(struct daemon *d, const char *text)
{
	snprintf(d->last_error, sizeof(d->last_error), "%s", text);
	d->error_of_listeners = false;
}

static void send_status(struct daemon *d, const struct beam_ctl_status *s)
{
	d->told = *s;
	d->status_owed = false;
	control_send(d, BEAM_CTL_STATUS, &d->told, sizeof(d->told));
}

static void make_now(void *arg)
{
	struct daemon *d = arg;
	struct beam_ctl_status unshared = {0}, *s = &unshared;

	if (!d->greeted)
		return;
	if (d->page)
		s = beam_status_page_next(d->page);
	build(d, s);
	(void)BEAM_FAULT("daemon.status");
	d->status_made_ms = beam_now_ms();
	if (d->page)
		beam_status_page_publish(d->page);
	if (d->page && !d->status_owed && beam_status_same_news(s, &d->told))
		return;
	/* A newer STATUS replaces an older one, so do not queue any for a module that does not
	 * read. */
	if (d->control_box.count)
		beam_timer_set(d->loop, STATUS_PERIOD_MS, make_now, d, &d->status_timer);
	else
		send_status(d, s);
}

static void make_at_once(struct daemon *d)
{
	beam_timer_cancel(&d->status_timer);
	make_now(d);
}

void status_changed(struct daemon *d)
{
	d->status_owed = true;
	make_at_once(d);
}

void status_stepped(struct daemon *d)
{
	if (d->page)
		make_at_once(d);
	else
		status_moved(d);
}

void status_moved(struct daemon *d)
{
	uint64_t since = beam_now_ms() - d->status_made_ms;

	/* Without a timer do it now: nothing else may change for a long time. */
	if (!d->status_timer &&
	    beam_timer_set(d->loop, since < STATUS_PERIOD_MS ? STATUS_PERIOD_MS - since : 0,
			   make_now, d, &d->status_timer))
		make_now(d);
}
