/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checksums of segments, computed by threads beside the one that reads, so that the next reads are
 * under way meanwhile. All functions are for that one thread.
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
	const uint8_t *buf; /* the checker's until it is taken back */
	bool digested;      /* the digest is wanted too */
	/* Results: of all bytes, and of all but the last eight. */
	uint64_t crc, prefix_crc;
	uint8_t digest[BEAM_DIGEST_BYTES]; /* zeros without memory for it */
};

/* Starts threads by the number of CPUs. 0 or -errno. */
int beam_checker_open(struct beam_checker **out);
/* Waits for what is being computed and forgets the rest; all bufs are the caller's again. NULL-safe,
 * clears the pointer. */
void beam_checker_close(struct beam_checker **checker);
/* 0 or -ENOMEM. */
int beam_checker_give(struct beam_checker *checker, const struct beam_check *check);
/* The next one that is done, in any order; false: none is now. */
bool beam_checker_take(struct beam_checker *checker, struct beam_check *out);
/* Readable when there may be one to take. */
int beam_checker_fd(const struct beam_checker *checker);

#endif
