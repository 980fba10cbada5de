/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The messages of the pull protocol, the same over TCP and (as SENDs) over verbs. Little endian,
 * encoded and decoded field by field. Both sides check every length and count before using it.
 *
 *   reader                                  server (rdbeamd)
 *   HELLO     ticket id, nonce, proof  --->
 *             <---  WELCOME   generation, sizes, proof of the server; or REFUSED
 *             <---  SEALED    index, len, crc: for each segment once it is sealed, in any order
 *             <---  PLACED    index, rkey, address: before its SEALED; verbs only
 *             <---  VOUCHED   index, digest, signature: before its SEALED, if HELLO requested
 *                             it; TCP only
 *             <---  LENT      index, file, offset: before its SEALED, where the reader may read
 *                             the segment's memory itself (near.h); or BEAM_LENT_NONE: it may
 *                             not any more, for all that were lent; TCP only
 *             <---  COMPLETE  total, bytes, crc: once, when the image is complete
 *   READ      index, offset, len, tag  --->   TCP only; over verbs the reader READs by itself
 *             <---  DATA      tag, len, then len bytes: in the order of the READs; TCP only
 *   CHECK     tag                      --->   "is the generation still valid?"
 *             <---  VALID     tag; or STALE
 *   TAKEN     index                    --->   the reader has checked the segment and will not
 *                                             read it again: its memory may be reused for a
 *                                             later segment
 *   PROGRESS  bytes read, ms           --->   where the server does not see the reads: over
 *                                             verbs every 20 seconds; of LENT segments before a
 *                                             TAKEN, and before DONE
 *   DONE      bytes read, ms           --->   the reader has everything; the server closes
 *
 * At any time the server may send STALE (the generation was revoked) or FAILED (text), and close.
 * HELLO must come within 2 s; a session that does not read for stall-timeout is dropped.
 *
 * Over TCP all of this may travel in TLS 1.3 (channel.h), with a pre-shared key whose identity is
 * the ticket's id and whose value is HMAC-SHA256(ticket key, "rdbeam tls" | id).
 *
 * proof  = HMAC-SHA256(ticket key, "rdbeam hello" | id | reader nonce)
 * answer = HMAC-SHA256(ticket key, "rdbeam welcome" | id | reader nonce | gen)
 */
#ifndef BEAM_WIRE_H
#define BEAM_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "ctl.h"
#include "rdbeam/image_format.h"

#define BEAM_WIRE_MAGIC   0x6d616562u /* "beam" */
#define BEAM_WIRE_VERSION 2
#define BEAM_NONCE_BYTES  8
#define BEAM_PROOF_BYTES  32

#define BEAM_SIGNATURE_BYTES 64 /* Ed25519 */
#define BEAM_DIGEST_BYTES    32 /* SHA-256 */

enum beam_wire_type {
	BEAM_WIRE_HELLO = 1,
	BEAM_WIRE_WELCOME,
	BEAM_WIRE_REFUSED,
	BEAM_WIRE_SEALED,
	BEAM_WIRE_COMPLETE,
	BEAM_WIRE_READ,
	BEAM_WIRE_DATA,
	BEAM_WIRE_CHECK,
	BEAM_WIRE_VALID,
	BEAM_WIRE_STALE,
	BEAM_WIRE_DONE,
	BEAM_WIRE_FAILED,
	/* Before WELCOME: all places are taken; tells the position in the queue. */
	BEAM_WIRE_WAITING,
	BEAM_WIRE_PLACED,
	BEAM_WIRE_PROGRESS,
	BEAM_WIRE_TAKEN,
	BEAM_WIRE_VOUCHED,
	BEAM_WIRE_LENT,
};

/* Every message: type (u16), flags (u16, 0), body length (u32), body. */
#define BEAM_WIRE_HEAD_BYTES 8
#define BEAM_WIRE_BODY_MAX   512        /* of all messages, without DATA's payload */
#define BEAM_WIRE_READ_MAX   (4u << 20) /* most bytes of one READ */

#define BEAM_HELLO_VOUCHED 1 /* each segment must be signed (vouch.h) */
#define BEAM_HELLO_NEAR    2 /* the reader takes memory of this host (near.h) */

/* A body of 56 bytes, which is as much as rdma_cm's private data can carry. */
struct beam_wire_hello {
	uint32_t magic;
	uint16_t version;
	uint16_t flags; /* BEAM_HELLO_* */
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t nonce[BEAM_NONCE_BYTES];
	uint8_t proof[BEAM_PROOF_BYTES];
};

struct beam_wire_welcome {
	uint8_t proof[BEAM_PROOF_BYTES];
	struct beam_gen gen;
	uint32_t segment_bytes;
	uint32_t read_max; /* bytes of one READ, <= BEAM_WIRE_READ_MAX */
};

struct beam_wire_sealed {
	uint32_t index;
	uint32_t len_bytes;
	uint64_t crc;
};

struct beam_wire_complete {
	uint32_t nsegments;
	uint32_t pad;
	uint64_t image_bytes;
	uint64_t file_crc;
};

struct beam_wire_read {
	uint32_t index;
	uint32_t offset;
	uint32_t len_bytes;
	uint32_t tag;
};

struct beam_wire_data {
	uint32_t tag;
	uint32_t len_bytes; /* payload bytes that follow the body */
};

/* CHECK, VALID */
struct beam_wire_tag {
	uint32_t tag;
};

struct beam_wire_taken {
	uint32_t index;
};

/* DONE, PROGRESS */
struct beam_wire_done {
	uint64_t bytes;
	uint64_t ms;
};

struct beam_wire_placed {
	uint32_t index;
	uint32_t rkey; /* valid for this segment's bytes on this connection */
	uint64_t address;
};

/* Where a segment is in a file that the reader got (near.h). */
struct beam_wire_lent {
	uint32_t index;
	uint32_t len_bytes;
	uint64_t at; /* offset in bytes */
	uint64_t dev, ino;
};
#define BEAM_LENT_NONE UINT32_MAX /* index */

/* The primary's signature of a segment, or (BEAM_VOUCH_IMAGE, before COMPLETE) of the image. */
struct beam_wire_vouched {
	uint32_t index;
	uint32_t pad;
	uint8_t digest[BEAM_DIGEST_BYTES]; /* of the segment; zeros for the image */
	uint8_t signature[BEAM_SIGNATURE_BYTES];
};
#define BEAM_VOUCH_IMAGE UINT32_MAX

/* REFUSED, FAILED, STALE */
struct beam_wire_text {
	int32_t code;
	char text[BEAM_TEXT_BYTES];
};

struct beam_wire_waiting {
	uint32_t position; /* 1: next */
	uint32_t waiting;  /* number of waiting sessions, including this one */
};

struct beam_wire_message {
	enum beam_wire_type type;
	union {
		struct beam_wire_hello hello;
		struct beam_wire_welcome welcome;
		struct beam_wire_sealed sealed;
		struct beam_wire_complete complete;
		struct beam_wire_read read;
		struct beam_wire_data data;
		struct beam_wire_tag check;
		struct beam_wire_tag valid;
		struct beam_wire_done done;
		struct beam_wire_text text;
		struct beam_wire_waiting waiting;
		struct beam_wire_placed placed;
		struct beam_wire_taken taken;
		struct beam_wire_vouched vouched;
		struct beam_wire_lent lent;
	};
};

#define BEAM_WIRE_MESSAGE_MAX (BEAM_WIRE_HEAD_BYTES + BEAM_WIRE_BODY_MAX)

/* Encodes head and body into `out` (room for BEAM_WIRE_MESSAGE_MAX). Returns the length in
 * bytes. */
size_t beam_wire_encode(const struct beam_wire_message *message, uint8_t *out);

/* Decodes one message from buf. Returns the number of bytes it occupies (for DATA without the
 * payload), 0 when more bytes are needed, or BEAM_E_PROTO when anything is wrong: type, flags, body
 * length, an unterminated text. */
int beam_wire_decode(const uint8_t *buf, size_t len_bytes, struct beam_wire_message *out);

/* HELLO as carried in rdma_cm's private data: only the body. Decoding returns 0 or BEAM_E_PROTO;
 * the body may be followed by more bytes, as rdma_cm pads. */
#define BEAM_WIRE_HELLO_BYTES 56
void beam_wire_encode_hello(const struct beam_wire_hello *hello,
			    uint8_t out[BEAM_WIRE_HELLO_BYTES]);
int beam_wire_decode_hello(const uint8_t *buf, size_t len_bytes, struct beam_wire_hello *out);

/* Computes the pre-shared key of a TLS connection for ticket `id`. Without memory for the HMAC the
 * key is random, so that the handshake fails. */
void beam_wire_tls_key(const uint8_t *key, const uint8_t id[BEAM_TICKET_ID_BYTES],
		       uint8_t out[BEAM_PROOF_BYTES]);

/* Fill in and check hello.proof and welcome.proof. The checks compare in constant time and return 0
 * or BEAM_E_DENIED. */
void beam_wire_prove_hello(const uint8_t *key, struct beam_wire_hello *hello);
int beam_wire_check_hello(const uint8_t *key, const struct beam_wire_hello *hello);
void beam_wire_prove_welcome(const uint8_t *key, const struct beam_wire_hello *hello,
			     struct beam_wire_welcome *welcome);
int beam_wire_check_welcome(const uint8_t *key, const struct beam_wire_hello *hello,
			    const struct beam_wire_welcome *welcome);

#endif
