/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Signatures over fixed texts of little-endian numbers. Each kind of text begins with its own
 * label, so that a signature for one kind can never pass as one for another.
 */
#include "vouch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "address.h"
#include "rdb.h"
#include "rdbeam/error.h"

#define SEGMENT_LABEL "rdbeam segment 1"
#define IMAGE_LABEL   "rdbeam image 1"
#define TICKET_LABEL  "rdbeam relay ticket 1"
#define TEXT_BYTES    160

struct beam_voucher {
	EVP_PKEY *key;
	uint8_t public_key[BEAM_PUBLIC_BYTES];
};

int beam_voucher_open(struct beam_voucher **out)
{
	struct beam_voucher *voucher = calloc(1, sizeof(*voucher));
	size_t len = sizeof(voucher->public_key);

	if (!voucher)
		return -ENOMEM;
	voucher->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (!voucher->key ||
	    EVP_PKEY_get_raw_public_key(voucher->key, voucher->public_key, &len) != 1 ||
	    len != sizeof(voucher->public_key)) {
		beam_voucher_close(&voucher);
		return -ENOMEM;
	}
	*out = voucher;
	return 0;
}

void beam_voucher_close(struct beam_voucher **voucher)
{
	if (!*voucher)
		return;
	EVP_PKEY_free((*voucher)->key);
	free(*voucher);
	*voucher = NULL;
}

void beam_voucher_public(const struct beam_voucher *voucher, uint8_t out[BEAM_PUBLIC_BYTES])
{
	memcpy(out, voucher->public_key, BEAM_PUBLIC_BYTES);
}

int beam_vouch_digest(const void *bytes, size_t len_bytes, uint8_t out[BEAM_DIGEST_BYTES])
{
	return EVP_Digest(bytes, len_bytes, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

/* ---- texts ---------------------------------------------------------------------------------- */

static void put(uint8_t **at, const void *bytes, size_t len_bytes)
{
	memcpy(*at, bytes, len_bytes);
	*at += len_bytes;
}

static void put_number(uint8_t **at, uint64_t number)
{
	beam_put_le64(*at, number);
	*at += 8;
}

static void put_head(uint8_t **at, const char *label, const struct beam_vouch_for *what)
{
	put(at, label, strlen(label));
	put_number(at, what->gen.nonce);
	put_number(at, what->gen.counter);
	put_number(at, what->segment_bytes);
}

static size_t segment_text(const struct beam_vouch_for *what, const struct beam_wire_sealed *sealed,
			   const uint8_t digest[BEAM_DIGEST_BYTES], uint8_t text[TEXT_BYTES])
{
	uint8_t *at = text;

	put_head(&at, SEGMENT_LABEL, what);
	put_number(&at, sealed->index);
	put_number(&at, sealed->len_bytes);
	put_number(&at, sealed->crc);
	put(&at, digest, BEAM_DIGEST_BYTES);
	return (size_t)(at - text);
}

static size_t image_text(const struct beam_vouch_for *what,
			 const struct beam_wire_complete *complete, uint8_t text[TEXT_BYTES])
{
	uint8_t *at = text;

	put_head(&at, IMAGE_LABEL, what);
	put_number(&at, complete->nsegments);
	put_number(&at, complete->image_bytes);
	put_number(&at, complete->file_crc);
	return (size_t)(at - text);
}

/* ---- signatures ----------------------------------------------------------------------------- */

static int sign(const struct beam_voucher *voucher, const uint8_t *text, size_t len_bytes,
		uint8_t signature[BEAM_SIGNATURE_BYTES])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t bytes = BEAM_SIGNATURE_BYTES;
	bool done = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, voucher->key) == 1 &&
		    EVP_DigestSign(ctx, signature, &bytes, text, len_bytes) == 1 &&
		    bytes == BEAM_SIGNATURE_BYTES;

	EVP_MD_CTX_free(ctx);
	return done ? 0 : -ENOMEM;
}

/* Without memory for the check the signature counts as wrong. */
static int check(const uint8_t public_key[BEAM_PUBLIC_BYTES], const uint8_t *text, size_t len_bytes,
		 const uint8_t signature[BEAM_SIGNATURE_BYTES])
{
	EVP_PKEY *key =
	    EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, BEAM_PUBLIC_BYTES);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool right = key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
		     EVP_DigestVerify(ctx, signature, BEAM_SIGNATURE_BYTES, text, len_bytes) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return right ? 0 : BEAM_E_DENIED;
}

int beam_vouch_sign_segment(const struct beam_voucher *voucher, const struct beam_vouch_for *what,
			    const struct beam_wire_sealed *sealed,
			    struct beam_wire_vouched *vouched)
{
	uint8_t text[TEXT_BYTES];

	vouched->index = sealed->index;
	return sign(voucher, text, segment_text(what, sealed, vouched->digest, text),
		    vouched->signature);
}

int beam_vouch_sign_image(const struct beam_voucher *voucher, const struct beam_vouch_for *what,
			  const struct beam_wire_complete *complete,
			  struct beam_wire_vouched *vouched)
{
	uint8_t text[TEXT_BYTES];

	memset(vouched, 0, sizeof(*vouched));
	vouched->index = BEAM_VOUCH_IMAGE;
	return sign(voucher, text, image_text(what, complete, text), vouched->signature);
}

int beam_vouch_check_segment(const uint8_t public_key[BEAM_PUBLIC_BYTES],
			     const struct beam_vouch_for *what,
			     const struct beam_wire_sealed *sealed,
			     const struct beam_wire_vouched *vouched)
{
	uint8_t text[TEXT_BYTES];

	return check(public_key, text, segment_text(what, sealed, vouched->digest, text),
		     vouched->signature);
}

int beam_vouch_check_image(const uint8_t public_key[BEAM_PUBLIC_BYTES],
			   const struct beam_vouch_for *what,
			   const struct beam_wire_complete *complete,
			   const struct beam_wire_vouched *vouched)
{
	uint8_t text[TEXT_BYTES];

	return check(public_key, text, image_text(what, complete, text), vouched->signature);
}

/* ---- tickets -------------------------------------------------------------------------------- */

int beam_vouch_ticket_key(const uint8_t relay_key[BEAM_TICKET_KEY_BYTES],
			  const uint8_t id[BEAM_TICKET_ID_BYTES], struct beam_gen gen,
			  const char *addr, uint8_t key[BEAM_TICKET_KEY_BYTES])
{
	uint8_t text[TEXT_BYTES], packed[BEAM_ADDR_PACKED], *at = text;
	unsigned int bytes = 0;

	if (!beam_address_pack(addr, packed))
		return -EINVAL;
	put(&at, TICKET_LABEL, strlen(TICKET_LABEL));
	put(&at, id, BEAM_TICKET_ID_BYTES);
	put_number(&at, gen.nonce);
	put_number(&at, gen.counter);
	put(&at, packed, sizeof(packed));
	return HMAC(EVP_sha256(), relay_key, BEAM_TICKET_KEY_BYTES, text, (size_t)(at - text), key,
		    &bytes) &&
		       bytes == BEAM_TICKET_KEY_BYTES
		   ? 0
		   : -ENOMEM;
}
