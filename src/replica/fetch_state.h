/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of a fetch, shared by fetch.c and its parts: fetch_told.c handles what the server
 * announces, fetch_checks.c the checksums, fetch_filler.c the filler. A segment is unknown, sealed
 * (in the heap, lowest index first), reading, being checked, or done.
 */
#ifndef BEAM_FETCH_STATE_H
#define BEAM_FETCH_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "checker.h"
#include "fetch.h"
#include "index_heap.h"

#define BEAM_FETCH_NONE UINT32_MAX

enum segment_state { UNKNOWN, SEALED, READING, CHECKING, DONE };

/* Progress on a segment's filler: do not look; its end is being read; its end has been read. */
enum segment_look { LOOK_NOT, LOOKING, LOOKED };

struct segment {
	uint64_t crc;
	uint8_t *buf; /* from the first read until it is checked */
	uint32_t len_bytes;
	uint32_t filler, filler_end; /* LOOKED: range of zeros that is not read */
	uint8_t look;
	bool blank;      /* `buf` was all zeros when it was given out */
	uint32_t pieces; /* reads in flight */
	uint8_t state;
	uint8_t rereads;
};

struct beam_fetch {
	struct beam_segment_sink sink;
	struct beam_checker *checker;
	struct beam_reader *reader;
	char *error;
	uint32_t segment_bytes; /* 0 until the first WELCOME; final once begun */
	bool begun;             /* the sink has been told the segment size */
	uint32_t piece_bytes;
	bool to_blame;                        /* the server caused this run's failure */
	const struct beam_fetch_trust *trust; /* of this run */
	struct beam_wire_vouched pending;     /* signature of the next announcement */
	/* Verified signatures by index; grown along with `segments` when signatures are
	 * required. */
	struct beam_wire_vouched *vouched;
	uint32_t vouched_cap;
	struct beam_wire_vouched totals_vouched;
	/* By the present reader. Segments that an earlier reader announced must wait for this,
	 * too. */
	bool welcomed;

	struct segment *segments;
	uint32_t nknown, cap;
	struct beam_index_heap sealed;
	uint32_t posting; /* BEAM_FETCH_NONE: no segment is partly posted */
	uint32_t posted_bytes;
	bool no_room; /* the sink returned -EAGAIN: poll its wake_fd */
	uint32_t ndone, nchecking;

	bool complete;
	struct beam_wire_complete totals;
	/* Of the highest index verified so far; in the end that is the last segment. */
	uint32_t last_index;
	uint64_t last_prefix_crc;
	uint64_t last_tail;
	struct beam_fetch_counts counts;
	beam_reads_fn *on_reads; /* NULL: nobody measures */
	void *on_reads_arg;
};

/* Decides, when a segment is read for the first time, whether to read its end first. */
void beam_fetch_look(struct beam_fetch *fetch, uint32_t index);
/* Called when the end has been read: makes sure that the filler, if there is any, is zero. The
 * segment is sealed again, but keeps its buffer and is not in the heap. */
void beam_fetch_looked(struct beam_fetch *fetch, uint32_t index);
/* Returns the lowest such segment, or BEAM_FETCH_NONE. */
uint32_t beam_fetch_find_looked(const struct beam_fetch *fetch);
/* Length in bytes of the next piece to read of the segment being posted, from posted_bytes on
 * (which is moved past filler). 0: no more. */
uint32_t beam_fetch_piece(struct beam_fetch *fetch);

/* Writes the line for an error of the sink about segment `index`, and returns `code`. */
int beam_fetch_tell_sink(struct beam_fetch *fetch, int code, const char *what, uint32_t index);

/* Writes the line for a broken protocol, blames the server, and returns BEAM_E_PROTO. */
int beam_fetch_bad(struct beam_fetch *fetch, const char *what, uint64_t value);

/* Each handles one kind of message. Returns 0, or a code that ends the run, with its line
 * written. */
int beam_fetch_on_welcome(struct beam_fetch *fetch, const struct beam_wire_welcome *welcome);
int beam_fetch_on_sealed(struct beam_fetch *fetch, const struct beam_wire_sealed *sealed);
int beam_fetch_on_complete(struct beam_fetch *fetch, const struct beam_wire_complete *complete);
/* True when the signature of segment `index` was seen, from any server. */
bool beam_fetch_is_vouched(const struct beam_fetch *fetch, uint32_t index);

/* Called when all reads of segment `index` are done: queues its checksum. Returns 0 or -ENOMEM. */
int beam_fetch_give_check(struct beam_fetch *fetch, uint32_t index);
/* Takes all finished checks: correct segments go to the sink, others are read again. Returns 0, or
 * a code that ends the run, with its line written. */
int beam_fetch_take_checked(struct beam_fetch *fetch);
/* Waits for all checks in progress, after their reader is gone. */
void beam_fetch_settle_checks(struct beam_fetch *fetch);
/* Called when all segments are in the sink: their combined checksum must be the file's. Returns 0,
 * or a code with its line written. */
int beam_fetch_check_file(struct beam_fetch *fetch);

#endif
