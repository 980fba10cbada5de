/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sets up the loop device, the file system and the throttle, and takes them down again.
 */
#include "slow_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/loop.h>

#include "rdbeam/error.h"
#include "sockets.h"

#define RULE_NAME "blkio.throttle.write_bps_device"

static int why_not(int code, char *why, int cap, const char *what)
{
	snprintf(why, (size_t)cap, "no slow disk: %s (%s)", what, beam_strerror(code));
	return code;
}

/* Creates, once per process, a mount namespace: later mounts are visible only to this process and
 * its children. */
static int own_namespace(void)
{
	static bool done;

	if (done)
		return 0;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	done = true;
	return 0;
}

/* Finds the throttle file in a cgroup v1 root, if there is one. Returns 0 or -ENOENT. */
static int find_rule(char path[PATH_MAX])
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	int code = -ENOENT;

	if (!mounts)
		return -errno;
	while (code && (entry = getmntent(mounts)) != NULL) {
		if (strcmp(entry->mnt_type, "cgroup") == 0 && hasmntopt(entry, "blkio") &&
		    snprintf(path, PATH_MAX, "%s/%s", entry->mnt_dir, RULE_NAME) < PATH_MAX &&
		    access(path, W_OK) == 0)
			code = 0;
	}
	endmntent(mounts);
	return code;
}

static int throttle(const struct beam_slow_disk *disk, uint64_t rate)
{
	char line[64];
	int fd = open(disk->rule, O_WRONLY | O_CLOEXEC);
	int len = snprintf(line, sizeof(line), "%u:%u %llu\n", disk->major, disk->minor,
			   (unsigned long long)rate);
	int code = fd < 0 ? -errno : beam_write_all(fd, line, (size_t)len);

	beam_close(&fd);
	return code;
}

/* Attaches the file to a free loop device, whose path is written to `name`. The device is freed
 * when its last user is gone. Returns 0 or -errno. */
static int bind_loop(struct beam_slow_disk *disk, int file, char name[32])
{
	struct loop_config config = {.fd = (unsigned)file, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	int code = number < 0 ? -errno : 0;
	struct stat st;

	beam_close(&control);
	if (code)
		return code;
	snprintf(name, 32, "/dev/loop%d", number);
	disk->loop = open(name, O_RDWR | O_CLOEXEC);
	if (disk->loop < 0 || ioctl(disk->loop, LOOP_CONFIGURE, &config) ||
	    fstat(disk->loop, &st)) {
		code = -errno;
		beam_close(&disk->loop);
		return code;
	}
	disk->major = major(st.st_rdev);
	disk->minor = minor(st.st_rdev);
	return 0;
}

static int make_file_system(const char *device)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("mkfs.ext4", "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", device,
		       (char *)NULL);
		_exit(127);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return status == 0 ? 0 : -EIO;
}

static int make_file(uint64_t size_bytes)
{
	int file = memfd_create("slow-disk", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, (off_t)size_bytes)) {
		int code = -errno;

		beam_close(&file);
		return code;
	}
	return file;
}

static int mount_disk(struct beam_slow_disk *disk, const char *path, uint64_t size_bytes,
		      uint64_t rate, char *why, int cap)
{
	char device[32];
	int file = make_file(size_bytes), code;

	if (file < 0)
		return why_not(file, why, cap, "memory for its file");
	code = bind_loop(disk, file, device);
	beam_close(&file);
	if (code)
		return why_not(code, why, cap, "a loop device");
	code = make_file_system(device);
	if (code)
		return why_not(code, why, cap, "mkfs.ext4");
	code = throttle(disk, rate);
	if (code)
		return why_not(code, why, cap, RULE_NAME);
	code = own_namespace();
	if (!code && mount(device, path, "ext4", MS_NOATIME, NULL))
		code = -errno;
	if (code)
		return why_not(code, why, cap, "mount, which needs root");
	snprintf(disk->path, sizeof(disk->path), "%s", path);
	return 0;
}

int beam_slow_disk_open(const char *path, uint64_t size_bytes, uint64_t rate,
			struct beam_slow_disk *disk, char *why, int cap)
{
	int code;

	memset(disk, 0, sizeof(*disk));
	disk->loop = -1;
	code = find_rule(disk->rule);
	if (code)
		return why_not(code, why, cap, RULE_NAME " in the root of a cgroup v1");
	code = mount_disk(disk, path, size_bytes, rate, why, cap);
	if (code)
		beam_slow_disk_close(disk);
	return code;
}

void beam_slow_disk_close(struct beam_slow_disk *disk)
{
	/* Remove the throttle first, since unmounting writes what is still buffered. */
	if (disk->major)
		throttle(disk, 0);
	if (disk->path[0])
		umount2(disk->path, MNT_DETACH);
	disk->path[0] = '\0';
	disk->major = 0;
	beam_close(&disk->loop);
}
