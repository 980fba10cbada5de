/* SPDX-License-Identifier: BSD-3-Clause
 * The registered relays: a short list, searched linearly. */
#include "relays.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "rdb.h"
#include "sockets.h"
#include "text.h"

#define RELAYS_MAX 1024
#define HELD_MAX   2 /* the last image and the one in progress */
#define LATE_MS    5000

struct held {
	struct beam_gen gen; /* counter 0: none */
	struct beam_cut cut;
	uint64_t rank; /* order in which images were held, over all relays */
	uint64_t readers;
};

struct relay {
	struct relay *next;
	uint64_t client;
	char name[BEAM_RELAY_NAME_BYTES];
	char host[BEAM_ADDR_BYTES];
	uint32_t port;
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	uint64_t joined_ms;
	uint64_t wait_ms; /* its longest WAIT, in which it may be silent */
	uint64_t due_ms;  /* when it should have been heard from; 0: it never waited */
	bool told_silent;
	uint64_t complaints;
	struct held held[HELD_MAX];
};

struct beam_relay_counts beam_relay_counts;
static struct relay *relays;
static uint64_t last_rank;
static void (*tell_changed)(void);

static struct relay *find(uint64_t client)
{
	struct relay *relay = relays;

	while (relay && relay->client != client)
		relay = relay->next;
	return relay;
}

static struct held *find_held(struct relay *relay, const struct beam_gen *gen)
{
	for (size_t i = 0; i < HELD_MAX; i++)
		if (beam_gen_same(&relay->held[i].gen, gen))
			return &relay->held[i];
	return NULL;
}

/* ---- coming and going ----------------------------------------------------------------------- */

/* Asked rather than told: for a module that hears of clients' coming and going, Redis before 7.0.6
 * puts each of these clients into database 0 (docs/adr/0105). */
static bool is_connected(const struct relay *relay)
{
	return RedisModule_GetClientInfoById(NULL, relay->client) == REDISMODULE_OK;
}

void beam_relays_on_cron(void)
{
	bool changed = false;

	for (struct relay **at = &relays; *at;) {
		struct relay *relay = *at;

		if (is_connected(relay)) {
			at = &relay->next;
			continue;
		}
		beam_log(BEAM_LOG_NOTICE, "relay %s has gone", relay->name);
		*at = relay->next;
		explicit_bzero(relay, sizeof(*relay));
		free(relay);
		beam_relay_counts.relays--;
		changed = true;
	}
	if (changed)
		tell_changed();
}

void beam_relays_open(void (*changed)(void))
{
	tell_changed = changed;
}

static int reply_joined(RedisModuleCtx *ctx, const struct relay *relay)
{
	char key[2 * BEAM_TICKET_KEY_BYTES + 1];

	beam_to_hex(relay->key, sizeof(relay->key), key);
	RedisModule_ReplyWithMap(ctx, 2);
	RedisModule_ReplyWithCString(ctx, "relay");
	RedisModule_ReplyWithCString(ctx, relay->name);
	RedisModule_ReplyWithCString(ctx, "key");
	RedisModule_ReplyWithCString(ctx, key);
	explicit_bzero(key, sizeof(key));
	return REDISMODULE_OK;
}

int beam_relays_join(RedisModuleCtx *ctx, const char *host, long long port)
{
	uint64_t client = RedisModule_GetClientId(ctx);
	struct relay *relay = find(client);

	if (relay)
		return RedisModule_ReplyWithError(
		    ctx, "ERR this connection has already joined as a relay");
	if (beam_relay_counts.relays == RELAYS_MAX)
		return RedisModule_ReplyWithError(
		    ctx, "ERR there are 1024 relays, which is the maximum");
	relay = calloc(1, sizeof(*relay));
	if (!relay)
		return RedisModule_ReplyWithError(ctx, "ERR out of memory");
	relay->client = client;
	relay->port = (uint32_t)port;
	snprintf(relay->host, sizeof(relay->host), "%s", host);
	snprintf(relay->name, sizeof(relay->name), "%s:%lld", host, port);
	beam_random(relay->key, sizeof(relay->key));
	relay->joined_ms = beam_now_ms();
	relay->next = relays;
	relays = relay;
	beam_relay_counts.relays++;
	beam_log(BEAM_LOG_NOTICE, "relay %s has joined", relay->name);
	return reply_joined(ctx, relay);
}

static int not_a_relay(RedisModuleCtx *ctx)
{
	return RedisModule_ReplyWithError(
	    ctx, "ERR this connection is not a relay's: send RDBEAM.RELAY JOIN first");
}

int beam_relays_hold(RedisModuleCtx *ctx, const struct beam_gen *gen, const struct beam_cut *cut)
{
	struct relay *relay = find(RedisModule_GetClientId(ctx));

	if (!relay)
		return not_a_relay(ctx);
	struct held *held = find_held(relay, gen), *oldest = &relay->held[0];

	if (!held) {
		for (size_t i = 1; i < HELD_MAX; i++)
			if (relay->held[i].rank < oldest->rank)
				oldest = &relay->held[i];
		*oldest = (struct held){.gen = *gen, .cut = *cut, .rank = ++last_rank};
	}
	RedisModule_ReplyWithSimpleString(ctx, "OK");
	tell_changed();
	return REDISMODULE_OK;
}

void beam_relays_heard(uint64_t client, long long wait_ms)
{
	struct relay *relay = find(client);

	if (!relay)
		return;
	/* A relay that retries an image waits for a shorter time, but may be silent for as long as
	 * before while it does so. So keep the longest. */
	if (wait_ms >= 0 && (uint64_t)wait_ms > relay->wait_ms)
		relay->wait_ms = (uint64_t)wait_ms;
	if (relay->due_ms || wait_ms >= 0)
		relay->due_ms = beam_now_ms() + 2 * relay->wait_ms + LATE_MS;
	relay->told_silent = false;
}

int beam_relays_drop(RedisModuleCtx *ctx, const struct beam_gen *gen)
{
	struct relay *relay = find(RedisModule_GetClientId(ctx));
	struct held *held = relay ? find_held(relay, gen) : NULL;

	if (!relay)
		return not_a_relay(ctx);
	if (held)
		memset(held, 0, sizeof(*held));
	return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

/* ---- choosing ------------------------------------------------------------------------------- */

static bool avoided(const struct beam_relay_avoid *avoid, const char *name)
{
	for (size_t i = 0; i < avoid->n; i++)
		if (strcmp(avoid->name[i], name) == 0)
			return true;
	return false;
}

/* True if the relay's host is gone or the relay hangs. TCP keepalive would notice the former after
 * ten minutes, and the latter never. */
static bool is_silent(struct relay *relay)
{
	if (!relay->due_ms || beam_now_ms() < relay->due_ms)
		return false;
	if (!relay->told_silent)
		beam_log(BEAM_LOG_WARNING,
			 "relay %s is silent: no pull is sent there until it is heard from again",
			 relay->name);
	relay->told_silent = true;
	return true;
}

/* One complaint counts as much as eight readers. */
static uint64_t burden(const struct relay *relay, const struct held *held)
{
	return held->readers + 8 * relay->complaints;
}

static void make_id(const struct relay *relay, const struct beam_gen *gen,
		    uint8_t id[BEAM_TICKET_ID_BYTES])
{
	uint64_t end_ms = beam_now_ms() - relay->joined_ms + BEAM_RELAY_TICKET_MS;

	beam_random(id, BEAM_TICKET_ID_BYTES);
	beam_put_le32(id, (uint32_t)(end_ms / BEAM_RELAY_TICK_MS));
	beam_put_le16(id + 4, (uint16_t)gen->counter);
}

bool beam_relays_pick(const struct beam_gen *gen, uint64_t client,
		      const struct beam_relay_avoid *avoid, struct beam_relay_pick *out)
{
	struct relay *self = find(client), *best = NULL;
	struct held *own = self ? find_held(self, gen) : NULL, *best_held = NULL;

	for (struct relay *relay = relays; relay; relay = relay->next) {
		struct held *held = find_held(relay, gen);

		if (!held || relay == self || (own && held->rank > own->rank) ||
		    avoided(avoid, relay->name) || !is_connected(relay) || is_silent(relay))
			continue;
		if (best && burden(relay, held) >= burden(best, best_held))
			continue;
		best = relay;
		best_held = held;
	}
	if (!best)
		return false;
	best_held->readers++;
	memcpy(out->name, best->name, sizeof(out->name));
	memcpy(out->host, best->host, sizeof(out->host));
	memcpy(out->key, best->key, sizeof(out->key));
	out->port = best->port;
	make_id(best, gen, out->id);
	beam_relay_counts.tickets++;
	return true;
}

void beam_relays_complain(const struct beam_relay_avoid *avoid, const char *reader)
{
	/* Only the last one is new. */
	const char *name = avoid->n ? avoid->name[avoid->n - 1] : "";

	for (struct relay *relay = relays; *name && relay; relay = relay->next) {
		if (strcmp(relay->name, name) != 0)
			continue;
		relay->complaints++;
		beam_relay_counts.complaints++;
		beam_log(BEAM_LOG_WARNING, "a pull from %s has given up on relay %s: see its log",
			 reader, name);
		return;
	}
}

bool beam_relays_is_one(uint64_t client)
{
	return find(client) != NULL;
}

uint32_t beam_relays_missing(const struct beam_gen *gen)
{
	uint32_t n = 0;

	for (struct relay *relay = relays; relay; relay = relay->next)
		n += !find_held(relay, gen) && is_connected(relay) && !is_silent(relay);
	return n;
}

bool beam_relays_held(size_t i, struct beam_gen *gen, struct beam_cut *cut)
{
	for (struct relay *relay = relays; relay; relay = relay->next) {
		for (size_t k = 0; k < HELD_MAX; k++) {
			if (!relay->held[k].gen.counter || i-- > 0)
				continue;
			*gen = relay->held[k].gen;
			*cut = relay->held[k].cut;
			return true;
		}
	}
	return false;
}
