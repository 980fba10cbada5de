/* SPDX-License-Identifier: BSD-3-Clause
 * The store of tickets: an array that is always searched as a whole. */
#include "tickets.h"

#include <errno.h>
#include <string.h>

bool tickets_equal(const void *a, const void *b, size_t len_bytes)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t differ = 0;

	for (size_t i = 0; i < len_bytes; i++)
		differ |= x[i] ^ y[i];
	return differ == 0;
}

static struct ticket *free_place(struct tickets *store, uint64_t now_ms)
{
	struct ticket *soonest = &store->place[0];

	for (size_t i = 0; i < TICKETS_MAX; i++) {
		struct ticket *place = &store->place[i];

		if (place->expires_ms <= now_ms)
			tickets_spend(place);
		if (place->expires_ms < soonest->expires_ms)
			soonest = place;
	}
	return soonest;
}

int tickets_add(struct tickets *store, const struct beam_ctl_ticket *ticket, uint64_t now_ms)
{
	uint32_t ttl_ms = ticket->ttl_ms;
	uint8_t addr[BEAM_ADDR_PACKED];

	if (!memchr(ticket->addr, '\0', sizeof(ticket->addr)) ||
	    !beam_address_pack(ticket->addr, addr) || !ttl_ms)
		return -EINVAL;
	if (ttl_ms > TICKET_TTL_MAX_MS)
		ttl_ms = TICKET_TTL_MAX_MS;
	struct ticket *place = free_place(store, now_ms);

	place->expires_ms = now_ms + ttl_ms;
	place->gen = ticket->gen;
	memcpy(place->id, ticket->id, sizeof(place->id));
	memcpy(place->key, ticket->key, sizeof(place->key));
	memcpy(place->addr, addr, sizeof(place->addr));
	return 0;
}

struct ticket *tickets_find(struct tickets *store, const uint8_t id[BEAM_TICKET_ID_BYTES],
			    const char *peer_addr, uint64_t now_ms, const char **why)
{
	uint8_t addr[BEAM_ADDR_PACKED];
	struct ticket *found = NULL;

	for (size_t i = 0; i < TICKETS_MAX; i++) {
		bool used = store->place[i].expires_ms != 0;

		if (tickets_equal(store->place[i].id, id, BEAM_TICKET_ID_BYTES) & used)
			found = &store->place[i];
	}
	if (!found) {
		*why = "unknown or used before";
		return NULL;
	}
	if (found->expires_ms <= now_ms) {
		tickets_spend(found);
		*why = "expired";
		return NULL;
	}
	if (!beam_address_pack(peer_addr, addr) ||
	    !tickets_equal(addr, found->addr, sizeof(addr))) {
		*why = "bound to another address";
		return NULL;
	}
	return found;
}

void tickets_spend(struct ticket *ticket)
{
	explicit_bzero(ticket, sizeof(*ticket));
}

static bool same_gen(struct beam_gen a, struct beam_gen b)
{
	return a.nonce == b.nonce && a.counter == b.counter;
}

bool tickets_name(const struct tickets *store, struct beam_gen gen, uint64_t now_ms)
{
	for (size_t i = 0; i < TICKETS_MAX; i++)
		if (store->place[i].expires_ms > now_ms && same_gen(store->place[i].gen, gen))
			return true;
	return false;
}
