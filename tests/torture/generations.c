/* SPDX-License-Identifier: BSD-3-Clause
 *
 * generations [--generations N] [--seconds N] [--seed N] [--pause-for FILE]: a real rdbeamd, whose region
 * holds an image and a half, and played children that write one generation after the other into it, while
 * readers over TCP pull, stop in mid-pull for some generations, and go on. Each generation says its number
 * in every word of its values, and each byte that a reader gets is compared with what it must be. Prints one
 * line of JSON, last; exits 1 if anything was mixed. tools/torture --generations runs it. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "daemon_served.h"
#include "image_writer.h"
#include "marked_image.h"
#include "rdbeam/error.h"
#include "slow_reader.h"

#define REGION_SEGMENTS 5 /* an image takes three: those that are read give way, too */
#define READERS         3
#define REST_MAX        6 /* generations that a stopped reader sits out, at most */

struct seat {
	pid_t pid;
	int sock;
	bool asks, stopped;
	uint64_t goes_on; /* with this generation */
};

struct trial {
	struct rig rig;
	struct seat seats[READERS];
	uint64_t dice, generations, stops, bytes;
	uint64_t verdicts[SLOW_BROKEN + 1];
	const char *pause_for;
};

static void die(const char *what)
{
	fprintf(stderr, "generations: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t roll(struct trial *trial, uint64_t below)
{
	trial->dice ^= trial->dice << 13;
	trial->dice ^= trial->dice >> 7;
	trial->dice ^= trial->dice << 17;
	return trial->dice % below;
}

/* ---- readers -------------------------------------------------------------------------------- */

static void seat_reader(struct seat *seat, const struct rig *rig)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	seat->pid = fork();
	if (seat->pid < 0)
		die("fork");
	if (seat->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		close(rig->control); /* its end tells the daemon that the server is gone */
		slow_reader(pair[1], RIG_SEGMENT_BYTES);
	}
	close(pair[1]);
	seat->sock = pair[0];
}

/* Small pieces and many stops, large ones and none, and what is between. */
static void give_order(struct trial *trial, struct seat *seat)
{
	static const uint32_t pieces[] = {64u << 10, 256u << 10, 2u << 20};
	struct slow_order order = {.opts = served_ticket(&trial->rig, "127.0.0.1"),
				   .piece_bytes = pieces[roll(trial, 3)]};

	if (roll(trial, 2))
		order.buffer_bytes = 64 << 10;
	if (roll(trial, 4))
		order.stop_every = 1 + (uint32_t)roll(trial, 12);
	if (send(seat->sock, &order, sizeof(order), MSG_NOSIGNAL) != (ssize_t)sizeof(order))
		die("a reader has ended");
	seat->asks = false;
}

static void take_report(struct trial *trial, struct seat *seat)
{
	struct slow_report report;

	if (recv(seat->sock, &report, sizeof(report), 0) != (ssize_t)sizeof(report))
		die("a reader has ended");
	seat->asks = true;
	trial->verdicts[report.verdict]++;
	trial->bytes += report.bytes;
	if (report.verdict == SLOW_MIXED)
		fprintf(stderr,
			"generations: MIXED: a reader of generation %" PRIu64
			" got another byte in segment %" PRIu32 ", read at %" PRIu32 "\n",
			report.counter, report.index, report.offset);
	if (report.verdict == SLOW_BROKEN)
		fprintf(stderr, "generations: BROKEN: a reader of generation %" PRIu64 ": %s\n",
			report.counter, beam_strerror(report.code));
}

/* Who has stopped since; each goes on with a generation to come. */
static void see_stops(struct trial *trial)
{
	for (int i = 0; i < READERS; i++) {
		struct seat *seat = &trial->seats[i];
		int status;

		if (seat->stopped || waitpid(seat->pid, &status, WUNTRACED | WNOHANG) != seat->pid)
			continue;
		if (!WIFSTOPPED(status))
			die("a reader has ended");
		seat->stopped = true;
		seat->goes_on = trial->generations + 1 + roll(trial, REST_MAX);
		trial->stops++;
	}
}

static void wake(struct trial *trial, bool all)
{
	for (int i = 0; i < READERS; i++) {
		struct seat *seat = &trial->seats[i];

		if (seat->stopped && (all || seat->goes_on <= trial->generations)) {
			seat->stopped = false;
			kill(seat->pid, SIGCONT);
		}
	}
}

/* Takes in what the daemon and the readers say within timeout_ms, and lets readers begin. */
static void serve(struct trial *trial, int timeout_ms)
{
	struct pollfd fds[READERS + 1] = {{.fd = trial->rig.control, .events = POLLIN}};

	for (int i = 0; i < READERS; i++)
		fds[i + 1] = (struct pollfd){.fd = trial->seats[i].sock, .events = POLLIN};
	if (poll(fds, READERS + 1, timeout_ms) < 0 && errno != EINTR)
		die("poll");
	if (fds[0].revents && rig_next(&trial->rig, 0) == BEAM_E_GONE)
		die("the daemon has ended");
	for (int i = 0; i < READERS; i++) {
		struct seat *seat = &trial->seats[i];

		if (fds[i + 1].revents)
			take_report(trial, seat);
		if (seat->asks && trial->rig.status.servable.counter)
			give_order(trial, seat);
	}
	see_stops(trial);
}

/* ---- generations ---------------------------------------------------------------------------- */

static void set_total(void *arg, uint32_t nsegments)
{
	struct beam_table *table = arg;

	atomic_store(&table->total, nsegments);
}

static _Noreturn void be_child(struct rig *rig)
{
	struct save save = {.kind = BEAM_SNAPSHOT_MEMORY,
			    .estimate_bytes = 3 * RIG_SEGMENT_BYTES,
			    .nkeys = MARKED_KEYS};
	char reason[BEAM_TEXT_BYTES] = "";
	struct beam_image_totals totals;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(rig->control);
	struct beam_lane *lane = rig_begin(rig, &save, -1, false, &err, reason);

	if (!lane) {
		fprintf(stderr, "generations: refused: %s\n", reason);
		_exit(1);
	}
	err = marked_write(beam_lane_source(lane), &totals, set_total, beam_lane_table(lane));
	if (!err) {
		struct beam_ctl_copied copied = {.keys = MARKED_KEYS,
						 .image_bytes = totals.image_bytes,
						 .file_crc = totals.file_crc};

		err = beam_lane_copied(lane, &copied);
	}
	if (err) {
		fprintf(stderr, "generations: copy: %s\n", beam_strerror(err));
		beam_lane_abort(lane, err, "copy failed");
	}
	_exit(err ? 1 : 0);
}

static void generation(struct trial *trial)
{
	uint64_t number = trial->generations + 1, deadline = beam_now_ms() + 120000;
	pid_t pid = fork();

	if (pid == 0)
		be_child(&trial->rig);
	while (trial->rig.status.gen.counter != number ||
	       trial->rig.status.state != BEAM_STATE_READY) {
		if (beam_now_ms() > deadline || trial->rig.status.state == BEAM_STATE_FAILED) {
			fprintf(stderr, "generations: %" PRIu64 " does not come about: %s\n",
				number, trial->rig.status.last_error);
			exit(2);
		}
		serve(trial, 1000);
	}
	int status = rig_reap(pid);

	if (!WIFEXITED(status) || WEXITSTATUS(status))
		die("the child failed");
	trial->generations = number;
	wake(trial, false);
}

/* All readers end the pull that they are at. */
static void finish_pulls(struct trial *trial)
{
	for (int i = 0; i < READERS; i++) {
		struct seat *seat = &trial->seats[i];
		uint64_t deadline = beam_now_ms() + 120000;

		while (!seat->asks && beam_now_ms() < deadline) {
			struct pollfd said = {.fd = seat->sock, .events = POLLIN};

			see_stops(trial);
			wake(trial, true);
			/* Short: a reader that stops says nothing. */
			if (poll(&said, 1, 5) == 1)
				take_report(trial, seat);
		}
		if (!seat->asks)
			die("a reader does not come to its end");
	}
}

/* Whoever measures does so beside nobody; a reader that stood still for so long would be hung up on. */
static void pause_for(struct trial *trial, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -1 : 0;

	if (!err && flock(fd, LOCK_SH | LOCK_NB)) {
		finish_pulls(trial);
		err = flock(fd, LOCK_SH);
	}
	if (err)
		die(path);
	close(fd);
}

static void dismiss(struct trial *trial)
{
	finish_pulls(trial);
	/* First all of them: a later reader has the sockets of those before it open, too. */
	for (int i = 0; i < READERS; i++)
		close(trial->seats[i].sock);
	for (int i = 0; i < READERS; i++)
		waitpid(trial->seats[i].pid, NULL, 0);
}

static int tell(const struct trial *trial)
{
	const uint64_t *verdicts = trial->verdicts;

	printf("{\"generations\": %" PRIu64 ", \"mixed\": %" PRIu64 ", \"broken\": %" PRIu64
	       ", \"whole\": %" PRIu64 ", \"stale\": %" PRIu64 ", \"refused\": %" PRIu64
	       ", \"stops\": %" PRIu64 ", \"bytes_compared\": %" PRIu64 "}\n",
	       trial->generations, verdicts[SLOW_MIXED], verdicts[SLOW_BROKEN],
	       verdicts[SLOW_WHOLE], verdicts[SLOW_STALE], verdicts[SLOW_REFUSED], trial->stops,
	       trial->bytes);
	return verdicts[SLOW_MIXED] || verdicts[SLOW_BROKEN];
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*end || end == text) {
		fprintf(stderr, "generations: '%s' is no number\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"generations", required_argument, NULL, 'g'},
						{"seconds", required_argument, NULL, 't'},
						{"seed", required_argument, NULL, 's'},
						{"pause-for", required_argument, NULL, 'p'},
						{0}};
	static struct trial trial = {.dice = 0x9e3779b97f4a7c15};
	uint64_t wanted = 1000, end = UINT64_MAX;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'g')
			wanted = number(optarg);
		else if (c == 't')
			end = beam_now_ms() + number(optarg) * 1000;
		else if (c == 's')
			trial.dice += number(optarg);
		else if (c == 'p')
			trial.pause_for = optarg;
		else
			return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	served_open(&trial.rig, REGION_SEGMENTS);
	trial.rig.quiet = true;
	for (int i = 0; i < READERS; i++)
		seat_reader(&trial.seats[i], &trial.rig);
	while (trial.generations < wanted && beam_now_ms() < end) {
		if (trial.pause_for)
			pause_for(&trial, trial.pause_for);
		generation(&trial);
		if (trial.generations % 10000 == 0)
			fprintf(stderr, "%" PRIu64 " generations\n", trial.generations);
	}
	dismiss(&trial);
	if (!rig_close(&trial.rig))
		die("the daemon does not end");
	return tell(&trial);
}
