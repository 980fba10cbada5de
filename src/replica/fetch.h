/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fetches an image through a transport. It posts reads of sealed segments while the sink has room,
 * checks each segment's CRC (after two re-reads the pull fails), and at the end checks the file's
 * CRC. Its state outlives a reader, so a broken connection costs only the reads in flight.
 * Single-threaded.
 */
#ifndef BEAM_FETCH_H
#define BEAM_FETCH_H

#include "reader.h"
#include "segments.h"

#define BEAM_FETCH_REREADS 2

struct beam_fetch;

/* Used for a pull whose bytes come from a relay or go to one: with `vouched`, every segment must
 * carry a signature of the primary's daemon. */
struct beam_fetch_trust {
	bool vouched;
	uint8_t public_key[BEAM_PUBLIC_BYTES];
	struct beam_gen gen;
};

struct beam_fetch_counts {
	uint64_t bytes;         /* verified */
	uint64_t image_bytes;   /* 0 until the image is complete */
	uint32_t nsegments;     /* 0 until the image is complete */
	uint32_t segment_bytes; /* 0 until the server has announced it */
	uint64_t keys;          /* from the manifest, which is in the last segment */
	uint64_t rereads;
	uint64_t first_read_ms, last_crc_ms; /* as beam_now_ms(); 0: not yet */
	uint32_t queue_position, queue_length;
};

/* Called about every 50 ms and after each event. A result other than 0 ends the run with that
 * code. */
typedef int beam_fetch_tick_fn(void *arg);

/* Makes a fetch into `sink`, which is copied; its ctx must outlive the fetch. Returns 0 or
 * -errno. */
int beam_fetch_open(const struct beam_segment_sink *sink, struct beam_fetch **out);
/* Sets a callback for the begin and the end of the reads. To be called from the thread that will
 * call beam_fetch_run. */
void beam_fetch_on_reads(struct beam_fetch *fetch, beam_reads_fn *fn, void *arg);
/* Accepts NULL; clears the pointer. No reader may still have reads of this fetch in flight. */
void beam_fetch_close(struct beam_fetch **fetch);

/* Runs until every segment is in the sink and the file's CRC is right. Returns 0 then; BEAM_E_GONE
 * when the connection broke: go on with a new reader of the same generation (verified segments are
 * kept); BEAM_E_CRC, BEAM_E_STALE and others end the pull, with the line in `error`. After a
 * failure the reader must be closed before the next run or close. */
int beam_fetch_run(struct beam_fetch *fetch, struct beam_reader *reader,
		   const struct beam_fetch_trust *trust, beam_fetch_tick_fn *tick, void *arg,
		   char *error);

/* After a failed run: true when the server caused the failure (it went away, lied, or broke the
 * protocol), so that it makes sense to ask another server. */
bool beam_fetch_blames_server(const struct beam_fetch *fetch);

/* After a run with `vouched` that returned 0: the totals of the image and the primary's signature
 * of them. */
void beam_fetch_totals(const struct beam_fetch *fetch, struct beam_wire_complete *totals,
		       struct beam_wire_vouched *vouched);

/* Takes back the buffers of reads in flight and settles the checks. To be called after a run that
 * returned BEAM_E_GONE and after its reader was closed. */
void beam_fetch_detach(struct beam_fetch *fetch);

/* Asks the server whether the generation is still valid. Returns 0; BEAM_E_GONE when the connection
 * broke, as for a run; BEAM_E_STALE and others, with the line in `error`. */
int beam_fetch_check(struct beam_reader *reader, int timeout_ms, char *error);

/* Copies the counts. To be called on the thread of the runs, also from a tick. */
void beam_fetch_counts(const struct beam_fetch *fetch, struct beam_fetch_counts *out);

#endif
