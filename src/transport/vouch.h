/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a reader knows that an image served by a relay is the primary's. CRCs cannot tell, since they
 * are easy to forge. So the primary's daemon has a key pair (Ed25519, new for each daemon);
 * RDBEAM.TICKET hands out the public key; the daemon signs each segment's digest and the image's
 * totals, and relays pass these signatures on. All functions may be called from any thread; several
 * threads may sign with one voucher.
 *
 * This file also makes the keys of tickets for relays. The relay shares a secret with the primary
 * and computes from it the same key that the primary gave to the reader, so the two need not
 * communicate.
 */
#ifndef BEAM_VOUCH_H
#define BEAM_VOUCH_H

#include "wire.h"

/* What is signed besides the numbers of the segment or image itself. */
struct beam_vouch_for {
	struct beam_gen gen;
	uint32_t segment_bytes;
};

struct beam_voucher; /* a private key */

/* Makes a key pair. Returns 0 or -ENOMEM. */
int beam_voucher_open(struct beam_voucher **out);
/* Accepts NULL; clears the pointer. */
void beam_voucher_close(struct beam_voucher **voucher);
/* Copies the public key. */
void beam_voucher_public(const struct beam_voucher *voucher, uint8_t out[BEAM_PUBLIC_BYTES]);

/* SHA-256 of a segment's bytes. Returns 0 or -ENOMEM. */
int beam_vouch_digest(const void *bytes, size_t len_bytes, uint8_t out[BEAM_DIGEST_BYTES]);

/* Fills in vouched->index and vouched->signature; vouched->digest must be set already. Returns 0 or
 * -ENOMEM. */
int beam_vouch_sign_segment(const struct beam_voucher *voucher, const struct beam_vouch_for *what,
			    const struct beam_wire_sealed *sealed,
			    struct beam_wire_vouched *vouched);
/* The same for the whole image, with a digest of zeros and index BEAM_VOUCH_IMAGE. */
int beam_vouch_sign_image(const struct beam_voucher *voucher, const struct beam_vouch_for *what,
			  const struct beam_wire_complete *complete,
			  struct beam_wire_vouched *vouched);

/* Verify a signature. Return 0, or BEAM_E_DENIED when it is not the primary's signature of exactly
 * this. */
int beam_vouch_check_segment(const uint8_t public_key[BEAM_PUBLIC_BYTES],
			     const struct beam_vouch_for *what,
			     const struct beam_wire_sealed *sealed,
			     const struct beam_wire_vouched *vouched);
int beam_vouch_check_image(const uint8_t public_key[BEAM_PUBLIC_BYTES],
			   const struct beam_vouch_for *what,
			   const struct beam_wire_complete *complete,
			   const struct beam_wire_vouched *vouched);

/* Computes the key of ticket `id` for one address (as text) and generation, at the relay that has
 * `relay_key`. Returns 0, -EINVAL when the text is not an address, or -ENOMEM. */
int beam_vouch_ticket_key(const uint8_t relay_key[BEAM_TICKET_KEY_BYTES],
			  const uint8_t id[BEAM_TICKET_ID_BYTES], struct beam_gen gen,
			  const char *addr, uint8_t key[BEAM_TICKET_KEY_BYTES]);

#endif
