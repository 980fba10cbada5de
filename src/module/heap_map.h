/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the server's heap is, by 2 MiB: anonymous private memory that can be written, as
 * /proc/self/maps lists it. Nothing in here allocates, takes a lock or logs. Any thread.
 */
#ifndef BEAM_HEAP_MAP_H
#define BEAM_HEAP_MAP_H

#include <stdbool.h>
#include <stdint.h>

#define BEAM_HUGE_BYTES (2ull << 20)

struct beam_heap_range {
	uint64_t from, to; /* multiples of BEAM_HUGE_BYTES, from < to */
};

/* Fills out[0..cap) and returns how many there are; what would be more is left out. By the time it is
 * looked at a range may be gone, or be something else. */
uint32_t beam_heap_find(struct beam_heap_range *out, uint32_t cap);
/* madvise of all of them. */
void beam_heap_advise(const struct beam_heap_range *ranges, uint32_t n, int advice);

/* One line of /proc/PID/maps without its end. True with *out if it is heap and holds a whole huge page. */
bool beam_heap_parse(const char *line, struct beam_heap_range *out);

#endif
