/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Images in the memory of the reader's own host. Where a pull and its server run on one host, the
 * server lends the reader its memory files, read-only, and the reader copies the segments itself:
 * no bytes go through a socket. Everything else (ticket, announcements, TAKEN, the end) stays on
 * the TCP session, and so does every segment that is not lent.
 *
 * The reader listens on an abstract unix socket, named by the nonce of its HELLO, and says so by
 * BEAM_HELLO_NEAR. The server connects if both ends of the TCP connection have the same address and
 * the listener is of its own user or root. It sends each file once, before the first LENT that
 * refers to it, with the proof of its WELCOME, so that nobody else's file is read. Files are
 * identified by device and inode, which LENT repeats.
 *
 * A fence does not wait for a near reader, so it never delays a save. Before memory is written again
 * the server ends the session, which the reader sees before it could use what it copied: those bytes
 * have a wrong CRC. One thread.
 */
#ifndef BEAM_NEAR_H
#define BEAM_NEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "server.h"
#include "wire.h"

/* Files of one session. A file is an extent, of 1 GiB in a large region. Segments in further ones
 * are sent. */
#define NEAR_FILES_MAX 64

struct near_file {
	uint64_t dev, ino;
	int fd; /* reader: owned; server: not used */
};

/* True when both ends of a connected socket have the same address. */
bool near_is_host(int sock);

/* ---- the server's half ---------------------------------------------------------------------- */

struct near_lender {
	int sock;      /* -1: this reader gets everything (else) by TCP */
	bool has_lent; /* so it may report what it has copied; never cleared */
	uint8_t proof[BEAM_PROOF_BYTES];
	uint32_t nfiles;
	struct near_file files[NEAR_FILES_MAX];
};

/* Connects to the reader of the TCP connection `sock` whose HELLO had this nonce, and whose WELCOME
 * has this proof. After a failure the lender lends nothing. */
void near_lender_open(struct near_lender *lender, int sock, const uint8_t nonce[BEAM_NONCE_BYTES],
		      const uint8_t proof[BEAM_PROOF_BYTES]);
/* Lends the segment's memory file, if the reader does not have it yet, and fills in *lent. Returns
 * false when the segment cannot be lent. */
bool near_lend(struct near_lender *lender, uint32_t index, const struct beam_serve_segment *segment,
	       struct beam_wire_lent *lent);
void near_lender_close(struct near_lender *lender);

/* ---- the reader's half ---------------------------------------------------------------------- */

struct near_place {
	uint64_t at;
	uint32_t len_bytes;
	uint32_t file; /* index + 1; 0: not lent */
};

struct near_borrower {
	int listener, sock; /* -1: none */
	bool is_servers;    /* sock: a file with the right proof came by it */
	uint32_t nfiles;
	struct near_file files[NEAR_FILES_MAX];
	struct near_place *places; /* by segment */
	uint32_t nplaces;
	uint64_t bytes; /* copied from lent memory */
};

/* Listens for the server's files. Returns false when that is impossible, and the HELLO must not have
 * BEAM_HELLO_NEAR. */
bool near_borrower_open(struct near_borrower *borrower, const uint8_t nonce[BEAM_NONCE_BYTES]);
/* Remembers where a segment is, if its file can be had. `proof` is that of WELCOME. */
void near_borrow(struct near_borrower *borrower, const struct beam_wire_lent *lent,
		 const uint8_t proof[BEAM_PROOF_BYTES]);
/* Forgets where segments are. */
void near_give_back(struct near_borrower *borrower);
/* Copies bytes of a segment. Returns false when they are not lent (any more): they must be read by
 * TCP. */
bool near_read(struct near_borrower *borrower, uint32_t index, uint32_t offset, void *buf,
	       uint32_t len_bytes);
void near_borrower_close(struct near_borrower *borrower);

#endif
