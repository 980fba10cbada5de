/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pull from beginning to end: first the checks, then an attempt (and a second one with a fresh
 * image if the first image turned out to be too old), then the cleanup.
 */
#include "pull.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "copy.h"
#include "credentials.h"
#include "fault.h"
#include "pull_run.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "tell.h"

#define BUFFER_DEFAULT   (512ull << 20)
#define BUFFER_LEAST     (16ull << 20)
#define TIMEOUT_DEFAULT  10000
#define HANDOVER_DEFAULT 60000
#define COPY_TIMEOUT_MS  300000
#define LOADING_LOOK_NS  20000000

/* A server that loads its data refuses what a pull sends, and sends no notice of the load's end. */
static int read_facts(struct beam_pull *pull, struct beam_redis *redis,
		      struct beam_server_facts *facts)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)pull->opts.timeout_ms;

	for (;;) {
		int rc = beam_server_facts(redis, pull->error, facts);

		if (rc || !facts->is_loading)
			return rc;
		if (beam_now_ms() >= deadline)
			return beam_tell(pull->error, BEAM_E_BUSY,
					 "%s: LOADING: it still loads its data after %.1f s: pull "
					 "again when it answers PING with PONG, or raise --timeout",
					 beam_redis_name(redis), pull->opts.timeout_ms / 1000.0);
		nanosleep(&(struct timespec){.tv_nsec = LOADING_LOOK_NS}, NULL);
	}
}

static int open_server(struct beam_pull *pull, const struct beam_redis_addr *addr,
		       struct beam_redis **redis, struct beam_server_facts *facts)
{
	char text[BEAM_REDIS_ERROR_BYTES];
	int rc = beam_redis_open(addr, pull->opts.timeout_ms, text, redis);

	if (rc)
		return beam_tell(pull->error, rc, "%s", text);
	beam_redis_reopen_idle(*redis, addr);
	/* Not for a copy: it sends as fast as the target takes it, and then a busy target looks
	 * like a dead host. */
	if (addr == &pull->opts.from || pull->opts.target == BEAM_PULL_REPLICA)
		beam_redis_watch_host(*redis, beam_redis_gone_ms(pull->opts.timeout_ms));
	return read_facts(pull, *redis, facts);
}

/* Finds the primary that the target will follow in the end. A replica has the same data and the
 * same replication stream as its primary, byte by byte, so a target fed by a replica can continue
 * from the primary. A server that pulls by itself stays under whom it was told to follow, though: the
 * primary may be out of its reach, or ahead of that replica, so that the way back is a full resync. */
static int find_lead(struct beam_pull *pull)
{
	const struct beam_server_facts *source = &pull->source;
	struct beam_redis_addr *lead = &pull->lead_addr;

	*lead = pull->opts.from;
	pull->lead = pull->from;
	pull->lead_facts = *source;
	if (pull->opts.pull_id)
		return 0;
	if (!source->is_replica) {
		if (!pull->opts.primary.host[0])
			return 0;
		return beam_tell(
		    pull->error, -EINVAL,
		    "--primary is for pulls from a replica, and %s is a primary: leave it out",
		    beam_redis_name(pull->from));
	}
	if (pull->opts.primary.host[0]) {
		*lead = pull->opts.primary;
	} else {
		snprintf(lead->host, sizeof(lead->host), "%s", source->master_host);
		lead->port = source->master_port;
		lead->is_unix = false;
		lead->first[0] = '\0';
	}
	pull->lead = NULL;
	char text[BEAM_REDIS_ERROR_BYTES];
	int rc = beam_redis_open(lead, pull->opts.timeout_ms, text, &pull->lead);

	if (rc)
		return beam_tell(
		    pull->error, rc,
		    "%.300s (the primary that %s names; --primary gives another address "
		    "of it)",
		    text, beam_redis_name(pull->from));
	beam_redis_reopen_idle(pull->lead, lead);
	beam_redis_watch_host(pull->lead, beam_redis_gone_ms(pull->opts.timeout_ms));
	rc = beam_server_facts(pull->lead, pull->error, &pull->lead_facts);
	return rc ? rc
		  : beam_check_lead(pull->lead, &pull->lead_facts, source, &pull->target,
				    pull->error);
}

static bool has_target_server(const struct beam_pull *pull)
{
	return pull->opts.target == BEAM_PULL_REPLICA || pull->opts.target == BEAM_PULL_COPY;
}

/* Tries the places on this host where bytes will be written, as the caller gave them. The default
 * one is not tried, because most pulls never use it. */
static int check_places(const struct beam_pull_opts *opts, char *error)
{
	int dir;

	if (opts->target == BEAM_PULL_FILE)
		return beam_image_file_try(opts->file, error);
	if (!opts->spill_dir)
		return 0;
	dir = open(opts->spill_dir, O_DIRECTORY | O_PATH | O_CLOEXEC);
	int rc = dir < 0 || faccessat(dir, ".", W_OK, AT_EACCESS) ? -errno : 0;

	beam_close(&dir);
	return rc ? beam_tell(error, rc, "--spill-dir %s: %s: give a directory that can be written",
			      opts->spill_dir, strerror(-rc))
		  : 0;
}

/* Everything else that can be refused is refused here, before anything is changed. */
static int check(struct beam_pull *pull)
{
	int rc = BEAM_FAULT("pull-check");

	rc = rc ? rc : beam_transfer_check(pull);
	if (rc)
		return rc;
	if (pull->opts.target == BEAM_PULL_RELAY) {
		pull->from = pull->opts.relay->redis;
		return 0;
	}
	rc = open_server(pull, &pull->opts.from, &pull->from, &pull->source);
	/* Further connections need not search again for an address that answers. */
	if (!rc)
		beam_redis_peer(pull->from, pull->opts.from.first, sizeof(pull->opts.from.first));
	if (!rc)
		rc = beam_check_version(pull->from, &pull->source, pull->error);
	if (rc || !has_target_server(pull))
		return rc;
	rc = open_server(pull, &pull->opts.to, &pull->to, &pull->target);
	if (!rc && pull->opts.target == BEAM_PULL_REPLICA)
		rc = find_lead(pull);
	if (!rc)
		rc = beam_check_pair(&pull->opts, &pull->lead_addr, &pull->source, pull->to,
				     &pull->target, pull->error);
	if (!rc && pull->opts.target == BEAM_PULL_REPLICA)
		rc = beam_check_ring(&pull->lead_addr, &pull->lead_facts, &pull->target,
				     pull->opts.timeout_ms, pull->error);
	if (!rc && pull->opts.target == BEAM_PULL_REPLICA)
		beam_lacked_module(pull->from, pull->to, pull->lacked);
	if (!rc && pull->opts.target == BEAM_PULL_REPLICA)
		rc = beam_credentials_try(&pull->lead_addr, pull->to, pull->opts.timeout_ms,
					  pull->error);
	if (!rc && pull->opts.pull_id)
		rc = beam_check_needed(pull->from, pull->to, pull->error);
	if (!rc && pull->guard)
		beam_target_record(&pull->target, pull->opts.pull_id, pull->state);
	return rc;
}

static int get_ticket(struct beam_pull *pull, bool fresh)
{
	struct beam_ticket_opts opts = {.from = &pull->opts.from,
					.fresh = fresh,
					.relayed = beam_transfer_may_relay(pull),
					.gen = pull->opts.gen,
					.timeout_ms = pull->opts.timeout_ms};
	struct beam_pull_result *result = pull->result;
	uint64_t began_ms = beam_now_ms();

	pull->stage = BEAM_STAGE_TICKET;
	pull->shown_ms = 0;
	beam_pull_show(pull);
	int rc = BEAM_FAULT("pull-ticket");

	rc = rc ? rc : beam_ticket_get(pull->from, &opts, pull->error, &pull->ticket);

	result->ticket_ms += beam_now_ms() - began_ms;
	if (rc)
		return rc;
	result->gen = pull->ticket.gen;
	result->reused = pull->ticket.reused;
	result->keys = pull->ticket.keys;
	result->copy_ms = pull->ticket.copy_ms;
	snprintf(result->cut.replid, sizeof(result->cut.replid), "%s", pull->ticket.replid);
	result->cut.offset = pull->ticket.offset;
	return 0;
}

static int copy_to(struct beam_pull *pull);

static int deliver(struct beam_pull *pull)
{
	uint64_t began_ms = beam_now_ms();
	int rc = BEAM_FAULT("pull-deliver");

	if (rc)
		return rc;
	switch (pull->opts.target) {
	case BEAM_PULL_REPLICA:
		return beam_replicate_finish(pull);
	case BEAM_PULL_COPY:
		pull->stage = BEAM_STAGE_LOAD;
		rc = copy_to(pull);
		break;
	case BEAM_PULL_FILE:
		rc = beam_image_file_commit(pull->file, pull->counts.image_bytes, pull->error);
		break;
	case BEAM_PULL_KEEP:
		*pull->opts.kept = pull->staged;
		pull->staged = NULL;
		return 0;
	default:
		return 0;
	}
	pull->result->load_ms = beam_now_ms() - began_ms;
	return rc;
}

struct copy_watch {
	struct beam_pull *pull;
	struct beam_copy copy;
};

static int copy_tick(void *arg)
{
	struct copy_watch *watch = arg;

	watch->pull->shown.fed_bytes = watch->copy.done_bytes;
	return beam_pull_show(watch->pull);
}

static int copy_to(struct beam_pull *pull)
{
	struct copy_watch watch = {.pull = pull,
				   .copy = {.to = pull->to,
					    .bytes = beam_stage_bytes(pull->staged),
					    .gen = pull->ticket.gen,
					    .image_bytes = pull->counts.image_bytes,
					    .segment_bytes = pull->counts.segment_bytes,
					    .nsegments = pull->counts.nsegments,
					    .replace = pull->opts.force,
					    .tick = copy_tick}};

	watch.copy.tick_arg = &watch;
	/* The connection was idle since the checks, and the server may have closed it. */
	int rc = beam_redis_set_timeout(pull->to, COPY_TIMEOUT_MS);

	if (rc)
		return beam_tell(pull->error, rc, "%s", beam_redis_error(pull->to));
	/* no reopening from now on: the copy selects databases */
	beam_redis_reopen_idle(pull->to, NULL);
	rc = beam_copy_run(&watch.copy, pull->error);
	pull->result->keys = watch.copy.keys;
	return rc;
}

/* Runs a whole pull with one image. BEAM_E_STALE: another image may succeed. */
static int attempt(struct beam_pull *pull, bool fresh)
{
	int64_t copy_ms;
	int rc = pull->opts.pull_id ? beam_replicate_park(pull) : 0;

	if (!rc)
		rc = get_ticket(pull, fresh);
	if (!rc && pull->opts.target == BEAM_PULL_REPLICA)
		rc = beam_replicate_open_stream(pull);
	if (!rc)
		rc = beam_transfer_open(pull);
	if (!rc)
		rc = beam_transfer_run(pull);
	if (rc)
		return rc;
	/* The snapshot's copy was still running when the ticket was issued. */
	if (!pull->result->copy_ms &&
	    beam_redis_info_int(pull->from, "rdbeam", "rdbeam_snapshot_copy_ms", &copy_ms) == 0 &&
	    copy_ms > 0)
		pull->result->copy_ms = (uint64_t)copy_ms;
	return deliver(pull);
}

/* The image is gone, because the child died or the backlog was overrun. Partly fed data is no loss
 * when the target held no keys before. */
static bool may_try_again(const struct beam_pull *pull, int rc)
{
	return rc == BEAM_E_STALE && !pull->opts.gen.counter && !pull->result->load_ms &&
	       (!pull->feed || !pull->target.has_keys);
}

/* The module knows why its image failed; the daemon, which refused us, says only that it is gone. */
static int tell_failed_image(struct beam_pull *pull, int rc)
{
	char state[16], why[256];

	if (beam_redis_info(pull->from, "rdbeam", "rdbeam_state", state, sizeof(state)) ||
	    strcmp(state, "failed") != 0 ||
	    beam_redis_info(pull->from, "rdbeam", "rdbeam_last_error", why, sizeof(why)) || !why[0])
		return rc;
	pull->error[0] = '\0';
	return beam_tell(pull->error, rc, "%s: its image failed: %s: see its log",
			 beam_redis_name(pull->from), why);
}

static int run(struct beam_pull *pull)
{
	int rc = check(pull);

	if (rc)
		return rc;
	rc = attempt(pull, pull->opts.fresh);
	if (may_try_again(pull, rc)) {
		pull->error[0] = '\0';
		beam_replicate_close(pull, rc);
		beam_transfer_close(pull);
		rc = attempt(pull, true);
		rc = rc == BEAM_E_STALE ? tell_failed_image(pull, rc) : rc;
	}
	if (rc == BEAM_E_STALE && !pull->opts.gen.counter)
		beam_tell(
		    pull->error, rc,
		    "%s: even a fresh image cannot be continued from: its replication backlog "
		    "is overrun while a snapshot begins (raise repl-backlog-size)",
		    beam_redis_name(pull->from));
	return rc;
}

static const char *default_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/tmp";
}

static void fill_defaults(struct beam_pull_opts *opts)
{
	if (!opts->buffer_bytes)
		opts->buffer_bytes = BUFFER_DEFAULT;
	if (opts->buffer_bytes < BUFFER_LEAST)
		opts->buffer_bytes = BUFFER_LEAST;
	if (!opts->spill_dir)
		opts->spill_dir = default_dir();
	if (!opts->transport)
		opts->transport = "auto";
	if (!opts->loader)
		opts->loader = "auto";
	if (opts->timeout_ms <= 0)
		opts->timeout_ms = TIMEOUT_DEFAULT;
	if (opts->handover_timeout_ms <= 0)
		opts->handover_timeout_ms = HANDOVER_DEFAULT;
}

int beam_pull_run(const struct beam_pull_opts *opts, beam_pull_progress_fn *progress, void *arg,
		  struct beam_pull_result *result)
{
	struct beam_pull pull = {.opts = *opts,
				 .progress = progress,
				 .progress_arg = arg,
				 .result = result,
				 .parking.fd = -1,
				 .error = result->error,
				 .began_ms = beam_now_ms()};
	int rc;

	memset(result, 0, sizeof(*result));
	/* A misspelt path should not cost the primary a fork. */
	rc = check_places(opts, pull.error);
	fill_defaults(&pull.opts);
	/* Fork the guard first: it must not inherit threads, connections, or image buffers. */
	if (!rc && opts->target == BEAM_PULL_REPLICA) {
		rc = beam_guard_open(&pull.opts.to, &pull.guard);
		if (rc)
			beam_tell(pull.error, rc, "cannot start the guard process: %s",
				  beam_strerror(rc));
		else
			pull.state = beam_guard_state(pull.guard);
	}
	if (!rc)
		rc = run(&pull);
	beam_replicate_close(&pull, rc);
	beam_transfer_close(&pull);
	beam_feed_listen_close(&pull.parking);
	beam_guard_close(&pull.guard);
	if (pull.lead != pull.from)
		beam_redis_close(&pull.lead);
	if (opts->target != BEAM_PULL_RELAY)
		beam_redis_close(&pull.from);
	beam_redis_close(&pull.to);
	result->total_ms = beam_now_ms() - pull.began_ms;
	if (rc)
		beam_tell(pull.error, rc, "%s", beam_strerror(rc));
	return rc;
}
