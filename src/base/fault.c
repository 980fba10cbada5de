/* SPDX-License-Identifier: BSD-3-Clause
 * The one armed fault of this process, read from the environment at its first passage. */
#include "fault.h"

#ifdef RDBEAM_FAULTS
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
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

static void trace(const char *name)
{
	const char *path = getenv("RDBEAM_FAULT_TRACE");
	char line[128];

	if (!path)
		return;
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

int beam_fault(const char *name)
{
	const char *spec = getenv("RDBEAM_FAULT");
	char wanted[64], action[32];
	long nth;

	trace(name);
	if (!spec || sscanf(spec, "%63[^:]:%ld:%31s", wanted, &nth, action) != 3)
		return 0;
	if (strcmp(wanted, "*") != 0 && strcmp(wanted, name) != 0)
		return 0;
	if (atomic_fetch_add(&passages, 1) + 1 != nth)
		return 0;
	return act(action);
}
#else
typedef int beam_fault_points_are_compiled_out;
#endif
