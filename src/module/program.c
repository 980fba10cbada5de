/* SPDX-License-Identifier: BSD-3-Clause
 * Holds file descriptors of executables, which are run as /proc/self/fd/N. */
#include "program.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "sockets.h"

#define HIGH_FD 16 /* above the fixed fds that the daemon gets */

static int held = -1, held_waiter = -1;

/* A script cannot be run by its fd: the interpreter would be given a name that is invalid by
 * then. */
static bool is_elf(int fd)
{
	char magic[4];

	return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       memcmp(magic, "\177ELF", sizeof(magic)) == 0;
}

static int hold(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int high = fd >= 0 && is_elf(fd) ? fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD) : -1;

	beam_close(&fd);
	return high;
}

/* A script as rdbeam.daemon may do more than run rdbeamd, so its waiter is run by it, too. */
static void hold_both(const char *daemon)
{
	const char *slash = strrchr(daemon, '/');
	char waiter[512];

	held = hold(daemon);
	if (held < 0)
		return;
	snprintf(waiter, sizeof(waiter), "%.*srdbeam-wait", slash ? (int)(slash + 1 - daemon) : 0,
		 daemon);
	held_waiter = hold(waiter);
}

void beam_program_path(char *out, size_t cap)
{
	char path[512];

	beam_config_daemon_path(path, sizeof(path));
	if (held < 0)
		hold_both(path);
	snprintf(out, cap, "/proc/self/fd/%d", held);
	if (held < 0 || access(out, X_OK))
		snprintf(out, cap, "%s", path);
}

void beam_program_waiter_path(char *out, size_t cap)
{
	snprintf(out, cap, "/proc/self/fd/%d", held_waiter);
	if (held_waiter < 0 || access(out, X_OK))
		beam_program_path(out, cap);
}

char **beam_program_environment(void)
{
	static char *none[] = {NULL};
	static char ***found;

	if (!found)
		found = dlsym(RTLD_DEFAULT, "environ");
	return found && *found ? *found : none;
}

void beam_program_close(void)
{
	beam_close(&held);
	beam_close(&held_waiter);
}
