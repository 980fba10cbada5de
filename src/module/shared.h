/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What fork children leave for the server: a page of shared memory, made at load, that needs no
 * daemon to reach the parent. Children write, the main thread reads; texts may be torn by a write
 * at the same time, never unterminated.
 */
#ifndef BEAM_SHARED_H
#define BEAM_SHARED_H

#include <stdatomic.h>
#include <stdint.h>

#include "read_ways.h"

#define BEAM_REASON_BYTES 256

struct beam_shared {
	_Atomic uint64_t fallbacks; /* snapshots left to stock saving */
	_Atomic int fast_path_off;  /* values did not look as expected: not tried again */
	_Atomic uint32_t cuts;      /* cut.c's: how many, and whether the last one was marked */
	_Atomic int64_t stream_db;  /* cut.c's: selected in the stream at the last cut */
	_Atomic int aux_owned;      /* a module's keys belong to its AUX data: not tried again */
	_Atomic int one_worker;     /* the partition did not add up: not tried again */
	struct beam_read_ways ways; /* of the last copy; its child alone writes it */
	char reason[BEAM_REASON_BYTES];
};

extern struct beam_shared *beam_shared;

/* 0 or -errno. Once, at load. */
int beam_shared_open(void);

/* The ways in which tables were walked, as INFO and the log name them. */
const char *beam_shared_tables(void);

/* Counts a fallback and says why: to the server's log and to INFO. From a child. */
void beam_shared_fallback(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
