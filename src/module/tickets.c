/* SPDX-License-Identifier: BSD-3-Clause
 * Hands out tickets. Waiting TICKETs that know their generation are reconsidered whenever a relay
 * joins, leaves or gets an image. */
#include "tickets.h"

#include <errno.h>
#include <string.h>

#include "clock.h"
#include "config.h"
#include "link.h"
#include "rdbeam/error.h"
#include "relays.h"
#include "sockets.h"
#include "text.h"

#define RELAY_PATIENCE_MS 2000 /* how long to wait for a relay to begin with an image */

static RedisModuleCtx *detached;
static bool patience_planned;

int beam_tickets_open(RedisModuleCtx *ctx)
{
	detached = RedisModule_GetDetachedThreadSafeContext(ctx);
	return detached ? 0 : -ENOMEM;
}

void beam_tickets_close(void)
{
	beam_redis_free_context(&detached);
}

/* How many tickets for the daemon itself were given, for the images that were asked for last. */
static struct given {
	struct beam_gen gen;
	uint32_t times;
} given[4];

static struct given *given_for(const struct beam_gen *gen)
{
	static size_t next;

	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		if (beam_gen_same(&given[i].gen, gen))
			return &given[i];
	struct given *oldest = &given[next++ % (sizeof(given) / sizeof(given[0]))];

	*oldest = (struct given){.gen = *gen};
	return oldest;
}

/* Makes a ticket for the daemon to serve request->gen. Returns false when the daemon has died, which
 * the link has not seen yet: the request then waits for the next one. */
static bool mint(struct request *request)
{
	struct beam_ctl_ticket *ticket = &request->ticket;

	given_for(&request->gen)->times++;
	request->relay.name[0] = request->relay.host[0] = '\0';

	beam_random(ticket->id, sizeof(ticket->id));
	beam_random(ticket->key, sizeof(ticket->key));
	ticket->gen = request->gen;
	ticket->ttl_ms = TICKET_TTL_MS;
	memcpy(ticket->addr, request->addr, sizeof(ticket->addr));
	int err = beam_link_ticket(ticket);

	if (err == BEAM_E_GONE) {
		request->kind = REQUEST_EARLY_TICKET;
		request->opened = false;
		return false;
	}
	if (err)
		beam_request_fail(request, "ERR rdbeamd did not accept the ticket; try again");
	return true;
}

/* Asks the daemon for the key of a ticket for request->relay. Wipes the relay's own key. */
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

void beam_tickets_on_relay_key(const struct beam_ctl_relay_key *key)
{
	for (struct request *r = beam_request_first(); r; r = r->next) {
		if (!r->keyless || memcmp(r->relay.id, key->id, sizeof(key->id)) != 0)
			continue;
		memcpy(r->ticket.id, key->id, sizeof(key->id));
		memcpy(r->ticket.key, key->key, sizeof(key->key));
		if (key->code)
			beam_request_fail(r, "ERR no ticket for relay %s from address %s",
					  r->relay.name, r->addr);
		beam_request_finish(r);
		return;
	}
}

/* True if the daemon should send the image itself. Some of its rdbeam.fanout times are reserved for
 * relays that have not fetched it yet. */
static bool daemon_serves(const struct request *request)
{
	uint32_t missing = beam_relays_missing(&request->gen);
	uint32_t left = (uint32_t)beam_config.fanout;
	uint32_t times = given_for(&request->gen)->times;

	left = times < left ? left - times : 0;
	return beam_relays_is_one(request->client) ? left > 0 : left > missing;
}

static void plan_patience(void);

/* Serves a blocked TICKET that knows its generation: with a ticket for the daemon or for a relay,
 * or later, when a relay holds the image or patience has run out. */
static void hand_out(struct request *r)
{
	bool a_relay = beam_relays_is_one(r->client);
	bool any = beam_relays_missing(&r->gen) > (a_relay ? 1u : 0u);
	bool late = beam_now_ms() - r->since_ms >= RELAY_PATIENCE_MS;
	bool minted = true;

	if (a_relay && daemon_serves(r)) {
		minted = mint(r);
	} else if (beam_relays_pick(&r->gen, r->client, &r->ask.avoid, &r->relay)) {
		if (ask_key(r) == 0)
			return; /* finished when the key arrives */
		minted = mint(r);
	} else if (any && !late && !r->ask.avoid.n && !daemon_serves(r)) {
		plan_patience();
		return;
	} else {
		minted = mint(r);
	}
	if (minted)
		beam_request_finish(r);
}

void beam_tickets_on_relays(void)
{
	struct request *next;

	for (struct request *r = beam_request_first(); r; r = next) {
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
	beam_tickets_on_relays();
}

static void plan_patience(void)
{
	if (!patience_planned)
		RedisModule_CreateTimer(detached, RELAY_PATIENCE_MS, on_patience, NULL);
	patience_planned = true;
}

int beam_ticket_answer(RedisModuleCtx *ctx, struct request *prepared)
{
	if (!prepared->ask.relayed) {
		if (mint(prepared))
			return beam_request_reply(ctx, prepared);
		beam_request_block(ctx, prepared, BEAM_BEGIN_WAIT_MS);
		return REDISMODULE_OK;
	}
	prepared->opened = true;
	prepared->since_ms = beam_now_ms();
	struct request *request = beam_request_block(ctx, prepared, BEAM_BEGIN_WAIT_MS);

	if (request)
		hand_out(request);
	return REDISMODULE_OK;
}

void beam_ticket_serve(struct request *r)
{
	r->opened = true;
	r->since_ms = beam_now_ms();
	if (r->ask.relayed) {
		hand_out(r);
		return;
	}
	if (mint(r))
		beam_request_finish(r);
}
