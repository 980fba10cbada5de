/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parts of beam_verify share: verify_report.c has the report, verify_plain.c the walk over plain
 * RDB files, verify_image.c the one over the images made here. One run is one thread's.
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
	beam_verify_key_fn *key; /* NULL: nobody asks */
	void *arg;               /* of both */
	struct beam_rdb_buffer key_buffer;
	struct beam_verify_report *report;
	int first_code;  /* of the problems told */
	bool stopped;    /* the callback has had enough */
	bool own_aux;    /* an rdbeam-* field was seen */
	int64_t last_db; /* of the key before, -1: none */
	uint64_t db_seen[BEAM_VERIFY_DBS / 64];
};

/* Counts a problem and tells it. */
void beam_verify_tell(struct beam_verify_run *run, int code, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Books a key in the report, and tells it. */
void beam_verify_book_key(struct beam_verify_run *run, const struct beam_item *item);
/* Books a function or AUX field in the report. */
void beam_verify_book_record(struct beam_verify_run *run, const struct beam_rdb_record *record);

/* Reads "REDIS<vvvv>" into the report. False, and told, when it is not there. */
bool beam_verify_magic(struct beam_verify_run *run);

/* Tells that the record at `offset` could not be walked. */
void beam_verify_tell_record(struct beam_verify_run *run, int code, uint64_t offset,
			     const struct beam_rdb_record *record);

/* Checks a plain RDB file. */
void beam_verify_plain(struct beam_verify_run *run);
/* Checks an image; its manifest has been parsed. */
void beam_verify_image(struct beam_verify_run *run, const struct beam_manifest *manifest);

#endif
