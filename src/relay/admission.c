/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks tickets that only the primary and this relay can compute. When the relay joins, the
 * primary starts its clock for tickets before it answers, so that clock is ahead of ours by the
 * time that its answer took.
 */
#include "admission.h"

#include <errno.h>
#include <string.h>

#include "rdb.h"
#include "rdbeam/error.h"
#include "vouch.h"

#define AHEAD_MS 3000 /* an answer slower than this costs tickets, nothing else */

void admission_join(struct admission *admission, const uint8_t key[BEAM_TICKET_KEY_BYTES],
		    uint64_t now_ms)
{
	explicit_bzero(admission, sizeof(*admission));
	memcpy(admission->key, key, sizeof(admission->key));
	admission->joined_ms = now_ms;
}

/* Marks a ticket as used. Returns 0, or a code with the reason why it cannot be used (again). */
static int use_up(struct admission *admission, const uint8_t id[BEAM_TICKET_ID_BYTES],
		  uint64_t now_ms, const char **why)
{
	size_t unused = ADMISSION_USED_MAX;

	for (size_t i = 0; i < ADMISSION_USED_MAX; i++) {
		if (admission->used[i].until_ms < now_ms) {
			unused = i;
		} else if (memcmp(admission->used[i].id, id, BEAM_TICKET_ID_BYTES) == 0) {
			*why = "used before";
			return BEAM_E_DENIED;
		}
	}
	if (unused == ADMISSION_USED_MAX) {
		*why = "one of too many in a few seconds";
		return BEAM_E_BUSY;
	}
	memcpy(admission->used[unused].id, id, BEAM_TICKET_ID_BYTES);
	admission->used[unused].until_ms = now_ms + BEAM_RELAY_TICKET_MS + AHEAD_MS;
	return 0;
}

int admission_check(struct admission *admission, const struct beam_wire_hello *hello,
		    struct beam_gen gen, const char *peer_addr, uint64_t now_ms,
		    uint8_t key[BEAM_TICKET_KEY_BYTES], const char **why)
{
	uint64_t until = (uint64_t)beam_get_le32(hello->id) * BEAM_RELAY_TICK_MS;
	uint64_t now = now_ms - admission->joined_ms;

	*why = "not one of the primary's, or given to another address";
	if (!admission->joined_ms ||
	    beam_vouch_ticket_key(admission->key, hello->id, gen, peer_addr, key) ||
	    beam_wire_check_hello(key, hello))
		return -ENOENT;
	if (until < now || until - now > BEAM_RELAY_TICKET_MS + AHEAD_MS) {
		*why = "expired";
		return BEAM_E_DENIED;
	}
	return use_up(admission, hello->id, now_ms, why);
}
