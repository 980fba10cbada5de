/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks the directory of dump.rdb: tries it as the daemon uses it, with an unnamed file that
 * nobody ever sees, and checks the rights of the server's user.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "report.h"
#include "sockets.h"

/* True if the "Groups:" line of a process's status has the group. */
static bool has_group(const char *status, gid_t gid)
{
	const char *at = strstr(status, "\nGroups:");
	char *end;

	at = at ? at + strlen("\nGroups:") : "";
	for (;;) {
		unsigned long group = strtoul(at, &end, 10);

		if (end == at)
			return false;
		if (group == gid)
			return true;
		at = end + strspn(end, " \t");
		if (*at == '\n')
			return false;
	}
}

static unsigned long id_of(const char *status, const char *field)
{
	const char *at = strstr(status, field);

	return at ? strtoul(at + strlen(field), NULL, 10) : 0;
}

/* True if the server's user may create files there according to the directory's mode. root always
 * may. */
static bool server_may_write(const struct beam_doctor *doctor, const char *dir)
{
	char status[4096];
	struct stat st;
	uid_t uid;

	if (!doctor->pid || stat(dir, &st) ||
	    beam_doctor_read_proc(doctor, "status", status, sizeof(status)) != 0)
		return true;
	uid = (uid_t)id_of(status, "\nUid:");
	if (uid == 0)
		return true;
	if (st.st_uid == uid)
		return st.st_mode & S_IWUSR;
	if (st.st_gid == id_of(status, "\nGid:") || has_group(status, st.st_gid))
		return st.st_mode & S_IWGRP;
	return st.st_mode & S_IWOTH;
}

static void add_space(struct beam_doctor *doctor, const char *dir)
{
	char free_text[BEAM_TEXT_CAP], need_text[BEAM_TEXT_CAP];
	struct statvfs fs;
	uint64_t bytes;

	if (statvfs(dir, &fs))
		return;
	bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	beam_text_bytes(free_text, bytes);
	beam_text_bytes(need_text, doctor->data_bytes);
	if (bytes < doctor->data_bytes)
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "disk-space",
				"make room: the old dump stays until the new one is whole",
				"%s: %s free, the next dump takes about %s", dir, free_text,
				need_text);
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "disk-space", "", "%s free in %s", free_text,
				dir);
}

/* Reports why a file could not be opened with O_TMPFILE and without O_DIRECT. */
static void add_refusal(struct beam_doctor *doctor, const char *dir, int err)
{
	if (err == EOPNOTSUPP || err == EISDIR)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "dump-dir",
				"use a file system such as ext4 or xfs: it needs no temporary "
				"name, which a crash can leave behind",
				"%s: no O_TMPFILE there", dir);
	else if (err == EACCES) /* tells nothing about the server if its process is hidden */
		beam_doctor_add(
		    doctor, BEAM_LEVEL_WARN, "dump-dir", "run this as root or as the server's user",
		    "%s: not tried, %s may not write there", dir, geteuid() ? "this user" : "root");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "dump-dir",
				"set \"dir\" to a directory that the server can write: no save "
				"works there",
				"%s: %s", dir, strerror(err));
}

static void add_engine(struct beam_doctor *doctor, const char *dir)
{
	const int flags = O_TMPFILE | O_RDWR | O_CLOEXEC;
	int fd = open(dir, flags | O_DIRECT, 0600);

	if (fd >= 0) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "dump-dir", "", "%s: O_DIRECT and O_TMPFILE",
				dir);
		beam_close(&fd);
		return;
	}
	fd = open(dir, flags, 0600);
	if (fd < 0) {
		add_refusal(doctor, dir, errno);
		return;
	}
	beam_doctor_add(doctor, BEAM_LEVEL_WARN, "dump-dir",
			"use ext4 or xfs: dumps now go through the page cache, which is slower and "
			"evicts other programs' data",
			"%s: no O_DIRECT there", dir);
	beam_close(&fd);
}

void beam_doctor_disk(struct beam_doctor *doctor)
{
	char dir[1024];

	if (!beam_doctor_config(doctor, "dir", dir, sizeof(dir))) {
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "dump-dir",
				"give a user that may run CONFIG GET", "not known, not checked");
		return;
	}
	if (!dir[0]) { /* the server gets its directory from the kernel */
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "dump-dir",
				"CONFIG SET dir to one that is there: no save works until then",
				"the server's directory was removed");
		return;
	}
	if (!server_may_write(doctor, dir)) {
		beam_doctor_add(
		    doctor, BEAM_LEVEL_FAIL, "dump-dir",
		    "chown it to the server's user, or set \"dir\": no save works there",
		    "%s: the server's user may not write there", dir);
		return;
	}
	add_engine(doctor, dir);
	add_space(doctor, dir);
}
