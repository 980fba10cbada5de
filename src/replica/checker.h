/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Computes segment checksums on worker threads, so that the fetching thread can keep reads in
 * flight meanwhile. All functions must be called from that one fetching thread.
 */
#ifndef BEAM_CHECKER_H
#define BEAM_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

struct beam_checker;

struct beam_check {
	uint32_t index;
	uint32_t len_bytes;
	/* A range of bytes that are known to be zero: they are not read for the CRC. It ends at
	 * least eight bytes before the segment's end. */
	uint32_t zeros, zeros_end;
	const uint8_t *buf; /* owned by the checker until it is taken back */
	bool digested;      /* compute the digest too */
	/* Results: the CRC64 of all bytes, and of all but the last eight. */
	uint64_t crc, prefix_crc;
	uint8_t digest[BEAM_DIGEST_BYTES]; /* all zeros when there was no memory to compute it */
};

/* Starts the worker threads; their number follows the number of CPUs. Returns 0 or -errno. */
int beam_checker_open(struct beam_checker **out);
/* Waits for the checks that are being computed and drops those still queued. Every buffer belongs
 * to the caller again. Accepts NULL; clears the pointer. */
void beam_checker_close(struct beam_checker **checker);
/* Queues a copy of `check`. Its buffer must stay unchanged until the check is taken back. Returns 0
 * or -ENOMEM. */
int beam_checker_give(struct beam_checker *checker, const struct beam_check *check);
/* Takes a finished check, in any order. Returns false when none is finished now. */
bool beam_checker_take(struct beam_checker *checker, struct beam_check *out);
/* A descriptor for poll: readable when there may be a finished check to take. */
int beam_checker_fd(const struct beam_checker *checker);

#endif
