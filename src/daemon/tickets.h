/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tickets: who may pull which generation. Each can be used once, for a short time, from one
 * address. The store is bounded: when it is full, the ticket that expires first is dropped. Times
 * are monotonic milliseconds, given by the caller. One thread.
 */
#ifndef DAEMON_TICKETS_H
#define DAEMON_TICKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "ctl.h"

#define TICKETS_MAX       1024
#define TICKET_TTL_MAX_MS 60000

struct ticket {
	uint64_t expires_ms; /* 0: free */
	struct beam_gen gen;
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	uint8_t addr[BEAM_ADDR_PACKED]; /* IPv6, or IPv4 mapped into IPv6 */
};

struct tickets {
	struct ticket place[TICKETS_MAX];
};

/* Stores a copy of the ticket. Returns 0, or -EINVAL if its address is invalid or its lifetime is
 * 0. */
int tickets_add(struct tickets *store, const struct beam_ctl_ticket *ticket, uint64_t now_ms);

/* Finds the ticket `id` for `peer_addr` (text), valid until the store changes. Returns NULL with a
 * reason for the log in *why (static storage): unknown or used, expired, or bound to another
 * address. Compares all ids in constant time. */
struct ticket *tickets_find(struct tickets *store, const uint8_t id[BEAM_TICKET_ID_BYTES],
			    const char *peer_addr, uint64_t now_ms, const char **why);

/* Consumes a ticket and wipes its secret. */
void tickets_spend(struct ticket *ticket);

/* True while an unused ticket names this generation. */
bool tickets_name(const struct tickets *store, struct beam_gen gen, uint64_t now_ms);

/* Compares in a time that does not depend on where the bytes differ. */
bool tickets_equal(const void *a, const void *b, size_t len_bytes);

#endif
