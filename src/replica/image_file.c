/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Receives segments in a few buffers and writes each with pwrite at index * segment size.
 */
#include "image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "pages.h"
#include "sockets.h"
#include "tell.h"

#define BUFFERS_MIN 2
#define BUFFERS_MAX 32

struct beam_image_file {
	int fd; /* -1: keeps nothing */
	int dir;
	const char *path; /* the caller's */
	char name[NAME_MAX + 1];
	char temp[NAME_MAX + 1]; /* "": the file has no name yet */
	uint64_t memory_bytes;
	uint32_t segment_bytes;
	uint8_t *base;
	uint32_t nbuffers;
	uint8_t *unused[BUFFERS_MAX];
	uint32_t nunused;
};

/* The pid alone is not unique: in containers every pull has the same one, and so may a pull in
 * another container on the same directory. */
static void make_temp_name(struct beam_image_file *file)
{
	uint64_t number;

	beam_random(&number, sizeof(number));
	snprintf(file->temp, sizeof(file->temp), ".rdbeam-%ld-%016" PRIx64 ".tmp", (long)getpid(),
		 number);
}

static int open_temp(struct beam_image_file *file)
{
	mode_t mode = 0644;

	file->fd = openat(file->dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
	if (file->fd >= 0)
		return 0;
	make_temp_name(file);
	file->fd = openat(file->dir, file->temp, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
	if (file->fd >= 0)
		return 0;
	int err = -errno;

	file->temp[0] = '\0';
	return err;
}

static int open_at(struct beam_image_file *file, const char *path)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	const char *name = basename(copy);

	if (snprintf(file->name, sizeof(file->name), "%s", name) >= (int)sizeof(file->name))
		return -ENAMETOOLONG;
	snprintf(copy, sizeof(copy), "%s", path);
	file->dir = open(dirname(copy), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (file->dir < 0)
		return -errno;
	struct stat st;

	if (fstatat(file->dir, file->name, &st, 0) == 0 && S_ISDIR(st.st_mode))
		return -EISDIR;
	return open_temp(file);
}

int beam_image_file_open(const char *path, uint64_t memory_bytes, char *error,
			 struct beam_image_file **out)
{
	struct beam_image_file *file = calloc(1, sizeof(*file));
	int rc;

	if (!file)
		return beam_tell(error, -ENOMEM, "out of memory");
	file->fd = file->dir = -1;
	file->path = path;
	file->memory_bytes = memory_bytes;
	rc = path ? open_at(file, path) : 0;
	if (rc) {
		beam_image_file_close(&file);
		return beam_tell(error, rc, "--to-file %s: cannot write there: %s", path,
				 strerror(-rc));
	}
	*out = file;
	return 0;
}

int beam_image_file_try(const char *path, char *error)
{
	struct beam_image_file *file = NULL;
	int rc = beam_image_file_open(path, 0, error, &file);

	beam_image_file_close(&file);
	return rc;
}

void beam_image_file_close(struct beam_image_file **file)
{
	struct beam_image_file *f = *file;

	if (!f)
		return;
	if (f->temp[0])
		unlinkat(f->dir, f->temp, 0);
	beam_close(&f->fd);
	beam_close(&f->dir);
	beam_pages_unmap(f->base, (size_t)f->nbuffers * f->segment_bytes);
	free(f);
	*file = NULL;
}

static int file_begin(void *ctx, uint32_t segment_bytes)
{
	struct beam_image_file *file = ctx;
	uint64_t n = file->memory_bytes / segment_bytes;

	n = n < BUFFERS_MIN ? BUFFERS_MIN : n > BUFFERS_MAX ? BUFFERS_MAX : n;
	void *base = beam_pages_map(n * segment_bytes);

	if (!base)
		return -ENOMEM;
	file->base = base;
	file->segment_bytes = segment_bytes;
	file->nbuffers = (uint32_t)n;
	while (file->nunused < n) {
		file->unused[file->nunused] = file->base + (size_t)file->nunused * segment_bytes;
		file->nunused++;
	}
	return 0;
}

static int file_room(void *ctx, uint32_t index, uint8_t **buf)
{
	struct beam_image_file *file = ctx;

	(void)index;
	if (!file->nunused)
		return -EAGAIN;
	*buf = file->unused[--file->nunused];
	return 0;
}

static void *file_memory(void *ctx, uint64_t *len_bytes)
{
	const struct beam_image_file *file = ctx;

	*len_bytes = (uint64_t)file->nbuffers * file->segment_bytes;
	return file->base;
}

static void file_back(void *ctx, uint32_t index, uint8_t *buf)
{
	struct beam_image_file *file = ctx;

	(void)index;
	file->unused[file->nunused++] = buf;
}

static int file_take(void *ctx, uint32_t index, uint8_t *buf, uint32_t len_bytes,
		     const struct beam_segment_proof *proof)
{
	(void)proof;
	struct beam_image_file *file = ctx;
	uint64_t offset = (uint64_t)index * file->segment_bytes;
	uint32_t done = 0;
	int rc = BEAM_FAULT("to-file-write");

	if (rc)
		return rc;
	while (file->fd >= 0 && done < len_bytes) {
		ssize_t n = pwrite(file->fd, buf + done, len_bytes - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (uint32_t)n;
	}
	file_back(ctx, index, buf);
	return 0;
}

void beam_image_file_sink(struct beam_image_file *file, struct beam_segment_sink *out)
{
	*out = (struct beam_segment_sink){.ctx = file,
					  .begin = file_begin,
					  .room = file_room,
					  .take = file_take,
					  .back = file_back,
					  .memory = file_memory,
					  .wake_fd = -1,
					  .place = file->path,
					  .when_full = "make room there, or give another "
						       "--to-file"};
}

/* Gives an unnamed file a name, so that it can be renamed over the path (linkat does not replace a
 * file). */
static int name_it(struct beam_image_file *file)
{
	char self[64];

	if (file->temp[0])
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	make_temp_name(file);
	if (linkat(AT_FDCWD, self, file->dir, file->temp, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	int err = -errno;

	file->temp[0] = '\0';
	return err;
}

int beam_image_file_commit(struct beam_image_file *file, uint64_t image_bytes, char *error)
{
	struct stat st;
	int rc = 0;

	if (file->fd < 0)
		return 0;
	rc = BEAM_FAULT("to-file-fsync");
	if (!rc && (fstat(file->fd, &st) || fsync(file->fd)))
		rc = -errno;
	if (!rc && (uint64_t)st.st_size != image_bytes)
		rc = -EIO;
	if (!rc)
		rc = name_it(file);
	if (!rc)
		rc = BEAM_FAULT("to-file-rename");
	if (!rc && renameat(file->dir, file->temp, file->dir, file->name))
		rc = -errno;
	if (rc)
		return beam_tell(error, rc, "--to-file: cannot finish %s: %s", file->name,
				 strerror(-rc));
	file->temp[0] = '\0';
	rc = beam_sync_dir(file->dir);
	if (rc)
		return beam_tell(error, rc,
				 "--to-file: %s is there, but fsync of its "
				 "directory failed: %s",
				 file->name, strerror(-rc));
	return 0;
}
