/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pool of copying threads. A single lock protects all of it, which is enough because a job is a
 * whole segment and takes a good part of a millisecond. The states of a job:
 *
 *	free -> new: laid out -> submitted -> taken by a thread or the owner -> done -> reaped -> free
 */
#include "copy_pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "copy.h"
#include "crc64.h"
#include "fault.h"
#include "trap.h"

#define THREADS_MAX  64
#define JOBS         (THREADS_MAX + 16)
#define JOBS_AHEAD   4 /* jobs that are laid out per thread */
#define PIECES_FIRST 32
#define STACK_BYTES  (256u << 10)
#define LOOK_OUT_NS  5000000u /* busy-waiting before sleep, with a processor of one's own */
#define LOOKS        64       /* between two looks at the clock */

struct beam_copy_pool {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	pthread_t threads[THREADS_MAX];
	uint32_t nthreads;
	cpu_set_t cpus; /* the owner's CPUs before it was bound to one; valid if `spread` */
	bool spread;
	atomic_bool stop;
	struct beam_copy_job jobs[JOBS];
	struct beam_copy_job *free;
	struct beam_copy_job *oldest, *newest; /* submitted and not reaped */
	_Atomic(struct beam_copy_job *) todo;  /* the first of them that nobody has taken */
};

static void relax(void)
{
#ifdef __SSE2__
	__builtin_ia32_pause();
#endif
}

/* Computes the CRC of the job's range, and copies the pieces into it on the way. */
static int run_pieces(void *arg)
{
	struct beam_copy_job *job = arg;
	const uint8_t *end = job->base + job->len_bytes;
	uint8_t *at = job->base;
	uint64_t crc = 0;

	for (uint32_t i = 0; i < job->npieces; i++) {
		const struct beam_copy_piece *piece = &job->pieces[i];

		crc = beam_crc64(crc, at, (size_t)(piece->to - at));
		crc = beam_copy_crc(piece->to, piece->from, piece->len_bytes, crc);
		at = piece->to + piece->len_bytes;
	}
	job->crc = beam_crc64(crc, at, (size_t)(end - at));
	/* The fence must be here: the owner's fence before its seal orders only the owner's own
	 * stores. */
	beam_copy_fence();
	return 0;
}

/* Takes the next job and runs it. Called with the lock held, which is released meanwhile. */
static void run_next(struct beam_copy_pool *pool)
{
	struct beam_copy_job *job = pool->todo;

	pool->todo = job->next;
	pthread_mutex_unlock(&pool->lock);
	job->error = BEAM_FAULT("copy.job");
	if (!job->error)
		job->error = beam_trap_run(run_pieces, job);
	pthread_mutex_lock(&pool->lock);
	job->done = true;
	pthread_cond_signal(&pool->done); /* only the owner waits for it */
}

/* Busy-waits for a while until there is a job to take or `job` (if not NULL) is done. Called with
 * the lock held, which is released meanwhile. When a processor of a virtual machine goes idle, the
 * host may take its time to run it again: 4 to 27 ms where this was measured, while the whole copy
 * takes 60 ms. Whoever else wants the processor gets it. */
static void look_out(struct beam_copy_pool *pool, const struct beam_copy_job *job)
{
	uint64_t until_ns = pool->spread ? beam_now_ns() + LOOK_OUT_NS : 0;
	bool due = false;

	pthread_mutex_unlock(&pool->lock);
	while (!due && beam_now_ns() < until_ns) {
		sched_yield();
		for (int i = 0; i < LOOKS && !due; i++) {
			due = atomic_load(&pool->todo) || atomic_load(&pool->stop) ||
			      (job && atomic_load(&job->done));
			relax();
		}
	}
	pthread_mutex_lock(&pool->lock);
}

static void *run_thread(void *arg)
{
	struct beam_copy_pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	while (!pool->stop) {
		if (!pool->todo)
			look_out(pool, NULL);
		if (pool->todo)
			run_next(pool);
		else if (!pool->stop)
			pthread_cond_wait(&pool->work, &pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* If there are as many processors as threads, including the owner, binds each thread to one. The
 * scheduler would otherwise let a thread that is woken often run where its waker runs; it then
 * waits for the waker while the other processor idles. On two processors this was seen to take up
 * to half of a copy's time. */
static void spread_owner(struct beam_copy_pool *pool, uint32_t nthreads)
{
	int cpu = sched_getcpu();
	cpu_set_t own;

	if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof(pool->cpus), &pool->cpus))
		return;
	if (!CPU_ISSET(cpu, &pool->cpus) || (uint32_t)CPU_COUNT(&pool->cpus) != nthreads + 1)
		return;
	CPU_ZERO(&own);
	CPU_SET(cpu, &own);
	pool->spread = sched_setaffinity(0, sizeof(own), &own) == 0;
}

/* The next processor after `cpu` that the owner may use. */
static int next_cpu(const struct beam_copy_pool *pool, int cpu)
{
	do {
		cpu = (cpu + 1) % CPU_SETSIZE;
	} while (!CPU_ISSET(cpu, &pool->cpus));
	return cpu;
}

/* Signals are left to the owner, except for faults, which are delivered to the thread that causes
 * them. If a thread cannot be started the pool does without it: the owner works, too. */
static void start_threads(struct beam_copy_pool *pool, uint32_t nthreads)
{
	int cpu = pool->spread ? sched_getcpu() : 0;
	pthread_attr_t attr;
	sigset_t blocked, old;

	sigfillset(&blocked);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGBUS);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	while (pool->nthreads < nthreads && !BEAM_FAULT("copy.thread")) {
		if (pool->spread) {
			cpu_set_t one;

			CPU_ZERO(&one);
			cpu = next_cpu(pool, cpu);
			CPU_SET(cpu, &one);
			pthread_attr_setaffinity_np(&attr, sizeof(one), &one);
		}
		if (pthread_create(&pool->threads[pool->nthreads], &attr, run_thread, pool))
			break;
		pool->nthreads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

int beam_copy_pool_open(uint32_t nthreads, bool may_bind, struct beam_copy_pool **out)
{
	struct beam_copy_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->done, NULL);
	if (nthreads > THREADS_MAX)
		nthreads = THREADS_MAX;
	if (may_bind)
		spread_owner(pool, nthreads);
	for (uint32_t i = 0; i < JOBS && i < (nthreads + 1) * JOBS_AHEAD; i++)
		beam_copy_pool_free(pool, &pool->jobs[i]);
	start_threads(pool, nthreads);
	*out = pool;
	return 0;
}

void beam_copy_pool_close(struct beam_copy_pool **poolp)
{
	struct beam_copy_pool *pool = *poolp;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (uint32_t i = 0; i < pool->nthreads; i++)
		pthread_join(pool->threads[i], NULL);
	/* After the copy the owner may run on all its CPUs again. */
	if (pool->spread)
		sched_setaffinity(0, sizeof(pool->cpus), &pool->cpus);
	for (uint32_t i = 0; i < JOBS; i++)
		free(pool->jobs[i].pieces);
	pthread_cond_destroy(&pool->done);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	*poolp = NULL;
}

struct beam_copy_job *beam_copy_pool_new(struct beam_copy_pool *pool)
{
	struct beam_copy_job *job = pool->free;

	if (job)
		pool->free = job->next;
	return job;
}

void beam_copy_pool_free(struct beam_copy_pool *pool, struct beam_copy_job *job)
{
	*job = (struct beam_copy_job){
	    .next = pool->free, .pieces = job->pieces, .piece_cap = job->piece_cap};
	pool->free = job;
}

int beam_copy_job_add(struct beam_copy_job *job, uint8_t *to, const uint8_t *from, size_t len_bytes)
{
	if (job->npieces == job->piece_cap) {
		uint32_t cap = job->piece_cap ? job->piece_cap * 2 : PIECES_FIRST;
		struct beam_copy_piece *grown = realloc(job->pieces, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		job->pieces = grown;
		job->piece_cap = cap;
	}
	job->pieces[job->npieces++] = (struct beam_copy_piece){to, from, len_bytes};
	return 0;
}

void beam_copy_pool_submit(struct beam_copy_pool *pool, struct beam_copy_job *job)
{
	pthread_mutex_lock(&pool->lock);
	job->next = NULL;
	if (pool->oldest)
		pool->newest->next = job;
	else
		pool->oldest = job;
	pool->newest = job;
	if (!pool->todo)
		pool->todo = job;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

struct beam_copy_job *beam_copy_pool_reap(struct beam_copy_pool *pool, bool wait)
{
	pthread_mutex_lock(&pool->lock);
	while (wait && pool->oldest && !pool->oldest->done) {
		if (!pool->todo)
			look_out(pool, pool->oldest);
		if (pool->todo)
			run_next(pool);
		else if (!pool->oldest->done)
			pthread_cond_wait(&pool->done, &pool->lock);
	}
	struct beam_copy_job *job = pool->oldest;

	if (job && !job->done)
		job = NULL;
	if (job)
		pool->oldest = job->next;
	pthread_mutex_unlock(&pool->lock);
	return job;
}
