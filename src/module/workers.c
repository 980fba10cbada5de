/* SPDX-License-Identifier: BSD-3-Clause
 * Fork, share out, supervise, add up. */
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
#include "image_writer.h"
#include "log.h"
#include "peek_table.h"
#include "rdbeam/error.h"
#include "shared.h"
#include "sockets.h"

#define WORKERS_MAX  64
#define AUTO_MAX     16
#define SMALL_BYTES  (64ull << 20) /* of memory: below, one worker does it in no time */
#define HEARTBEAT_MS 1000
#define REPORT_KEYS  256 /* progress is added to the shared counters in such steps */

/* What a worker leaves for the coordinator. */
struct report {
	uint64_t keys, expired;
	int32_t code;
	int32_t fast_path_failed;
};

struct board { /* shared by the coordinator and its workers */
	_Atomic uint32_t next_job;
	struct report report[WORKERS_MAX];
};

struct worker {
	const struct beam_workers_opts *opts;
	struct beam_lane *lane;
	struct beam_table *table;
	struct beam_image_writer *writer;
	struct beam_record_reader *reader;
	RedisModuleScanCursor *cursor;
	struct beam_peek_table table_view; /* of the selected database, if has_table */
	bool has_table, may_expire;
	int error; /* sticky: callbacks of the scan return nothing */
	volatile int stop;
	uint64_t new_keys, new_bytes;
};

struct crew {
	struct board *board;
	pid_t pid[WORKERS_MAX];
	int pidfd[WORKERS_MAX];
	uint32_t running;
};

uint32_t beam_workers_count(const struct beam_facts *facts)
{
	cpu_set_t cpus;
	int n = 1;

	/* Whoever slows the save down key by key wants the time to add up. */
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

static void report_progress(struct worker *worker)
{
	atomic_fetch_add_explicit(&worker->table->keys_done, worker->new_keys,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&worker->table->bytes_done, worker->new_bytes,
				  memory_order_relaxed);
	worker->new_keys = worker->new_bytes = 0;
}

static int put_record(void *arg, uint32_t db, const void *head, size_t head_bytes, const void *body,
		      size_t body_bytes)
{
	struct worker *worker = arg;

	worker->new_keys++;
	worker->new_bytes += head_bytes + body_bytes;
	if (worker->new_keys == REPORT_KEYS || body_bytes)
		report_progress(worker);
	return beam_image_writer_put(worker->writer, db, head, head_bytes, body, body_bytes);
}

static int on_open_key(void *arg, const struct beam_open_key *key)
{
	struct worker *worker = arg;

	return beam_record_read(worker->reader, key);
}

static void on_scanned_key(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleKey *handle,
			   void *arg)
{
	struct worker *worker = arg;
	struct beam_open_key key = {
	    .handle = handle, .string = name, .may_expire = worker->may_expire};

	(void)ctx;
	if (worker->error || !handle)
		return;
	key.name = RedisModule_StringPtrLen(name, &key.name_bytes);
	worker->error = beam_record_read(worker->reader, &key);
	worker->stop = worker->error != 0;
}

/* The job's database and part. False when there are no more jobs. */
static bool find_job(const struct beam_workers_opts *opts, uint32_t job, uint32_t *db_index,
		     uint32_t *part, uint32_t *parts)
{
	for (uint32_t i = 0; i < opts->facts->ndbs; i++) {
		*parts = beam_partition_parts(opts->facts->partition, opts->facts->dbs[i].keys,
					      opts->nworkers);
		if (job < *parts) {
			*db_index = i;
			*part = job;
			return true;
		}
		job -= *parts;
	}
	return false;
}

/* Goes to another database. All workers come to the same decision about its table: they look at the
 * same frozen memory in the same way, and their parts must fit together. */
static int select_db(struct worker *worker, const struct beam_db_facts *db)
{
	const struct beam_workers_opts *opts = worker->opts;
	int err = beam_record_select(worker->reader, db->db);

	if (err)
		return err;
	if (RedisModule_SelectDb(opts->ctx, (int)db->db) != REDISMODULE_OK)
		return BEAM_E_SERVER;
	worker->may_expire = db->expires != 0;
	worker->has_table =
	    opts->fast_path && beam_peek_table_open(opts->ctx, worker->cursor, db->keys,
						    db->expires, &worker->table_view);
	return 0;
}

static int run_job(struct worker *worker, uint32_t part, uint32_t parts)
{
	const struct beam_workers_opts *opts = worker->opts;
	int err = BEAM_FAULT("worker-job");

	if (err)
		return err;
	if (worker->has_table)
		return beam_peek_table_walk(&worker->table_view, part, parts, on_open_key, worker);
	err = beam_partition_scan(opts->ctx, worker->cursor, opts->facts->partition, part, parts,
				  on_scanned_key, worker, &worker->stop);
	return worker->error ? worker->error : err;
}

static int run_jobs(struct worker *worker, struct board *board)
{
	const struct beam_workers_opts *opts = worker->opts;
	uint32_t db_index, part, parts;
	int64_t selected = -1;

	while (find_job(opts, atomic_fetch_add(&board->next_job, 1), &db_index, &part, &parts)) {
		int err = 0;

		if (selected != (int64_t)db_index)
			err = select_db(worker, &opts->facts->dbs[db_index]);
		selected = db_index;
		if (!err)
			err = run_job(worker, part, parts);
		if (err)
			return err;
	}
	return 0;
}

static int worker_run(struct worker *worker, struct board *board, uint32_t number)
{
	const struct beam_workers_opts *opts = worker->opts;
	struct beam_record_opts record = {
	    .eviction = opts->facts->eviction,
	    .fast_path = opts->fast_path,
	    .save_delay_us = opts->facts->save_delay_us,
	    .put = put_record,
	    .arg = worker,
	};
	RedisModuleCallReply *reply =
	    RedisModule_Call(opts->ctx, "CONFIG", "ccc", "SET", "rdbcompression", "no");
	int err;

	if (reply)
		RedisModule_FreeCallReply(reply);
	worker->cursor = RedisModule_ScanCursorCreate();
	err = BEAM_FAULT("worker-start");
	if (err)
		return err;
	err = beam_lane_join(opts->lane, number, &worker->lane);
	if (err)
		return err;
	worker->table = beam_lane_table(worker->lane);
	err = beam_image_writer_open(beam_lane_source(worker->lane), &worker->writer);
	if (!err)
		err = beam_record_reader_open(opts->ctx, &record, &worker->reader);
	if (!err)
		err = run_jobs(worker, board);
	if (!err)
		err = BEAM_FAULT("worker-flush");
	if (!err)
		err = beam_record_flush(worker->reader);
	if (!err)
		err = beam_image_writer_flush(worker->writer);
	if (!err)
		report_progress(worker);
	return err;
}

static void worker_main(const struct beam_workers_opts *opts, struct board *board, uint32_t number,
			pid_t parent)
{
	static const int handled[] = {SIGSEGV, SIGBUS, SIGFPE,  SIGILL, SIGABRT,
				      SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGALRM};
	struct worker worker = {.opts = opts};
	struct report *report = &board->report[number];

	/* A crash here is answered by stock saving: it must not look like one of the server's. */
	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
		signal(handled[i], SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The server's disable-thp would have the region mapped by small pages. */
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	report->code = worker_run(&worker, board, number);
	if (worker.reader) {
		report->keys = beam_record_keys(worker.reader);
		report->expired = beam_record_expired(worker.reader);
		report->fast_path_failed = beam_record_fast_path_failed(worker.reader);
	}
	_exit(report->code ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- in the coordinator --------------------------------------------------------------------- */

static int crew_fork(struct crew *crew, const struct beam_workers_opts *opts)
{
	pid_t self = getpid();

	for (uint32_t i = 0; i < opts->nworkers; i++) {
		int err = BEAM_FAULT("fork-worker");
		pid_t pid = err ? -1 : fork();

		if (pid == 0)
			worker_main(opts, crew->board, i, self);
		if (pid < 0)
			return err ? err : -errno;
		crew->pid[i] = pid;
		crew->pidfd[i] = (int)syscall(SYS_pidfd_open, pid, 0);
		crew->running++;
		if (crew->pidfd[i] < 0)
			return -errno;
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

/* After a failure: ends the others, so that nobody writes any more. */
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

/* Waits for all workers; the first failure is returned at once. */
static int crew_wait(struct crew *crew, uint32_t nworkers, struct beam_table *table, char *why)
{
	while (crew->running) {
		struct pollfd fds[WORKERS_MAX];

		for (uint32_t i = 0; i < nworkers; i++)
			fds[i] = (struct pollfd){.fd = crew->pidfd[i], .events = POLLIN};
		int n = poll(fds, nworkers, HEARTBEAT_MS);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			beam_child_info_send(atomic_load(&table->keys_done), table->keys_expected);
		for (uint32_t i = 0; n > 0 && i < nworkers; i++) {
			int err = fds[i].revents ? reap(crew, i, why) : 0;

			if (err)
				return err;
		}
	}
	return 0;
}

static int add_up(const struct crew *crew, const struct beam_workers_opts *opts,
		  struct beam_workers_result *result)
{
	for (uint32_t i = 0; i < opts->nworkers; i++) {
		result->keys += crew->board->report[i].keys;
		result->expired += crew->board->report[i].expired;
		result->fast_path_failed |= crew->board->report[i].fast_path_failed != 0;
	}
	if (result->keys + result->expired == opts->facts->keys)
		return 0;
	snprintf(result->why, sizeof(result->why),
		 "%llu keys written and %llu expired, but the server holds %llu",
		 (unsigned long long)result->keys, (unsigned long long)result->expired,
		 (unsigned long long)opts->facts->keys);
	return BEAM_E_COUNT;
}

int beam_workers_run(const struct beam_workers_opts *opts, struct beam_workers_result *result)
{
	struct crew crew = {0};
	struct beam_table *table = beam_lane_table(*opts->lane);
	int err;

	memset(result, 0, sizeof(*result));
	crew.board = mmap(NULL, sizeof(*crew.board), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crew.board == MAP_FAILED)
		return -errno;
	memset(crew.pidfd, -1, sizeof(crew.pidfd));
	err = crew_fork(&crew, opts);
	if (err)
		snprintf(result->why, sizeof(result->why), "cannot fork worker: %s",
			 beam_strerror(err));
	else
		err = crew_wait(&crew, opts->nworkers, table, result->why);
	if (err)
		crew_kill(&crew, table);
	else
		err = add_up(&crew, opts, result);
	if ((err == BEAM_E_COUNT || err == BEAM_E_UNSUPPORTED) && opts->nworkers > 1)
		atomic_store(&beam_shared->one_worker, 1);
	munmap(crew.board, sizeof(*crew.board));
	return err;
}
