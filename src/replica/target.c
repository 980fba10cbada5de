/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Changes settings of the target, and changes them back.
 */
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "tell.h"

#define LOAD_ABORT_MS     120000
#define PUT_BACK_MS       120000
#define PUT_BACK_AGAIN_NS 100000000

void beam_target_record(const struct beam_server_facts *facts, const char *pull_id,
			struct beam_target_state *out)
{
	memset(out, 0, sizeof(*out));
	snprintf(out->pull_id, sizeof(out->pull_id), "%s", pull_id ? pull_id : "");
	memcpy(out->run_id, facts->run_id, sizeof(out->run_id));
	out->was_replica = facts->is_replica;
	snprintf(out->master_host, sizeof(out->master_host), "%s", facts->master_host);
	out->master_port = facts->master_port;
}

bool beam_target_diskless(struct beam_redis *redis, const char *want,
			  struct beam_target_state *state)
{
	char found[sizeof(state->diskless_load)];

	if (beam_redis_config(redis, "repl-diskless-load", found, sizeof(found)))
		return false;
	if (strcmp(found, want) == 0)
		return true;
	memcpy(state->diskless_load, found, sizeof(found));
	if (!beam_redis_command(redis, NULL, "CONFIG SET repl-diskless-load %s", want))
		return true;
	state->diskless_load[0] = '\0';
	beam_log(BEAM_LOG_NOTICE,
		 "%s: repl-diskless-load stays %s (%s): it loads by way of its disk",
		 beam_redis_name(redis), found, beam_redis_error(redis));
	return false;
}

int beam_target_tls_off(struct beam_redis *redis, struct beam_target_state *state, char *error)
{
	char found[8];

	/* A server built without TLS has no such parameter. */
	if (beam_redis_config(redis, "tls-replication", found, sizeof(found)) ||
	    strcmp(found, "yes") != 0)
		return 0;
	state->tls_off = true;
	int rc = beam_redis_command(redis, NULL, "CONFIG SET tls-replication no");

	if (!rc)
		return 0;
	state->tls_off = false;
	return beam_tell(error, rc,
			 "%s: tls-replication cannot be set for the time of the load: %s (grant "
			 "it: ACL SETUSER <user> +config)",
			 beam_redis_name(redis), beam_redis_error(redis));
}

int beam_target_tls_on(struct beam_redis *redis, struct beam_target_state *state, char *error)
{
	if (!state->tls_off)
		return 0;
	int rc = beam_redis_command(redis, NULL, "CONFIG SET tls-replication yes");

	if (rc)
		return beam_tell(error, rc, "%s: CONFIG SET tls-replication yes: %s",
				 beam_redis_name(redis), beam_redis_error(redis));
	state->tls_off = false;
	return 0;
}

/* True if `rc` is that of a command of the module, and the server has none. */
static bool lacks_module(const struct beam_redis *redis, int rc)
{
	return rc == BEAM_E_SERVER && beam_is_unknown_command(beam_redis_error(redis));
}

int beam_target_follow(struct beam_redis *redis, const char *host, uint32_t port,
		       const char *pull_id)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", port);
	if (!host)
		host = "NO";
	if (strcmp(host, "NO") == 0)
		memcpy(text, "ONE", 4);
	int rc =
	    pull_id && pull_id[0]
		? beam_redis_command(redis, NULL, "RDBEAM.FOLLOW %s %s %s", host, text, pull_id)
		: beam_redis_command(redis, NULL, "RDBEAM.FOLLOW %s %s", host, text);
	bool not_there = rc == BEAM_E_DENIED || lacks_module(redis, rc);

	return not_there ? beam_redis_command(redis, NULL, "REPLICAOF %s %s", host, text) : rc;
}

/* A loading target refuses REPLICAOF until its load has failed, which happens soon after its link
 * was cut. There is no event to wait for, so try again. */
static int follow_after_load(struct beam_redis *redis, const char *host, uint32_t port,
			     const char *pull_id)
{
	uint64_t deadline = beam_now_ms() + LOAD_ABORT_MS;

	for (;;) {
		int rc = beam_target_follow(redis, host, port, pull_id);

		if (rc != BEAM_E_SERVER || strncmp(beam_redis_error(redis), "LOADING", 7) != 0 ||
		    beam_now_ms() >= deadline)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
}

/* How often CONFIG REWRITE has written the target's configuration file; -1: unknown. Failed calls
 * do not count: without a (writable) file the command fails, and would fail for us, too. */
static int64_t count_rewrites(struct beam_redis *redis)
{
	char text[192];
	long long calls, failed;
	int rc =
	    beam_redis_info(redis, "commandstats", "cmdstat_config|rewrite", text, sizeof(text));

	if (rc)
		return rc == -ENOENT ? 0 : -1;
	const char *fails = strstr(text, "failed_calls=");

	if (sscanf(text, "calls=%lld", &calls) != 1 || !fails ||
	    sscanf(fails, "failed_calls=%lld", &failed) != 1)
		return -1;
	return calls - failed;
}

/* True when our address got into the target's configuration file: somebody had the file written
 * during the pull, or the target was restarted (which resets the counter) and follows the feed
 * again. */
static bool is_written(struct beam_redis *redis, const struct beam_target_state *state,
		       bool was_fed)
{
	char run_id[sizeof(state->run_id)];

	if (!state->feed_host[0])
		return false;
	if (state->rewrites >= 0 && count_rewrites(redis) > state->rewrites)
		return true;
	return was_fed && state->run_id[0] &&
	       !beam_redis_info(redis, "server", "run_id", run_id, sizeof(run_id)) &&
	       strcmp(run_id, state->run_id) != 0;
}

static int write_again(struct beam_redis *redis)
{
	beam_log(BEAM_LOG_NOTICE,
		 "%s wrote its configuration file during the pull: having it written again",
		 beam_redis_name(redis));
	return beam_redis_command(redis, NULL, "CONFIG REWRITE");
}

int beam_target_attach(struct beam_redis *redis, const char *host, uint32_t port,
		       struct beam_target_state *state, char *error)
{
	if (!state->feed_host[0] && state->pull_id[0]) {
		/* Started by a server's module. Where it listens, there may be another server by
		 * now, whose data is to be left alone: the path of a unix socket goes to whoever
		 * starts last. One with a module refuses the id. */
		int rc = beam_redis_command(redis, NULL, "RDBEAM.FOLLOW");

		if (lacks_module(redis, rc))
			return beam_tell(error, BEAM_E_SERVER,
					 "%s is another server than the one to be filled, which "
					 "has the module: give each server a unixsocket of its own",
					 beam_redis_name(redis));
	}
	if (!state->feed_host[0])
		state->rewrites = count_rewrites(redis);
	snprintf(state->feed_host, sizeof(state->feed_host), "%s", host);
	state->feed_port = port;
	(void)BEAM_FAULT("target-attach");
	int rc = beam_target_follow(redis, host, port, state->pull_id);
	char remedy[BEAM_REMEDY_BYTES] = "";

	if (rc == BEAM_E_DENIED || beam_is_unknown_command(beam_redis_error(redis)))
		beam_remedy(beam_redis_error(redis), "+replicaof", remedy, sizeof(remedy));
	else if (rc == BEAM_E_SERVER && strncmp(beam_redis_error(redis), "LOADING", 7) == 0)
		snprintf(remedy, sizeof(remedy), " (pull again when it answers PING with PONG)");
	return rc ? beam_tell(error, rc, "%s: REPLICAOF: %s%s", beam_redis_name(redis),
			      beam_redis_error(redis), remedy)
		  : 0;
}

/* Returns 0 with *yes set, or the error of the connection. */
static int follows_feed(struct beam_redis *redis, const struct beam_target_state *state, bool *yes)
{
	char host[256];
	int64_t port = 0;

	*yes = false;
	if (!state->feed_host[0])
		return 0;
	int rc = beam_redis_info(redis, "replication", "master_host", host, sizeof(host));

	if (!rc)
		rc = beam_redis_info_int(redis, "replication", "master_port", &port);
	if (rc)
		/* A server without a primary has no such fields. */
		return rc == -ENOENT ? 0 : rc;
	*yes = strcmp(host, state->feed_host) == 0 && port == state->feed_port;
	return 0;
}

bool beam_target_changed(const struct beam_target_state *state)
{
	return state->feed_host[0] || state->diskless_load[0] || state->set_masterauth ||
	       state->set_masteruser || state->tls_off;
}

static int restore(struct beam_redis *redis, const struct beam_target_state *state)
{
	bool at_feed;

	(void)BEAM_FAULT("target-restore");
	int rc = follows_feed(redis, state, &at_feed);
	/* It was told to follow us and no longer does: it was handed over. */
	bool handed_over = state->feed_host[0] && !at_feed;
	bool written = !rc && is_written(redis, state, at_feed || state->led);

	/* This comes first, because the next connection goes to a primary. */
	if (!rc && state->tls_off)
		rc = beam_redis_command(redis, NULL, "CONFIG SET tls-replication yes");
	if (!rc && at_feed)
		rc = follow_after_load(redis, state->was_replica ? state->master_host : NULL,
				       state->master_port, state->pull_id);
	if (!rc && state->set_masterauth && !handed_over)
		rc = beam_redis_command(redis, NULL, "CONFIG SET masterauth %s", "");
	if (!rc && state->set_masteruser && !handed_over)
		rc = beam_redis_command(redis, NULL, "CONFIG SET masteruser %s", "");
	if (!rc && state->diskless_load[0])
		rc = beam_redis_command(redis, NULL, "CONFIG SET repl-diskless-load %s",
					state->diskless_load);
	return !rc && written ? write_again(redis) : rc;
}

static void tell_left(const char *error)
{
	beam_log(BEAM_LOG_WARNING,
		 "the target could not be restored: %s (check REPLICAOF, masterauth, "
		 "tls-replication and repl-diskless-load there, and its configuration file)",
		 error);
}

int beam_target_restore(struct beam_redis *redis, const struct beam_target_state *state)
{
	int rc = restore(redis, state);

	if (rc)
		tell_left(beam_redis_error(redis));
	return rc;
}

/* True for a server that is full, busy or loading. A server that is full may close the
 * connection before we have read its error. */
static bool will_pass(int rc, const char *error)
{
	if (rc == BEAM_E_SERVER)
		return strstr(error, "maxclients") || strncmp(error, "BUSY", 4) == 0 ||
		       strncmp(error, "LOADING", 7) == 0;
	return rc == BEAM_E_GONE || rc == -ECONNRESET || rc == -EPIPE;
}

static int put_back(const struct beam_redis_addr *addr, int host_ms, int timeout_ms,
		    const struct beam_target_state *state, char error[BEAM_REDIS_ERROR_BYTES])
{
	struct beam_redis *redis = NULL;
	int rc = beam_redis_open_busy(addr, host_ms, timeout_ms, error, &redis);

	if (rc)
		return rc;
	rc = restore(redis, state);
	snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", beam_redis_error(redis));
	beam_redis_close(&redis);
	return rc;
}

void beam_target_put_back(const struct beam_redis_addr *addr, int host_ms, int timeout_ms,
			  const struct beam_target_state *state)
{
	const uint64_t deadline = beam_now_ms() + PUT_BACK_MS;
	char error[BEAM_REDIS_ERROR_BYTES];
	bool told = false;
	int rc;

	while ((rc = put_back(addr, host_ms, timeout_ms, state, error)) && will_pass(rc, error) &&
	       beam_now_ms() < deadline) {
		if (!told)
			beam_log(BEAM_LOG_WARNING,
				 "the target will be restored as soon as it allows that: %s",
				 error);
		told = true;
		nanosleep(&(struct timespec){.tv_nsec = PUT_BACK_AGAIN_NS}, NULL);
	}
	if (rc)
		tell_left(error);
}
