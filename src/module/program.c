/* SPDX-License-Identifier: BSD-3-Clause
 * Holds file descriptors of executables, which are run as /proc/self/fd/N. */
#include "program.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "ctl.h"
#include "sockets.h"

#define HIGH_FD       16                /* above the fixed fds that the daemon gets */
#define PROGRAM_BYTES ((off_t)64 << 20) /* of a waiter, sanitized or not, at most */

static int held = -1, held_waiter = -1;
static struct stat waiter_was; /* when it was opened */

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
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe would be waited for */
	int high = fd >= 0 && is_elf(fd) ? fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD) : -1;

	beam_close(&fd);
	return high;
}

/* The save fails if the waiter does: once it runs, nothing is left that could save otherwise. One of
 * another build, left beside an rdbeamd that was replaced by hand, might not know its arguments.
 * It is read, not mapped, because it may be overwritten meanwhile. */
static bool is_of_our_version(int fd, const struct stat *st)
{
	char *bytes = st->st_size <= PROGRAM_BYTES ? malloc((size_t)st->st_size) : NULL;
	ssize_t n = bytes ? pread(fd, bytes, (size_t)st->st_size, 0) : 0;
	bool found = n > 0 && memmem(bytes, (size_t)n, BEAM_WAITER_MARK, strlen(BEAM_WAITER_MARK));

	free(bytes);
	return found;
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
	if (held_waiter >= 0 &&
	    (fstat(held_waiter, &waiter_was) || !is_of_our_version(held_waiter, &waiter_was)))
		beam_close(&held_waiter);
}

/* Overwritten in place, it is another program. No such thing can happen to rdbeamd while it runs. */
static bool is_unchanged(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_size == waiter_was.st_size &&
	       st.st_mtim.tv_sec == waiter_was.st_mtim.tv_sec &&
	       st.st_mtim.tv_nsec == waiter_was.st_mtim.tv_nsec;
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
	if (held_waiter < 0 || !is_unchanged(held_waiter) || access(out, X_OK))
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
