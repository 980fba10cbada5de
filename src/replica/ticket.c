/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests a ticket, and first makes the primary keep a backlog if it has none.
 */
#include "ticket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "link_line.h"
#include "rdbeam/error.h"
#include "tell.h"
#include "text.h"

#define BACKLOG_LOOK_MS 5

/* Reads a number that came as an integer or as text. */
static int get_u64(const redisReply *map, const char *field, uint64_t *out)
{
	const redisReply *value = beam_reply_field(map, field);
	char *end;

	if (!value)
		return BEAM_E_PROTO;
	if (value->type == REDIS_REPLY_INTEGER) {
		*out = (uint64_t)value->integer;
		return value->integer < 0 ? BEAM_E_PROTO : 0;
	}
	if (value->type != REDIS_REPLY_STRING || !value->len || value->str[0] < '0' ||
	    value->str[0] > '9')
		return BEAM_E_PROTO;
	errno = 0;
	*out = strtoull(value->str, &end, 10);
	return errno || *end ? BEAM_E_PROTO : 0;
}

static int get_text(const redisReply *map, const char *field, char *out, size_t cap)
{
	const redisReply *value = beam_reply_field(map, field);

	if (!value || value->type != REDIS_REPLY_STRING || (size_t)value->len >= cap)
		return BEAM_E_PROTO;
	memcpy(out, value->str, (size_t)value->len);
	out[value->len] = '\0';
	return 0;
}

static bool is_replid(const char *text)
{
	return !*text || (strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40);
}

int beam_ticket_parse(const redisReply *map, struct beam_ticket *out)
{
	struct beam_ticket t = {0};
	uint64_t port = 0, tls = 0, offset = 0, reused = 0, min_replicas = 0;

	if (!map || map->type != REDIS_REPLY_ARRAY ||
	    beam_reply_hex(map, "id", t.id, sizeof(t.id)) ||
	    beam_reply_hex(map, "key", t.key, sizeof(t.key)) || get_u64(map, "port", &port) ||
	    get_u64(map, "tls", &tls) ||
	    get_text(map, "transport", t.transport, sizeof(t.transport)) ||
	    get_u64(map, "nonce", &t.gen.nonce) || get_u64(map, "counter", &t.gen.counter) ||
	    get_text(map, "replid", t.replid, sizeof(t.replid)) ||
	    get_u64(map, "offset", &offset) || get_u64(map, "reused", &reused) ||
	    get_u64(map, "copy_ms", &t.copy_ms) || get_u64(map, "keys", &t.keys) ||
	    get_u64(map, "min_replicas", &min_replicas) || get_u64(map, "ttl_ms", &t.ttl_ms) ||
	    get_text(map, "host", t.host, sizeof(t.host)) ||
	    get_text(map, "relay", t.relay, sizeof(t.relay)) ||
	    beam_reply_hex(map, "public", t.public_key, sizeof(t.public_key)))
		return BEAM_E_PROTO;
	if (!port || port > 65535 || offset > INT64_MAX || !is_replid(t.replid))
		return BEAM_E_PROTO;
	t.port = (uint32_t)port;
	t.by_tls = tls != 0;
	t.offset = (int64_t)offset;
	t.reused = reused != 0;
	t.min_replicas = (int64_t)(min_replicas & INT32_MAX);
	*out = t;
	return 0;
}

/* Waits until the primary has its backlog, or has refused the PSYNC on `sock` with `line`. It does
 * not wait for the reply to PSYNC itself: that comes only after repl-diskless-sync-delay, together
 * with a fork, which is avoided by leaving before. */
static int await_backlog(struct beam_redis *primary, int sock, char *line, size_t cap,
			 int timeout_ms)
{
	uint64_t deadline_ms = beam_now_ms() + (uint64_t)timeout_ms;
	struct pollfd wait = {.fd = sock, .events = POLLIN};
	int64_t active;

	while (true) {
		int rc =
		    beam_redis_info_int(primary, "replication", "repl_backlog_active", &active);

		if (rc || active == 1)
			return rc;
		if (poll(&wait, 1, BACKLOG_LOOK_MS) > 0) {
			rc = beam_link_read_line(sock, line, cap, timeout_ms);
			return rc ? rc : line[0] == '-' ? BEAM_E_SERVER : 0;
		}
		if (beam_now_ms() > deadline_ms)
			return -ETIMEDOUT;
	}
}

/* A replica that requests a full sync and leaves at once makes the primary keep a backlog. */
static int make_backlog(struct beam_redis *primary, const struct beam_ticket_opts *opts,
			char *error)
{
	static const char psync[] = "*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n";
	char text[BEAM_REDIS_ERROR_BYTES], line[256] = "", remedy[BEAM_REMEDY_BYTES] = "";
	struct beam_redis *redis = NULL;
	int rc = beam_redis_open(opts->from, opts->timeout_ms, text, &redis);

	if (rc)
		return beam_tell(error, rc, "%s", text);
	/* Wait for this reply before sending PSYNC: the server refuses PSYNC while output is
	 * pending. */
	rc = beam_redis_command(redis, NULL, "REPLCONF capa eof capa psync2");
	if (!rc) {
		int sock = beam_redis_context(redis)->fd;

		rc = beam_link_send(sock, psync, sizeof(psync) - 1, opts->timeout_ms);
		if (!rc)
			rc = await_backlog(primary, sock, line, sizeof(line), opts->timeout_ms);
		if (line[0] == '-')
			beam_psync_remedy(line + 1, remedy, sizeof(remedy));
	} else {
		snprintf(line, sizeof(line), "-%.250s", beam_redis_error(redis));
		beam_remedy(line + 1, "+psync +replconf", remedy, sizeof(remedy));
	}
	if (rc)
		beam_tell(error, rc, "%s: cannot make a replication backlog: %s%s",
			  beam_redis_name(redis), line[0] == '-' ? line + 1 : beam_strerror(rc),
			  remedy);
	beam_redis_close(&redis);
	return rc;
}

static int refused(struct beam_redis *redis, int rc, char *error)
{
	const char *name = beam_redis_name(redis);
	const char *text = beam_redis_error(redis);

	if (rc == BEAM_E_DENIED)
		return beam_tell(error, rc,
				 "%s: %s (grant it: ACL SETUSER <user> +ping +info +psync "
				 "+replconf +rdbeam.ticket)",
				 name, text);
	if (rc != BEAM_E_SERVER)
		return beam_tell(error, rc, "%s", text);
	if (strncmp(text, "BUSY", 4) == 0)
		return beam_tell(error, BEAM_E_BUSY, "%s: %s (try again when it is done)", name,
				 text);
	if (beam_is_unknown_command(text))
		return beam_tell(error, BEAM_E_UNSUPPORTED,
				 "%s: the rdbeam module is not loaded there (put \"loadmodule "
				 "/path/to/rdbeam.so\" into its configuration)",
				 name);
	return beam_tell(error, rc, "%s: %s", name, text);
}

/* Allows for the time that the primary takes to begin an image. */
static int be_patient(struct beam_redis *redis, const struct beam_ticket_opts *opts)
{
	return beam_redis_set_timeout(redis, BEAM_BEGIN_WAIT_MS + opts->timeout_ms);
}

#define WORDS_MAX (5 + 2 * BEAM_TICKET_AVOID_MAX)

static int ask(struct beam_redis *redis, const struct beam_ticket_opts *opts, redisReply **reply)
{
	const char *words[WORDS_MAX] = {"RDBEAM.TICKET"};
	size_t lens[WORDS_MAX];
	char gen[BEAM_GEN_TEXT_BYTES];
	int n = 1;

	beam_gen_to_text(&opts->gen, gen);
	if (opts->fresh)
		words[n++] = "FRESH";
	if (opts->gen.counter) {
		words[n++] = "FOR";
		words[n++] = gen;
	}
	if (opts->relayed)
		words[n++] = "RELAYED";
	for (size_t i = 0; i < opts->navoid && i < BEAM_TICKET_AVOID_MAX; i++) {
		words[n++] = "AVOID";
		words[n++] = opts->avoid[i];
	}
	for (int i = 0; i < n; i++)
		lens[i] = strlen(words[i]);
	return beam_redis_argv(redis, reply, n, words, lens);
}

int beam_ticket_get(struct beam_redis *redis, const struct beam_ticket_opts *opts, char *error,
		    struct beam_ticket *out)
{
	redisReply *reply = NULL;
	uint64_t asked_ms = beam_now_ms();
	int rc = be_patient(redis, opts);

	rc = rc ? rc : ask(redis, opts, &reply);
	if (rc == BEAM_E_SERVER && strncmp(beam_redis_error(redis), "NOBACKLOG", 9) == 0) {
		rc = make_backlog(redis, opts, error);
		if (rc)
			return rc;
		asked_ms = beam_now_ms();
		rc = ask(redis, opts, &reply);
	}
	if (rc)
		return refused(redis, rc, error);
	rc = beam_ticket_parse(reply, out);
	beam_redis_peer(redis, out->from, sizeof(out->from));
	freeReplyObject(reply);
	if (rc)
		return beam_tell(error, rc,
				 "%s: unexpected answer to RDBEAM.TICKET: is its module of another "
				 "rdbeam version?",
				 beam_redis_name(redis));
	beam_redis_set_timeout(redis, opts->timeout_ms);
	out->asked_ms = asked_ms;
	return 0;
}

bool beam_ticket_is_late(const struct beam_ticket *ticket, uint64_t now_ms)
{
	return now_ms - ticket->asked_ms >= ticket->ttl_ms;
}
