/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads /proc. A process may end at any moment, so a missing file is a valid answer and not an
 * error.
 */
#include "bench_process.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHILDREN_MAX 256

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

int beam_process_use(pid_t pid, struct beam_process_use *out)
{
	unsigned long long faults, user, system;
	char line[1024];
	const char *rest;
	FILE *in = open_proc(pid, "stat");

	memset(out, 0, sizeof(*out));
	if (!in)
		return -errno;
	rest = fgets(line, sizeof(line), in) ? strrchr(line, ')') : NULL;
	fclose(in);
	/* proc(5): after the name come state, six numbers, flags, minflt, cminflt, majflt, cmajflt,
	 * utime, stime. */
	if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %llu %*u %*u %*u %llu %llu",
			    &faults, &user, &system) != 3)
		return -ESRCH;
	out->minor_faults = faults;
	out->cpu_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
	return 0;
}

static int read_clock(pid_t pid, unsigned int kind, uint64_t *out)
{
	/* As clock_getcpuclockid(3) makes it, but for the given kind of clock. */
	clockid_t clock = (clockid_t)(~(unsigned int)pid << 3 | kind);
	struct timespec now;

	if (clock_gettime(clock, &now))
		return -errno;
	*out = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	return 0;
}

int beam_process_clocks(pid_t pid, uint64_t *user_ns, uint64_t *run_ns)
{
	enum { VIRT = 1, SCHED = 2 }; /* the kernel's CPUCLOCK_* values */
	int err = read_clock(pid, VIRT, user_ns);

	return err ? err : read_clock(pid, SCHED, run_ns);
}

static int read_children(pid_t pid, pid_t children[CHILDREN_MAX])
{
	char name[48];
	int n = 0, child;
	FILE *in;

	snprintf(name, sizeof(name), "task/%d/children", (int)pid);
	in = open_proc(pid, name);
	if (!in)
		return -errno;
	while (n < CHILDREN_MAX && fscanf(in, "%d", &child) == 1)
		children[n++] = child;
	fclose(in);
	return n;
}

pid_t beam_process_child(pid_t pid)
{
	pid_t children[CHILDREN_MAX];
	int n = read_children(pid, children);

	return n > 0 ? children[n - 1] : n;
}

int beam_process_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

static uint64_t private_bytes(pid_t pid)
{
	FILE *in = open_proc(pid, "smaps");
	unsigned long long kib, total = 0;
	char line[512], permissions[8];
	bool memfd = false;

	if (!in)
		return 0;
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%*x-%*x %7s", permissions) == 1)
			memfd = strstr(line, "memfd:") != NULL;
		else if (!memfd && sscanf(line, "Private_Dirty: %llu kB", &kib) == 1)
			total += kib;
	}
	fclose(in);
	return total * 1024;
}

uint64_t beam_process_private_bytes(pid_t pid)
{
	pid_t children[CHILDREN_MAX] = {0};
	uint64_t total = private_bytes(pid);
	int n = read_children(pid, children);

	for (int i = 0; i < n; i++)
		total += private_bytes(children[i]);
	return total;
}

uint64_t beam_process_program(pid_t pid)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}
