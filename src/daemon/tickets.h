/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tickets: who may pull which generation. Each is good once, for a short time, from one address.
 * The store is bounded; when it is full the ticket nearest its end makes room. Time is the
 * caller's, monotonic milliseconds. One thread.
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
	uint64_t expires_ms; /* 0: the place is free */
	struct beam_gen gen;
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	uint8_t addr[BEAM_ADDR_PACKED]; /* IPv6, or IPv4 mapped into it */
};

struct tickets {
	struct ticket place[TICKETS_MAX];
};

/* Stores a ticket. 0; -EINVAL when its address is none or its time is 0. */
int tickets_add(struct tickets *store, const struct beam_ctl_ticket *ticket, uint64_t now_ms);

/* Finds a ticket for `peer_addr` (text). NULL with a reason for the log in *why: unknown (used
 * ones are), expired, or bound to another address. All ids are compared, in constant time. */
struct ticket *tickets_find(struct tickets *store, const uint8_t id[BEAM_TICKET_ID_BYTES],
			    const char *peer_addr, uint64_t now_ms, const char **why);

/* Uses a ticket up: its secret is wiped. */
void tickets_spend(struct ticket *ticket);

/* True while an unused ticket names this generation. */
bool tickets_name(const struct tickets *store, struct beam_gen gen, uint64_t now_ms);

/* Equal bytes, in a time that tells nothing of where they differ. */
bool tickets_equal(const void *a, const void *b, size_t len_bytes);

#endif
