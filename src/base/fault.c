/* SPDX-License-Identifier: BSD-3-Clause
 * The fault point armed in this process. The environment is read at each passage. */
#include "fault.h"

#ifdef RDBEAM_FAULTS
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	int value;
} errnos[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC},       {"ENOMEM", ENOMEM},
    {"EAGAIN", EAGAIN}, {"ECANCELED", ECANCELED}, {"EPERM", EPERM},
    {"EINVAL", EINVAL}, {"EDQUOT", EDQUOT},       {"EROFS", EROFS},
};

static atomic_long passages;

/* Appends a line "pid name" to a file. */
static void note(const char *path, const char *name)
{
	char line[128];
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	int len = snprintf(line, sizeof(line), "%ld %s\n", (long)getpid(), name);

	if (fd < 0)
		return;
	if (write(fd, line, (size_t)len) != len)
		perror("fault trace");
	close(fd);
}

static int act(const char *action)
{
	if (!strcmp(action, "kill"))
		kill(getpid(), SIGKILL);
	if (!strcmp(action, "abort"))
		abort();
	if (!strcmp(action, "stop"))
		kill(getpid(), SIGSTOP);
	if (!strcmp(action, "short"))
		return BEAM_FAULT_SHORT;
	if (!strcmp(action, "flip"))
		return BEAM_FAULT_FLIP;
	if (strncmp(action, "errno=", 6) != 0)
		return 0;
	for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++)
		if (!strcmp(action + 6, errnos[i].name))
			return -errnos[i].value;
	return -atoi(action + 6);
}

/* True at the wanted passage of a wanted point; then *action is filled in. */
static bool is_due(const char *spec, const char *name, char action[32])
{
	char wanted[64];
	long nth;

	if (sscanf(spec, "%63[^:]:%ld:%31s", wanted, &nth, action) != 3)
		return false;
	if (strcmp(wanted, "*") != 0 && strcmp(wanted, name) != 0)
		return false;
	return atomic_fetch_add(&passages, 1) + 1 == nth;
}

static int from_file(const char *path, const char *name)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char seen[160];
	char spec[160] = "", action[32], fired[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	ssize_t n = read(fd, spec, sizeof(spec) - 1);

	close(fd);
	if (n <= 0)
		return 0;
	pthread_mutex_lock(&lock);
	if (strcmp(seen, spec) != 0) {
		memcpy(seen, spec, sizeof(seen));
		atomic_store(&passages, 0);
	}
	bool due = is_due(spec, name, action);

	pthread_mutex_unlock(&lock);
	/* Several processes may get here at once; the one that removes the file fires. */
	if (!due || unlink(path))
		return 0;
	snprintf(fired, sizeof(fired), "%s.fired", path);
	note(fired, name);
	return act(action);
}

int beam_fault(const char *name)
{
	const char *spec = getenv("RDBEAM_FAULT"), *trace = getenv("RDBEAM_FAULT_TRACE");
	char action[32];

	if (trace)
		note(trace, name);
	if (!spec)
		return 0;
	if (spec[0] == '@')
		return from_file(spec + 1, name);
	return is_due(spec, name, action) ? act(action) : 0;
}
#else
typedef int beam_fault_points_are_compiled_out;
#endif
