/* SPDX-License-Identifier: BSD-3-Clause
 * The list of blocked clients. Each is answered once, by its reply callback, or by its timeout. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fault.h"
#include "request.h"

static struct request *requests;

struct request *beam_request_first(void)
{
	return requests;
}

void beam_request_fail(struct request *request, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(request->error, sizeof(request->error), fmt, args);
	va_end(args);
}

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
	RedisModuleBlockedClient *blocked = RedisModule_GetBlockedClientHandle(ctx);
	struct request *request = unlink_blocked(blocked);

	(void)argv;
	(void)argc;
	if (!request)
		return RedisModule_ReplyWithError(ctx, "ERR the request timed out");
	if (request->kind == REQUEST_SNAPSHOT && request->opened)
		beam_request_reply(ctx, request); /* WAIT is over: reports the state so far */
	else if (request->kind == REQUEST_NEWS)
		RedisModule_ReplyWithNull(ctx);
	else if (request->kind == REQUEST_EARLY_TICKET)
		RedisModule_ReplyWithError(ctx, "ERR rdbeamd has not confirmed its settings; "
						"try again, and see rdbeam status");
	else
		RedisModule_ReplyWithError(
		    ctx, "BUSY another child of the server (AOF rewrite, stock saving) has been "
			 "running all the time; try again when INFO persistence shows none");
	/* The server keeps its part of a blocked client until the module unblocks it. */
	RedisModule_UnblockClient(blocked, request);
	return REDISMODULE_OK;
}

static void on_disconnect(RedisModuleCtx *ctx, RedisModuleBlockedClient *blocked)
{
	struct request *request = unlink_blocked(blocked);

	(void)ctx;
	if (request)
		RedisModule_UnblockClient(blocked, request);
}

void beam_request_finish(struct request *request)
{
	unlink_blocked(request->blocked);
	RedisModule_UnblockClient(request->blocked, request);
}

void beam_request_finish_all(const char *error)
{
	struct request *next;

	for (struct request *r = requests; r; r = next) {
		next = r->next;
		if (r->opened || r->kind == REQUEST_EARLY_TICKET || r->kind == REQUEST_NEWS)
			continue;
		beam_request_fail(r, "%s", error);
		beam_request_finish(r);
	}
}

struct request *beam_request_block(RedisModuleCtx *ctx, const struct request *prepared,
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
