/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The part of a pull that makes a replica: stream, feed, catch-up, hand-over, and the way back
 * after a failure.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "credentials.h"
#include "fault.h"
#include "handover.h"
#include "log.h"
#include "pull_run.h"
#include "rdbeam/error.h"
#include "tell.h"

#define FEED_LEAST_MS 15000 /* the target may have to close another link first */
/* While it loads, the target answers between two keys only, and a huge key takes its time. */
#define LOADING_TIMEOUT_MS 300000
#define PUT_BACK_HOST_MS   60000

/* True when the target is already a replica of this primary; only then is the link announced under
 * the target's name. A server that is not a replica yet stays unnamed: clients that trust the
 * primary's list would read from it, and Sentinel would reconfigure it. */
static bool follows_lead(const struct beam_pull *pull)
{
	const struct beam_server_facts *target = &pull->target;

	return target->is_replica && target->master_port == pull->lead_addr.port &&
	       strcmp(target->master_host, pull->lead_addr.host) == 0;
}

int beam_replicate_open_stream(struct beam_pull *pull)
{
	uint64_t buffer = pull->opts.buffer_bytes;
	struct beam_stream_opts opts = {.from = &pull->opts.from,
					.replid = pull->ticket.replid,
					.offset = pull->ticket.offset,
					.memory_bytes = buffer / 4,
					.spill_bytes = pull->opts.spill_bytes,
					.spill_dir = pull->opts.spill_dir,
					.timeout_ms = pull->opts.timeout_ms};

	if (!pull->ticket.replid[0])
		return BEAM_E_STALE;
	/* Rule 10: the link would count as a good replica. Without it, the backlog must cover the
	 * time of the load. */
	if (pull->ticket.min_replicas > 0) {
		beam_log(BEAM_LOG_NOTICE,
			 "%s has min-replicas-to-write %lld: the stream is not read during the "
			 "load, so its repl-backlog-size must cover the writes of that time",
			 beam_redis_name(pull->from), (long long)pull->ticket.min_replicas);
		return 0;
	}
	if (follows_lead(pull))
		beam_announce_read(pull->to, &opts.name);
	return beam_stream_open(&opts, pull->error, &pull->stream);
}

int beam_replicate_park(struct beam_pull *pull)
{
	int rc = 0;

	if (pull->parking.fd < 0)
		rc = beam_feed_listen_open(beam_redis_socket(pull->to), &pull->parking);

	if (rc)
		return beam_tell(pull->error, rc, "cannot listen for the target: %s",
				 beam_strerror(rc));
	return beam_target_attach(pull->to, pull->parking.host, pull->parking.port, pull->state,
				  pull->error);
}

/* The offer for which the window was made may be void by now, so ask for a new one and accept it at
 * once. */
static int share(struct beam_pull *pull, bool by_socket)
{
	bool must = strcmp(pull->opts.loader, "module") == 0;
	char why[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_module_offer offer;
	int rc = by_socket
		     ? beam_module_ask(pull->to, why, &offer)
		     : beam_tell(why, BEAM_E_DENIED,
				 "%s: no loading by its module, as repl-diskless-load may not "
				 "be set (grant it: ACL SETUSER <user> +config|get "
				 "+config|set)",
				 beam_redis_name(pull->to));

	if (!rc)
		rc = beam_module_feed_open(&offer, pull->window, must, why, &pull->module_feed);
	explicit_bzero(&offer, sizeof(offer));
	if (!rc)
		return 0;
	if (must)
		return beam_tell(pull->error, rc, "%s", why);
	beam_log(BEAM_LOG_NOTICE, "%s", why);
	return 0;
}

/* A target that loads from its disk keeps the file, so it gets the whole image, as `rdbeam verify`
 * expects one. */
static int open_source(struct beam_pull *pull, bool by_socket, struct beam_image_source *out)
{
	bool whole = !by_socket || pull->target.from_disk;
	int rc = pull->by_module ? share(pull, by_socket) : 0;

	if (pull->module_feed)
		beam_module_feed_source(pull->module_feed, out);
	else if (pull->window)
		beam_window_source(pull->window, whole, out);
	else
		beam_stage_source(pull->staged, whole, out);
	return rc;
}

/* A load in progress is worth a longer wait for an answer: by default a minute. */
static int loading_gone_ms(const struct beam_pull *pull)
{
	int timeout_ms = pull->opts.timeout_ms;

	return beam_redis_gone_ms(timeout_ms < INT32_MAX / 3 ? 3 * timeout_ms : timeout_ms);
}

static int begin_feed(struct beam_pull *pull)
{
	struct beam_feed_opts opts = {.target_sock = beam_redis_socket(pull->to),
				      .replid = pull->ticket.replid,
				      .offset = pull->ticket.offset,
				      .stream = pull->stream,
				      .timeout_ms = pull->opts.timeout_ms > FEED_LEAST_MS
							? pull->opts.timeout_ms
							: FEED_LEAST_MS};

	bool by_socket = beam_target_diskless(
	    pull->to, pull->target.has_keys ? "swapdb" : "on-empty-db", pull->state);
	int rc = open_source(pull, by_socket, &opts.image);

	opts.hold_back = pull->window;
	if (!rc)
		rc = beam_credentials_give(pull->to, &pull->lead_addr, pull->opts.timeout_ms,
					   pull->state, &opts.must_auth, pull->error);
	if (!rc)
		rc = beam_target_tls_off(pull->to, pull->state, pull->error);
	if (rc)
		return rc;
	beam_redis_set_timeout(pull->to, LOADING_TIMEOUT_MS);
	beam_redis_watch_host(pull->to, loading_gone_ms(pull));
	(void)BEAM_FAULT("pull-attach");
	rc = beam_feed_open(&opts, pull->error, &pull->feed);
	if (rc)
		return rc;
	return beam_target_attach(pull->to, beam_feed_host(pull->feed), beam_feed_port(pull->feed),
				  pull->state, pull->error);
}

/* The feed's link cannot tell whether the target's host is gone, since a busy or stopped target
 * also reads nothing. But the host's kernel still answers on the other connection, where no data is
 * in flight. */
static int check_host(struct beam_pull *pull)
{
	int rc = beam_redis_check_host(pull->to);

	return rc ? beam_tell(pull->error, rc, "%s", beam_redis_error(pull->to)) : 0;
}

int beam_replicate_tick(struct beam_pull *pull)
{
	int rc = pull->stream ? beam_stream_error(pull->stream, pull->error) : 0;

	if (!rc && !pull->feed && pull->window && beam_window_ready(pull->window))
		rc = begin_feed(pull);
	if (!rc && pull->feed)
		rc = beam_feed_error(pull->feed, pull->error);
	return rc || !pull->feed ? rc : check_host(pull);
}

static int show_tick(void *arg)
{
	int rc = check_host(arg);

	return rc ? rc : beam_pull_show(arg);
}

static void note_load_time(struct beam_pull *pull)
{
	struct beam_feed_status status;

	beam_feed_status(pull->feed, &status);
	if (status.first_byte_ms)
		pull->result->load_ms = beam_now_ms() - status.first_byte_ms;
	if (status.loaded)
		pull->result->load_ms = status.loaded_ms - status.first_byte_ms;
}

static int lead(struct beam_pull *pull, struct beam_handover *h)
{
	uint64_t began_ms;

	pull->stage = BEAM_STAGE_LOAD;
	int rc = beam_handover_wait_loaded(h, pull->error);

	if (rc)
		return rc;
	note_load_time(pull);
	pull->stage = BEAM_STAGE_CATCHUP;
	began_ms = beam_now_ms();
	rc = beam_handover_catch_up(h, pull->error);
	pull->result->catchup_ms = beam_now_ms() - began_ms;
	if (rc)
		return rc;
	pull->stage = BEAM_STAGE_HANDOVER;
	began_ms = beam_now_ms();
	rc = beam_target_tls_on(pull->to, pull->state, pull->error);
	if (!rc) {
		pull->state->led = true;
		rc = beam_handover_run(h, pull->error);
	}
	pull->result->handover_ms = beam_now_ms() - began_ms;
	return rc;
}

int beam_replicate_finish(struct beam_pull *pull)
{
	struct beam_handover h = {.primary = pull->lead,
				  .primary_addr = &pull->lead_addr,
				  .pull_id = pull->opts.pull_id,
				  .stream = pull->stream,
				  .cut_offset = pull->ticket.offset,
				  .backlog_bytes = pull->lead_facts.backlog_bytes,
				  .timeout_ms = pull->opts.handover_timeout_ms,
				  .tick = show_tick,
				  .tick_arg = pull};
	/* A small image may be complete before the tick saw the window ready. */
	int rc = pull->lacked[0]
		     ? beam_lacked_check(pull->staged, pull->to, pull->lacked, pull->error)
		     : 0;

	if (!rc && !pull->feed)
		rc = begin_feed(pull);
	if (rc)
		return rc;
	h.to = pull->to;
	h.feed = pull->feed;
	rc = lead(pull, &h);
	bool agreed = pull->module_feed && beam_module_feed_agreed(pull->module_feed);

	snprintf(pull->result->loader, sizeof(pull->result->loader), "%s",
		 agreed ? "module" : "stock");
	pull->result->partial_resyncs = h.partial_resyncs;
	pull->result->full_resyncs = h.full_resyncs;
	return rc;
}

/* Uses a new connection: on the old one an answer may still be outstanding. A host that was already
 * found gone gets only one short last try. */
static void put_back(struct beam_pull *pull)
{
	int host_ms = beam_redis_was_gone(pull->to) ? pull->opts.timeout_ms : PUT_BACK_HOST_MS;

	/* if the server is full, our own connection may be the one too many */
	beam_redis_rest(pull->to);
	beam_target_put_back(&pull->opts.to, host_ms, LOADING_TIMEOUT_MS, pull->state);
}

void beam_replicate_close(struct beam_pull *pull, int code)
{
	struct beam_feed_status status;

	if (pull->window)
		beam_window_abort(pull->window, BEAM_E_ABORTED);
	if (pull->feed) {
		beam_feed_status(pull->feed, &status);
		pull->shown.fed_bytes = pull->module_feed
					    ? beam_module_feed_bytes(pull->module_feed)
					    : status.fed_bytes;
	}
	if (pull->module_feed)
		beam_module_feed_abort(pull->module_feed);
	beam_feed_close(&pull->feed);
	beam_module_feed_close(&pull->module_feed);
	if (pull->stream) {
		pull->result->stream_bytes = beam_stream_received(pull->stream);
		pull->result->spilled_bytes = beam_stream_spilled(pull->stream);
	}
	beam_stream_close(&pull->stream);
	if (!pull->guard)
		return;
	if (code == 0)
		beam_target_restore(pull->to, pull->state);
	else if (beam_target_changed(pull->state))
		put_back(pull);
	memset(pull->state, 0, sizeof(*pull->state));
	beam_target_record(&pull->target, pull->opts.pull_id, pull->state);
}
