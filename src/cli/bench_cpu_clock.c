/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernel's clocks of user time advance in steps of 4 ms even where time is accounted exactly,
 * and a sleeping process uses no more than that in ten seconds. On a nohz_full processor the kernel
 * emits an event at each entry to user mode and at each exit from it (events/context_tracking);
 * this file sums up the time in between. It uses a trace instance of its own, so that the machine's
 * own tracing is left alone.
 */
#include "bench_cpu_clock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_process.h"
#include "sockets.h"

#define INSTANCE     "/sys/kernel/tracing/instances/rdbeam-bench"
#define BUFFER_KB    "16384" /* for each processor; an event takes 20 bytes */
#define TEXT_BYTES   65536
#define THREADS_TEXT 4096

struct beam_cpu_clock {
	pid_t pids[BEAM_CPU_CLOCK_PIDS];
	size_t npids;
	int pipe;          /* of the trace, or -1: uses ticks */
	uint64_t began_ns; /* the kernel's clock at the start */
	uint64_t user_us, stretches;
	bool lost;
	uint64_t entered_us[CPU_SETSIZE]; /* by processor; 0: not in user mode */
	size_t len;
	char text[TEXT_BYTES];
};

/* ---- the processes' threads ----------------------------------------------------------------- */

/* Parses "1,4-7" into a set; text that is not such a list, as "(null)", gives an empty set. */
static void read_cpus(const char *path, cpu_set_t *out)
{
	char text[4096] = "";
	FILE *in = fopen(path, "re");

	CPU_ZERO(out);
	if (!in)
		return;
	const char *at = fgets(text, sizeof(text), in) ? text : "";

	fclose(in);
	while (isdigit((unsigned char)*at)) {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (unsigned long cpu = first; cpu <= last && cpu < CPU_SETSIZE; cpu++)
			CPU_SET(cpu, out);
		at = *end == ',' ? end + 1 : "";
	}
}

/* True when the thread runs only on these processors, the only ones with events. */
static bool bound_to(pid_t thread, const cpu_set_t *cpus)
{
	cpu_set_t may, both;

	if (sched_getaffinity(thread, sizeof(may), &may))
		return false;
	CPU_AND(&both, &may, cpus);
	return CPU_EQUAL(&both, &may);
}

/* Appends the ids of the process's threads to `text`. Returns 0, -EXDEV when a thread is not bound
 * to `cpus`, or another -errno. */
static int add_threads(pid_t pid, const cpu_set_t *cpus, char text[THREADS_TEXT])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	size_t len = strlen(text);
	int err = 0;

	if (!dir)
		return -errno;
	while (!err && (entry = readdir(dir))) {
		pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);

		if (thread <= 0)
			continue;
		if (!bound_to(thread, cpus))
			err = -EXDEV;
		len += (size_t)snprintf(text + len, THREADS_TEXT - len, "%d ", (int)thread);
		if (len >= THREADS_TEXT)
			err = -E2BIG;
	}
	closedir(dir);
	return err;
}

/* ---- the trace ------------------------------------------------------------------------------ */

static int put(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), INSTANCE "/%s", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err = errno ? -errno : -EIO;
	beam_close(&fd);
	return err;
}

/* Threads that are created later are traced, too. */
static int set_trace(const char *threads)
{
	int err;

	if ((err = put("buffer_size_kb", BUFFER_KB)) || (err = put("options/event-fork", "1")) ||
	    (err = put("set_event_pid", threads)) ||
	    (err = put("events/context_tracking/user_exit/enable", "1")) ||
	    (err = put("events/context_tracking/user_enter/enable", "1")))
		return err;
	return 0;
}

static void close_trace(struct beam_cpu_clock *clock)
{
	if (clock->pipe < 0)
		return;
	beam_close(&clock->pipe);
	rmdir(INSTANCE); /* ends its events, too */
}

static int open_trace(struct beam_cpu_clock *clock)
{
	char threads[THREADS_TEXT] = "";
	cpu_set_t cpus;
	int err = 0;

	read_cpus("/sys/devices/system/cpu/nohz_full", &cpus);
	for (size_t i = 0; !err && i < clock->npids; i++)
		err = add_threads(clock->pids[i], &cpus, threads);
	if (err)
		return err;
	/* Left over from a benchmark that was killed; one in use cannot be removed. */
	rmdir(INSTANCE);
	if (mkdir(INSTANCE, 0700))
		return -errno;
	err = set_trace(threads);
	if (!err)
		clock->pipe = open(INSTANCE "/trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (!err && clock->pipe < 0)
		err = -errno;
	if (err)
		rmdir(INSTANCE);
	return err;
}

static void take_event(struct beam_cpu_clock *clock, unsigned long cpu, uint64_t us, bool enter)
{
	uint64_t *entered = &clock->entered_us[cpu];

	if (!enter && *entered) {
		clock->user_us += us - *entered;
		clock->stretches++;
	}
	*entered = enter ? us : 0;
}

/* Parses a line such as
 *   redis-server-149  [001] d....   35.262142: user_enter:
 * The process chooses its own name, which may look like anything, so parse from the right. */
static void take_line(struct beam_cpu_clock *clock, char *line)
{
	size_t len = strlen(line);
	unsigned long long s;
	unsigned long cpu;
	unsigned int us;

	if (strncmp(line, "CPU:", 4) == 0 && strstr(line, "[LOST"))
		clock->lost = true;
	while (len && (line[len - 1] == ' ' || line[len - 1] == ':'))
		line[--len] = '\0';
	char *event = strrchr(line, ' '), *bracket = strrchr(line, '[');

	if (!event || !bracket ||
	    (strcmp(event, " user_enter") != 0 && strcmp(event, " user_exit") != 0) ||
	    sscanf(bracket, "[%lu] %*s %llu.%6u:", &cpu, &s, &us) != 3 || cpu >= CPU_SETSIZE)
		return;
	take_event(clock, cpu, s * 1000000 + us, strcmp(event, " user_enter") == 0);
}

static void take_text(struct beam_cpu_clock *clock)
{
	char *line = clock->text, *end;

	clock->text[clock->len] = '\0';
	while ((end = strchr(line, '\n'))) {
		*end = '\0';
		take_line(clock, line);
		line = end + 1;
	}
	clock->len -= (size_t)(line - clock->text);
	memmove(clock->text, line, clock->len);
	if (clock->len == TEXT_BYTES - 1)
		clock->len = 0; /* the kernel writes no line that long */
}

static int drain_trace(struct beam_cpu_clock *clock)
{
	while (!clock->lost) {
		ssize_t n =
		    read(clock->pipe, clock->text + clock->len, TEXT_BYTES - 1 - clock->len);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO;
		if (n > 0) {
			clock->len += (size_t)n;
			take_text(clock);
		}
	}
	return -EOVERFLOW;
}

/* ---- the clock ------------------------------------------------------------------------------ */

/* Sums over all processes, from the kernel's clocks. */
static int read_clocks(const struct beam_cpu_clock *clock, uint64_t *user_ns, uint64_t *run_ns)
{
	*user_ns = *run_ns = 0;
	for (size_t i = 0; i < clock->npids; i++) {
		uint64_t user, run;
		int err = beam_process_clocks(clock->pids[i], &user, &run);

		if (err)
			return err;
		*user_ns += user;
		*run_ns += run;
	}
	return 0;
}

int beam_cpu_clock_open(const pid_t *pids, size_t npids, struct beam_cpu_clock **out)
{
	struct beam_cpu_clock *clock = calloc(1, sizeof(*clock));
	uint64_t run_ns;
	int err;

	if (!clock || npids > BEAM_CPU_CLOCK_PIDS) {
		free(clock);
		return clock ? -E2BIG : -ENOMEM;
	}
	memcpy(clock->pids, pids, npids * sizeof(*pids));
	clock->npids = npids;
	clock->pipe = -1;
	err = read_clocks(clock, &clock->began_ns, &run_ns);
	if (err) {
		free(clock);
		return err;
	}
	open_trace(clock);
	*out = clock;
	return 0;
}

void beam_cpu_clock_close(struct beam_cpu_clock **clock)
{
	if (!*clock)
		return;
	close_trace(*clock);
	free(*clock);
	*clock = NULL;
}

bool beam_cpu_clock_exact(const struct beam_cpu_clock *clock)
{
	return clock->pipe >= 0;
}

void beam_cpu_clock_distrust(struct beam_cpu_clock *clock)
{
	close_trace(clock);
}

int beam_cpu_clock_read(struct beam_cpu_clock *clock, struct beam_cpu_time *out)
{
	*out = (struct beam_cpu_time){0};
	int err = read_clocks(clock, &out->user_ns, &out->run_ns);

	if (!err && clock->pipe >= 0) {
		err = drain_trace(clock);
		out->user_ns = clock->user_us * 1000;
		out->stretches = clock->stretches;
	}
	return err;
}

double beam_cpu_clock_event_ns(const struct beam_cpu_clock *clock)
{
	uint64_t user_ns, run_ns;

	if (clock->pipe < 0 || !clock->stretches || read_clocks(clock, &user_ns, &run_ns))
		return 0;
	double more = (double)clock->user_us * 1000 - (double)(user_ns - clock->began_ns);

	return more > 0 ? more / (double)clock->stretches : 0;
}
