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
#include "request.h"
#include "save.h"
#include "shared.h"
#include "snapshot_facts.h"
#include "sockets.h"

#define BEGIN_WAIT_MS      60000 /* for other children to end and the fork to begin */
#define CLIENT_UNIX_SOCKET (1 << 4)

static struct request *requests;
static RedisModuleCtx *detached;
static bool forking; /* our own child runs and has not opened its generation */
static bool start_planned;
static struct beam_ctl_opened newest; /* the last generation begun */

int beam_requests_open(RedisModuleCtx *ctx)
{
	detached = RedisModule_GetDetachedThreadSafeContext(ctx);
	return detached ? 0 : -ENOMEM;
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
		if (r->opened && !opened_too)
			continue;
		set_error(r, "%s", error);
		finish(r);
	}
}

/* ---- tickets -------------------------------------------------------------------------------- */

static void mint(struct request *request, const struct beam_gen *gen, const struct beam_cut *cut)
{
	struct beam_ctl_ticket *ticket = &request->ticket;

	beam_random(ticket->id, sizeof(ticket->id));
	beam_random(ticket->key, sizeof(ticket->key));
	ticket->gen = request->gen = *gen;
	ticket->ttl_ms = TICKET_TTL_MS;
	memcpy(ticket->addr, request->addr, sizeof(ticket->addr));
	request->cut = *cut;
	if (beam_link_ticket(ticket))
		set_error(request, "ERR rdbeamd does not take the ticket; try again");
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

/* Gives the ticket for an image that is there, or for one that is being copied. False: neither can be
 * continued from. */
static bool mint_from_present(struct request *request, const struct stream_facts *stream)
{
	const struct beam_ctl_status *status = beam_link_status();
	bool copying = status->state == BEAM_STATE_COPYING &&
		       status->gen.counter == newest.gen.counter &&
		       status->gen.nonce == newest.gen.nonce;

	if (status->servable.counter && reachable(stream, &status->cut))
		mint(request, &status->servable, &status->cut);
	else if (copying && status->servable.counter && reachable(stream, &newest.cut))
		mint(request, &newest.gen, &newest.cut);
	else
		return false;
	request->reused = true;
	return true;
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
	_exit(err != 0);
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

static void client_address(RedisModuleCtx *ctx, char out[BEAM_ADDR_BYTES])
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

static int wait_for_generation(RedisModuleCtx *ctx, const struct request *prepared)
{
	struct request *request = BEAM_FAULT("request.wait") ? NULL : malloc(sizeof(*request));

	if (!request)
		return RedisModule_ReplyWithError(ctx, "ERR out of memory");
	*request = *prepared;
	request->blocked =
	    RedisModule_BlockClient(ctx, on_reply, on_timeout, on_free,
				    request->wait_ms > 0 ? request->wait_ms : BEGIN_WAIT_MS);
	RedisModule_SetDisconnectCallback(request->blocked, on_disconnect);
	request->next = requests;
	requests = request;
	plan_start();
	return REDISMODULE_OK;
}

int beam_requests_ticket(RedisModuleCtx *ctx, bool fresh)
{
	struct request request = {.kind = REQUEST_TICKET};
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
	client_address(ctx, request.addr);
	if (!fresh && mint_from_present(&request, &stream))
		return beam_request_reply(ctx, &request);
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

/* ---- events --------------------------------------------------------------------------------- */

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
			mint(r, &opened->gen, &opened->cut);
			finish(r);
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
		if (!r->opened || status->gen.counter < r->gen.counter)
			continue;
		bool newer = status->gen.counter > r->gen.counter;

		if (!newer && status->state == BEAM_STATE_FAILED)
			set_error(r, "ERR snapshot failed: %.*s", 200, status->last_error);
		if (newer || status->state == BEAM_STATE_FAILED ||
		    status->state == BEAM_STATE_READY)
			finish(r);
	}
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
