/* SPDX-License-Identifier: BSD-3-Clause
 * What clients ask for: the commands, the fork that makes an image for them, and the events that
 * let them go on. */
#include "requests.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "child_info.h"
#include "clock.h"
#include "config.h"
#include "cut.h"
#include "fault.h"
#include "hook.h"
#include "images.h"
#include "link.h"
#include "relays.h"
#include "request.h"
#include "save.h"
#include "shared.h"
#include "snapshot_facts.h"
#include "text.h"
#include "tickets.h"

#define CLIENT_UNIX_SOCKET (1 << 4)

static RedisModuleCtx *detached;
static bool forking; /* our own child runs and has not begun its generation */
static bool start_planned;
static uint64_t forks; /* all forks of the server, for any purpose */

int beam_requests_open(RedisModuleCtx *ctx)
{
	detached = RedisModule_GetDetachedThreadSafeContext(ctx);
	return detached ? 0 : -ENOMEM;
}

void beam_requests_close(void)
{
	beam_redis_free_context(&detached);
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
		return; /* it began its generation; the message is under way */
	beam_request_finish_all(text);
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
	beam_hook_tell_others();
	int err = beam_save_to_memory(ctx, now_ns);

	beam_child_info_cow(true);
	_exit(err ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void plan_start(void);

/* A TICKET needs an image that can be continued from. Without this, each image made would be found
 * useless and another one be started. */
static void refuse_tickets(const char *why)
{
	struct request *next;

	for (struct request *r = beam_request_first(); r; r = next) {
		next = r->next;
		if (r->opened || r->kind != REQUEST_TICKET)
			continue;
		beam_request_fail(r, "ERR %s", why);
		beam_request_finish(r);
	}
}

static void start(RedisModuleCtx *ctx, void *arg)
{
	const char *obstacle = beam_cut_obstacle(ctx);
	pid_t self = getpid();
	bool wanted = false;

	(void)arg;
	start_planned = false;
	if (obstacle)
		refuse_tickets(obstacle);
	for (struct request *r = beam_request_first(); r; r = r->next)
		wanted |= !r->opened && r->kind != REQUEST_EARLY_TICKET;
	if (!wanted || forking)
		return;
	beam_hook_own_fork(1);
	int pid = BEAM_FAULT("request.fork") ? -1 : RedisModule_Fork(on_own_child_done, NULL);

	if (pid == 0)
		child_main(ctx, self);
	beam_hook_own_fork(0);
	forking = pid > 0;
	/* If another child is running, its end is an event that starts us again. Otherwise nothing
	 * would: give up. */
	if (pid < 0 && !(RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_ACTIVE_CHILD))
		beam_request_finish_all(
		    "ERR the server cannot fork: its log says why (too little memory: set "
		    "vm.overcommit_memory to 1; or a process limit)");
}

static void plan_start(void)
{
	if (!start_planned)
		RedisModule_CreateTimer(detached, 0, start, NULL);
	start_planned = true;
}

/* ---- commands ------------------------------------------------------------------------------- */

static void no_daemon(char *text, size_t cap)
{
	snprintf(text, cap, "ERR rdbeamd is %s: %s", beam_link_state_name(),
		 beam_link_error()[0] ? beam_link_error() : "try again in a moment");
}

/* Returns true after replying with an error if no request can be served now. One that `waits` may
 * come before the daemon. */
static bool refuse_state(RedisModuleCtx *ctx, bool waits)
{
	char text[BEAM_TEXT_BYTES + 64];
	const char *why = text;

	if (RedisModule_GetContextFlags(ctx) &
	    (REDISMODULE_CTX_FLAGS_LUA | REDISMODULE_CTX_FLAGS_MULTI))
		why = "ERR not allowed in a transaction or a script: it may have to fork";
	else if (beam_config.mode == BEAM_MODE_OFF)
		why = "ERR rdbeam.mode is off; CONFIG SET rdbeam.mode replace";
	else if (beam_link_state() != BEAM_LINK_UP && !(waits && beam_link_comes_soon()))
		no_daemon(text, sizeof(text));
	else
		return false;
	RedisModule_ReplyWithError(ctx, why);
	return true;
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

static bool choose_present(struct request *request, const struct beam_stream *stream)
{
	request->reused =
	    beam_images_choose(stream, request->ask.relayed, &request->gen, &request->cut);
	return request->reused;
}

enum found { FOUND_IMAGE, FOUND_NONE, FOUND_OBSTACLE };

/* Finds what can serve a TICKET at present: an image that is there, or none, so that one must be
 * made. For an obstacle, request->error has the text. */
static enum found look_for_image(RedisModuleCtx *ctx, struct request *request)
{
	const struct beam_ticket_ask *ask = &request->ask;
	struct beam_stream stream;

	if (!beam_link_port()) {
		beam_request_fail(request, "ERR nobody listens for pulls: %s",
				  beam_link_error()[0]
				      ? beam_link_error()
				      : "rdbeam.transport is off, the server has no port or no "
					"address, or CONFIG is renamed, and rdbeam.bind and "
					"rdbeam.port are not set");
		return FOUND_OBSTACLE;
	}
	beam_stream_read(ctx, &stream);
	if (!stream.backlog) {
		beam_request_fail(request, "NOBACKLOG the server has no replication backlog yet: "
					   "the first PSYNC creates it");
		return FOUND_OBSTACLE;
	}
	if (ask->gen.counter) {
		request->gen = ask->gen;
		request->reused = true;
		beam_images_cut(&request->gen, &request->cut);
		return FOUND_IMAGE;
	}
	if (!ask->fresh && choose_present(request, &stream))
		return FOUND_IMAGE;
	if (!stream.cut_off)
		return FOUND_NONE;
	beam_request_fail(request, "ERR this replica's link to its primary is down, so a new image "
				   "could not be continued from; try again when INFO says "
				   "master_link_status:up");
	return FOUND_OBSTACLE;
}

static int wait_for_generation(RedisModuleCtx *ctx, const struct request *prepared)
{
	if (beam_request_block(ctx, prepared,
			       prepared->wait_ms > 0 ? prepared->wait_ms : BEAM_BEGIN_WAIT_MS))
		plan_start();
	return REDISMODULE_OK;
}

int beam_requests_ticket(RedisModuleCtx *ctx, const struct beam_ticket_ask *ask)
{
	struct request request = {.kind = REQUEST_TICKET,
				  .client = RedisModule_GetClientId(ctx),
				  .forks = forks,
				  .outlived = beam_link_state() == BEAM_LINK_DOWN,
				  .ask = *ask};

	if (refuse_state(ctx, true))
		return REDISMODULE_OK;
	beam_requests_client_address(ctx, request.addr);
	beam_relays_complain(&ask->avoid, request.addr);
	/* The daemon must know of a new password or TLS setting before the pull connects. */
	beam_link_refresh();
	if (!beam_link_settled()) {
		request.kind = REQUEST_EARLY_TICKET;
		beam_request_block(ctx, &request, BEAM_BEGIN_WAIT_MS);
		return REDISMODULE_OK;
	}
	switch (look_for_image(ctx, &request)) {
	case FOUND_IMAGE:
		return beam_ticket_answer(ctx, &request);
	case FOUND_NONE:
		return wait_for_generation(ctx, &request);
	case FOUND_OBSTACLE:
		break;
	}
	return beam_request_reply(ctx, &request);
}

/* Continues the requests that came while there was no daemon, or while settings were under way to
 * it: they would have been given a port on which nothing listens any more. */
void beam_requests_on_ready(void)
{
	struct request *next;

	if (!beam_link_settled())
		return;
	for (struct request *r = beam_request_first(); r; r = next) {
		next = r->next;
		if (r->kind != REQUEST_EARLY_TICKET)
			continue;
		r->kind = REQUEST_TICKET;
		switch (look_for_image(detached, r)) {
		case FOUND_IMAGE:
			beam_ticket_serve(r);
			break;
		case FOUND_NONE:
			plan_start();
			break;
		case FOUND_OBSTACLE:
			beam_request_finish(r);
		}
	}
}

int beam_requests_snapshot(RedisModuleCtx *ctx, long long wait_ms)
{
	struct request request = {.kind = REQUEST_SNAPSHOT, .wait_ms = wait_ms, .forks = forks};

	if (refuse_state(ctx, false))
		return REDISMODULE_OK;
	return wait_for_generation(ctx, &request);
}

/* ---- news ---------------------------------------------------------------------------------- */

static bool take_news(struct request *request)
{
	const struct beam_gen *gen = beam_images_newest();

	if (!gen->counter || beam_gen_same(gen, &request->gen))
		return false;
	request->gen = *gen;
	return true;
}

static void tell_news(void)
{
	struct request *next;

	for (struct request *r = beam_request_first(); r; r = next) {
		next = r->next;
		if (r->kind == REQUEST_NEWS && take_news(r))
			beam_request_finish(r);
	}
}

int beam_requests_news(RedisModuleCtx *ctx, const struct beam_gen *known, long long wait_ms)
{
	struct request request = {.kind = REQUEST_NEWS, .opened = true, .gen = *known};

	if (refuse_state(ctx, false))
		return REDISMODULE_OK;
	if (take_news(&request))
		return beam_request_reply(ctx, &request);
	beam_request_block(ctx, &request, wait_ms);
	return REDISMODULE_OK;
}

/* ---- events --------------------------------------------------------------------------------- */

/* Serves the requests that came between an image's beginning and the message that it can be served.
 * Otherwise they would wait until the child ends, and then for another image. */
static void serve_late(void)
{
	struct beam_stream stream;
	struct request *next;
	bool read = false;

	for (struct request *r = beam_request_first(); r; r = next) {
		next = r->next;
		if (r->kind != REQUEST_TICKET || r->opened || r->ask.fresh)
			continue;
		if (!read)
			beam_stream_read(detached, &stream);
		read = true;
		if (choose_present(r, &stream))
			beam_ticket_serve(r);
	}
}

/* A request for a new image wants all that was written before it. A child that was forked earlier
 * but begins its generation only now lacks some of that; its end will start another one. */
static bool is_new_enough(const struct request *request)
{
	bool must_be_new = request->kind == REQUEST_SNAPSHOT || request->ask.fresh;

	return !must_be_new || request->forks < forks;
}

void beam_requests_on_opened(const struct beam_ctl_opened *opened)
{
	struct beam_stream stream;
	struct request *next;

	beam_images_on_opened(opened);
	(void)BEAM_FAULT("request.opened");
	beam_stream_read(detached, &stream);
	if (opened->kind == BEAM_SNAPSHOT_MEMORY)
		forking = false;
	for (struct request *r = beam_request_first(); r; r = next) {
		next = r->next;
		if (r->opened || !is_new_enough(r))
			continue;
		if (r->kind == REQUEST_TICKET && beam_stream_reaches(&stream, &opened->cut)) {
			r->gen = opened->gen;
			r->cut = opened->cut;
			beam_ticket_serve(r);
		} else if (r->kind == REQUEST_SNAPSHOT && opened->kind == BEAM_SNAPSHOT_MEMORY) {
			r->opened = true;
			r->gen = opened->gen;
			r->cut = opened->cut;
			if (!r->wait_ms)
				beam_request_finish(r);
		}
	}
}

/* The next daemon can serve a TICKET, too, perhaps with another image. If that one dies as well, it
 * may be because of this request. */
static bool outlives(struct request *r)
{
	if (r->outlived || !beam_link_comes_soon() ||
	    (r->kind != REQUEST_TICKET && r->kind != REQUEST_EARLY_TICKET))
		return false;
	r->kind = REQUEST_EARLY_TICKET;
	r->opened = r->keyless = r->reused = false;
	r->outlived = true;
	return true;
}

static void on_no_daemon(void)
{
	char text[BEAM_TEXT_BYTES + 64];
	struct request *next;

	forking = false;
	no_daemon(text, sizeof(text));
	for (struct request *r = beam_request_first(); r; r = next) {
		next = r->next;
		if (r->kind == REQUEST_NEWS || outlives(r))
			continue;
		beam_request_fail(r, "%s", text);
		beam_request_finish(r);
	}
}

void beam_requests_on_status(const struct beam_ctl_status *status)
{
	struct request *next;

	if (!status) {
		on_no_daemon();
		return;
	}
	for (struct request *r = beam_request_first(); r; r = next) {
		next = r->next;
		if (r->kind != REQUEST_SNAPSHOT || !r->opened ||
		    status->gen.counter < r->gen.counter)
			continue;
		bool newer = status->gen.counter > r->gen.counter;

		if (!newer && status->state == BEAM_STATE_FAILED)
			beam_request_fail(r, "ERR snapshot failed: %.*s", 200, status->last_error);
		/* A later one begins only when this one is complete. */
		r->done = newer || status->state == BEAM_STATE_READY;
		if (r->done || status->state == BEAM_STATE_FAILED)
			beam_request_finish(r);
	}
	serve_late();
	tell_news();
}

void beam_requests_on_child(int died)
{
	forks += !died;
	if (died)
		beam_images_remove_temp();
	if (died && beam_request_first())
		plan_start();
}
