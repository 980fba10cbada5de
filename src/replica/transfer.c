/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Brings the image from the primary's daemon (or a relay) into the sink. A broken connection costs
 * only what was in flight: a new ticket for the same generation continues with the missing
 * segments.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "log.h"
#include "pull_run.h"
#include "rdbeam/error.h"
#include "tcp_connect.h"
#include "tell.h"
#if RDBEAM_HAVE_VERBS
#include "verbs_server.h"
#endif

#define RESUMES_MAX  3
#define RENEWALS_MAX 3 /* of a ticket that was used too late */
/* How long a primary's host may be unreachable before what was fetched of its image is given up. */
#define ABSENCE_MS 60000
#define RETRY_MS   500
#define REFUSALS   3    /* in a row, until the daemon is not expected to come back */
#define AGAIN_MS   3000 /* to connect to a host that has just answered */

static bool asks_for(const struct beam_pull *pull, const char *transport)
{
	return pull->opts.transport && strcmp(pull->opts.transport, transport) == 0;
}

bool beam_transfer_may_relay(const struct beam_pull *pull)
{
	/* The primary accepts only so many relays to avoid. Once the list is full, ask for no more
	 * relays: the primary would keep naming those that failed. */
	return !asks_for(pull, "verbs") && pull->navoid < BEAM_TICKET_AVOID_MAX;
}

static int transfer_tick(void *arg)
{
	struct beam_pull *pull = arg;

	beam_fetch_counts(pull->fetch, &pull->counts);
	int rc = pull->opts.target == BEAM_PULL_REPLICA ? beam_replicate_tick(pull) : 0;

	if (pull->opts.stop && *pull->opts.stop)
		return BEAM_E_ABORTED;

	return rc ? rc : beam_pull_show(pull);
}

/* True when the primary requires TLS, or the user talks to the primary by TLS. */
static bool by_tls(const struct beam_pull *pull)
{
	return pull->ticket.by_tls || pull->opts.from.use_tls;
}

/* Signatures of the primary are required for bytes that come from a relay, and by relays for their
 * own readers. */
static bool must_vouch(const struct beam_pull *pull)
{
	return pull->ticket.relay[0] || pull->opts.target == BEAM_PULL_RELAY;
}

static int connect_ms(const struct beam_pull *pull)
{
	int ms = pull->opts.timeout_ms;

	return pull->unreached && ms > AGAIN_MS ? AGAIN_MS : ms;
}

static int open_with(struct beam_pull *pull, const struct beam_reader_ops *ops, char *text,
		     struct beam_reader **out)
{
	const char *primary = pull->opts.from.is_unix ? "127.0.0.1" : pull->opts.from.host;
	bool relayed = pull->ticket.relay[0];
	struct beam_reader_opts opts = {.host = relayed ? pull->ticket.host : primary,
					.first = relayed ? NULL : pull->ticket.from,
					.vouched = must_vouch(pull),
					.port = pull->ticket.port,
					.gen = pull->ticket.gen,
					.connect_timeout_ms = connect_ms(pull),
					.use_tls = by_tls(pull),
					.near = !relayed && !asks_for(pull, "tcp")};
	char *name = pull->result->transport;
	size_t cap = sizeof(pull->result->transport);

	memcpy(opts.id, pull->ticket.id, sizeof(opts.id));
	memcpy(opts.key, pull->ticket.key, sizeof(opts.key));
	int rc = ops->open(&opts, text, out);

	explicit_bzero(opts.key, sizeof(opts.key));
	/* A pull that had to switch reports both: "verbs+tcp". */
	if (!rc && !*name)
		snprintf(name, cap, "%s", ops->name);
	else if (!rc && !strstr(name, ops->name))
		snprintf(name + strlen(name), cap - strlen(name), "+%s", ops->name);
	return rc;
}

static int pause_a_while(struct beam_pull *pull)
{
	nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000}, NULL);
	return transfer_tick(pull);
}

/* Whatever broke the image's connection may also block this one for a while. */
static int ask_again(struct beam_pull *pull, const struct beam_ticket_opts *opts,
		     struct beam_ticket *out)
{
	uint64_t deadline = beam_now_ms() + ABSENCE_MS;

	for (;;) {
		int rc = beam_ticket_get(pull->from, opts, pull->error, out);

		if (!tcp_is_silence(rc) || beam_now_ms() >= deadline)
			return rc;
		beam_log(BEAM_LOG_NOTICE, "asking the primary again: %s", pull->error);
		pull->error[0] = '\0';
		rc = pause_a_while(pull);
		if (rc)
			return rc;
	}
}

/* Gets a new ticket after a break. Returns BEAM_E_STALE when it is for another generation. */
static int renew_ticket(struct beam_pull *pull)
{
	struct beam_ticket_opts opts = {.from = &pull->opts.from,
					.relayed = beam_transfer_may_relay(pull),
					.gen = pull->ticket.gen,
					.avoid = pull->avoid,
					.navoid = pull->navoid,
					.timeout_ms = pull->opts.timeout_ms};
	struct beam_ticket ticket;
	int rc = ask_again(pull, &opts, &ticket);

	if (rc)
		return rc;
	if (ticket.gen.nonce != pull->ticket.gen.nonce ||
	    ticket.gen.counter != pull->ticket.gen.counter)
		return beam_tell(
		    pull->error, BEAM_E_STALE,
		    "the connection broke, and the primary does not have this image any "
		    "more: pull again");
	/* The offset belongs to the image and is known already; the primary leaves it out if it has
	 * forgotten it. */
	memcpy(ticket.replid, pull->ticket.replid, sizeof(ticket.replid));
	ticket.offset = pull->ticket.offset;
	pull->ticket = ticket;
	return 0;
}

#if RDBEAM_HAVE_VERBS
/* Opens a reader over RDMA where both sides have it. Returns -ENODEV when they do not (the ticket
 * is unused then), or -EAGAIN when it failed on the way, so that `auto` may try TCP with another
 * ticket. */
static int open_verbs(struct beam_pull *pull, struct beam_reader **out)
{
	bool must = asks_for(pull, "verbs");

	if (must_vouch(pull))
		return -ENODEV;
	char text[BEAM_TEXT_BYTES] = "";

	if (must && by_tls(pull))
		return beam_tell(
		    pull->error, BEAM_E_UNSUPPORTED,
		    "--transport verbs: RDMA is not encrypted, and this pull must use TLS "
		    "(rdbeam.tls on the primary, or --from rediss://): use auto or tcp");
	if (!must && (pull->verbs_lost || by_tls(pull) || asks_for(pull, "tcp") ||
		      !strstr(pull->ticket.transport, "verbs")))
		return -ENODEV;
	int rc = open_with(pull, &beam_verbs_reader, text, out);

	if (!rc)
		return 0;
	if (must || rc == BEAM_E_DENIED || rc == BEAM_E_STALE || rc == BEAM_E_BUSY ||
	    rc == BEAM_E_VERSION)
		return beam_tell(pull->error, rc, "%s", text);
	beam_log(BEAM_LOG_INFO, "verbs is not used: %s", text);
	pull->verbs_lost = true;
	return rc == -ENODEV ? rc : -EAGAIN;
}

int beam_transfer_check(struct beam_pull *pull)
{
	(void)pull;
	return 0;
}
#else
static int open_verbs(struct beam_pull *pull, struct beam_reader **out)
{
	(void)pull, (void)out;
	return -ENODEV;
}

int beam_transfer_check(struct beam_pull *pull)
{
	if (!asks_for(pull, "verbs"))
		return 0;
	return beam_tell(pull->error, BEAM_E_UNSUPPORTED,
			 "--transport verbs is not in this build (made without libibverbs and "
			 "librdmacm): use auto or tcp");
}
#endif

static int open_reader(struct beam_pull *pull, struct beam_reader **out)
{
	char text[BEAM_TEXT_BYTES] = "";
	int rc = open_verbs(pull, out);

	if (rc == -EAGAIN)
		rc = renew_ticket(pull);
	else if (rc != -ENODEV || pull->error[0])
		return rc;
	else
		rc = 0;
	if (!rc)
		rc = open_with(pull, &beam_tcp_reader, text, out);
	return rc ? beam_tell(pull->error, rc, "%s", text) : 0;
}

/* Asks the reader that delivered the last bytes whether the generation is still valid, so that
 * everything fed after this moment is from a valid image. */
static int finish(struct beam_pull *pull, struct beam_reader *reader)
{
	beam_fetch_counts(pull->fetch, &pull->counts);
	if (pull->window) {
		beam_window_finish(pull->window, pull->counts.nsegments);
		return 0;
	}
	if (pull->staged)
		beam_stage_finish(pull->staged, pull->counts.image_bytes);
	if (pull->opts.target == BEAM_PULL_RELAY)
		beam_fetch_totals(pull->fetch, &pull->opts.relay->totals,
				  &pull->opts.relay->vouched);
	return beam_fetch_check(reader, pull->opts.timeout_ms, pull->error);
}

/* While an image is read, nothing is asked of the Redis server, so close that connection: it has
 * one client less. Not when a target will be handed over: the server might be full by the time the
 * connection is needed again. */
static void let_primary_rest(struct beam_pull *pull)
{
	if (pull->opts.target == BEAM_PULL_DISCARD || pull->opts.target == BEAM_PULL_FILE ||
	    pull->opts.target == BEAM_PULL_KEEP)
		beam_redis_rest(pull->from);
}

/* Reads over one connection. BEAM_E_GONE: it broke, and the fetch can continue on another one. */
static int read_once(struct beam_pull *pull)
{
	struct beam_reader *reader = NULL;
	uint64_t began_ms = beam_now_ms();

	let_primary_rest(pull);
	int rc = open_reader(pull, &reader);

	pull->to_blame = rc != 0;
	pull->refused = rc == -ECONNREFUSED;
	pull->unreached = tcp_is_silence(rc) || pull->refused;
	if (rc)
		return rc;
	/* Set by open_reader when it returns 0. NOLINTNEXTLINE(clang-analyzer-core.*) */
	const struct beam_reader_ops *ops = reader->ops;
	struct beam_fetch_trust trust = {.vouched = must_vouch(pull), .gen = pull->ticket.gen};

	memcpy(trust.public_key, pull->ticket.public_key, sizeof(trust.public_key));
	rc = beam_fetch_run(pull->fetch, reader, &trust, transfer_tick, pull, pull->error);
	pull->to_blame = rc && beam_fetch_blames_server(pull->fetch);
	if (!rc) {
		rc = finish(pull, reader);
		pull->to_blame = rc == BEAM_E_GONE;
	}
	pull->result->near_bytes += reader->near_bytes;
	ops->close(&reader, pull->counts.bytes, beam_now_ms() - began_ms);
	beam_fetch_detach(pull->fetch);
	return rc;
}

/* Gives up a relay; the rest comes from another relay or from the primary. */
static int give_up_relay(struct beam_pull *pull, int rc)
{
	beam_log(BEAM_LOG_NOTICE, "relay %s is given up after %llu bytes: %s", pull->ticket.relay,
		 (unsigned long long)pull->counts.bytes,
		 pull->error[0] ? pull->error : beam_strerror(rc));
	pull->error[0] = '\0';
	pull->result->relays_failed++;
	if (pull->navoid == BEAM_TICKET_AVOID_MAX)
		pull->navoid--;
	memcpy(pull->avoid[pull->navoid++], pull->ticket.relay, BEAM_RELAY_NAME_BYTES);
	return renew_ticket(pull);
}

/* A ticket is valid for seconds. On a busy machine the steps between getting and using it (a
 * stream, buffers, the loader's answer) may take longer; then another ticket may work. */
static bool may_have_expired(const struct beam_pull *pull, int rc)
{
	return rc == BEAM_E_DENIED && beam_ticket_is_late(&pull->ticket, beam_now_ms());
}

/* RDMA reads need registered memory, and there may be too little that can be registered. */
static bool lacks_registered(const struct beam_pull *pull, int rc)
{
	return rc == -ENOMEM && pull->to_blame && !pull->verbs_lost && !asks_for(pull, "verbs") &&
	       strstr(pull->result->transport, "verbs");
}

/* The port may be blocked or the link may have been down: try once more if the server answers. A
 * daemon that dies refuses connections before its server knows. */
static int connect_again(struct beam_pull *pull)
{
	beam_log(BEAM_LOG_NOTICE, "once more: %s", pull->error);
	pull->error[0] = '\0';
	int rc = pull->refused ? pause_a_while(pull) : 0;

	return rc ? rc : renew_ticket(pull);
}

int beam_transfer_run(struct beam_pull *pull)
{
	int rc, renewals = 0, again = 0; /* attempts in vain to connect */

	pull->stage = BEAM_STAGE_TRANSFER;
	for (int resumes = 0;; resumes++) {
		rc = read_once(pull);
		if (may_have_expired(pull, rc) && renewals++ < RENEWALS_MAX) {
			resumes--;
			pull->error[0] = '\0';
			rc = renew_ticket(pull);
			if (!rc)
				continue;
			break;
		}
		if (rc && pull->ticket.relay[0] && pull->to_blame) {
			resumes--;
			rc = give_up_relay(pull, rc);
			if (!rc)
				continue;
			break;
		}
		if (rc && pull->unreached && again < (pull->refused ? REFUSALS : 1)) {
			again++;
			resumes--;
			rc = connect_again(pull);
			if (!rc)
				continue;
			break;
		}
		again = 0;
		if (lacks_registered(pull, rc)) {
			beam_log(BEAM_LOG_NOTICE, "the pull continues over TCP: %s", pull->error);
			pull->error[0] = '\0';
			rc = BEAM_E_GONE;
		}
		/* Whether a link or a device failed, TCP may still work. */
		pull->verbs_lost = true;
		/* Whatever the code, a line means that the failure is final. */
		if (rc != BEAM_E_GONE || pull->error[0])
			break;
		if (resumes == RESUMES_MAX)
			return beam_tell(pull->error, rc,
					 "the connection to the primary's daemon broke %d times: "
					 "look at its log and the network",
					 resumes + 1);
		rc = renew_ticket(pull);
		if (rc)
			break;
	}
	beam_fetch_counts(pull->fetch, &pull->counts);
	struct beam_pull_result *result = pull->result;

	memcpy(result->relay, pull->ticket.relay, sizeof(result->relay));
	result->image_bytes = pull->counts.image_bytes;
	result->nsegments = pull->counts.nsegments;
	result->reread_segments = pull->counts.rereads;
	result->transfer_ms = pull->counts.last_crc_ms - pull->counts.first_read_ms;
	if (!rc)
		result->keys = pull->counts.keys;
	return rc;
}
