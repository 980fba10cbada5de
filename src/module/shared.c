/* SPDX-License-Identifier: BSD-3-Clause
 * An anonymous shared mapping, which forked children inherit. */
#include "shared.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "log.h"

struct beam_shared *beam_shared;

int beam_shared_open(void)
{
	void *page = mmap(NULL, sizeof(*beam_shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	beam_shared = page;
	return 0;
}

void beam_shared_close(void)
{
	if (beam_shared)
		munmap(beam_shared, sizeof(*beam_shared));
	beam_shared = NULL;
}

const char *beam_shared_tables(void)
{
	/* All tables of a server are of one kind; any that are too uneven to divide are scanned. */
	switch (beam_shared->ways.tables) {
	case 0:
		return "none";
	case BEAM_TABLE_SCANNED:
		return "scanned";
	case BEAM_TABLE_CHAINED:
		return "chained";
	case BEAM_TABLE_OBJECTS:
		return "objects";
	case BEAM_TABLE_BUCKETS:
		return "buckets";
	case BEAM_TABLE_CHAINED | BEAM_TABLE_SCANNED:
		return "chained,scanned";
	case BEAM_TABLE_OBJECTS | BEAM_TABLE_SCANNED:
		return "objects,scanned";
	default:
		return "buckets,scanned";
	}
}

void beam_shared_fallback(const char *fmt, ...)
{
	char text[BEAM_REASON_BYTES];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	beam_log(BEAM_LOG_WARNING, "stock saving takes over: %s", text);
	memcpy(beam_shared->reason, text, sizeof(text));
	beam_shared->reason[BEAM_REASON_BYTES - 1] = 0;
	atomic_fetch_add(&beam_shared->fallbacks, 1);
}
