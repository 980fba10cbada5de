/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unlinked files.
 */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.h"

int beam_scratch_open(const char *dir)
{
	char path[PATH_MAX];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	/* Not every file system supports O_TMPFILE. */
	if (snprintf(path, sizeof(path), "%s/rdbeam-XXXXXX", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		int err = -errno;

		beam_log(BEAM_LOG_WARNING, "cannot make a spill file in %s: %m (see --spill-dir)",
			 dir);
		return err;
	}
	unlink(path);
	return fd;
}
