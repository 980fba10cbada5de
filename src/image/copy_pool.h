/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Segments filled by several threads. The owner lays a segment out: it writes what is short itself and
 * leaves the long pieces to a job, which a thread (or the owner, when it has nothing better to do)
 * copies and sums. Jobs come back to the owner in the order in which they were submitted. Threads do
 * nothing but copy and sum the ranges given: they call nothing of Redis, allocate nothing, and end with
 * the pool. A piece that cannot be read ends its job with -EFAULT (trap.h).
 *
 * One owner, one thread; it may be a forked child (docs/adr/0030).
 */
#ifndef BEAM_COPY_POOL_H
#define BEAM_COPY_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_copy_pool;

struct beam_copy_piece {
	uint8_t *to;
	const uint8_t *from;
	size_t len_bytes;
};

struct beam_copy_job {
	/* the owner's, until it is submitted */
	uint8_t *base;
	size_t len_bytes; /* of what is summed; all of it but the pieces is written already */
	uint32_t npieces;
	uint32_t index, lane; /* of the segment; of the chunk it belongs to */
	bool ends_chunk;
	/* results */
	uint64_t crc;
	int error;
	/* the pool's */
	struct beam_copy_job *next;
	struct beam_copy_piece *pieces;
	uint32_t piece_cap;
	atomic_bool done;
};

/* Starts `nthreads` threads, or as many as can be had. Where that makes one for each processor that the
 * owner may use, and if they may be bound, each is to one, the owner too, until close. 0 or -ENOMEM. */
int beam_copy_pool_open(uint32_t nthreads, bool may_bind, struct beam_copy_pool **out);

/* Ends the threads: what they have begun is finished, the rest is not done. NULL-safe, clears the
 * pointer. */
void beam_copy_pool_close(struct beam_copy_pool **pool);

/* A job to be laid out, without pieces; NULL when all are in use: reap one. */
struct beam_copy_job *beam_copy_pool_new(struct beam_copy_pool *pool);

/* Adds a piece: `from` must stay until the job has come back. 0 or -ENOMEM. */
int beam_copy_job_add(struct beam_copy_job *job, uint8_t *to, const uint8_t *from,
		      size_t len_bytes);

void beam_copy_pool_submit(struct beam_copy_pool *pool, struct beam_copy_job *job);

/* The oldest job that was submitted, when it is done; the caller frees it. With `wait` it is waited
 * for, and the owner does others meanwhile; NULL then means that none was submitted. */
struct beam_copy_job *beam_copy_pool_reap(struct beam_copy_pool *pool, bool wait);

/* The job can be given out again. */
void beam_copy_pool_free(struct beam_copy_pool *pool, struct beam_copy_job *job);

#endif
