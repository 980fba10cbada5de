/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs each check as a job of the thread pool in jobs.h.
 */
#include "checker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc64.h"
#include "jobs.h"
#include "vouch.h"

/* One core checksums several GB/s, so a few threads keep up with any link. */
#define THREADS_MAX 4
#define LAST_BYTES  8u

struct checking {
	struct beam_job job; /* must be first: the job's address is the struct's */
	struct beam_check check;
};

struct beam_checker {
	struct beam_jobs *jobs;
};

/* CRC of all but the last eight bytes. */
static uint64_t sum_prefix(const struct beam_check *check, uint32_t prefix)
{
	struct beam_crc64_shift shift;
	uint32_t zeros = check->zeros_end - check->zeros;

	if (!zeros)
		return beam_crc64(0, check->buf, prefix);
	beam_crc64_shift_init(&shift, zeros);
	uint64_t crc = beam_crc64(0, check->buf, check->zeros);

	/* the CRC of zeros alone is 0 */
	crc = beam_crc64_append(crc, 0, &shift);
	return beam_crc64(crc, check->buf + check->zeros_end, prefix - check->zeros_end);
}

static void compute(struct beam_job *job)
{
	struct beam_check *check = &((struct checking *)job)->check;
	uint32_t tail = check->len_bytes < LAST_BYTES ? check->len_bytes : LAST_BYTES;
	uint32_t prefix = check->len_bytes - tail;

	check->prefix_crc = sum_prefix(check, prefix);
	check->crc = beam_crc64(check->prefix_crc, check->buf + prefix, tail);
	if (check->digested && beam_vouch_digest(check->buf, check->len_bytes, check->digest))
		memset(check->digest, 0, sizeof(check->digest));
}

int beam_checker_open(struct beam_checker **out)
{
	struct beam_checker *checker = calloc(1, sizeof(*checker));
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t wanted = cpus < 2 ? 1 : cpus - 1 < THREADS_MAX ? (uint32_t)cpus - 1 : THREADS_MAX;
	int err = checker ? beam_jobs_open(wanted, &checker->jobs) : -ENOMEM;

	if (err) {
		free(checker);
		return err;
	}
	*out = checker;
	return 0;
}

void beam_checker_close(struct beam_checker **at)
{
	struct beam_checker *checker = *at;
	struct beam_check check;

	if (!checker)
		return;
	beam_jobs_stop(checker->jobs);
	while (beam_checker_take(checker, &check))
		continue;
	beam_jobs_close(&checker->jobs);
	free(checker);
	*at = NULL;
}

int beam_checker_give(struct beam_checker *checker, const struct beam_check *check)
{
	struct checking *checking = malloc(sizeof(*checking));

	if (!checking)
		return -ENOMEM;
	checking->job.work = compute;
	checking->check = *check;
	beam_jobs_give(checker->jobs, &checking->job);
	return 0;
}

bool beam_checker_take(struct beam_checker *checker, struct beam_check *out)
{
	struct checking *checking = (struct checking *)beam_jobs_done(checker->jobs);

	if (!checking)
		return false;
	*out = checking->check;
	free(checking);
	return true;
}

int beam_checker_fd(const struct beam_checker *checker)
{
	return beam_jobs_fd(checker->jobs);
}
