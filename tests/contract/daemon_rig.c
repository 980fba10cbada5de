/* SPDX-License-Identifier: BSD-3-Clause
 * Plays the module and the child against a real rdbeamd. */
#include "daemon_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "disk.h"
#include "image_reader.h"
#include "image_writer.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "region.h"
#include "sockets.h"

#define VALUE_BYTES 65536u
#define TRACE       ".trace"

/* ---- the module --------------------------------------------------------------------------- */

static void trace_points(const struct rig *rig)
{
	char path[sizeof(rig->dir) + sizeof(TRACE)];

	snprintf(path, sizeof(path), "%s/" TRACE, rig->dir);
	setenv("RDBEAM_FAULT_TRACE", path, 1);
}

static void exec_daemon(const struct rig *rig, int theirs, const char *fault)
{
	/* clear of the fixed numbers that they will get */
	int control = fcntl(theirs, F_DUPFD, 10), listening = fcntl(rig->listen, F_DUPFD, 10);

	if (dup2(control, BEAM_FD_CONTROL) < 0 || dup2(listening, BEAM_FD_LISTEN) < 0)
		_exit(99);
	if (fault)
		setenv("RDBEAM_FAULT", fault, 1);
	trace_points(rig);
	execl(RDBEAMD_PATH, "rdbeamd", (char *)NULL);
	_exit(99);
}

void rig_configure(struct rig *rig)
{
	beam_ctl_send(rig->control, BEAM_CTL_CONFIG, &rig->config, sizeof(rig->config), -1);
}

static bool greet(struct rig *rig, int page_fd)
{
	struct beam_ctl_hello hello = {.protocol = BEAM_CTL_PROTOCOL, .server_pid = getpid()};

	memcpy(hello.secret, rig->secret, sizeof(hello.secret));
	beam_ctl_send(rig->control, BEAM_CTL_HELLO, &hello, sizeof(hello), page_fd);
	rig_configure(rig);
	for (int i = 0; i < 2; i++) {
		int type;

		do {
			type = rig_next(rig, 5000);
		} while (type >= 0 && type != BEAM_CTL_READY);
		if (type < 0)
			return false;
	}
	rig->daemon = rig->ready.pid;
	rig->daemon_pidfd = (int)syscall(SYS_pidfd_open, rig->daemon, 0);
	return rig->daemon_pidfd >= 0;
}

static bool start(struct rig *rig, uint32_t segments, const char *fault, int page_fd)
{
	const char *tmp = getenv("TMPDIR");
	int pair[2];

	rig->daemon_pidfd = -1;
	snprintf(rig->dir, sizeof(rig->dir), "%s/rdbeamd-test-XXXXXX", tmp ? tmp : P_tmpdir);
	if (!mkdtemp(rig->dir))
		return false;
	rig->dirfd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig->listen = beam_packet_listen(rig->name, &rig->name_len);
	beam_random(rig->secret, sizeof(rig->secret));
	if (rig->dirfd < 0 || rig->listen < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return false;
	pid_t pid = fork();

	if (pid == 0)
		exec_daemon(rig, pair[1], fault);
	close(pair[1]);
	close(rig->listen);
	rig->control = pair[0];
	rig->config =
	    (struct beam_ctl_config){.region_bytes = (uint64_t)segments * RIG_SEGMENT_BYTES,
				     .segment_bytes = RIG_SEGMENT_BYTES,
				     .hugepages = BEAM_HUGEPAGES_NO,
				     .transport = BEAM_TRANSPORT_OFF,
				     .retain_s = 300,
				     .max_pulls = 4,
				     .stall_timeout_s = 60};
	int status = rig_reap(pid); /* the process in between, which has exited */

	return WIFEXITED(status) && !WEXITSTATUS(status) && (greet(rig, page_fd) || fault);
}

bool rig_open(struct rig *rig, uint32_t segments, const char *fault)
{
	memset(rig, 0, sizeof(*rig));
	return start(rig, segments, fault, -1);
}

bool rig_open_paged(struct rig *rig, uint32_t segments)
{
	int fd;

	memset(rig, 0, sizeof(*rig));
	if (beam_status_page_create(&fd, &rig->page))
		return false;
	bool started = start(rig, segments, NULL, fd);

	close(fd);
	return started;
}

static void remove_files(const struct rig *rig)
{
	DIR *dir = fdopendir(dup(rig->dirfd));
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			unlinkat(rig->dirfd, entry->d_name, 0);
	if (dir)
		closedir(dir);
	unlinkat(rig->dirfd, TRACE, 0);
	rmdir(rig->dir);
}

bool rig_close(struct rig *rig)
{
	struct pollfd ended = {.fd = rig->daemon_pidfd, .events = POLLIN};
	bool gone;

	beam_status_page_close(&rig->page);
	beam_close(&rig->control);
	gone = rig->daemon_pidfd < 0 || poll(&ended, 1, 5000) == 1;
	beam_close(&rig->daemon_pidfd);
	remove_files(rig);
	beam_close(&rig->dirfd);
	return gone;
}

int rig_next(struct rig *rig, int timeout_ms)
{
	union {
		struct beam_ctl_head head;
		struct beam_ctl_status status;
		struct beam_ctl_ready ready;
		struct beam_ctl_opened opened;
		struct beam_ctl_text text;
		uint8_t bytes[BEAM_CTL_MAX_BYTES];
	} packet;
	ssize_t n = beam_packet_recv(rig->control, &packet, sizeof(packet), NULL, NULL, timeout_ms);

	if (n < 0)
		return (int)n;
	if (beam_ctl_check(&packet, (uint32_t)n))
		return BEAM_E_PROTO;
	if (packet.head.type == BEAM_CTL_STATUS)
		rig->status = packet.status;
	else if (packet.head.type == BEAM_CTL_READY)
		rig->ready = packet.ready;
	else if (packet.head.type == BEAM_CTL_OPENED)
		rig->opened = packet.opened;
	else if (packet.head.type == BEAM_CTL_LOG && !rig->quiet)
		fprintf(stderr, "  log: %s\n", packet.text.text);
	return (int)packet.head.type;
}

bool rig_wait_state(struct rig *rig, enum beam_state state, uint64_t counter)
{
	uint64_t deadline = beam_now_ms() + 10000;

	while (beam_now_ms() < deadline) {
		int type = rig_next(rig, 1000);

		if (type == BEAM_CTL_STATUS && rig->status.state == (uint32_t)state &&
		    rig->status.gen.counter == counter)
			return true;
		if (type == BEAM_E_GONE)
			return false;
	}
	fprintf(stderr, "state is %u, not %d\n", rig->status.state, (int)state);
	return false;
}

bool rig_wait_given_back(struct rig *rig, uint64_t counter)
{
	if (!rig_wait_state(rig, BEAM_STATE_IDLE, counter) || rig->status.servable.counter)
		return false;
	while (rig->status.region_bytes)
		if (rig_next(rig, 3000) < 0)
			return false;
	return true;
}

int rig_reap(pid_t pid)
{
	struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	int status = -1;

	if (ended.fd >= 0 && poll(&ended, 1, 20000) == 1)
		waitpid(pid, &status, 0);
	close(ended.fd);
	return status;
}

/* ---- the child ---------------------------------------------------------------------------- */

struct beam_lane *rig_begin(struct rig *rig, const struct save *save, int file_fd, bool direct,
			    int *err, char reason[BEAM_TEXT_BYTES])
{
	struct beam_ctl_begin begin = {.kind = save->kind,
				       .nworkers = save->worker ? 2 : 1,
				       .estimate_bytes = save->estimate_bytes,
				       .keys_expected = save->nkeys,
				       .fork_ns = beam_now_ns(),
				       .direct_io = direct,
				       .backlog_first = save->backlog_first};
	struct beam_lane_begin opts = {.daemon_name = rig->name,
				       .daemon_name_len = rig->name_len,
				       .begin = &begin,
				       .file_fd = file_fd,
				       .timeout_ms = 5000};
	struct beam_lane *lane = NULL;

	memcpy(begin.secret, rig->secret, sizeof(begin.secret));
	snprintf(begin.cut.replid, sizeof(begin.cut.replid), "%s",
		 save->replid ? save->replid : "0000000000000000000000000000000000000007");
	begin.cut.offset = 4711;
	*err = beam_lane_begin(&opts, reason, &lane);
	return *err ? NULL : lane;
}

static int put_keys(struct beam_lane *lane, uint32_t first, uint32_t step, uint32_t nkeys)
{
	static uint8_t value[VALUE_BYTES];
	struct beam_image_writer *writer;
	int err = beam_image_writer_open(beam_lane_source(lane), NULL, &writer);

	for (uint32_t k = first; !err && k < nkeys; k += step) {
		uint8_t head[64];
		size_t n = 0;

		memset(value, (int)(k & 0xff), sizeof(value));
		head[n++] = BEAM_RDB_STRING;
		n += beam_rdb_put_len(head + n, 10);
		n += (size_t)snprintf((char *)head + n, 11, "key:%06u", k);
		n += beam_rdb_put_len(head + n, sizeof(value));
		err = beam_image_writer_put(writer, 0, head, n, value, sizeof(value));
		atomic_fetch_add(&beam_lane_table(lane)->keys_done, 1);
	}
	if (!err)
		err = beam_image_writer_flush(writer);
	beam_image_writer_close(&writer);
	return err;
}

static void set_total(void *arg, uint32_t nsegments)
{
	struct beam_table *table = arg;

	atomic_store(&table->total, nsegments);
}

static int run_worker(struct beam_lane *lane, const struct save *save, pid_t *pid)
{
	*pid = fork();
	if (*pid != 0)
		return *pid < 0 ? -errno : 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct beam_lane *own = NULL;
	int err = beam_lane_join(&lane, 1, &own);

	if (!err)
		err = put_keys(own, 1, 2, save->nkeys);
	_exit(err ? 1 : 0);
}

static int copy(struct beam_lane *lane, const struct save *save)
{
	struct beam_image_db_size db = {.keys = save->nkeys};
	struct beam_image_header header = {.rdb_version = 10, .dbs = &db, .ndbs = 1};
	struct beam_image_totals totals = {.nitems = save->nkeys};
	const struct beam_segment_source *source = beam_lane_source(lane);
	pid_t worker = -1;
	int status = 0, err = beam_image_write_header(source, &header);

	if (!err && save->worker)
		err = run_worker(lane, save, &worker);
	if (!err)
		err = put_keys(lane, 0, save->worker ? 2 : 1, save->nkeys);
	if (worker > 0 && (waitpid(worker, &status, 0) != worker || status) && !err)
		err = BEAM_E_ABORTED;
	if (!err)
		err = beam_image_write_last(source, &totals, set_total, beam_lane_table(lane));
	if (err) {
		beam_lane_abort(lane, err, "copy failed");
		return err;
	}
	struct beam_ctl_copied copied = {
	    .keys = save->nkeys, .image_bytes = totals.image_bytes, .file_crc = totals.file_crc};

	return beam_lane_copied(lane, &copied);
}

static void exec_waiter(struct rig *rig, struct beam_lane *lane, const struct save *save, int file,
			bool named, bool direct)
{
	static char args[10][64], extents[8 * BEAM_EXTENTS_MAX];
	int sock, fds[BEAM_EXTENTS_MAX + 1], nfds;
	size_t used = (size_t)snprintf(extents, sizeof(extents), "extents=");

	if (beam_lane_inherit(lane, &sock, fds, BEAM_EXTENTS_MAX + 1, &nfds))
		_exit(RIG_EXIT_COPY);
	for (int i = 1; i < nfds; i++)
		used += (size_t)snprintf(extents + used, sizeof(extents) - used,
					 fds[i] < 0 ? "%s-" : "%s%d", i > 1 ? "," : "", fds[i]);
	for (int i = 0; i < nfds; i++)
		if (fds[i] >= 0)
			fcntl(fds[i], F_SETFD, 0);
	fcntl(sock, F_SETFD, 0);
	fcntl(file, F_SETFD, 0);
	fcntl(rig->dirfd, F_SETFD, 0);
	snprintf(args[0], 64, "sock=%d", sock);
	snprintf(args[1], 64, "table=%d", fds[0]);
	snprintf(args[2], 64, "dir=%d", rig->dirfd);
	snprintf(args[3], 64, "file=%d", file);
	snprintf(args[4], 64, "named=%d", named);
	snprintf(args[5], 64, "direct=%d", direct);
	snprintf(args[6], 64, "temp=temp-%d.rdb", (int)getpid());
	snprintf(args[7], 64, "name=%s", save->name);
	snprintf(args[8], 64, "server=%d", (int)getppid());
	trace_points(rig);
	if (save->waiter_fault)
		setenv("RDBEAM_FAULT", save->waiter_fault, 1);
	execl(RDBEAMD_PATH, "rdbeamd", "--wait", args[0], args[1], extents, args[2], args[3],
	      args[4], args[5], args[6], args[7], args[8], (char *)NULL);
	_exit(RIG_EXIT_COPY);
}

static void be_child(struct rig *rig, const struct save *save)
{
	char reason[BEAM_TEXT_BYTES] = "", temp[64];
	bool direct = false, named = false;
	int file = -1, err = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(rig->control);
	snprintf(temp, sizeof(temp), "temp-%d.rdb", (int)getpid());
	if (save->kind == BEAM_SNAPSHOT_DISK)
		err = beam_file_create(rig->dirfd, temp, &file, &direct, &named);
	struct beam_lane *lane = err ? NULL : rig_begin(rig, save, file, direct, &err, reason);

	if (!lane) {
		fprintf(stderr, "  refused: %s\n", reason);
		if (named)
			unlinkat(rig->dirfd, temp, 0);
		_exit(RIG_EXIT_REFUSED);
	}
	if (copy(lane, save)) {
		if (named)
			unlinkat(rig->dirfd, temp, 0);
		_exit(RIG_EXIT_COPY);
	}
	if (save->kind == BEAM_SNAPSHOT_DISK)
		exec_waiter(rig, lane, save, file, named, direct);
	_exit(0);
}

pid_t rig_save(struct rig *rig, const struct save *save)
{
	pid_t pid = fork();

	if (pid == 0)
		be_child(rig, save);
	return pid;
}

/* ---- the result --------------------------------------------------------------------------- */

bool rig_verify(const struct rig *rig, const char *name, uint32_t nkeys)
{
	struct beam_verify_report report;
	struct stat st;
	int fd = openat(rig->dirfd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) || st.st_size == 0) {
		beam_close(&fd);
		return false;
	}
	void *base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);

	close(fd);
	if (base == MAP_FAILED)
		return false;
	int err = beam_verify(base, (size_t)st.st_size, NULL, NULL, &report);

	munmap(base, (size_t)st.st_size);
	if (err)
		fprintf(stderr, "%s: %s\n", name, beam_strerror(err));
	return !err && report.is_image && report.keys == nkeys;
}

int rig_files(const struct rig *rig)
{
	DIR *dir = opendir(rig->dir);
	struct dirent *entry;
	int count = 0;

	while (dir && (entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

bool rig_write_old_dump(const struct rig *rig)
{
	int fd = openat(rig->dirfd, "dump.rdb", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = fd < 0 ? -errno : beam_write_all(fd, "old", 3);

	beam_close(&fd);
	return !err;
}

bool rig_old_dump_is_there(const struct rig *rig)
{
	char text[8] = "";
	int fd = openat(rig->dirfd, "dump.rdb", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	beam_close(&fd);
	return n == 3 && !memcmp(text, "old", 3);
}

static bool is_known(char names[RIG_POINTS_MAX][RIG_POINT_BYTES], int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

int rig_points_passed(const struct rig *rig, bool of_daemon,
		      char names[RIG_POINTS_MAX][RIG_POINT_BYTES])
{
	int fd = openat(rig->dirfd, TRACE, O_RDONLY | O_CLOEXEC), count = 0;
	FILE *trace = fd < 0 ? NULL : fdopen(fd, "r");
	char name[RIG_POINT_BYTES];
	long pid;

	while (trace && count < RIG_POINTS_MAX && fscanf(trace, "%ld %47s", &pid, name) == 2)
		if ((pid == rig->daemon) == of_daemon && !is_known(names, count, name))
			memcpy(names[count++], name, sizeof(name));
	if (trace)
		fclose(trace);
	return count;
}
