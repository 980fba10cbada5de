/* SPDX-License-Identifier: BSD-3-Clause
 * Waiting clients, in a list; each is answered once, by its reply callback. */
#include "requests.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "child_info.h"
#include "clock.h"
#include "config.h"
#include "fault.h"
#include "hook.h"
#include "link.h"
#include "rdbeam/error.h"
#include "relays.h"
#include "request.h"
#include "save.h"
#include "shared.h"
#include "snapshot_facts.h"
#include "sockets.h"

#define BEGIN_WAIT_MS      60000 /* for other children to end and the fork to begin */
#define CLIENT_UNIX_SOCKET (1 << 4)
#define RELAY_PATIENCE_MS  2000 /* for a relay that has yet to begin with an image */

static struct request *requests;
static RedisModuleCtx *detached;
static bool forking; /* our own child runs and has not opened its generation */
static bool start_planned, patience_planned;
static struct beam_ctl_opened newest; /* the last generation begun */

int beam_requests_open(RedisModuleCtx *ctx)
{
	detached = RedisModule_GetDetachedThreadSafeContext(ctx);
	return detached ? 0 : -ENOMEM;
}

static bool same_gen(const struct beam_gen *a, const struct beam_gen *b)
{
	return a->nonce == b->nonce && a->counter == b->counter;
}

static void set_error(struct request *request, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void set_error(struct request *request, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(request->error, sizeof(request->error), fmt, args);
	va_end(args);
}

/* ---- answers -------------------------------------------------------------------------------- */

static int on_reply(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	(void)argv;
	(void)argc;
	return beam_request_reply(ctx, RedisModule_GetBlockedClientPrivateData(ctx));
}

static void on_free(RedisModuleCtx *ctx, void *request)
{
	(void)ctx;
	free(request);
}

static struct request *unlink_blocked(const RedisModuleBlockedClient *blocked)
{
	for (struct request **at = &requests; *at; at = &(*at)->next) {
		struct request *request = *at;

		if (request->blocked == blocked) {
			*at = request->next;
			return request;
		}
	}
	return NULL;
}

static int on_timeout(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	struct request *request = unlink_blocked(RedisModule_GetBlockedClientHandle(ctx));

	(void)argv;
	(void)argc;
	if (!request)
		return RedisModule_ReplyWithError(ctx, "ERR the request timed out");
	if (request->kind == REQUEST_SNAPSHOT && request->opened)
		beam_request_reply(ctx, request); /* WAIT is over: says how far it is */
	else if (request->kind == REQUEST_NEWS)
		RedisModule_ReplyWithNull(ctx);
	else
		RedisModule_ReplyWithError(
		    ctx,
		    "BUSY another child of the server (AOF rewrite, stock saving) has run all the "
		    "time; try again when INFO persistence shows none");
	free(request);
	return REDISMODULE_OK;
}

static void on_disconnect(RedisModuleCtx *ctx, RedisModuleBlockedClient *blocked)
{
	struct request *request = unlink_blocked(blocked);

	(void)ctx;
	if (request)
		RedisModule_UnblockClient(blocked, request);
}

/* Takes a request off the list and lets its client have the answer. */
static void finish(struct request *request)
{
	unlink_blocked(request->blocked);
	RedisModule_UnblockClient(request->blocked, request);
}

static void finish_all(bool opened_too, const char *error)
{
	struct request *next;

	for (struct request *r = requests; r; r = next) {
		next = r->next;
		if ((r->opened && !opened_too) || r->kind == REQUEST_NEWS)
			continue;
		set_error(r, "%s", error);
		finish(r);
	}
}

/* ---- tickets -------------------------------------------------------------------------------- */

/* How often tickets of the daemon's own were given, for the images that were asked for last. */
static struct given {
	struct beam_gen gen;
	uint32_t times;
} given[4];

static struct given *given_for(const struct beam_gen *gen)
{
	static size_t next;

	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		if (same_gen(&given[i].gen, gen))
			return &given[i];
	struct given *oldest = &given[next++ % (sizeof(given) / sizeof(given[0]))];

	*oldest = (struct given){.gen = *gen};
	return oldest;
}

/* The daemon's ticket for request->gen. */
static void mint(struct request *request)
{
	struct beam_ctl_ticket *ticket = &request->ticket;

	given_for(&request->gen)->times++;
	request->relay.name[0] = request->relay.host[0] = '\0';

	beam_random(ticket->id, sizeof(ticket->id));
	beam_random(ticket->key, sizeof(ticket->key));
	ticket->gen = request->gen;
	ticket->ttl_ms = TICKET_TTL_MS;
	memcpy(ticket->addr, request->addr, sizeof(ticket->addr));
	if (beam_link_ticket(ticket))
		set_error(request, "ERR rdbeamd does not take the ticket; try again");
}

/* Asks the daemon for the key of a ticket for request->relay. */
static int ask_key(struct request *request)
{
	struct beam_ctl_relay_ticket asked = {.gen = request->gen};

	memcpy(asked.id, request->relay.id, sizeof(asked.id));
	memcpy(asked.relay_key, request->relay.key, sizeof(asked.relay_key));
	memcpy(asked.addr, request->addr, sizeof(asked.addr));
	int err = beam_link_relay_ticket(&asked);

	explicit_bzero(&asked, sizeof(asked));
	explicit_bzero(request->relay.key, sizeof(request->relay.key));
	request->keyless = !err;
	return err;
}

void beam_requests_on_relay_key(const struct beam_ctl_relay_key *key)
{
	for (struct request *r = requests; r; r = r->next) {
		if (!r->keyless || memcmp(r->relay.id, key->id, sizeof(key->id)) != 0)
			continue;
		memcpy(r->ticket.id, key->id, sizeof(key->id));
		memcpy(r->ticket.key, key->key, sizeof(key->key));
		if (key->code)
			set_error(r, "ERR no ticket for relay %s from address %s", r->relay.name,
				  r->addr);
		finish(r);
		return;
	}
}

/* Whether the daemon shall send the image itself. Of its rdbeam.fanout times, some are kept for relays
 * that have yet to come for it. */
static bool daemon_serves(const struct request *request)
{
	uint32_t missing = beam_relays_missing(&request->gen);
	uint32_t left = (uint32_t)beam_config.fanout;
	uint32_t times = given_for(&request->gen)->times;

	left = times < left ? left - times : 0;
	return beam_relays_is_one(request->client) ? left > 0 : left > missing;
}

static void plan_patience(void);

/* A blocked TICKET that knows its generation: answered by the daemon's ticket, by a relay's, or later,
 * when a relay has come to hold the image, or has not. */
static void hand_out(struct request *r)
{
	bool a_relay = beam_relays_is_one(r->client);
	bool any = beam_relays_missing(&r->gen) > (a_relay ? 1u : 0u);
	bool late = beam_now_ms() - r->since_ms >= RELAY_PATIENCE_MS;

	if (a_relay && daemon_serves(r)) {
		mint(r);
	} else if (beam_relays_pick(&r->gen, r->client, &r->ask.avoid, &r->relay)) {
		if (ask_key(r) == 0)
			return; /* to be finished with the key */
		mint(r);
	} else if (any && !late && !r->ask.avoid.n && !daemon_serves(r)) {
		plan_patience();
		return;
	} else {
		mint(r);
	}
	finish(r);
}

void beam_requests_on_relays(void)
{
	struct request *next;

	for (struct request *r = requests; r; r = next) {
		next = r->next;
		if (r->kind == REQUEST_TICKET && r->opened && !r->keyless)
			hand_out(r);
	}
}

static void on_patience(RedisModuleCtx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	patience_planned = false;
	beam_requests_on_relays();
}

static void plan_patience(void)
{
	if (!patience_planned)
		RedisModule_CreateTimer(detached, RELAY_PATIENCE_MS, on_patience, NULL);
	patience_planned = true;
}

struct stream_facts {
	bool backlog;
	bool cut_off; /* a replica without its primary: the stream's database is not to be had */
	char replid[BEAM_REPLID_BYTES];
	long long first, offset;
};

static void read_stream(RedisModuleCtx *ctx, struct stream_facts *facts)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "replication");
	const char *replid = RedisModule_ServerInfoGetFieldC(info, "master_replid");
	const char *up = RedisModule_ServerInfoGetFieldC(info, "master_link_status");
	int err;

	facts->cut_off = up && strcmp(up, "up") != 0;
	facts->backlog =
	    RedisModule_ServerInfoGetFieldSigned(info, "repl_backlog_active", &err) == 1;
	facts->first =
	    RedisModule_ServerInfoGetFieldSigned(info, "repl_backlog_first_byte_offset", &err);
	facts->offset = RedisModule_ServerInfoGetFieldSigned(info, "master_repl_offset", &err);
	snprintf(facts->replid, sizeof(facts->replid), "%s", replid ? replid : "");
	RedisModule_FreeServerInfo(ctx, info);
}

/* A replica can go on from the cut: same history, and the backlog still holds all that came after.
 */
static bool reachable(const struct stream_facts *facts, const struct beam_cut *cut)
{
	return cut->replid[0] && strcmp(cut->replid, facts->replid) == 0 &&
	       cut->offset + 1 >= facts->first && cut->offset <= facts->offset;
}

static bool is_copying(void)
{
	const struct beam_ctl_status *status = beam_link_status();

	return status->state == BEAM_STATE_COPYING && same_gen(&status->gen, &newest.gen);
}

void beam_requests_cut(const struct beam_gen *gen, struct beam_cut *cut)
{
	const struct beam_ctl_status *status = beam_link_status();
	struct beam_gen held;

	if (same_gen(&status->servable, gen)) {
		*cut = status->cut;
		return;
	}
	if (same_gen(&newest.gen, gen)) {
		*cut = newest.cut;
		return;
	}
	for (size_t i = 0; beam_relays_held(i, &held, cut); i++)
		if (same_gen(&held, gen))
			return;
	memset(cut, 0, sizeof(*cut));
}

static bool take(struct request *request, const struct beam_gen *gen, const struct beam_cut *cut,
		 const struct stream_facts *stream)
{
	if (!gen->counter || !reachable(stream, cut))
		return false;
	request->gen = *gen;
	request->cut = *cut;
	return true;
}

/* Chooses an image that is there, or is being copied, or that relays still hold. False: none can be
 * continued from. */
static bool choose_present(struct request *request, const struct stream_facts *stream)
{
	const struct beam_ctl_status *status = beam_link_status();
	bool found = take(request, &status->servable, &status->cut, stream) ||
		     (is_copying() && status->servable.counter &&
		      take(request, &newest.gen, &newest.cut, stream));
	struct beam_gen gen;
	struct beam_cut cut;

	for (size_t i = 0; !found && request->ask.relayed && beam_relays_held(i, &gen, &cut); i++)
		found = take(request, &gen, &cut, stream);
	request->reused = found;
	return found;
}

/* ---- the fork ------------------------------------------------------------------------------- */

static void on_own_child_done(int exitcode, int bysignal, void *data)
{
	char text[BEAM_TEXT_BYTES];

	(void)data;
	if (!forking)
		return;
	forking = false;
	if (bysignal)
		snprintf(text, sizeof(text), "ERR the snapshot's child was killed by signal %d",
			 bysignal);
	else if (exitcode)
		snprintf(text, sizeof(text), "ERR snapshot failed: %s", beam_shared->reason);
	else
		return; /* it opened its generation; the news is under way */
	finish_all(false, text);
}

static void child_main(RedisModuleCtx *ctx, pid_t parent)
{
	uint64_t now_ns = beam_now_ns();
	char cpus[256];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	beam_link_child_detach();
	beam_config_get(ctx, "bgsave_cpulist", cpus, sizeof(cpus));
	beam_child_take_cpus(cpus);
	int err = beam_save_to_memory(ctx, now_ns);

	beam_child_info_cow(true);
	_exit(err ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void plan_start(void);

static void start(RedisModuleCtx *ctx, void *arg)
{
	pid_t self = getpid();
	bool wanted = false;

	(void)arg;
	start_planned = false;
	for (struct request *r = requests; r; r = r->next)
		wanted |= !r->opened;
	if (!wanted || forking)
		return;
	beam_hook_own_fork(1);
	int pid = BEAM_FAULT("request.fork") ? -1 : RedisModule_Fork(on_own_child_done, NULL);

	if (pid == 0)
		child_main(ctx, self);
	beam_hook_own_fork(0);
	/* Refused while another child runs: its end is an event, and starts us again. */
	forking = pid > 0;
}

static void plan_start(void)
{
	if (!start_planned)
		RedisModule_CreateTimer(detached, 0, start, NULL);
	start_planned = true;
}

/* ---- commands ------------------------------------------------------------------------------- */

static int refuse_state(RedisModuleCtx *ctx)
{
	char text[BEAM_TEXT_BYTES + 64];

	if (RedisModule_GetContextFlags(ctx) &
	    (REDISMODULE_CTX_FLAGS_LUA | REDISMODULE_CTX_FLAGS_MULTI))
		return RedisModule_ReplyWithError(
		    ctx, "ERR not allowed in a transaction or a script: it may have to fork");
	if (beam_config.mode == BEAM_MODE_OFF)
		return RedisModule_ReplyWithError(
		    ctx, "ERR rdbeam.mode is off; CONFIG SET rdbeam.mode replace");
	if (beam_link_state() == BEAM_LINK_UP)
		return 0;
	snprintf(text, sizeof(text), "ERR rdbeamd is %s: %s", beam_link_state_name(),
		 beam_link_error()[0] ? beam_link_error() : "try again in a moment");
	return RedisModule_ReplyWithError(ctx, text);
}

void beam_requests_client_address(RedisModuleCtx *ctx, char out[BEAM_ADDR_BYTES])
{
	RedisModuleClientInfo info = {.version = REDISMODULE_CLIENTINFO_VERSION};

	out[0] = 0;
	if (RedisModule_GetClientInfoById(&info, RedisModule_GetClientId(ctx)) != REDISMODULE_OK)
		return;
	if (info.flags & CLIENT_UNIX_SOCKET)
		snprintf(out, BEAM_ADDR_BYTES, "127.0.0.1");
	else
		snprintf(out, BEAM_ADDR_BYTES, "%.*s", (int)sizeof(info.addr), info.addr);
}

/* Lets the client wait: for ever if timeout_ms is 0. NULL: it was told that there is no memory. */
static struct request *block(RedisModuleCtx *ctx, const struct request *prepared,
			     long long timeout_ms)
{
	struct request *request = BEAM_FAULT("request.wait") ? NULL : malloc(sizeof(*request));

	if (!request) {
		RedisModule_ReplyWithError(ctx, "ERR out of memory");
		return NULL;
	}
	*request = *prepared;
	request->blocked = RedisModule_BlockClient(ctx, on_reply, on_timeout, on_free, timeout_ms);
	RedisModule_SetDisconnectCallback(request->blocked, on_disconnect);
	request->next = requests;
	requests = request;
	return request;
}

static int wait_for_generation(RedisModuleCtx *ctx, const struct request *prepared)
{
	if (block(ctx, prepared, prepared->wait_ms > 0 ? prepared->wait_ms : BEGIN_WAIT_MS))
		plan_start();
	return REDISMODULE_OK;
}

/* The generation is chosen. */
static int answer_ticket(RedisModuleCtx *ctx, struct request *prepared)
{
	if (!prepared->ask.relayed) {
		mint(prepared);
		return beam_request_reply(ctx, prepared);
	}
	prepared->opened = true;
	prepared->since_ms = beam_now_ms();
	struct request *request = block(ctx, prepared, BEGIN_WAIT_MS);

	if (request)
		hand_out(request);
	return REDISMODULE_OK;
}

int beam_requests_ticket(RedisModuleCtx *ctx, const struct beam_ticket_ask *ask)
{
	struct request request = {
	    .kind = REQUEST_TICKET, .client = RedisModule_GetClientId(ctx), .ask = *ask};
	struct stream_facts stream;
	char text[BEAM_TEXT_BYTES + 64];

	if (refuse_state(ctx))
		return REDISMODULE_OK;
	/* A password that was set meanwhile, TLS: the daemon hears of it before the puller comes. */
	beam_link_refresh();
	if (!beam_link_port()) {
		snprintf(text, sizeof(text), "ERR nobody listens for pulls: %s",
			 beam_link_error()[0]
			     ? beam_link_error()
			     : "rdbeam.transport is off or the server has no port");
		return RedisModule_ReplyWithError(ctx, text);
	}
	read_stream(ctx, &stream);
	if (!stream.backlog)
		return RedisModule_ReplyWithError(
		    ctx,
		    "NOBACKLOG the server has no replication backlog yet: a first PSYNC makes it");
	beam_requests_client_address(ctx, request.addr);
	beam_relays_complain(&ask->avoid, request.addr);
	if (ask->gen.counter) {
		request.gen = ask->gen;
		request.reused = true;
		beam_requests_cut(&request.gen, &request.cut);
		return answer_ticket(ctx, &request);
	}
	if (!ask->fresh && choose_present(&request, &stream))
		return answer_ticket(ctx, &request);
	if (stream.cut_off)
		return RedisModule_ReplyWithError(
		    ctx,
		    "ERR this replica's link to its primary is down, so a new image could not be "
		    "continued from; try again when INFO says master_link_status:up");
	return wait_for_generation(ctx, &request);
}

int beam_requests_snapshot(RedisModuleCtx *ctx, long long wait_ms)
{
	struct request request = {.kind = REQUEST_SNAPSHOT, .wait_ms = wait_ms};

	if (refuse_state(ctx))
		return REDISMODULE_OK;
	return wait_for_generation(ctx, &request);
}

/* ---- news ---------------------------------------------------------------------------------- */

static const struct beam_gen *newest_image(void)
{
	return is_copying() ? &newest.gen : &beam_link_status()->servable;
}

static bool take_news(struct request *request)
{
	const struct beam_gen *gen = newest_image();

	if (!gen->counter || same_gen(gen, &request->gen))
		return false;
	request->gen = *gen;
	return true;
}

static void tell_news(void)
{
	struct request *next;

	for (struct request *r = requests; r; r = next) {
		next = r->next;
		if (r->kind == REQUEST_NEWS && take_news(r))
			finish(r);
	}
}

int beam_requests_news(RedisModuleCtx *ctx, const struct beam_gen *known, long long wait_ms)
{
	struct request request = {.kind = REQUEST_NEWS, .opened = true, .gen = *known};

	if (refuse_state(ctx))
		return REDISMODULE_OK;
	if (take_news(&request))
		return beam_request_reply(ctx, &request);
	block(ctx, &request, wait_ms);
	return REDISMODULE_OK;
}

/* ---- events --------------------------------------------------------------------------------- */

/* A waiting ticket whose generation is chosen. */
static void serve(struct request *r)
{
	r->opened = true;
	r->since_ms = beam_now_ms();
	if (r->ask.relayed) {
		hand_out(r);
		return;
	}
	mint(r);
	finish(r);
}

/* Who asked between an image's beginning and the news that it can be served: otherwise it would wait
 * for the child's end, and for another image. */
static void serve_late(void)
{
	struct stream_facts stream;
	struct request *next;
	bool read = false;

	for (struct request *r = requests; r; r = next) {
		next = r->next;
		if (r->kind != REQUEST_TICKET || r->opened || r->ask.fresh)
			continue;
		if (!read)
			read_stream(detached, &stream);
		read = true;
		if (choose_present(r, &stream))
			serve(r);
	}
}

void beam_requests_on_opened(const struct beam_ctl_opened *opened)
{
	struct stream_facts stream;
	struct request *next;

	newest = *opened;
	(void)BEAM_FAULT("request.opened");
	read_stream(detached, &stream);
	if (opened->kind == BEAM_SNAPSHOT_MEMORY)
		forking = false;
	for (struct request *r = requests; r; r = next) {
		next = r->next;
		if (r->opened)
			continue;
		if (r->kind == REQUEST_TICKET && reachable(&stream, &opened->cut)) {
			r->gen = opened->gen;
			r->cut = opened->cut;
			serve(r);
		} else if (r->kind == REQUEST_SNAPSHOT && opened->kind == BEAM_SNAPSHOT_MEMORY) {
			r->opened = true;
			r->gen = opened->gen;
			r->cut = opened->cut;
			if (!r->wait_ms)
				finish(r);
		}
	}
}

void beam_requests_on_status(const struct beam_ctl_status *status)
{
	struct request *next;

	if (!status) {
		forking = false;
		finish_all(true, "ERR rdbeamd died; try again");
		return;
	}
	for (struct request *r = requests; r; r = next) {
		next = r->next;
		if (r->kind != REQUEST_SNAPSHOT || !r->opened ||
		    status->gen.counter < r->gen.counter)
			continue;
		bool newer = status->gen.counter > r->gen.counter;

		if (!newer && status->state == BEAM_STATE_FAILED)
			set_error(r, "ERR snapshot failed: %.*s", 200, status->last_error);
		if (newer || status->state == BEAM_STATE_FAILED ||
		    status->state == BEAM_STATE_READY)
			finish(r);
	}
	serve_late();
	tell_news();
}

/* A child that was killed could not remove a temporary file that has a name. */
static void remove_temp(void)
{
	char name[64];

	if (newest.kind != BEAM_SNAPSHOT_DISK || !newest.pid)
		return;
	snprintf(name, sizeof(name), BEAM_SAVE_TEMP_NAME, newest.pid);
	unlink(name);
	newest.pid = 0;
}

void beam_requests_on_child(int died)
{
	if (died)
		remove_temp();
	if (died && requests)
		plan_start();
}
