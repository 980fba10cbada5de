/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of a fetch, for fetch.c and what it is made of: fetch_told.c takes in what the server says
 * of the image, fetch_checks.c what the checksums say of its bytes. A segment is unknown, sealed (in
 * the heap, lowest index first), reading, being checked, or done. */
#ifndef BEAM_FETCH_STATE_H
#define BEAM_FETCH_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "checker.h"
#include "fetch.h"
#include "index_heap.h"

#define BEAM_FETCH_NONE UINT32_MAX

enum segment_state { UNKNOWN, SEALED, READING, CHECKING, DONE };

/* What is done about a segment's filler: nothing; its end is read first; that tells where the filler is. */
enum segment_look { LOOK_NOT, LOOKING, LOOKED };

struct segment {
	uint64_t crc;
	uint8_t *buf; /* from the first read on, and while being checked */
	uint32_t len_bytes;
	uint32_t filler, filler_end; /* LOOKED: zeros that are not read, from and to */
	uint8_t look;
	uint32_t pieces; /* in flight */
	uint8_t state;
	uint8_t rereads;
};

struct beam_fetch {
	struct beam_segment_sink sink;
	struct beam_checker *checker;
	struct beam_reader *reader;
	char *error;
	uint32_t segment_bytes; /* 0 until the first WELCOME; final once begun */
	bool begun;             /* the sink has it */
	uint32_t piece_bytes;
	bool to_blame;                        /* the server is, for the failure of this run */
	const struct beam_fetch_trust *trust; /* of this run */
	struct beam_wire_vouched pending;     /* of what is told next */
	/* By index, checked signatures; grown with `segments` when there is a trust to keep. */
	struct beam_wire_vouched *vouched;
	uint32_t vouched_cap;
	struct beam_wire_vouched totals_vouched;
	bool welcomed; /* by this reader: what an earlier one told of must wait for it too */

	struct segment *segments;
	uint32_t nknown, cap;
	struct beam_index_heap sealed;
	uint32_t posting; /* BEAM_FETCH_NONE: no segment is half posted */
	uint32_t posted_bytes;
	bool no_room; /* the sink said -EAGAIN: its wake_fd tells when to ask again */
	uint32_t ndone, nchecking;

	bool complete;
	struct beam_wire_complete totals;
	/* Of the highest index verified so far, which is the last segment in the end. */
	uint32_t last_index;
	uint64_t last_prefix_crc;
	uint64_t last_tail;
	struct beam_fetch_counts counts;
	beam_reads_fn *on_reads; /* NULL: nobody measures */
	void *on_reads_arg;
};

/* A segment's first reading begins: whether its end is read first. */
void beam_fetch_look(struct beam_fetch *fetch, uint32_t index);
/* The end was read: lays the filler out, if there is any, and puts the segment back among the sealed ones. */
int beam_fetch_looked(struct beam_fetch *fetch, uint32_t index);
/* The next bytes to be read of the segment that is being posted, from posted_bytes on. 0: no more. */
uint32_t beam_fetch_piece(struct beam_fetch *fetch);

/* Writes the line for what the sink answered about segment `index`, and returns that code. */
int beam_fetch_tell_sink(struct beam_fetch *fetch, int code, const char *what, uint32_t index);

/* Writes the line, blames the server, and returns BEAM_E_PROTO. */
int beam_fetch_bad(struct beam_fetch *fetch, const char *what, uint64_t value);

/* Each takes in a message; 0, or a code that ends the run, with its line written. */
int beam_fetch_on_welcome(struct beam_fetch *fetch, const struct beam_wire_welcome *welcome);
int beam_fetch_on_sealed(struct beam_fetch *fetch, const struct beam_wire_sealed *sealed);
int beam_fetch_on_complete(struct beam_fetch *fetch, const struct beam_wire_complete *complete);
/* Whether the signature of segment `index` was seen, from any server. */
bool beam_fetch_is_vouched(const struct beam_fetch *fetch, uint32_t index);

/* All reads of segment `index` are done: its checksum is to be computed. 0 or -ENOMEM. */
int beam_fetch_give_check(struct beam_fetch *fetch, uint32_t index);
/* Gives what is right to the sink and what is wrong back to be read again. 0, or a code that ends the
 * run, with its line written. */
int beam_fetch_take_checked(struct beam_fetch *fetch);
/* Waits for what is being checked; its reader is gone. */
void beam_fetch_settle_checks(struct beam_fetch *fetch);
/* All segments are in the sink: their checksums together must be the file's. */
int beam_fetch_check_file(struct beam_fetch *fetch);

#endif
