/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Decides who may read from a relay. The primary issues tickets for a relay without asking it. All
 * that the two share is the key that the primary gave to the relay when it joined, and the time of
 * that. The first half of a ticket's id tells until when the ticket is valid, counted from the
 * join. Two more bytes hold the low bytes of the generation's counter, so that a TLS handshake
 * finds the key by the id alone. The ticket's key follows from its id, the generation and the
 * reader's address (vouch.h). Each ticket can be used once. Single-threaded.
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
		uint64_t until_ms; /* 0: free entry */
	} used[ADMISSION_USED_MAX];
};

/* Sets a new key: tickets made with the previous one are no longer valid. */
void admission_join(struct admission *admission, const uint8_t key[BEAM_TICKET_KEY_BYTES],
		    uint64_t now_ms);

/* Uses up the ticket of a HELLO, if it is for this generation and address; otherwise returns
 * -ENOENT. Returns 0 with the ticket's key; BEAM_E_DENIED when it was used before or has expired;
 * BEAM_E_BUSY when more tickets are in use than can be remembered. On failure *why is the reason,
 * for the log. */
int admission_check(struct admission *admission, const struct beam_wire_hello *hello,
		    struct beam_gen gen, const char *peer_addr, uint64_t now_ms,
		    uint8_t key[BEAM_TICKET_KEY_BYTES], const char **why);

#endif
