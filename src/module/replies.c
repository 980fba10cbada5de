/* SPDX-License-Identifier: BSD-3-Clause
 * Answers to RDBEAM.TICKET and RDBEAM.SNAPSHOT, as maps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "link.h"
#include "request.h"
#include "snapshot_facts.h"

static void reply_pair(RedisModuleCtx *ctx, const char *key, const char *value)
{
	RedisModule_ReplyWithCString(ctx, key);
	RedisModule_ReplyWithCString(ctx, value);
}

static void reply_number(RedisModuleCtx *ctx, const char *key, long long value)
{
	RedisModule_ReplyWithCString(ctx, key);
	RedisModule_ReplyWithLongLong(ctx, value);
}

static void to_hex(const uint8_t *bytes, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static int reply_ticket(RedisModuleCtx *ctx, const struct request *request)
{
	const struct beam_ctl_status *status = beam_link_status();
	bool known = status->gen.counter == request->gen.counter;
	char id[2 * BEAM_TICKET_ID_BYTES + 1], key[2 * BEAM_TICKET_KEY_BYTES + 1], nonce[24],
	    text[32];

	to_hex(request->ticket.id, BEAM_TICKET_ID_BYTES, id);
	to_hex(request->ticket.key, BEAM_TICKET_KEY_BYTES, key);
	snprintf(nonce, sizeof(nonce), "%" PRIu64, request->gen.nonce);
	beam_config_get(ctx, "min-replicas-to-write", text, sizeof(text));
	RedisModule_ReplyWithMap(ctx, 16);
	reply_pair(ctx, "id", id);
	reply_pair(ctx, "key", key);
	reply_pair(ctx, "transport", beam_link_transports());
	reply_number(ctx, "port", beam_link_port());
	reply_number(ctx, "tls", beam_link_by_tls());
	reply_pair(ctx, "nonce", nonce);
	reply_number(ctx, "counter", (long long)request->gen.counter);
	reply_pair(ctx, "replid", request->cut.replid);
	reply_number(ctx, "offset", request->cut.offset);
	reply_number(ctx, "segment_bytes", beam_config.segment_size);
	reply_pair(ctx, "state",
		   known && status->state >= BEAM_STATE_FLUSHING ? "ready" : "copying");
	reply_number(ctx, "reused", request->reused);
	reply_number(ctx, "keys", known ? (long long)status->keys : 0);
	reply_number(ctx, "copy_ms", known ? (long long)status->copy_ms : 0);
	reply_number(ctx, "min_replicas", strtoll(text, NULL, 10));
	return reply_number(ctx, "ttl_ms", TICKET_TTL_MS), REDISMODULE_OK;
}

static int reply_snapshot(RedisModuleCtx *ctx, const struct request *request)
{
	const struct beam_ctl_status *status = beam_link_status();
	bool known = status->gen.counter == request->gen.counter;
	bool done = !known || status->state == BEAM_STATE_READY;
	char generation[48];

	snprintf(generation, sizeof(generation), "%016" PRIx64 "-%" PRIu64, request->gen.nonce,
		 request->gen.counter);
	RedisModule_ReplyWithMap(ctx, 7);
	reply_pair(ctx, "generation", generation);
	reply_pair(ctx, "state", done ? "ready" : "copying");
	reply_number(ctx, "keys", known ? (long long)status->keys : 0);
	reply_number(ctx, "bytes", known ? (long long)status->image_bytes : 0);
	reply_number(ctx, "copy_ms", known ? (long long)status->copy_ms : 0);
	reply_pair(ctx, "replid", request->cut.replid);
	reply_number(ctx, "offset", request->cut.offset);
	return REDISMODULE_OK;
}

void beam_reply_hex(RedisModuleCtx *ctx, const uint8_t *bytes, size_t len)
{
	char text[2 * BEAM_TICKET_KEY_BYTES + 1] = "";

	to_hex(bytes, len < BEAM_TICKET_KEY_BYTES ? len : BEAM_TICKET_KEY_BYTES, text);
	RedisModule_ReplyWithCString(ctx, text);
}

int beam_request_reply(RedisModuleCtx *ctx, const struct request *request)
{
	if (request->error[0])
		return RedisModule_ReplyWithError(ctx, request->error);
	return request->kind == REQUEST_TICKET ? reply_ticket(ctx, request)
					       : reply_snapshot(ctx, request);
}
