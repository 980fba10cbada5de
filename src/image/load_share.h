/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a pull and the module of the target server share the work of loading an image. Both are of
 * one version and on one host. The pull keeps the segments in a memfd, which the module maps, and
 * names chunks in it. Threads of the module create the values that they take. Everything else goes
 * into the RDB stream of an ordinary full resync, where an AUX record of the module's replaces the
 * keys that were taken.
 *
 *	pull                              module
 *	RDBEAM.LOAD (Redis command) --->
 *	        <--- socket's name, secret, nonce
 *	HELLO, fd: the memory       --->          over that socket
 *	AUX BEGIN                   --->          in the RDB stream
 *	        <--- READY                        or REFUSED: then all goes into the stream
 *	JOB, for each shared chunk  --->
 *	        <--- DECODED                      the pull may reuse the chunk's memory
 *	AUX CHUNK                   --->          in the RDB stream: the main thread inserts the keys
 *	AUX WAIT                    --->          nothing to send yet: the server serves its clients
 *	AUX END                     --->          before the FF: the count of all keys
 *
 * Native byte order, since both run on one machine. An AUX record holds unsigned kind, number and
 * count, and the nonce as a string.
 */
#ifndef BEAM_LOAD_SHARE_H
#define BEAM_LOAD_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "image_reader.h"

#define BEAM_LOAD_TYPE_NAME    "rdbeam-ld" /* the server requires nine characters */
#define BEAM_LOAD_TYPE_VERSION 1
#define BEAM_LOAD_SECRET_BYTES 16
#define BEAM_LOAD_AUX_MAX      80           /* bytes of one AUX record */
#define BEAM_LOAD_MEMORY_MAX   (1ull << 36) /* of the memfd */

enum beam_load_aux { BEAM_LOAD_BEGIN = 1, BEAM_LOAD_CHUNK, BEAM_LOAD_END, BEAM_LOAD_WAIT };

/* pull -> module, with the memfd, which is sealed against shrinking so that reading it cannot raise
 * SIGBUS */
struct beam_load_hello {
	uint8_t secret[BEAM_LOAD_SECRET_BYTES];
	uint64_t memory_bytes;
};

/* pull -> module */
struct beam_load_job {
	uint64_t offset; /* of the chunk, in the memfd */
	uint64_t len_bytes;
	uint32_t number; /* 0, 1, ... as in the AUX CHUNK records */
	uint32_t first;  /* first segment; only the pull uses it */
};

enum beam_load_word { BEAM_LOAD_READY = 1, BEAM_LOAD_REFUSED, BEAM_LOAD_DECODED };

/* module -> pull */
struct beam_load_news {
	uint32_t word; /* enum beam_load_word */
	uint32_t pad;
	uint64_t len_bytes; /* DECODED: the job's */
	uint32_t first;
	char text[124]; /* REFUSED: why */
};

/* What both sides must agree on before they share a load: the version, and a sum of this interface's
 * source. */
const char *beam_load_version(void);

/* Whether the module takes the item; otherwise it goes into the stream. Both sides decide by this
 * function. */
bool beam_load_takes(const struct beam_item *item);

/* Whether the chunk's items are large enough on average for handing them over to pay. */
bool beam_load_worth(const struct beam_chunk_footer *footer);

/* Writes an AUX record to `out` (room for BEAM_LOAD_AUX_MAX bytes). Returns its length. */
size_t beam_load_put_aux(uint8_t *out, enum beam_load_aux kind, uint64_t number, uint64_t count,
			 const uint8_t nonce[BEAM_LOAD_SECRET_BYTES]);

#endif
