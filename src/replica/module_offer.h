/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a target's module offers to a pull that it would help to load (load_share.h).
 */
#ifndef BEAM_MODULE_OFFER_H
#define BEAM_MODULE_OFFER_H

#include <stddef.h>
#include <stdint.h>

#include "load_share.h"
#include "redis.h"

struct beam_module_offer {
	uint8_t name[6];
	size_t name_len;
	uint8_t secret[BEAM_LOAD_SECRET_BYTES];
	uint8_t nonce[BEAM_LOAD_SECRET_BYTES];
};

/* Asks the target for an offer (RDBEAM.LOAD). Returns 0, or a code with the reason in `why`
 * (BEAM_REDIS_ERROR_BYTES) when the target makes no offer. A later offer voids an earlier one. */
int beam_module_ask(struct beam_redis *to, char *why, struct beam_module_offer *out);

#endif
