/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs a save and watches its child. The kernel reports the end of a process exactly, whereas INFO
 * has whole seconds and Redis checks ten times a second.
 */
#include "bench_save.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench_process.h"
#include "bench_rig.h"
#include "clock.h"
#include "rdbeam/error.h"
#include "save.h"
#include "sockets.h"

#define DUMP_NAME     "dump.rdb"
#define LOOK_EVERY_MS 10
#define EXEC_EVERY_MS 2 /* how precisely the end of the copy is seen in the child */
#define SAVE_MS       (30 * 60 * 1000)
#define PAGE_BYTES    ((double)sysconf(_SC_PAGESIZE))

/* Counters read before and after. */
struct counters {
	double children_cpu_s; /* of the server's ended children and their children */
	double daemon_cpu_s;
	uint64_t faults;
};

struct watch {
	struct beam_bench_server *server;
	pid_t child; /* 0: it had ended before we looked */
	uint64_t sent_ns, answered_ns, ended_ns;
	uint64_t faults_end; /* of the server, when the child gave up its memory */
	uint64_t private_bytes;
	bool look_inside;
};

const char *beam_bench_method_name(enum beam_bench_method method)
{
	static const char *const names[BEAM_BENCH_METHODS] = {"stock", "tuned", "tuned_disk",
							      "rdbeam"};

	return names[method];
}

static double ms_between(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

/* ---- before ------------------------------------------------------------------------------- */

static const char *dump_dir(enum beam_bench_method method, const struct beam_bench_place *place)
{
	return method == BEAM_BENCH_TUNED ? place->memory : place->disk;
}

static int set(struct beam_redis *redis, const char *name, const char *value, char *error)
{
	int code = beam_redis_command(redis, NULL, "CONFIG SET %s %s", name, value);

	if (code)
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "cannot set: %s %.200s (%.200s): see its log", name, value,
			 beam_redis_error(redis));
	return code;
}

static int set_method(struct beam_redis *redis, enum beam_bench_method method, const char *dir,
		      char *error)
{
	bool rdbeam = method == BEAM_BENCH_RDBEAM;
	int code = set(redis, "dir", dir, error);

	if (!code)
		code = set(redis, "dbfilename", DUMP_NAME, error);
	if (!code)
		code = set(redis, "rdbeam.mode", rdbeam ? "replace" : "off", error);
	if (!code)
		code =
		    set(redis, "rdbcompression", method == BEAM_BENCH_STOCK ? "yes" : "no", error);
	return code;
}

static double info_seconds(struct beam_redis *redis, const char *field)
{
	char text[32];

	return beam_redis_info(redis, "cpu", field, text, sizeof(text)) ? 0 : strtod(text, NULL);
}

static void read_counters(struct beam_bench_server *server, struct counters *out)
{
	struct beam_process_use use;
	int64_t daemon = 0;

	out->children_cpu_s = info_seconds(server->redis, "used_cpu_user_children") +
			      info_seconds(server->redis, "used_cpu_sys_children");
	beam_redis_info_int(server->redis, "rdbeam", "rdbeam_daemon_pid", &daemon);
	if (daemon > 0)
		beam_process_use((pid_t)daemon, &use);
	out->daemon_cpu_s = daemon > 0 ? use.cpu_s : 0;
	beam_process_use(server->pid, &use);
	out->faults = use.minor_faults;
}

/* ---- while it lasts ----------------------------------------------------------------------- */

static uint64_t faults_of(pid_t pid)
{
	struct beam_process_use use;

	beam_process_use(pid, &use);
	return use.minor_faults;
}

/* Waits for the child to end. A child of rdbeam becomes another program (exec) when the copy is
 * complete: from then on the server copies no pages for it. */
static int watch_child(struct watch *watch, int pidfd, char *error)
{
	const uint64_t program = beam_process_program(watch->server->pid);
	uint64_t deadline = beam_now_ms() + SAVE_MS;
	struct pollfd wanted = {.fd = pidfd, .events = POLLIN};
	bool same = true;
	int n = 0;

	while (n == 0) {
		if (same && watch->look_inside) {
			uint64_t bytes = beam_process_private_bytes(watch->child);

			if (beam_process_program(watch->child) == program &&
			    bytes > watch->private_bytes)
				watch->private_bytes = bytes;
		}
		if (same) {
			uint64_t faults = faults_of(watch->server->pid);

			same = beam_process_program(watch->child) == program;
			if (same || !watch->faults_end)
				watch->faults_end = faults;
		}
		n = poll(&wanted, 1, same ? EXEC_EVERY_MS : LOOK_EVERY_MS * 10);
		if ((n < 0 && errno != EINTR) || beam_bench_interrupted() ||
		    beam_now_ms() > deadline) {
			snprintf(error, BEAM_REDIS_ERROR_BYTES,
				 "save does not end: pid %d: see the server's log",
				 (int)watch->child);
			return -ETIMEDOUT;
		}
		n = n < 0 ? 0 : n;
	}
	watch->ended_ns = beam_now_ns();
	return 0;
}

static int find_child(struct watch *watch, char *error)
{
	int pidfd, code;

	watch->child = beam_process_child(watch->server->pid);
	if (watch->child < 0) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "cannot see the child of a save: /proc/%d/task/%d/children (%s): use a "
			 "kernel with CONFIG_PROC_CHILDREN",
			 (int)watch->server->pid, (int)watch->server->pid,
			 beam_strerror(watch->child));
		return watch->child;
	}
	pidfd = watch->child ? beam_process_open(watch->child) : -ESRCH;
	if (pidfd == -ESRCH) {
		/* It ended, and the server has reaped it, since BGSAVE was answered. */
		watch->ended_ns = beam_now_ns();
		return 0;
	}
	if (pidfd < 0) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "cannot watch the child of a save: pidfd_open of %d (%s): use Linux 5.3 "
			 "or newer",
			 (int)watch->child, beam_strerror(pidfd));
		return pidfd;
	}
	code = watch_child(watch, pidfd, error);
	beam_close(&pidfd);
	return code;
}

/* The server records the save a moment after the child ended. */
static int wait_booked(struct beam_save *save, char *error)
{
	const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000l};
	int code = 0;

	while (code == 0 && save->state != BEAM_SAVE_DURABLE) {
		code = beam_save_look(save);
		if (code == 0 && save->state == BEAM_SAVE_FAILED)
			code = BEAM_E_SERVER;
		if (code == 0 && save->state != BEAM_SAVE_DURABLE)
			nanosleep(&pause, NULL);
	}
	if (code)
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", save->error);
	return code;
}

/* ---- after -------------------------------------------------------------------------------- */

static double status_number(const struct beam_save *save, const char *field)
{
	return (double)beam_view_status_number(&save->view, field, 0);
}

/* INFO has whole milliseconds: 0 counts as 1. */
static double status_ms(const struct beam_save *save, const char *field)
{
	double ms = status_number(save, field);

	return ms > 0 ? ms : 1;
}

static int check_image(const struct beam_save *save, char *error)
{
	double copied = status_number(save, "snapshot_keys");

	if (!beam_save_by_image(save)) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "rdbeam made no image: stock saving took over (%.300s): remove the cause",
			 beam_view_status(&save->view, "last_fallback_reason"));
		return BEAM_E_UNSUPPORTED;
	}
	if (copied != (double)save->keys) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "wrong image: %.0f keys of %.0f: report this as a bug", copied,
			 (double)save->keys);
		return BEAM_E_COUNT;
	}
	return 0;
}

static void take_sample(const struct watch *watch, const struct counters *before,
			const struct beam_save *save, bool rdbeam, struct beam_bench_sample *out)
{
	const struct beam_view *view = &save->view;
	struct counters after;

	read_counters(watch->server, &after);
	out->durable_ms = ms_between(watch->sent_ns, watch->ended_ns);
	out->fork_ms = (double)beam_view_info_number(view, "latest_fork_usec", 0) / 1000;
	out->cpu_s = after.children_cpu_s - before->children_cpu_s;
	out->daemon_cpu_s = after.daemon_cpu_s - before->daemon_cpu_s;
	out->private_bytes = (double)watch->private_bytes;
	out->keys = (double)save->keys;
	if (watch->faults_end > before->faults)
		out->copied_bytes = (double)(watch->faults_end - before->faults) * PAGE_BYTES;
	if (rdbeam) {
		out->ms = ms_between(watch->sent_ns, watch->answered_ns) +
			  status_ms(save, "snapshot_copy_ms");
		out->child_ms = status_ms(save, "cow_window_ms");
		out->flush_mb_per_s = status_number(save, "flush_mb_per_s");
	} else {
		out->ms = ms_between(watch->sent_ns, watch->ended_ns);
		out->child_ms = ms_between(watch->answered_ns, watch->ended_ns);
		out->cow_bytes = (double)beam_view_info_number(view, "rdb_last_cow_size", 0);
	}
}

/* Takes the dump's size and removes the dump: so the next save finds the same free space, and tmpfs
 * its memory. */
static void take_dump(const char *dir, struct beam_bench_sample *out)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/%s", dir, DUMP_NAME) >= (int)sizeof(path))
		return;
	if (stat(path, &st) == 0)
		out->image_bytes = (double)st.st_size;
	unlink(path);
}

static int run_save(struct beam_save *save, struct watch *watch,
		    const struct beam_bench_around *around, char *error)
{
	struct beam_load *load = NULL;
	int code = around->load ? beam_load_start(around->load, error, &load) : 0;
	int ended;

	if (code)
		return code;
	watch->sent_ns = beam_now_ns();
	code = beam_save_begin(save);
	watch->answered_ns = beam_now_ns();
	if (code)
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", save->error);
	else
		code = find_child(watch, error);
	beam_load_mark(load);
	while (load && !code && !beam_bench_interrupted() &&
	       ms_between(watch->sent_ns, beam_now_ns()) < around->window_ms)
		beam_bench_pause_ms(LOOK_EVERY_MS);
	/* write a line of its own only if nothing failed before */
	ended =
	    beam_load_stop(&load, around->latencies, around->window, code ? save->error : error);
	if (!code)
		code = ended;
	return code ? code : wait_booked(save, error);
}

int beam_bench_save(struct beam_bench_server *server, enum beam_bench_method method,
		    const struct beam_bench_place *place, const struct beam_bench_around *around,
		    char *error, struct beam_bench_sample *out)
{
	const bool rdbeam = method == BEAM_BENCH_RDBEAM;
	const char *dir = dump_dir(method, place);
	struct watch watch = {.server = server, .look_inside = around->look_inside};
	struct counters before;
	struct beam_save save;
	int code;

	memset(out, 0, sizeof(*out));
	code = set_method(server->redis, method, dir, error);
	if (code)
		return code;
	code = beam_save_prepare(server->redis, false, &save);
	if (code)
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", save.error);
	if (!code) {
		read_counters(server, &before);
		code = run_save(&save, &watch, around, error);
	}
	if (!code && rdbeam)
		code = check_image(&save, error);
	if (!code) {
		take_sample(&watch, &before, &save, rdbeam, out);
		take_dump(dir, out);
	}
	beam_save_close(&save);
	return code;
}
