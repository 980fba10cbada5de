/* SPDX-License-Identifier: BSD-3-Clause
 *
 * All pieces are freed together at the end: what is freed is what the next piece would get.
 */
#include "bench_memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench_server.h"
#include "jobs.h"
#include "memory.h"

#define PIECE_BYTES (64u << 20)
#define PAGE_BYTES  4096u
#define THREADS     4

struct piece {
	struct beam_job job;
	volatile uint8_t *at;
};

static void touch(struct beam_job *job)
{
	struct piece *piece = (struct piece *)job;

	for (size_t i = 0; i < PIECE_BYTES && !beam_bench_interrupted(); i += PAGE_BYTES)
		piece->at[i] = 1;
}

static void touch_all(uint8_t *base, size_t npieces)
{
	struct piece *pieces = calloc(npieces, sizeof(*pieces));
	struct beam_jobs *jobs = NULL;

	if (pieces && !beam_jobs_open(THREADS, &jobs)) {
		for (size_t i = 0; i < npieces; i++) {
			pieces[i] = (struct piece){.job.work = touch, .at = base + i * PIECE_BYTES};
			beam_jobs_give(jobs, &pieces[i].job);
		}
		beam_jobs_finish(jobs);
		while (beam_jobs_done(jobs))
			;
		beam_jobs_close(&jobs);
	}
	free(pieces);
}

void beam_bench_warm_memory(struct beam_redis *redis, int times)
{
	uint64_t most = beam_memory_available() / 2;
	int64_t used = 0;

	beam_redis_info_int(redis, "memory", "used_memory", &used);
	uint64_t want = (uint64_t)used * (uint64_t)times;
	size_t npieces = (size_t)(((want < most ? want : most) + PIECE_BYTES - 1) / PIECE_BYTES);
	void *base = mmap(NULL, npieces * PIECE_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED) /* or nothing to do */
		return;
	/* As in a server's heap; only such pages use up what is free in small pieces. */
	madvise(base, npieces * PIECE_BYTES, MADV_NOHUGEPAGE);
	touch_all(base, npieces);
	munmap(base, npieces * PIECE_BYTES);
}
