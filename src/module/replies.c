/* SPDX-License-Identifier: BSD-3-Clause
 * The replies to RDBEAM.TICKET, RDBEAM.SNAPSHOT and RDBEAM.RELAY WAIT. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "link.h"
#include "request.h"
#include "snapshot_facts.h"
#include "text.h"

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

static int reply_ticket(RedisModuleCtx *ctx, const struct request *request)
{
	const struct beam_ctl_status *status = beam_link_status();
	bool known = beam_gen_same(&status->gen, &request->gen);
	char id[2 * BEAM_TICKET_ID_BYTES + 1], key[2 * BEAM_TICKET_KEY_BYTES + 1], nonce[24],
	    text[32], public_key[2 * BEAM_PUBLIC_BYTES + 1];
	bool relayed = request->relay.name[0] != '\0';

	beam_to_hex(request->ticket.id, BEAM_TICKET_ID_BYTES, id);
	beam_to_hex(request->ticket.key, BEAM_TICKET_KEY_BYTES, key);
	beam_to_hex(beam_link_public_key(), BEAM_PUBLIC_BYTES, public_key);
	snprintf(nonce, sizeof(nonce), "%" PRIu64, request->gen.nonce);
	/* If it is unknown, report 1: then a pull takes care not to be counted as a replica (ADR
	 * 5). */
	bool known_min = beam_config_get(ctx, "min-replicas-to-write", text, sizeof(text));

	RedisModule_ReplyWithMap(ctx, 19);
	reply_pair(ctx, "id", id);
	reply_pair(ctx, "key", key);
	reply_pair(ctx, "transport", relayed ? "tcp" : beam_link_transports());
	reply_pair(ctx, "relay", request->relay.name);
	reply_pair(ctx, "host", request->relay.host);
	reply_number(ctx, "port", relayed ? request->relay.port : beam_link_port());
	reply_pair(ctx, "public", public_key);
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
	reply_number(ctx, "min_replicas", known_min ? strtoll(text, NULL, 10) : 1);
	return reply_number(ctx, "ttl_ms", TICKET_TTL_MS), REDISMODULE_OK;
}

static int reply_snapshot(RedisModuleCtx *ctx, const struct request *request)
{
	const struct beam_ctl_status *status = beam_link_status();
	bool known = beam_gen_same(&status->gen, &request->gen);
	bool done = request->done || (known && status->state == BEAM_STATE_READY);
	char generation[BEAM_GEN_TEXT_BYTES];

	beam_gen_to_text(&request->gen, generation);
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

	beam_to_hex(bytes, len < BEAM_TICKET_KEY_BYTES ? len : BEAM_TICKET_KEY_BYTES, text);
	RedisModule_ReplyWithCString(ctx, text);
}

int beam_request_reply(RedisModuleCtx *ctx, const struct request *request)
{
	char generation[BEAM_GEN_TEXT_BYTES];

	if (request->error[0])
		return RedisModule_ReplyWithError(ctx, request->error);
	switch (request->kind) {
	case REQUEST_TICKET:
	case REQUEST_EARLY_TICKET:
		return reply_ticket(ctx, request);
	case REQUEST_SNAPSHOT:
		return reply_snapshot(ctx, request);
	case REQUEST_NEWS:
		break;
	}
	beam_gen_to_text(&request->gen, generation);
	return RedisModule_ReplyWithCString(ctx, generation);
}
