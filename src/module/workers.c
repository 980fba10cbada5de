/* SPDX-License-Identifier: BSD-3-Clause
 * Forks the workers, shares out the jobs, supervises the workers, and adds up their counts. */
#include "workers.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_info.h"
#include "config.h"
#include "fault.h"
#include "large.h"
#include "log.h"
#include "rdbeam/error.h"
#include "shared.h"
#include "sockets.h"
#include "text.h"
#include "walker.h"

#define WORKERS_MAX  64
#define AUTO_MAX     16
#define SMALL_BYTES  (64ull << 20) /* of memory: below this, one worker is fast enough */
#define TINY_BYTES   (16ull << 20) /* below this, none is faster */
#define HEARTBEAT_MS 1000

/* What a worker reports to the coordinator. */
struct report {
	struct beam_walk_count count;
	int code;
};

struct board { /* shared by the coordinator and its workers */
	_Atomic uint32_t next_job;
	struct report report[WORKERS_MAX];
};

struct crew {
	struct board *board;
	const struct beam_deferred *rest; /* the keys to read; NULL: the whole keyspace */
	uint32_t size;
	pid_t pid[WORKERS_MAX];
	int pidfd[WORKERS_MAX];
	uint32_t running;
};

uint32_t beam_workers_count(const struct beam_facts *facts)
{
	cpu_set_t cpus;
	int n = 1;

	/* rdb-key-save-delay is meant to add up over the keys, so do not divide them. */
	if (facts->save_delay_us || atomic_load(&beam_shared->one_worker))
		return 1;
	if (beam_config.workers)
		return (uint32_t)beam_config.workers;
	if (facts->used_memory < SMALL_BYTES)
		return 1;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		n = CPU_COUNT(&cpus);
	return (uint32_t)(n > AUTO_MAX ? AUTO_MAX : n);
}

/* ---- in a worker ---------------------------------------------------------------------------- */

static int worker_run(const struct crew *crew, const struct beam_workers_opts *opts,
		      uint32_t number, struct beam_walker **walker)
{
	struct beam_walk walk = {
	    .ctx = opts->ctx,
	    .facts = opts->facts,
	    .nwalks = crew->size,
	    .fast_path = opts->fast_path,
	    .read = crew->rest,
	};
	struct beam_lane *lane;
	int err;

	beam_config_set(opts->ctx, "rdbcompression", "no");
	err = BEAM_FAULT("worker-start");
	if (!err)
		err = beam_lane_join(opts->lane, number, &lane);
	if (!err)
		err = beam_walker_open(&walk, lane, walker);
	return err ? err : beam_walker_run(*walker, &crew->board->next_job);
}

static void worker_main(const struct crew *crew, const struct beam_workers_opts *opts,
			uint32_t number, pid_t parent)
{
	static const int handled[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
				      SIGABRT, SIGUSR1, SIGHUP, SIGALRM};
	struct report *report = &crew->board->report[number];
	struct beam_walker *walker = NULL;

	/* A worker's crash is handled by stock saving, and must not look like one of the
	 * server's. */
	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
		signal(handled[i], SIG_DFL);
	/* Sent to the process group (Ctrl-C), these are for the server, which decides about its
	 * child. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	report->code = worker_run(crew, opts, number, &walker);
	if (walker)
		report->count = beam_walker_count(walker);
	_exit(report->code ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- in the coordinator --------------------------------------------------------------------- */

extern pid_t _Fork(void) __attribute__((weak)); /* since glibc 2.34 */

/* Like the server, which does not fork from a child: atfork handlers of another module could wait
 * for threads that only the server has. This is safe because the child has one thread and holds no
 * locks. */
static pid_t fork_without_handlers(void)
{
	return _Fork ? _Fork() : fork();
}

static int crew_fork(struct crew *crew, const struct beam_workers_opts *opts, char *why)
{
	pid_t self = getpid();

	for (uint32_t i = 0; i < crew->size; i++) {
		int err = BEAM_FAULT("fork-worker");
		pid_t pid = err ? -1 : fork_without_handlers();

		if (pid == 0)
			worker_main(crew, opts, i, self);
		if (pid < 0)
			return err ? err : -errno;
		crew->pid[i] = pid;
		crew->pidfd[i] = (int)syscall(SYS_pidfd_open, pid, 0);
		crew->running++;
		if (crew->pidfd[i] < 0) {
			int saved = errno;

			snprintf(why, BEAM_REASON_BYTES,
				 "saving needs pidfd_open (%s): Linux 5.3 or newer, and no seccomp "
				 "filter that refuses it",
				 strerror(saved));
			return -saved;
		}
	}
	return 0;
}

static int reap(struct crew *crew, uint32_t i, char *why)
{
	const struct report *report = &crew->board->report[i];
	int status = 0;

	(void)BEAM_FAULT("worker-reap");
	while (waitpid(crew->pid[i], &status, 0) < 0 && errno == EINTR)
		;
	beam_close(&crew->pidfd[i]);
	crew->pid[i] = 0;
	crew->running--;
	if (WIFSIGNALED(status)) {
		snprintf(why, 256, "worker %u was killed by signal %d", i, WTERMSIG(status));
		if (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS)
			atomic_store(&beam_shared->fast_path_off, 1);
		return BEAM_E_ABORTED;
	}
	if (report->code) {
		snprintf(why, 256, "worker %u: %s", i, beam_strerror(report->code));
		return report->code;
	}
	if (WEXITSTATUS(status) == 0)
		return 0;
	snprintf(why, 256, "worker %u exited with %d", i, WEXITSTATUS(status));
	return BEAM_E_ABORTED;
}

/* Ends the other workers after a failure, so that nothing writes to the image any more. */
static void crew_kill(struct crew *crew, struct beam_table *table)
{
	atomic_store(&table->aborted, 1);
	for (uint32_t i = 0; i < WORKERS_MAX; i++)
		if (crew->pid[i])
			kill(crew->pid[i], SIGKILL);
	for (uint32_t i = 0; i < WORKERS_MAX; i++) {
		if (!crew->pid[i])
			continue;
		while (waitpid(crew->pid[i], NULL, 0) < 0 && errno == EINTR)
			;
		beam_close(&crew->pidfd[i]);
		crew->pid[i] = 0;
	}
	crew->running = 0;
}

/* Waits for all workers. Returns the first failure at once. */
static int crew_wait(struct crew *crew, struct beam_table *table, char *why)
{
	while (crew->running) {
		struct pollfd fds[WORKERS_MAX];

		for (uint32_t i = 0; i < crew->size; i++)
			fds[i] = (struct pollfd){.fd = crew->pidfd[i], .events = POLLIN};
		int n = poll(fds, crew->size, HEARTBEAT_MS);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			beam_child_info_send(atomic_load(&table->keys_done), table->keys_expected);
		for (uint32_t i = 0; n > 0 && i < crew->size; i++) {
			int err = fds[i].revents ? reap(crew, i, why) : 0;

			if (err)
				return err;
		}
	}
	return 0;
}

/* Lets `size` workers read the whole keyspace, or the keys in `rest`. */
static int crew_run(const struct beam_workers_opts *opts, const struct beam_deferred *rest,
		    uint32_t size, struct beam_workers_result *result)
{
	struct crew crew = {.rest = rest, .size = size};
	struct beam_table *table = beam_lane_table(*opts->lane);
	int err;

	crew.board = mmap(NULL, sizeof(*crew.board), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crew.board == MAP_FAILED)
		return -errno;
	memset(crew.pidfd, -1, sizeof(crew.pidfd));
	err = crew_fork(&crew, opts, result->why);
	if (err && !result->why[0])
		snprintf(result->why, sizeof(result->why), "cannot fork worker: %s%s",
			 beam_strerror(err), err == -EAGAIN ? ": " BEAM_RAISE_TASKS : "");
	else if (!err)
		err = crew_wait(&crew, table, result->why);
	if (err)
		crew_kill(&crew, table);
	for (uint32_t i = 0; i < size && !err; i++) {
		result->keys += crew.board->report[i].count.keys;
		result->expired += crew.board->report[i].count.expired;
		beam_read_ways_add(&result->ways, &crew.board->report[i].count.ways);
		result->fast_path_failed |= crew.board->report[i].count.fast_path_failed;
	}
	munmap(crew.board, sizeof(*crew.board));
	return err;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int check_sum(const struct beam_workers_opts *opts, struct beam_workers_result *result)
{
	if (result->keys + result->expired == opts->facts->keys)
		return 0;
	snprintf(result->why, sizeof(result->why),
		 "%llu keys written and %llu expired, but the server holds %llu",
		 (unsigned long long)result->keys, (unsigned long long)result->expired,
		 (unsigned long long)opts->facts->keys);
	return BEAM_E_COUNT;
}

/* A worker's fork, start and end take 2 ms, longer than such a copy. What a command has to read is
 * left to a worker here, too: in a larger keyspace of such keys, listing them would take as long.
 * Without the fast path all keys are of that kind. */
static bool is_tiny(const struct beam_workers_opts *opts)
{
	return opts->nworkers == 1 && opts->fast_path && !beam_config.workers &&
	       !opts->facts->save_delay_us && !atomic_load(&beam_shared->one_worker) &&
	       opts->facts->used_memory < TINY_BYTES;
}

static int copy_alone(const struct beam_workers_opts *opts, struct beam_workers_result *result)
{
	struct beam_deferred rest = {0};
	int err = beam_large_copy(opts, &rest, result);

	if (!err && rest.n)
		err = crew_run(opts, &rest,
			       rest.n < opts->nworkers ? (uint32_t)rest.n : opts->nworkers, result);
	beam_deferred_free(&rest);
	return err;
}

int beam_workers_run(const struct beam_workers_opts *opts, struct beam_workers_result *result)
{
	bool alone = beam_large_suits(opts) || is_tiny(opts);
	int err;

	memset(result, 0, sizeof(*result));
	err = alone ? copy_alone(opts, result) : crew_run(opts, NULL, opts->nworkers, result);
	if (!err)
		err = check_sum(opts, result);
	if (!alone && (err == BEAM_E_COUNT || err == BEAM_E_UNSUPPORTED) && opts->nworkers > 1)
		atomic_store(&beam_shared->one_worker, 1);
	return err;
}
