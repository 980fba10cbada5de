/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One thread for each CPU copies from one buffer of its own to another. All threads start and end
 * each round at a barrier.
 */
#include "bench_memcpy.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "median.h"

#define ROUNDS      7
#define CPUS_MAX    256
#define TOTAL_BYTES (512ul << 20) /* of all sources together */
#define EACH_MAX    (128ul << 20)

/* A thread cannot leave a barrier again, so no thread enters it before all threads exist. Until
 * then they wait for the gate, a mutex that the main thread holds. */
struct rounds {
	pthread_barrier_t barrier;
	pthread_mutex_t gate;
	bool given_up;
};

struct copier {
	pthread_t thread;
	struct rounds *rounds;
	uint8_t *from, *to;
	size_t bytes;
};

static void *copy_rounds(void *arg)
{
	struct copier *copier = arg;
	struct rounds *rounds = copier->rounds;
	bool given_up;

	/* Touch the memory on this thread first, so that its pages are local to this CPU. */
	memset(copier->from, 1, copier->bytes);
	memset(copier->to, 2, copier->bytes);
	pthread_mutex_lock(&rounds->gate);
	given_up = rounds->given_up;
	pthread_mutex_unlock(&rounds->gate);
	for (int i = 0; i < ROUNDS && !given_up; i++) {
		pthread_barrier_wait(&rounds->barrier);
		memcpy(copier->to, copier->from, copier->bytes);
		pthread_barrier_wait(&rounds->barrier);
	}
	return NULL;
}

static double time_rounds(pthread_barrier_t *barrier, size_t bytes)
{
	double rates[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t began;

		pthread_barrier_wait(barrier);
		began = beam_now_ns();
		pthread_barrier_wait(barrier);
		rates[i] = (double)bytes / (double)(beam_now_ns() - began);
	}
	return beam_median(rates, ROUNDS);
}

static int allowed_cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	return n < 1 ? 1 : n > CPUS_MAX ? CPUS_MAX : n;
}

static int make_buffers(struct copier *copiers, int n, struct rounds *rounds)
{
	size_t bytes = TOTAL_BYTES / (size_t)n;

	for (int i = 0; i < n; i++) {
		copiers[i].rounds = rounds;
		copiers[i].bytes = bytes < EACH_MAX ? bytes : EACH_MAX;
		copiers[i].from = malloc(copiers[i].bytes);
		copiers[i].to = malloc(copiers[i].bytes);
		if (!copiers[i].from || !copiers[i].to)
			return -ENOMEM;
	}
	return 0;
}

/* Runs all rounds with n threads. Returns 0 or -EAGAIN. */
static int run_threads(struct copier *copiers, int n, struct rounds *rounds, double *gb_per_s)
{
	int started = 0, err = 0;

	pthread_barrier_init(&rounds->barrier, NULL, (unsigned)n + 1);
	pthread_mutex_lock(&rounds->gate);
	while (started < n && !err) {
		err =
		    -pthread_create(&copiers[started].thread, NULL, copy_rounds, &copiers[started]);
		started += !err;
	}
	rounds->given_up = err != 0;
	pthread_mutex_unlock(&rounds->gate);
	if (!err)
		*gb_per_s = time_rounds(&rounds->barrier, copiers[0].bytes * (size_t)n);
	while (started > 0)
		pthread_join(copiers[--started].thread, NULL);
	pthread_barrier_destroy(&rounds->barrier);
	return err;
}

int beam_bench_memcpy(double *gb_per_s, int *ncpus)
{
	const int n = allowed_cpus();
	struct rounds rounds = {.gate = PTHREAD_MUTEX_INITIALIZER};
	struct copier *copiers = calloc((size_t)n, sizeof(*copiers));
	int err = copiers ? make_buffers(copiers, n, &rounds) : -ENOMEM;

	if (!err)
		err = run_threads(copiers, n, &rounds, gb_per_s);
	*ncpus = n;
	for (int i = 0; copiers && i < n; i++) {
		free(copiers[i].from);
		free(copiers[i].to);
	}
	free(copiers);
	return err;
}
