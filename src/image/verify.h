/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared by the parts of beam_verify: verify_report.c has the report, verify_plain.c the walk over
 * plain RDB files, verify_image.c the walk over images. A run belongs to one thread.
 */
#ifndef BEAM_VERIFY_H
#define BEAM_VERIFY_H

#include "image_reader.h"
#include "rdb_walk.h"

#define BEAM_VERIFY_DBS 65536 /* databases that are told apart when they are counted */

struct beam_verify_run {
	const uint8_t *base;
	size_t len_bytes;
	beam_verify_problem_fn *problem;
	beam_verify_key_fn *key; /* NULL: not called */
	void *arg;               /* of both */
	struct beam_rdb_buffer key_buffer;
	struct beam_verify_report *report;
	int first_code;  /* of the problems reported */
	bool stopped;    /* the callback does not want any more */
	bool own_aux;    /* an rdbeam-* field was seen */
	int64_t last_db; /* of the last key; -1: none */
	uint64_t db_seen[BEAM_VERIFY_DBS / 64];
};

/* Counts a problem and reports it. */
void beam_verify_tell(struct beam_verify_run *run, int code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Counts a key in the report, and passes it to the callback. */
void beam_verify_book_key(struct beam_verify_run *run, const struct beam_item *item);
/* Counts a function, or takes an AUX field, into the report. */
void beam_verify_book_record(struct beam_verify_run *run, const struct beam_rdb_record *record);

/* Reads the magic and the version into the report. False, after reporting a problem, if they are
 * not there. */
bool beam_verify_magic(struct beam_verify_run *run);

/* Reports that the record at `offset` could not be walked. */
void beam_verify_tell_record(struct beam_verify_run *run, int code, uint64_t offset,
			     const struct beam_rdb_record *record);

/* Checks a plain RDB file. */
void beam_verify_plain(struct beam_verify_run *run);
/* Checks an image whose manifest has been parsed. */
void beam_verify_image(struct beam_verify_run *run, const struct beam_manifest *manifest);

#endif
