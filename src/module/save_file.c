/* SPDX-License-Identifier: BSD-3-Clause
 * Creates the dump's temporary file and its names, and locks the dump's name. */
#include "save_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "disk.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "snapshot_facts.h"
#include "sockets.h"

static int fail(char why[BEAM_REASON_BYTES], const char *step, int err)
{
	if (!why[0])
		snprintf(why, BEAM_REASON_BYTES, "%s: %s", step, beam_strerror(err));
	return err;
}

/* Only one save at a time may write to a file, whichever server makes it. The lock is the name of
 * an abstract socket: it is unique on this machine, and the kernel releases it when its last holder
 * (the waiter) exits. */
static int lock_name(struct beam_save_file *file, char why[BEAM_REASON_BYTES])
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int n, err = BEAM_FAULT("lock-name");
	struct stat st;

	if (err)
		return err;
	if (fstat(file->dir, &st))
		return -errno;
	n = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "rdbeam-save:%jx:%jx:%.60s",
		     (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, file->name);
	file->lock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (file->lock < 0)
		return -errno;
	if (bind(file->lock, (struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0)
		return 0;
	snprintf(
	    why, BEAM_REASON_BYTES,
	    "another server is saving to the same file %.100s in the same directory; give each "
	    "server a dir or dbfilename of its own",
	    file->name);
	return BEAM_E_BUSY;
}

void beam_save_file_stock_name(char name[BEAM_SAVE_NAME_BYTES])
{
	snprintf(name, BEAM_SAVE_NAME_BYTES, "temp-%d.rdb", (int)getpid());
}

/* Creates a file with the name that stock saving would be using by now, and that the server removes
 * when it kills its child. Whoever watches for that name (Redis's own tests do) sees that a save is
 * under way. Redis 7.0 has created it already. */
static void show_stock_name(const struct beam_save_file *file)
{
	char name[BEAM_SAVE_NAME_BYTES];

	beam_save_file_stock_name(name);
	int fd = openat(file->dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);

	if (fd >= 0)
		close(fd);
}

void beam_save_file_init(struct beam_save_file *file)
{
	*file = (struct beam_save_file){.dir = -1, .fd = -1, .lock = -1};
}

int beam_save_file_open(struct beam_save_file *file, RedisModuleCtx *ctx,
			char why[BEAM_REASON_BYTES])
{
	int err;

	file->dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file->dir < 0)
		return fail(why, "opening the server's directory", -errno);
	if (!beam_config_get(ctx, "dbfilename", file->name, sizeof(file->name)) || !file->name[0]) {
		snprintf(why, BEAM_REASON_BYTES,
			 "dbfilename is not known (CONFIG is renamed, and no configuration file "
			 "has its name) or longer than a file's name");
		return BEAM_E_UNSUPPORTED;
	}
	err = lock_name(file, why);
	if (err)
		return fail(why, "locking the dump's name", err);
	show_stock_name(file);
	snprintf(file->temp_name, sizeof(file->temp_name), BEAM_SAVE_TEMP_NAME, (int)getpid());
	err = BEAM_FAULT("create-file");
	if (!err)
		err = beam_file_create(file->dir, file->temp_name, &file->fd, &file->direct,
				       &file->named);
	return err ? fail(why, "creating the dump's temporary file", err) : 0;
}

void beam_save_file_close(struct beam_save_file *file)
{
	if (file->named && file->dir >= 0)
		unlinkat(file->dir, file->temp_name, 0);
	beam_close(&file->fd);
	beam_close(&file->dir);
	beam_close(&file->lock);
}
