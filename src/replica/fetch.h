/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads an image through a transport: posts reads of what is sealed, as far as the sink has room,
 * checks each segment's CRC (two re-reads, then the pull fails) and at the end the file's. Its
 * state outlives a reader, so that a broken connection costs only what was in flight. One thread.
 */
#ifndef BEAM_FETCH_H
#define BEAM_FETCH_H

#include "reader.h"
#include "segments.h"

#define BEAM_FETCH_REREADS 2

struct beam_fetch;

/* A pull whose bytes come from a relay, or go to one: every segment must bear the signature of the
 * primary's daemon. */
struct beam_fetch_trust {
	bool vouched;
	uint8_t public_key[BEAM_PUBLIC_BYTES];
	struct beam_gen gen;
};

struct beam_fetch_counts {
	uint64_t bytes;         /* verified */
	uint64_t image_bytes;   /* 0 until the image is complete */
	uint32_t nsegments;     /* 0 until the image is complete */
	uint32_t segment_bytes; /* 0 until the server has said it */
	uint64_t keys;          /* by the manifest, in the last segment */
	uint64_t rereads;
	uint64_t first_read_ms, last_crc_ms; /* beam_now_ms(); 0: not yet */
	uint32_t queue_position, queue_length;
};

/* Called about every 50 ms and at each event. Not 0 ends the run with that code. */
typedef int beam_fetch_tick_fn(void *arg);

int beam_fetch_open(const struct beam_segment_sink *sink, struct beam_fetch **out);
/* From the thread of the runs to come. */
void beam_fetch_on_reads(struct beam_fetch *fetch, beam_reads_fn *fn, void *arg);
/* NULL-safe, clears the pointer. No reader may have reads of it in flight. */
void beam_fetch_close(struct beam_fetch **fetch);

/* Runs until every segment is in the sink and the file's CRC is right. 0; BEAM_E_GONE: go on with a
 * new reader of the same generation (what is verified stays); BEAM_E_CRC, BEAM_E_STALE and others
 * end the pull, with the line in `error`. On failure the reader must be closed before the next run
 * or close. */
int beam_fetch_run(struct beam_fetch *fetch, struct beam_reader *reader,
		   const struct beam_fetch_trust *trust, beam_fetch_tick_fn *tick, void *arg,
		   char *error);

/* After a run that failed: true when it was the server's doing (it went away, lied, or sent what is
 * none of the protocol), so that another one may be asked. */
bool beam_fetch_blames_server(const struct beam_fetch *fetch);

/* After a run with `vouched` that returned 0: the totals and the primary's word for them. */
void beam_fetch_totals(const struct beam_fetch *fetch, struct beam_wire_complete *totals,
		       struct beam_wire_vouched *vouched);

/* After a run that ended with BEAM_E_GONE, and after its reader was closed. */
void beam_fetch_detach(struct beam_fetch *fetch);

/* Asks whether the generation is still valid. 0; BEAM_E_GONE: the connection broke, as for a run; BEAM_E_STALE
 * and others, with the line in `error`. */
int beam_fetch_check(struct beam_reader *reader, int timeout_ms, char *error);

void beam_fetch_counts(const struct beam_fetch *fetch, struct beam_fetch_counts *out);

#endif
