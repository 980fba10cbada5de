/* SPDX-License-Identifier: BSD-3-Clause
 * The dump's file. It has no name while it is written, so that a crash leaves nothing behind; only
 * the process that may rename it gives it a name. If a later step fails, the temporary name is
 * removed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "fault.h"
#include "log.h"
#include "sockets.h"

#define FILE_MODE 0666 /* minus the umask, as Redis creates its dump */

/* Opens with O_DIRECT, or without it if the file system refuses it. Returns the fd or -errno. */
static int open_direct(int dirfd, const char *name, int flags, bool *direct)
{
	int fd = openat(dirfd, name, flags | O_DIRECT, FILE_MODE);

	*direct = fd >= 0;
	if (fd < 0 && errno == EINVAL)
		fd = openat(dirfd, name, flags, FILE_MODE);
	return fd < 0 ? -errno : fd;
}

/* The name contains our pid, so an existing file is a dead process's and can be removed. The third
 * try is for file systems that create the file before they refuse O_DIRECT, which makes the second
 * open find it. */
static int open_named(int dirfd, const char *name, bool *direct)
{
	int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	int fd = BEAM_FAULT("file.create");

	if (fd)
		return fd;
	for (int tries = 0; tries < 2; tries++) {
		fd = open_direct(dirfd, name, flags, direct);
		if (fd != -EEXIST || unlinkat(dirfd, name, 0))
			return fd;
	}
	fd = openat(dirfd, name, flags, FILE_MODE);
	return fd < 0 ? -errno : fd;
}

int beam_file_create(int dirfd, const char *fallback_name, int *fd, bool *direct, bool *named)
{
	bool is_direct = false, is_named = false;
	int made = BEAM_FAULT("file.tmpfile");

	made = made ? made : open_direct(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, &is_direct);
	/* EISDIR: a kernel or file system that does not know O_TMPFILE and takes it for an open of
	 * the directory. */
	if (made == -EOPNOTSUPP || made == -EISDIR || made == -ENOENT || made == -EINVAL) {
		is_named = true;
		made = open_named(dirfd, fallback_name, &is_direct);
	}
	if (made < 0) {
		beam_log(BEAM_LOG_WARNING, "file: cannot create %s: %s", fallback_name,
			 strerror(-made));
		return made;
	}
	*fd = made;
	*direct = is_direct;
	*named = is_named;
	return 0;
}

int beam_file_create_plain(int dirfd, const char *name, int *fd)
{
	int made =
	    openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);

	if (made < 0)
		return -errno;
	*fd = made;
	return 0;
}

/* Gives an unnamed file a name. 0 or -errno. */
static int link_file(int dirfd, int fd, const char *name)
{
	char path[64];
	int err = BEAM_FAULT("file.link");

	if (err)
		return err;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW))
		return 0;
	/* The name contains our pid, so it is a dead process's. */
	if (errno == EEXIST && !unlinkat(dirfd, name, 0) &&
	    !linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW))
		return 0;
	return -errno;
}

static int rename_file(int dirfd, const char *from, const char *to)
{
	int err = BEAM_FAULT("file.rename");

	return err ? err : renameat(dirfd, from, dirfd, to) ? -errno : 0;
}

int beam_file_publish(int dirfd, int fd, bool named, const char *temp_name, const char *name)
{
	const char *step = "link";
	int err = named ? 0 : link_file(dirfd, fd, temp_name);

	if (err)
		goto failed;
	step = "rename";
	err = rename_file(dirfd, temp_name, name);
	if (err) {
		unlinkat(dirfd, temp_name, 0);
		goto failed;
	}
	step = "fsync of the directory after rename of";
	err = beam_sync_dir(dirfd);
	if (err)
		goto failed;
	return 0;
failed:
	beam_log(BEAM_LOG_WARNING, "file: %s %s to %s: %s", step, temp_name, name, strerror(-err));
	return err;
}
