/* SPDX-License-Identifier: BSD-3-Clause
 * The waiter: its arguments, its process state, and its wait for the daemon. */
#include "waiter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "ctl.h"
#include "disk.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define SILENCE_MS 5000 /* the daemon sends every second: after this time it is dead or stopped */

/* ---- process state ------------------------------------------------------------------------ */

static void reset_signals(void)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;

	/* These are for the server, which decides; its stock children do not end by them,
	 * either. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	/* The server kills its child with SIGUSR1, which must not be ignored or blocked by
	 * inheritance. */
	for (int i = 1; i < NSIG; i++)
		if (i != SIGTERM && i != SIGINT)
			sigaction(i, &standard, NULL);
	/* A closed stderr must not fail the save. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void close_others(const struct waiter *w)
{
	int keep[BEAM_EXTENTS_MAX + 8] = {0, 1, 2, w->sock, w->table, w->dir, w->file, w->keep};
	size_t n = 8;
	int from = 3;

	for (uint32_t i = 0; i < w->nextents; i++)
		if (w->extents[i] >= 0)
			keep[n++] = w->extents[i];
	qsort(keep, n, sizeof(keep[0]), by_number);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] > from)
			close_range((unsigned)from, (unsigned)keep[i] - 1, 0);
		if (keep[i] >= from)
			from = keep[i] + 1;
	}
	close_range((unsigned)from, ~0u, 0);
}

/* Redis has raised the child's OOM score, because of memory that it no longer holds. The waiter
 * takes the server's score, which a unit or an operator may have set. Without /proc nothing
 * changes. */
static void take_oom_score(pid_t server)
{
	char path[64], score[16] = "", own[16] = "";
	int from, to;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)server);
	from = open(path, O_RDONLY | O_CLOEXEC);
	to = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (from >= 0 && to >= 0 && read(from, score, sizeof(score) - 1) > 0 &&
	    read(to, own, sizeof(own) - 1) > 0 && strcmp(score, own) != 0 &&
	    pwrite(to, score, strlen(score), 0) < 0)
		fprintf(stderr, "rdbeamd: waiter: oom_score_adj stays: %s\n", strerror(errno));
	beam_close(&from);
	beam_close(&to);
}

static int become_waiter(const struct waiter *w)
{
	reset_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)BEAM_FAULT("waiter.become");
	if (getppid() != w->server) {
		fprintf(stderr, "rdbeamd: waiter: server %d is gone\n", (int)w->server);
		return -ESRCH;
	}
	prctl(PR_SET_NAME, "rdbeam-wait");
	take_oom_score(w->server);
	close_others(w);
	return 0;
}

/* Gives the file the name under which the server removes its child's file. The server's own file of
 * that name (which Redis 7.0 opens before the copy) had to stay until now, when there is no return
 * to stock saving any more. */
static void take_name(struct waiter *w)
{
	if (!w->named)
		unlinkat(w->dir, w->temp, 0);
	else if (w->was && renameat(w->dir, w->was, w->dir, w->temp))
		w->temp = w->was;
}

/* Tells the daemon that the server's memory has been released. Errors will show in the wait. */
static void say_waiting(const struct waiter *w)
{
	struct beam_ctl_head waiting;

	beam_ctl_send(w->sock, BEAM_CTL_WAITING, &waiting, sizeof(waiting), -1);
}

/* The daemon logs it where the server logs: a server that runs as a daemon has no stderr. */
static void say_unsaved(const struct waiter *w, int code, const char *text)
{
	fprintf(stderr, "rdbeamd: save failed: %s\n", text);
	beam_ctl_send_text(w->sock, BEAM_CTL_UNSAVED, code, text);
}

/* ---- the wait ----------------------------------------------------------------------------- */

union packet {
	struct beam_ctl_head head;
	struct beam_ctl_durable durable;
	struct beam_ctl_text text;
	struct beam_ctl_extent extent;
	uint8_t bytes[BEAM_CTL_MAX_BYTES];
};

static void keep_extent(struct waiter *w, uint32_t extent, int *fd)
{
	if (*fd < 0 || extent >= BEAM_EXTENTS_MAX)
		return;
	while (w->nextents <= extent)
		w->extents[w->nextents++] = -1;
	if (w->extents[extent] < 0) {
		w->extents[extent] = *fd;
		*fd = -1;
	}
}

/* Receives the daemon's next message. Returns its type, or a negative code if none comes within
 * SILENCE_MS or the daemon is gone. */
static int next_message(struct waiter *w, union packet *packet)
{
	int fds[BEAM_PACKET_FDS_MAX], nfds = 0;
	ssize_t n = beam_packet_recv(w->sock, packet, sizeof(*packet), fds, &nfds, SILENCE_MS);
	int fault = BEAM_FAULT("waiter.message");
	int err = n < 0 ? (int)n : fault ? fault : beam_ctl_check(packet, (uint32_t)n);

	if (!err && packet->head.type == BEAM_CTL_EXTENT && nfds)
		keep_extent(w, packet->extent.extent, &fds[0]);
	for (int i = 0; i < nfds; i++)
		beam_close(&fds[i]);
	return err ? err : (int)packet->head.type;
}

/* True for errors that concern the daemon only: it lacks memory, or a kernel thread for io_uring,
 * which then cancels a write or an fsync. The waiter needs neither. No disk fails with these
 * codes. */
static bool is_the_daemons_lack(int code)
{
	return code == -ENOMEM || code == -ECANCELED || code == -EAGAIN || code == -EINTR;
}

/* True for errors by which file systems refuse a way of writing: out of order, beside each other,
 * or to set a file's size. Some of those in user space do. */
static bool is_the_way(int code)
{
	return code == -EPERM || code == -EINVAL || code == -ENOSYS || code == -EOPNOTSUPP ||
	       code == -ESPIPE;
}

/* Returns 0 if the daemon's file is durable; 1 if the save failed; negative if the waiter is to
 * write the file: the daemon is gone, lacks resources that the waiter does not need, or wrote in a
 * way that is refused there. The reason is in `said`. */
static int wait_for_daemon(struct waiter *w, char said[BEAM_TEXT_BYTES])
{
	union packet packet;

	for (;;) {
		int type = next_message(w, &packet);
		struct stat st;

		if (type < 0) {
			snprintf(said, BEAM_TEXT_BYTES, "no word from the daemon (%s)",
				 beam_strerror(type));
			return type;
		}
		if (type == BEAM_CTL_FAILED) {
			packet.text.text[BEAM_TEXT_BYTES - 1] = '\0';
			/* The image is complete in memory. */
			w->plain = is_the_way(packet.text.code);
			if (w->plain || is_the_daemons_lack(packet.text.code)) {
				snprintf(said, BEAM_TEXT_BYTES, "the daemon failed (%.*s)",
					 BEAM_TEXT_BYTES - 32, packet.text.text);
				return packet.text.code;
			}
			fprintf(stderr, "rdbeamd: save failed: %s\n", packet.text.text);
			return 1;
		}
		if (type != BEAM_CTL_DURABLE)
			continue;
		if (!fstat(w->file, &st) && (uint64_t)st.st_size == packet.durable.file_bytes)
			return 0;
		snprintf(said, BEAM_TEXT_BYTES, "file of %lld bytes instead of %llu",
			 (long long)st.st_size, (unsigned long long)packet.durable.file_bytes);
		say_unsaved(w, -EIO, said);
		return 1;
	}
}

static int name_file(const struct waiter *w)
{
	int err = BEAM_FAULT("waiter.publish");

	return err ? err : beam_file_publish(w->dir, w->file, w->named, w->temp, w->name);
}

static int publish(struct waiter *w)
{
	char said[BEAM_TEXT_BYTES];
	int err = name_file(w);

	/* A profile of AppArmor, or a share that knows no links, may refuse to name an unnamed
	 * file. */
	if (!w->named && (err == -EACCES || is_the_way(err))) {
		fprintf(stderr,
			"rdbeamd: waiter: linking the dump: %s, writing it to another file\n",
			beam_strerror(err));
		w->plain = true;
		err = rescue_write(w);
		err = err ? err : name_file(w);
	}
	if (!err)
		return BEAM_FAULT("waiter.published") ? 1 : 0;
	snprintf(said, sizeof(said), "naming the file '%.100s': %s%s", w->name, beam_strerror(err),
		 err == -EBUSY ? ": mount its directory, and not the file itself" : "");
	say_unsaved(w, err, said);
	return 1;
}

int waiter_main(int argc, char **argv)
{
	static struct waiter w;
	char said[BEAM_TEXT_BYTES];
	int result;

	if (waiter_parse(argc, argv, &w))
		return 2;
	take_name(&w);
	if (become_waiter(&w))
		return 1;
	say_waiting(&w);
	result = BEAM_FAULT("waiter.start");
	snprintf(said, sizeof(said), "fault at its start");
	if (!result)
		result = wait_for_daemon(&w, said);
	if (result < 0) {
		fprintf(stderr, "rdbeamd: waiter: %s, writing the dump without it\n", said);
		result = rescue_write(&w) ? 1 : 0;
	}
	if (!result)
		result = publish(&w);
	if (result && w.named)
		unlinkat(w.dir, w.temp, 0);
	return result;
}

/* ---- arguments ---------------------------------------------------------------------------- */

static int bad(const char *arg, const char *allowed)
{
	fprintf(stderr, "rdbeamd: --wait: '%s': %s\n", arg, allowed);
	return -EINVAL;
}

static int parse_number(const char *text, long max, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	return errno || end == text || *end || *out < 0 || *out > max ? -EINVAL : 0;
}

static int parse_extents(char *list, struct waiter *w)
{
	char *save = NULL;

	for (char *at = strtok_r(list, ",", &save); at; at = strtok_r(NULL, ",", &save)) {
		long fd = -1;

		if (w->nextents == BEAM_EXTENTS_MAX)
			return -EINVAL;
		if (strcmp(at, "-") != 0 && parse_number(at, INT32_MAX, &fd))
			return -EINVAL;
		w->extents[w->nextents++] = (int)fd;
	}
	return 0;
}

static int parse_one(char *arg, struct waiter *w)
{
	struct {
		const char *key;
		int *fd;
	} fds[] = {{"sock", &w->sock},
		   {"table", &w->table},
		   {"dir", &w->dir},
		   {"file", &w->file},
		   {"keep", &w->keep}};
	char *value = strchr(arg, '=');
	long number;

	if (!value)
		return bad(arg, "is not key=value");
	*value++ = '\0';
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (strcmp(arg, fds[i].key) != 0)
			continue;
		if (parse_number(value, INT32_MAX, &number))
			return bad(arg, "is not a file descriptor");
		*fds[i].fd = (int)number;
		return 0;
	}
	if (!strcmp(arg, "extents"))
		return parse_extents(value, w) ? bad(arg, "is a list of fds and '-'") : 0;
	if (!strcmp(arg, "temp") || !strcmp(arg, "name") || !strcmp(arg, "was")) {
		if (!*value || strchr(value, '/'))
			return bad(arg, "is not a plain file name");
		*(arg[0] == 't' ? &w->temp : arg[0] == 'n' ? &w->name : &w->was) = value;
		return 0;
	}
	if (!strcmp(arg, "named") || !strcmp(arg, "direct")) {
		if (parse_number(value, 1, &number))
			return bad(arg, "is 0 or 1");
		*(arg[0] == 'n' ? &w->named : &w->direct) = number;
		return 0;
	}
	if (strcmp(arg, "server") != 0)
		return bad(arg, "is not known");
	if (parse_number(value, INT32_MAX, &number))
		return bad(arg, "is not a pid");
	w->server = (pid_t)number;
	return 0;
}

int waiter_parse(int argc, char **argv, struct waiter *out)
{
	*out = (struct waiter){.sock = -1, .table = -1, .dir = -1, .file = -1, .keep = -1};
	for (int i = 0; i < argc; i++)
		if (parse_one(argv[i], out))
			return -EINVAL;
	if (out->sock < 0 || out->table < 0 || out->dir < 0 || out->file < 0 || !out->temp ||
	    !out->name || !out->server)
		return bad("arguments", "sock, table, dir, file, temp, name, server are needed");
	return 0;
}
