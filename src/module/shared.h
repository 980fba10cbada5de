/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What forked children leave for the server: a page of shared memory, created when the module is
 * loaded. It works without the daemon. Children write, the main thread reads. A text that is read
 * during a write may be a mix of two, but is always terminated.
 */
#ifndef BEAM_SHARED_H
#define BEAM_SHARED_H

#include <stdatomic.h>
#include <stdint.h>

#include "read_ways.h"

#define BEAM_REASON_BYTES 256

struct beam_shared {
	_Atomic uint64_t fallbacks; /* snapshots left to stock saving */
	_Atomic int fast_path_off;  /* values did not have the expected layout: do not try again */
	_Atomic uint32_t cuts;      /* see cut.c: number of cuts, and whether the last is marked */
	_Atomic int64_t stream_db;  /* see cut.c: database selected in the stream at the last cut */
	_Atomic int aux_owned;      /* a module's keys belong to its AUX data: do not try again */
	_Atomic int one_worker;     /* the parts did not add up to all keys: do not divide again */
	struct beam_read_ways ways; /* of the last copy; only its child writes it */
	char reason[BEAM_REASON_BYTES];
};

extern struct beam_shared *beam_shared;

/* Called once, when the module is loaded. Returns 0 or -errno. */
int beam_shared_open(void);
/* Called when it is unloaded, or could not be loaded. Children keep their own mapping. */
void beam_shared_close(void);

/* How tables were walked, as INFO and the log name it. Static storage. */
const char *beam_shared_tables(void);

/* Counts a fallback to stock saving and reports the reason, in the server's log and in INFO. Called
 * in a child. */
void beam_shared_fallback(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
