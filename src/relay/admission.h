/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who may read from a relay. The primary hands out tickets for it without asking it; all that both
 * know is the key that the primary gave when the relay joined, and when that was. The first half of
 * a ticket's id says until when it is good, counted from there; two bytes more are the low ones of the
 * generation's counter, so that a TLS handshake finds the key by the id alone; its key follows from the id, the
 * generation and the reader's address (vouch.h). Each is good once. One thread.
 */
#ifndef RELAY_ADMISSION_H
#define RELAY_ADMISSION_H

#include "wire.h"

#define ADMISSION_USED_MAX 1024

struct admission {
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	uint64_t joined_ms; /* beam_now_ms() when the key came; 0: no key yet */
	struct {
		uint8_t id[BEAM_TICKET_ID_BYTES];
		uint64_t until_ms; /* 0: the place is free */
	} used[ADMISSION_USED_MAX];
};

/* Another key: tickets by the one before are not good any more. */
void admission_join(struct admission *admission, const uint8_t key[BEAM_TICKET_KEY_BYTES],
		    uint64_t now_ms);

/* Uses up the ticket of a HELLO, if it is one for this generation and address: else -ENOENT. 0 with
 * its key; BEAM_E_DENIED with the reason for the log in *why; BEAM_E_BUSY when more tickets came in their short
 * life than can be remembered. */
int admission_check(struct admission *admission, const struct beam_wire_hello *hello,
		    struct beam_gen gen, const char *peer_addr, uint64_t now_ms,
		    uint8_t key[BEAM_TICKET_KEY_BYTES], const char **why);

#endif
