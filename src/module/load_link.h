/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The link by which a pull on this host loads into this server: RDBEAM.LOAD offers a socket and a
 * secret for one load, the pull connects and passes its memory, and threads begin to decode. There
 * is one link at a time. Main thread only.
 */
#ifndef BEAM_LOAD_LINK_H
#define BEAM_LOAD_LINK_H

#include <stdbool.h>

#include "load_decode.h"
#include "load_share.h"

struct beam_load_offer {
	uint8_t name[6]; /* abstract address of a SEQPACKET socket */
	size_t name_len;
	uint8_t secret[BEAM_LOAD_SECRET_BYTES]; /* authenticates the pull on the socket */
	uint8_t nonce[BEAM_LOAD_SECRET_BYTES];  /* authenticates an AUX record as that pull's */
};

/* Makes an offer, which ends after 30 seconds if no pull takes it up, and voids an earlier one.
 * Returns 0 and *out; BEAM_E_BUSY while a pull is linked; -errno. */
int beam_load_link_arm(RedisModuleCtx *ctx, struct beam_load_offer *out);

/* True if a pull is linked and its AUX records have this nonce. */
bool beam_load_link_is(const char *nonce, size_t len_bytes);

/* Tells the pull READY, or REFUSED with the reason in `text`. Returns 0 or BEAM_E_GONE. */
int beam_load_link_say(enum beam_load_word word, const char *text);

/* The linked pull's decoder, owned by the link; NULL while no pull is linked. */
struct beam_decoder *beam_load_link_decoder(void);

/* By default the link closes itself when the pull dies. `yes` turns that off for the time of a
 * load, which notices the death itself and then calls close. */
void beam_load_link_keep(bool yes);
/* Closes the link, if there is one, and voids the offer. */
void beam_load_link_close(void);

#endif
