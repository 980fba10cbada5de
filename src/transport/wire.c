/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Encodes and decodes the messages of the pull protocol, and computes the proofs of a ticket. Each
 * type has a body of fixed length, so a wrong length is detected from the head alone, before any of
 * the body is read.
 */
#include "wire.h"

#include <stdbool.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "rdb.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define HELLO_BYTES   (4 + 2 + 2 + BEAM_TICKET_ID_BYTES + BEAM_NONCE_BYTES + BEAM_PROOF_BYTES)
#define WELCOME_BYTES (BEAM_PROOF_BYTES + 8 + 8 + 4 + 4)
#define TEXT_BYTES    (4 + BEAM_TEXT_BYTES)

static_assert(HELLO_BYTES == BEAM_WIRE_HELLO_BYTES, "what rdma_cm's private data can carry");
static_assert(TEXT_BYTES <= BEAM_WIRE_BODY_MAX, "the longest body fits");

/* Length of a type's body; 0 for an unknown type. */
static uint32_t body_bytes(uint32_t type)
{
	switch (type) {
	case BEAM_WIRE_HELLO:
		return HELLO_BYTES;
	case BEAM_WIRE_WELCOME:
		return WELCOME_BYTES;
	case BEAM_WIRE_REFUSED:
	case BEAM_WIRE_STALE:
	case BEAM_WIRE_FAILED:
		return TEXT_BYTES;
	case BEAM_WIRE_SEALED:
	case BEAM_WIRE_READ:
	case BEAM_WIRE_DONE:
	case BEAM_WIRE_PROGRESS:
	case BEAM_WIRE_PLACED:
		return 16;
	case BEAM_WIRE_COMPLETE:
		return 24;
	case BEAM_WIRE_VOUCHED:
		return 8 + BEAM_DIGEST_BYTES + BEAM_SIGNATURE_BYTES;
	case BEAM_WIRE_LENT:
		return 32;
	case BEAM_WIRE_DATA:
	case BEAM_WIRE_WAITING:
		return 8;
	case BEAM_WIRE_CHECK:
	case BEAM_WIRE_VALID:
	case BEAM_WIRE_TAKEN:
		return 4;
	default:
		return 0;
	}
}

/* ---- fields: each call takes its bytes at *at and moves it ---------------------------------- */

static void put_bytes(uint8_t **at, const void *from, size_t len_bytes)
{
	memcpy(*at, from, len_bytes);
	*at += len_bytes;
}

static void put16(uint8_t **at, uint16_t v)
{
	beam_put_le16(*at, v);
	*at += 2;
}

static void put32(uint8_t **at, uint32_t v)
{
	beam_put_le32(*at, v);
	*at += 4;
}

static void put64(uint8_t **at, uint64_t v)
{
	beam_put_le64(*at, v);
	*at += 8;
}

static void get_bytes(const uint8_t **at, void *to, size_t len_bytes)
{
	memcpy(to, *at, len_bytes);
	*at += len_bytes;
}

static uint16_t get16(const uint8_t **at)
{
	*at += 2;
	return beam_get_le16(*at - 2);
}

static uint32_t get32(const uint8_t **at)
{
	*at += 4;
	return beam_get_le32(*at - 4);
}

static uint64_t get64(const uint8_t **at)
{
	*at += 8;
	return beam_get_le64(*at - 8);
}

/* ---- bodies that have more than numbers ----------------------------------------------------- */

static void put_hello(uint8_t **at, const struct beam_wire_hello *hello)
{
	put32(at, hello->magic);
	put16(at, hello->version);
	put16(at, hello->flags);
	put_bytes(at, hello->id, sizeof(hello->id));
	put_bytes(at, hello->nonce, sizeof(hello->nonce));
	put_bytes(at, hello->proof, sizeof(hello->proof));
}

static int get_hello(const uint8_t **at, struct beam_wire_hello *hello)
{
	hello->magic = get32(at);
	hello->version = get16(at);
	hello->flags = get16(at);
	get_bytes(at, hello->id, sizeof(hello->id));
	get_bytes(at, hello->nonce, sizeof(hello->nonce));
	get_bytes(at, hello->proof, sizeof(hello->proof));
	/* A different version is refused by the session, with a text that names the version it
	 * speaks. */
	return hello->magic == BEAM_WIRE_MAGIC ? 0 : BEAM_E_PROTO;
}

static void put_welcome(uint8_t **at, const struct beam_wire_welcome *welcome)
{
	put_bytes(at, welcome->proof, sizeof(welcome->proof));
	put64(at, welcome->gen.nonce);
	put64(at, welcome->gen.counter);
	put32(at, welcome->segment_bytes);
	put32(at, welcome->read_max);
}

static void get_welcome(const uint8_t **at, struct beam_wire_welcome *welcome)
{
	get_bytes(at, welcome->proof, sizeof(welcome->proof));
	welcome->gen.nonce = get64(at);
	welcome->gen.counter = get64(at);
	welcome->segment_bytes = get32(at);
	welcome->read_max = get32(at);
}

/* The text ends in at least one NUL and is padded with NULs, so that nothing of our stack is
 * sent. */
static void put_text(uint8_t **at, const struct beam_wire_text *text)
{
	put32(at, (uint32_t)text->code);
	memset(*at, 0, BEAM_TEXT_BYTES);
	memcpy(*at, text->text, strnlen(text->text, BEAM_TEXT_BYTES - 1));
	*at += BEAM_TEXT_BYTES;
}

static int get_text(const uint8_t **at, struct beam_wire_text *text)
{
	text->code = (int32_t)get32(at);
	get_bytes(at, text->text, sizeof(text->text));
	return memchr(text->text, 0, sizeof(text->text)) ? 0 : BEAM_E_PROTO;
}

/* ---- messages ------------------------------------------------------------------------------- */

size_t beam_wire_encode(const struct beam_wire_message *message, uint8_t *out)
{
	uint8_t *at = out;

	put16(&at, (uint16_t)message->type);
	put16(&at, 0);
	put32(&at, body_bytes(message->type));
	switch (message->type) {
	case BEAM_WIRE_HELLO:
		put_hello(&at, &message->hello);
		break;
	case BEAM_WIRE_WELCOME:
		put_welcome(&at, &message->welcome);
		break;
	case BEAM_WIRE_REFUSED:
	case BEAM_WIRE_STALE:
	case BEAM_WIRE_FAILED:
		put_text(&at, &message->text);
		break;
	case BEAM_WIRE_SEALED:
		put32(&at, message->sealed.index);
		put32(&at, message->sealed.len_bytes);
		put64(&at, message->sealed.crc);
		break;
	case BEAM_WIRE_COMPLETE:
		put32(&at, message->complete.nsegments);
		put32(&at, 0);
		put64(&at, message->complete.image_bytes);
		put64(&at, message->complete.file_crc);
		break;
	case BEAM_WIRE_READ:
		put32(&at, message->read.index);
		put32(&at, message->read.offset);
		put32(&at, message->read.len_bytes);
		put32(&at, message->read.tag);
		break;
	case BEAM_WIRE_DATA:
		put32(&at, message->data.tag);
		put32(&at, message->data.len_bytes);
		break;
	case BEAM_WIRE_CHECK:
	case BEAM_WIRE_VALID:
		put32(&at, message->check.tag);
		break;
	case BEAM_WIRE_DONE:
	case BEAM_WIRE_PROGRESS:
		put64(&at, message->done.bytes);
		put64(&at, message->done.ms);
		break;
	case BEAM_WIRE_WAITING:
		put32(&at, message->waiting.position);
		put32(&at, message->waiting.waiting);
		break;
	case BEAM_WIRE_TAKEN:
		put32(&at, message->taken.index);
		break;
	case BEAM_WIRE_PLACED:
		put32(&at, message->placed.index);
		put32(&at, message->placed.rkey);
		put64(&at, message->placed.address);
		break;
	case BEAM_WIRE_VOUCHED:
		put32(&at, message->vouched.index);
		put32(&at, 0);
		put_bytes(&at, message->vouched.digest, BEAM_DIGEST_BYTES);
		put_bytes(&at, message->vouched.signature, BEAM_SIGNATURE_BYTES);
		break;
	case BEAM_WIRE_LENT:
		put32(&at, message->lent.index);
		put32(&at, message->lent.len_bytes);
		put64(&at, message->lent.at);
		put64(&at, message->lent.dev);
		put64(&at, message->lent.ino);
		break;
	}
	return (size_t)(at - out);
}

static int get_body(const uint8_t **at, struct beam_wire_message *out)
{
	switch (out->type) {
	case BEAM_WIRE_HELLO:
		return get_hello(at, &out->hello);
	case BEAM_WIRE_WELCOME:
		get_welcome(at, &out->welcome);
		return 0;
	case BEAM_WIRE_REFUSED:
	case BEAM_WIRE_STALE:
	case BEAM_WIRE_FAILED:
		return get_text(at, &out->text);
	case BEAM_WIRE_SEALED:
		out->sealed.index = get32(at);
		out->sealed.len_bytes = get32(at);
		out->sealed.crc = get64(at);
		return 0;
	case BEAM_WIRE_COMPLETE:
		out->complete.nsegments = get32(at);
		out->complete.pad = get32(at);
		out->complete.image_bytes = get64(at);
		out->complete.file_crc = get64(at);
		return out->complete.pad ? BEAM_E_PROTO : 0;
	case BEAM_WIRE_READ:
		out->read.index = get32(at);
		out->read.offset = get32(at);
		out->read.len_bytes = get32(at);
		out->read.tag = get32(at);
		return 0;
	case BEAM_WIRE_DATA:
		out->data.tag = get32(at);
		out->data.len_bytes = get32(at);
		return out->data.len_bytes <= BEAM_WIRE_READ_MAX ? 0 : BEAM_E_PROTO;
	case BEAM_WIRE_CHECK:
	case BEAM_WIRE_VALID:
		out->check.tag = get32(at);
		return 0;
	case BEAM_WIRE_DONE:
	case BEAM_WIRE_PROGRESS:
		out->done.bytes = get64(at);
		out->done.ms = get64(at);
		return 0;
	case BEAM_WIRE_WAITING:
		out->waiting.position = get32(at);
		out->waiting.waiting = get32(at);
		return out->waiting.position <= out->waiting.waiting ? 0 : BEAM_E_PROTO;
	case BEAM_WIRE_TAKEN:
		out->taken.index = get32(at);
		return 0;
	case BEAM_WIRE_PLACED:
		out->placed.index = get32(at);
		out->placed.rkey = get32(at);
		out->placed.address = get64(at);
		return 0;
	case BEAM_WIRE_VOUCHED:
		out->vouched.index = get32(at);
		out->vouched.pad = get32(at);
		get_bytes(at, out->vouched.digest, BEAM_DIGEST_BYTES);
		get_bytes(at, out->vouched.signature, BEAM_SIGNATURE_BYTES);
		return out->vouched.pad ? BEAM_E_PROTO : 0;
	case BEAM_WIRE_LENT:
		out->lent.index = get32(at);
		out->lent.len_bytes = get32(at);
		out->lent.at = get64(at);
		out->lent.dev = get64(at);
		out->lent.ino = get64(at);
		return 0;
	}
	return BEAM_E_PROTO;
}

int beam_wire_decode(const uint8_t *buf, size_t len_bytes, struct beam_wire_message *out)
{
	const uint8_t *at = buf;

	if (len_bytes < BEAM_WIRE_HEAD_BYTES)
		return 0;
	uint32_t type = get16(&at);
	uint16_t flags = get16(&at);
	uint32_t body = get32(&at);

	if (body_bytes(type) == 0 || flags != 0 || body != body_bytes(type))
		return BEAM_E_PROTO;
	if (len_bytes - BEAM_WIRE_HEAD_BYTES < body)
		return 0;
	memset(out, 0, sizeof(*out));
	out->type = (enum beam_wire_type)type;
	int err = get_body(&at, out);

	return err ? err : (int)(BEAM_WIRE_HEAD_BYTES + body);
}

void beam_wire_encode_hello(const struct beam_wire_hello *hello, uint8_t out[BEAM_WIRE_HELLO_BYTES])
{
	put_hello(&out, hello);
}

int beam_wire_decode_hello(const uint8_t *buf, size_t len_bytes, struct beam_wire_hello *out)
{
	return len_bytes < HELLO_BYTES ? BEAM_E_PROTO : get_hello(&buf, out);
}

/* ---- proofs --------------------------------------------------------------------------------- */

#define HELLO_LABEL   "rdbeam hello"
#define WELCOME_LABEL "rdbeam welcome"
#define TLS_LABEL     "rdbeam tls"

/* The common beginning of both proofs; the labels differ, so that one cannot be sent back as the
 * other. */
static void put_proved(uint8_t **at, const char *label, const struct beam_wire_hello *hello)
{
	put_bytes(at, label, strlen(label));
	put_bytes(at, hello->id, sizeof(hello->id));
	put_bytes(at, hello->nonce, sizeof(hello->nonce));
}

static bool hmac(const uint8_t *key, const uint8_t *data, size_t len_bytes,
		 uint8_t proof[BEAM_PROOF_BYTES])
{
	unsigned int proof_bytes = 0;

	return HMAC(EVP_sha256(), key, BEAM_TICKET_KEY_BYTES, data, len_bytes, proof,
		    &proof_bytes) &&
	       proof_bytes == BEAM_PROOF_BYTES;
}

static bool hello_proof(const uint8_t *key, const struct beam_wire_hello *hello,
			uint8_t proof[BEAM_PROOF_BYTES])
{
	uint8_t data[64], *at = data;

	put_proved(&at, HELLO_LABEL, hello);
	return hmac(key, data, (size_t)(at - data), proof);
}

static bool welcome_proof(const uint8_t *key, const struct beam_wire_hello *hello,
			  const struct beam_gen *gen, uint8_t proof[BEAM_PROOF_BYTES])
{
	uint8_t data[64], *at = data;

	put_proved(&at, WELCOME_LABEL, hello);
	put64(&at, gen->nonce);
	put64(&at, gen->counter);
	return hmac(key, data, (size_t)(at - data), proof);
}

void beam_wire_tls_key(const uint8_t *key, const uint8_t id[BEAM_TICKET_ID_BYTES],
		       uint8_t out[BEAM_PROOF_BYTES])
{
	uint8_t data[64], *at = data;

	put_bytes(&at, TLS_LABEL, strlen(TLS_LABEL));
	put_bytes(&at, id, BEAM_TICKET_ID_BYTES);
	if (!hmac(key, data, (size_t)(at - data), out))
		beam_random(out, BEAM_PROOF_BYTES);
}

void beam_wire_prove_hello(const uint8_t *key, struct beam_wire_hello *hello)
{
	/* Without memory for the HMAC the proof is all zeros, which the peer refuses. */
	if (!hello_proof(key, hello, hello->proof))
		memset(hello->proof, 0, sizeof(hello->proof));
}

int beam_wire_check_hello(const uint8_t *key, const struct beam_wire_hello *hello)
{
	uint8_t expected[BEAM_PROOF_BYTES];

	if (!hello_proof(key, hello, expected))
		return BEAM_E_DENIED;
	return CRYPTO_memcmp(expected, hello->proof, sizeof(expected)) ? BEAM_E_DENIED : 0;
}

void beam_wire_prove_welcome(const uint8_t *key, const struct beam_wire_hello *hello,
			     struct beam_wire_welcome *welcome)
{
	if (!welcome_proof(key, hello, &welcome->gen, welcome->proof))
		memset(welcome->proof, 0, sizeof(welcome->proof));
}

int beam_wire_check_welcome(const uint8_t *key, const struct beam_wire_hello *hello,
			    const struct beam_wire_welcome *welcome)
{
	uint8_t expected[BEAM_PROOF_BYTES];

	if (!welcome_proof(key, hello, &welcome->gen, expected))
		return BEAM_E_DENIED;
	return CRYPTO_memcmp(expected, welcome->proof, sizeof(expected)) ? BEAM_E_DENIED : 0;
}
