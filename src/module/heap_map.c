/* SPDX-License-Identifier: BSD-3-Clause
 * Reads /proc/self/maps with a buffer on the stack: the collapser's thread may not allocate. */
#include "heap_map.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sockets.h"

bool beam_heap_parse(const char *line, struct beam_heap_range *out)
{
	uint64_t from, to, offset, inode;
	char perms[8], device[16], name[64] = "";
	int n = sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %15s %" SCNu64 " %63s", &from,
		       &to, perms, &offset, device, &inode, name);

	if (n < 6 || inode || strcmp(perms, "rw-p") != 0 ||
	    (name[0] && strcmp(name, "[heap]") != 0))
		return false;
	out->from = (from + BEAM_HUGE_BYTES - 1) / BEAM_HUGE_BYTES * BEAM_HUGE_BYTES;
	out->to = to / BEAM_HUGE_BYTES * BEAM_HUGE_BYTES;
	return out->from < out->to;
}

/* Consumes complete lines of the buffer; returns the number of bytes consumed. */
static size_t take_lines(char *text, size_t len, struct beam_heap_range *out, uint32_t cap,
			 uint32_t *n)
{
	size_t at = 0;
	char *end;

	while (*n < cap && (end = memchr(text + at, '\n', len - at))) {
		*end = 0;
		*n += (uint32_t)beam_heap_parse(text + at, &out[*n]);
		at = (size_t)(end - text) + 1;
	}
	return at;
}

uint32_t beam_heap_find(struct beam_heap_range *out, uint32_t cap)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	char text[8192]; /* a path has at most 4096 bytes */
	size_t len = 0;
	uint32_t n = 0;
	ssize_t got;

	while (fd >= 0 && n < cap && len < sizeof(text) &&
	       (got = read(fd, text + len, sizeof(text) - len)) > 0) {
		size_t taken;

		len += (size_t)got;
		taken = take_lines(text, len, out, cap, &n);
		memmove(text, text + taken, len - taken);
		len -= taken;
	}
	beam_close(&fd);
	return n;
}

void beam_heap_advise(const struct beam_heap_range *ranges, uint32_t n, int advice)
{
	for (uint32_t i = 0; i < n; i++)
		(void)madvise((void *)(uintptr_t)ranges[i].from, ranges[i].to - ranges[i].from,
			      advice);
}
