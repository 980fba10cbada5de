/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pull's way into this server: RDBEAM.LOAD offers a socket and a secret for one load, the pull on
 * this host comes with its memory, and threads begin to decode. One at a time. Main thread.
 */
#ifndef BEAM_LOAD_LINK_H
#define BEAM_LOAD_LINK_H

#include <stdbool.h>

#include "load_decode.h"
#include "load_share.h"

struct beam_load_offer {
	uint8_t name[6]; /* abstract SEQPACKET address */
	size_t name_len;
	uint8_t secret[BEAM_LOAD_SECRET_BYTES]; /* proves the pull to the socket */
	uint8_t nonce[BEAM_LOAD_SECRET_BYTES];  /* proves an AUX record to be the pull's */
};

/* Makes an offer; an earlier one that nobody has taken up is void. 0; BEAM_E_BUSY while a pull is
 * linked; -errno. */
int beam_load_link_arm(RedisModuleCtx *ctx, struct beam_load_offer *out);

/* True when a pull is linked whose AUX records have this nonce. */
bool beam_load_link_is(const char *nonce, size_t len_bytes);

/* Says READY, or REFUSED with a reason. 0 or BEAM_E_GONE. */
int beam_load_link_say(enum beam_load_word word, const char *text);

/* While a pull is linked, else NULL. */
struct beam_decoder *beam_load_link_decoder(void);

/* The pull's death closes the link by itself unless the link is kept: set while a load runs, which
 * sees the death and closes in its own time. */
void beam_load_link_keep(bool yes);
/* Void offer, no link. */
void beam_load_link_close(void);

#endif
