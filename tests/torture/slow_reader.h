/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A process that pulls as it is told, stops itself on the way, and compares each byte it gets with what
 * its generation must have.
 */
#ifndef SLOW_READER_H
#define SLOW_READER_H

#include "reader.h"

struct slow_order {
	int buffer_bytes; /* of its socket, 0: the kernel's choice. Small: all it asks for waits in the daemon */
	struct beam_reader_opts opts; /* host is not taken from here */
	uint32_t piece_bytes;         /* of each read */
	uint32_t stop_every;          /* reads; 0: never stops */
};

enum slow_verdict {
	SLOW_READY,   /* asks for its first order */
	SLOW_WHOLE,   /* the image of its generation, byte by byte, and still valid at the end */
	SLOW_STALE,   /* was told that the image is gone; what had come was its generation's */
	SLOW_REFUSED, /* was not let in: the image had gone before, or its places were taken */
	SLOW_MIXED,   /* got a byte that is not its generation's */
	SLOW_BROKEN,  /* anything else: `code` */
};

struct slow_report {
	enum slow_verdict verdict;
	int code;
	uint64_t bytes; /* compared */
	uint64_t counter;
	uint32_t index, offset; /* of what was mixed */
};

/* Sends a report, takes an order, and so on, until the socket ends. */
_Noreturn void slow_reader(int sock, uint32_t segment_bytes);

#endif
