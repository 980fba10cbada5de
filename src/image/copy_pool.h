/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pool of threads that fill segments. The owner lays out a segment: it writes short pieces itself
 * and leaves the long ones to a job. A thread, or the owner when it would have to wait, copies them
 * and computes the CRC. Jobs come back to the owner in the order in which they were submitted. The
 * threads only copy and sum the ranges they are given: they call nothing of Redis, allocate
 * nothing, and end with the pool. A piece that cannot be read ends its job with -EFAULT (trap.h).
 *
 * A pool has one owner, which is a single thread and may be in a forked child (docs/adr/0030).
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
	/* owner's until the job is submitted */
	uint8_t *base;
	size_t len_bytes; /* range to sum; all but the pieces has been written already */
	uint32_t npieces;
	uint32_t index, lane; /* of the segment; of the chunk it belongs to */
	bool ends_chunk;
	/* results */
	uint64_t crc;
	int error;
	/* private to the pool */
	struct beam_copy_job *next;
	struct beam_copy_piece *pieces;
	uint32_t piece_cap;
	atomic_bool done;
};

/* Starts `nthreads` threads, or as many as possible. With `may_bind`, if this makes one thread,
 * including the owner, for each processor that the owner may use, each is bound to its processor
 * until the pool is closed. 0 or -ENOMEM. */
int beam_copy_pool_open(uint32_t nthreads, bool may_bind, struct beam_copy_pool **out);

/* Ends the threads: they finish the jobs that they have begun; other jobs are not run. Accepts
 * NULL, clears the pointer. */
void beam_copy_pool_close(struct beam_copy_pool **pool);

/* Returns a job without pieces, to be laid out. NULL if all are in use: reap one. */
struct beam_copy_job *beam_copy_pool_new(struct beam_copy_pool *pool);

/* Adds a piece to copy. `from` must stay valid until the job has come back. 0 or -ENOMEM. */
int beam_copy_job_add(struct beam_copy_job *job, uint8_t *to, const uint8_t *from,
		      size_t len_bytes);

/* Queues a job that is laid out. It belongs to the pool until it is reaped. */
void beam_copy_pool_submit(struct beam_copy_pool *pool, struct beam_copy_job *job);

/* Returns the oldest job that was submitted if it is done, else NULL; the caller frees the job.
 * With `wait`, waits for it and runs other jobs meanwhile; then NULL means that no job is
 * submitted. */
struct beam_copy_job *beam_copy_pool_reap(struct beam_copy_pool *pool, bool wait);

/* Makes the job available to beam_copy_pool_new again. */
void beam_copy_pool_free(struct beam_copy_pool *pool, struct beam_copy_job *job);

#endif
