/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Finds the server's heap, in units of 2 MiB: writable anonymous private memory, as listed in
 * /proc/self/maps. Nothing here allocates, takes a lock or logs. Any thread.
 */
#ifndef BEAM_HEAP_MAP_H
#define BEAM_HEAP_MAP_H

#include <stdbool.h>
#include <stdint.h>

#define BEAM_HUGE_BYTES (2ull << 20)

struct beam_heap_range {
	uint64_t from, to; /* multiples of BEAM_HUGE_BYTES, from < to */
};

/* Fills out[0..cap) and returns the number of ranges; further ones are left out. A range may be
 * gone, or be used for something else, by the time the caller looks at it. */
uint32_t beam_heap_find(struct beam_heap_range *out, uint32_t cap);
/* Calls madvise on all ranges and ignores errors. */
void beam_heap_advise(const struct beam_heap_range *ranges, uint32_t n, int advice);

/* Parses one line of /proc/PID/maps, without its newline. Returns true and *out if the line is heap
 * and contains a whole huge page. */
bool beam_heap_parse(const char *line, struct beam_heap_range *out);

#endif
