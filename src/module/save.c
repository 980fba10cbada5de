/* SPDX-License-Identifier: BSD-3-Clause
 * The coordinator of a snapshot: what the forked child does from the fork until it becomes the
 * waiter (exec), or until it leaves the save to the server. */
#include "save.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child_info.h"
#include "clock.h"
#include "config.h"
#include "cut.h"
#include "fault.h"
#include "image_writer.h"
#include "lane.h"
#include "large.h"
#include "link.h"
#include "log.h"
#include "program.h"
#include "rdbeam/error.h"
#include "save_aux.h"
#include "save_file.h"
#include "save_header.h"
#include "shared.h"
#include "snapshot_facts.h"
#include "sockets.h"
#include "still.h"
#include "workers.h"

#define ANSWER_TIMEOUT_MS 5000
#define WAITER_ARGS       16
#define COPY_NICE         10

struct snapshot {
	RedisModuleCtx *ctx;
	uint64_t forked_ns;
	struct beam_facts facts;
	bool have_facts;
	struct beam_save_aux aux;
	struct beam_ctl_begin begin;
	struct beam_lane *lane;
	struct beam_copy_pool *pool;
	struct beam_image_totals totals;
	int priority; /* the server's priority, to return to while `lowered` is set */
	bool lowered;
	char why[BEAM_REASON_BYTES];
	struct beam_save_file file; /* only in a save to disk */
};

/* ---- what is written ------------------------------------------------------------------------ */

/* Estimates the image's bytes, for which the daemon faults memory in ahead. If the last image had a
 * similar number of keys, its size is scaled to the present number, with an eighth added for
 * filler. Otherwise, and at most, this is an eighth more than the memory in use, which is an upper
 * bound for nearly all data. */
static uint64_t estimate(const struct beam_facts *facts, const struct beam_ctl_status *last)
{
	uint64_t most = facts->used_memory + facts->used_memory / 8;

	if (!last->image_bytes || !last->keys || last->keys / 2 > facts->keys ||
	    facts->keys / 2 > last->keys)
		return most;
	double scaled =
	    1.125 * (double)last->image_bytes * (double)facts->keys / (double)last->keys;

	return scaled < (double)most ? (uint64_t)scaled : most;
}

static void fill_begin(struct snapshot *s, enum beam_snapshot_kind kind, const uint8_t *secret)
{
	struct beam_cut *cut = &s->begin.cut;

	memcpy(s->begin.secret, secret, BEAM_SECRET_BYTES);
	s->begin.kind = kind;
	s->begin.keys_expected = s->facts.keys;
	s->begin.fork_ns = s->forked_ns;
	s->begin.direct_io = s->file.direct;
	s->begin.estimate_bytes = estimate(&s->facts, beam_link_status());
	s->begin.backlog_first = s->facts.backlog_first;
	memcpy(cut->replid, s->facts.replid, sizeof(cut->replid));
	cut->is_replica = s->facts.is_replica;
	cut->offset = s->facts.offset;
	cut->stream_db = s->facts.stream_db;
	cut->wall_ms = beam_wall_ms();
	snprintf(cut->server, sizeof(cut->server), "%s", s->facts.is_valkey ? "valkey" : "redis");
	memcpy(cut->server_version, s->facts.version, sizeof(cut->server_version));
}

static void set_total(void *table, uint32_t nsegments)
{
	atomic_store_explicit(&((struct beam_table *)table)->total, nsegments,
			      memory_order_release);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static int fail(struct snapshot *s, const char *step, int err)
{
	const char *said = s->lane ? beam_lane_failure(s->lane) : "";

	/* If the daemon has given up the image, this error is only a consequence: report the
	 * daemon's. */
	if (said[0])
		snprintf(s->why, sizeof(s->why), "%.*s", BEAM_REASON_BYTES - 1, said);
	else if (!s->why[0])
		snprintf(s->why, sizeof(s->why), "%s: %s", step, beam_strerror(err));
	return err;
}

/* A replica's own replicas receive its primary's stream as it continues, where no SELECT need come
 * before the next write. Only the dump can tell them which database they start in. */
static bool feeds_sub_replica(const struct beam_facts *facts)
{
	return facts->is_replica && facts->replica_waits;
}

static int check_facts(struct snapshot *s)
{
	int err = BEAM_FAULT("facts");

	if (!err)
		err = beam_facts_read(s->ctx, &s->facts, s->why);
	if (err)
		return fail(s, "reading the server's state", err);
	s->have_facts = true;
	s->facts.tells_stream_db = (s->facts.replid[0] || feeds_sub_replica(&s->facts)) &&
				   beam_cut_is_marked(&s->facts.stream_db);
	if (!s->facts.tells_stream_db)
		s->facts.replid[0] = '\0';
	if (!beam_facts_format_known(&s->facts)) {
		snprintf(
		    s->why, sizeof(s->why),
		    "the server writes RDB version %u, which this rdbeam does not know: a newer "
		    "one may",
		    s->facts.rdb_version);
		return BEAM_E_UNSUPPORTED;
	}
	if (beam_facts_slots_move(s->ctx, &s->facts)) {
		snprintf(s->why, sizeof(s->why), "slots are moving between nodes of the cluster");
		return BEAM_E_UNSUPPORTED;
	}
	return beam_save_aux_read(&s->facts, &s->aux, s->why);
}

static int check_stream(struct snapshot *s)
{
	if (!feeds_sub_replica(&s->facts) || s->facts.tells_stream_db)
		return 0;
	snprintf(s->why, sizeof(s->why),
		 "a replica of this replica waits for the dump, and the server does not say which "
		 "database the stream is in");
	return BEAM_E_UNSUPPORTED;
}

static int begin(struct snapshot *s, enum beam_snapshot_kind kind)
{
	struct beam_lane_begin opts = {
	    .begin = &s->begin, .file_fd = s->file.fd, .timeout_ms = ANSWER_TIMEOUT_MS};
	char reason[BEAM_TEXT_BYTES] = "";
	const uint8_t *secret;
	int err;

	if (!beam_link_child_address(&opts.daemon_name, &opts.daemon_name_len, &secret)) {
		snprintf(s->why, sizeof(s->why), "%.*s", BEAM_REASON_BYTES - 1,
			 beam_link_error()[0] ? beam_link_error() : "rdbeamd is not running");
		return BEAM_E_GONE;
	}
	fill_begin(s, kind, secret);
	err = BEAM_FAULT("begin");
	if (!err)
		err = beam_lane_begin(&opts, reason, &s->lane);
	if (err && reason[0])
		snprintf(s->why, sizeof(s->why), "%.*s", BEAM_REASON_BYTES - 1, reason);
	return err ? fail(s, "asking rdbeamd for a generation", err) : 0;
}

/* The copy uses every processor. A server that wakes up to serve a client must get its own back at
 * once. Threads and workers inherit the lower priority. */
static void lower_priority(struct snapshot *s)
{
	if (!beam_link_may_schedule())
		return; /* this was logged when the daemon was started */
	s->priority = getpriority(PRIO_PROCESS, 0);
	s->lowered = !setpriority(PRIO_PROCESS, 0, s->priority + COPY_NICE);
	if (!s->lowered)
		beam_log(BEAM_LOG_INFO, "the copy keeps its priority: %s", strerror(errno));
}

/* Stock saving may follow in this process (after a snapshot in memory it hardly ever does). */
static void restore_priority(struct snapshot *s)
{
	if (s->lowered && setpriority(PRIO_PROCESS, 0, s->priority))
		beam_log(s->begin.kind == BEAM_SNAPSHOT_DISK ? BEAM_LOG_NOTICE : BEAM_LOG_INFO,
			 "saving goes on at the copy's lower priority: %s: raise the server's "
			 "RLIMIT_NICE to that of nice %d (LimitNICE in its unit)",
			 strerror(errno), s->priority);
	s->lowered = false;
}

static struct beam_workers_opts workers_of(struct snapshot *s)
{
	return (struct beam_workers_opts){
	    .ctx = s->ctx,
	    .facts = &s->facts,
	    .lane = &s->lane,
	    .pool = &s->pool,
	    .nworkers = s->begin.nworkers,
	    .fast_path = beam_config.fast_path && !atomic_load(&beam_shared->fast_path_off),
	};
}

/* Starts the copying threads early, so that they are ready when files are open and the daemon has
 * answered. The table's extents take one file descriptor each here, so the limit is raised to what
 * the server's hard limit allows. */
static void prepare(struct snapshot *s)
{
	beam_allow_files();
	s->begin.nworkers = beam_workers_count(&s->facts);
	/* A server with disable-thp would otherwise have the region mapped in small pages. */
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	lower_priority(s);
	struct beam_workers_opts workers = workers_of(s);

	beam_large_prepare(&workers);
}

static int copy(struct snapshot *s)
{
	const struct beam_segment_source *source = beam_lane_source(s->lane);
	struct beam_workers_opts workers = workers_of(s);
	struct beam_workers_result result = {0};
	int err;

	err = beam_save_header(&s->facts, &s->aux, &s->begin, source);
	if (err)
		return fail(s, "writing the image's header", err);
	err = BEAM_FAULT("copy");
	if (!err)
		err = beam_workers_run(&workers, &result);
	if (err) {
		snprintf(s->why, sizeof(s->why), "%s", result.why);
		if (err == BEAM_E_SERVER && !beam_facts_has_dump(s->ctx))
			snprintf(s->why, sizeof(s->why),
				 "DUMP is renamed (rename-command), and some values can only be "
				 "read by it");
		if (err == BEAM_E_OWNED)
			beam_save_aux_is_owned();
		return fail(s, "copying the keyspace", err);
	}
	if (result.fast_path_failed) {
		atomic_store(&beam_shared->fast_path_off, 1);
		beam_log(BEAM_LOG_NOTICE,
			 "values of this server do not have the layout that rdbeam.fast-path "
			 "knows: they are read by commands from now on");
	}
	s->totals.nitems = result.keys;
	s->totals.nexpired = result.expired;
	beam_shared->ways = result.ways;
	err = beam_save_aux_write(&s->aux, source);
	if (err)
		return fail(s, "writing other modules' AUX data", err);
	err = BEAM_FAULT("last");
	if (!err)
		err =
		    beam_image_write_last(source, &s->totals, set_total, beam_lane_table(s->lane));
	if (err)
		return fail(s, "writing the image's last segment", err);
	return 0;
}

static int announce(struct snapshot *s)
{
	struct beam_ctl_copied copied = {
	    .keys = s->totals.nitems,
	    .expired = s->totals.nexpired,
	    .image_bytes = s->totals.image_bytes,
	    .file_crc = s->totals.file_crc,
	};
	int err = BEAM_FAULT("copied");

	if (!err)
		err = beam_lane_copied(s->lane, &copied);
	return err ? fail(s, "telling rdbeamd that the copy is done", err) : 0;
}

static void snapshot_open(struct snapshot *s, RedisModuleCtx *ctx, uint64_t forked_ns)
{
	memset(s, 0, sizeof(*s));
	s->ctx = ctx;
	s->forked_ns = forked_ns;
	beam_save_file_init(&s->file);
}

static void snapshot_close(struct snapshot *s, int err)
{
	if (s->lane && err)
		beam_lane_abort(s->lane, err, s->why);
	beam_lane_close(&s->lane);
	beam_copy_pool_close(&s->pool);
	beam_save_file_close(&s->file);
	beam_save_aux_free(&s->aux);
	if (s->have_facts)
		beam_facts_free(&s->facts);
}

/* ---- the save to disk ----------------------------------------------------------------------- */

static void keep_over_exec(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) & ~FD_CLOEXEC);
}

struct waiter_args {
	char path[512];
	char text[WAITER_ARGS][320];
	char extents[BEAM_TEXT_BYTES * 32];
	char *argv[WAITER_ARGS + 1];
};

/* Builds the waiter's command line, and clears FD_CLOEXEC on the fds it names. */
static int prepare_waiter(struct snapshot *s, struct waiter_args *args, pid_t server)
{
	const struct beam_save_file *file = &s->file;
	static int fds[1 + 1024];
	char stock_name[BEAM_SAVE_NAME_BYTES];
	int nfds, sock, n = 0;
	size_t len;
	int err =
	    beam_lane_inherit(s->lane, &sock, fds, (int)(sizeof(fds) / sizeof(fds[0])), &nfds);

	if (err)
		return fail(s, "collecting the image's memory for the waiter", err);
	beam_save_file_stock_name(stock_name);
	len = (size_t)snprintf(args->extents, sizeof(args->extents), "extents=");
	for (int i = 1; i < nfds && len < sizeof(args->extents) - 16; i++) {
		keep_over_exec(fds[i]);
		len += (size_t)snprintf(args->extents + len, sizeof(args->extents) - len,
					fds[i] < 0 ? "%s-" : "%s%d", i > 1 ? "," : "", fds[i]);
	}
	args->argv[n++] = args->path;
	args->argv[n++] = strcpy(args->text[0], "--wait");
#define ARG(...)                                                                                   \
	(snprintf(args->text[n], sizeof(args->text[n]), __VA_ARGS__),                              \
	 args->argv[n] = args->text[n], n++)
	ARG("sock=%d", sock);
	ARG("table=%d", fds[0]);
	args->argv[n++] = args->extents;
	ARG("dir=%d", file->dir);
	ARG("file=%d", file->fd);
	ARG("named=%d", file->named);
	ARG("direct=%d", file->direct);
	ARG("keep=%d", file->lock);
	if (file->named)
		ARG("was=%s", file->temp_name);
	ARG("temp=%s", stock_name);
	ARG("name=%s", file->name);
	ARG("server=%d", (int)server);
#undef ARG
	args->argv[n] = NULL;
	keep_over_exec(sock);
	keep_over_exec(fds[0]);
	keep_over_exec(file->dir);
	keep_over_exec(file->fd);
	keep_over_exec(file->lock);
	return 0;
}

/* Does not return on success. */
static int become_waiter(struct snapshot *s)
{
	static struct waiter_args args;
	const struct sigaction ignored = {.sa_handler = SIG_IGN};
	struct sigaction term, interrupt;
	char program[512];
	sigset_t none;
	int err;

	beam_config_daemon_path(args.path, sizeof(args.path));
	beam_program_waiter_path(program, sizeof(program));
	err = BEAM_FAULT("exec-waiter");
	if (!err && access(program, X_OK))
		err = -errno; /* checked before anything is given up that stock saving needs */
	if (err)
		return fail(s, "starting the waiter", err);
	err = announce(s);
	if (err)
		return err;
	beam_child_info_cow(false); /* replicas have received all of it by now */
	err = prepare_waiter(s, &args, getppid());
	if (err)
		return err;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* exec resets signal handlers, and the waiter takes a moment to install its own. */
	sigaction(SIGTERM, &ignored, &term);
	sigaction(SIGINT, &ignored, &interrupt);
	err = BEAM_FAULT("exec");
	if (!err) {
		execve(program, args.argv, beam_program_environment());
		/* A security module may have a rule for rdbeamd alone. */
		beam_program_path(program, sizeof(program));
		execve(program, args.argv, beam_program_environment());
		err = -errno;
	}
	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGINT, &interrupt, NULL);
	return fail(s, "starting the waiter", err);
}

static int to_disk(RedisModuleCtx *ctx, uint64_t forked_ns)
{
	static struct snapshot s;
	int err;

	snapshot_open(&s, ctx, forked_ns);
	err = check_facts(&s);
	if (!err)
		err = check_stream(&s);
	if (!err) {
		prepare(&s);
		err = beam_save_file_open(&s.file, ctx, s.why);
	}
	if (!err)
		err = begin(&s, BEAM_SNAPSHOT_DISK);
	if (!err)
		err = copy(&s);
	if (!err)
		err = become_waiter(&s);
	restore_priority(&s);
	beam_shared_fallback("%s", s.why);
	snapshot_close(&s, err);
	return err;
}

void beam_save_to_disk(RedisModuleCtx *ctx, uint64_t forked_ns)
{
	beam_still_run(ctx, to_disk, forked_ns);
}

static int to_memory(RedisModuleCtx *ctx, uint64_t forked_ns)
{
	static struct snapshot s;
	int err;

	snapshot_open(&s, ctx, forked_ns);
	err = check_facts(&s);
	if (!err) {
		prepare(&s);
		err = begin(&s, BEAM_SNAPSHOT_MEMORY);
	}
	if (!err)
		err = copy(&s);
	if (!err)
		err = announce(&s);
	restore_priority(&s); /* with rdbeam.mode mirror, stock saving follows */
	if (err) {
		beam_log(BEAM_LOG_WARNING, "snapshot in memory failed: %s", s.why);
		memcpy(beam_shared->reason, s.why, sizeof(s.why));
	}
	snapshot_close(&s, err);
	return err;
}

int beam_save_to_memory(RedisModuleCtx *ctx, uint64_t forked_ns)
{
	return beam_still_run(ctx, to_memory, forked_ns);
}
