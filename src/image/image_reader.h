/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads what the image writer wrote, and plain RDB files as far as they go. Input is hostile: each
 * length is checked, nothing is allocated by a peer's number beyond a cap, nothing asserts. Reads
 * from memory that the caller maps; no I/O. Pure functions and small structs, any thread, one
 * thread each.
 */
#ifndef BEAM_IMAGE_READER_H
#define BEAM_IMAGE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdb.h"
#include "rdbeam/image_format.h"

/* ---- chunks ------------------------------------------------------------------------------- */

/* Decodes a footer from the last BEAM_CHUNK_FOOTER_BYTES bytes at `at`. BEAM_E_FORMAT if it is
 * none. */
int beam_chunk_footer_get(const uint8_t *at, struct beam_chunk_footer *footer);
void beam_chunk_footer_put(uint8_t *at, const struct beam_chunk_footer *footer);
int beam_manifest_footer_get(const uint8_t *at, struct beam_manifest_footer *footer);
void beam_manifest_footer_put(uint8_t *at, const struct beam_manifest_footer *footer);

/* Where the padding of a chunk that is one segment lies, by the end of it (at least a footer's bytes): base[*from..*to) of
 * its len_bytes. False: there is none, or the end is no such chunk's. Nothing is said of the bytes. */
bool beam_chunk_padding(const uint8_t *end, uint32_t len_bytes, uint32_t *from, uint32_t *to);

/* A chunk's parts, after its shape was checked against `nsegments * segment_bytes` and its CRC. */
struct beam_chunk {
	struct beam_chunk_footer footer;
	const uint8_t *base;
	const uint8_t *index;
};

/* Opens the chunk whose bytes are base[0..len_bytes). `check_crc` false: the caller has checked the
 * segments. 0, BEAM_E_FORMAT, BEAM_E_CRC. */
int beam_chunk_open(const uint8_t *base, size_t len_bytes, bool check_crc, struct beam_chunk *out);

/* One key of an image. Pointers go into the chunk. */
struct beam_item {
	uint32_t db;
	int64_t expire_ms; /* absolute, -1: none */
	int64_t idle_s;    /* -1: none */
	int freq;          /* -1: none */
	uint8_t type;
	const uint8_t *key; /* raw bytes, or NULL when the key is integer-encoded: then key_text */
	size_t key_bytes;
	char key_text[24];
	const uint8_t *value; /* as in the RDB, without the type byte */
	size_t value_bytes;
};

struct beam_chunk_cursor {
	uint32_t next; /* item number */
	size_t index_pos;
	size_t body_pos;
	uint32_t db;
};

/* Next item of a chunk, found by the index, so that unknown value types do no harm. `cursor` starts
 * zeroed. 1 with *item, 0 at the end, BEAM_E_FORMAT / BEAM_E_TORN. */
int beam_chunk_next(const struct beam_chunk *chunk, struct beam_chunk_cursor *cursor,
		    struct beam_item *item);

/* Opens the chunk that begins with segment `first` of an image's `nsegments` full segments at
 * `base`, and checks its CRC. 0, BEAM_E_FORMAT when no chunk begins there, BEAM_E_CRC. */
int beam_chunk_find(const uint8_t *base, uint32_t nsegments, uint32_t segment_bytes, uint32_t first,
		    struct beam_chunk *out);

/* ---- the last segment --------------------------------------------------------------------- */

struct beam_manifest {
	struct beam_manifest_footer footer;
	const uint8_t *crcs; /* (nsegments - 1) le64 */
	uint64_t file_crc;
};

/* Opens the last segment, base[0..len_bytes) exactly. BEAM_E_FORMAT when it is not one; BEAM_E_CRC
 * when the CRCs it lists do not join to the file's, so that a damaged manifest is never believed. */
int beam_manifest_open(const uint8_t *base, size_t len_bytes, struct beam_manifest *out);

/* ---- whole files -------------------------------------------------------------------------- */

/* What is said of each problem found; return 0 to go on, not 0 to stop. */
typedef int beam_verify_problem_fn(void *arg, int code, uint64_t offset, const char *text);

/* Called for each key in the file's order; what `item` points to is valid during the call only. */
typedef void beam_verify_key_fn(void *arg, const struct beam_item *item);

enum beam_verify_type {
	BEAM_VERIFY_STRING,
	BEAM_VERIFY_LIST,
	BEAM_VERIFY_SET,
	BEAM_VERIFY_ZSET,
	BEAM_VERIFY_HASH,
	BEAM_VERIFY_STREAM,
	BEAM_VERIFY_MODULE,
	BEAM_VERIFY_OTHER, /* a type of a newer server */
	BEAM_VERIFY_FUNCTIONS,
	BEAM_VERIFY_TYPES,
};

struct beam_verify_report {
	bool is_image; /* made by rdbeam: manifest found */
	int rdb_version;
	uint64_t file_bytes;
	uint32_t segment_bytes; /* 0 for a plain file */
	uint32_t nsegments;
	uint32_t segments_bad;
	struct beam_gen gen;
	uint64_t keys, expires, functions;
	uint64_t keys_by_type[BEAM_VERIFY_TYPES];
	uint64_t nexpired; /* left out, by the manifest */
	uint32_t ndbs;
	bool crc_ok; /* of the whole file; true too when the file has none (0) */
	bool crc_absent;
	uint64_t problems;
	char repl_id[41];
	int64_t repl_offset; /* -1: none */
	char server_version[32];
};

extern const char *const beam_verify_type_names[BEAM_VERIFY_TYPES];

/* The data type that an RDB value type encodes. */
enum beam_verify_type beam_verify_type(uint8_t rdb_type);

/* Checks a whole file in memory: for an image every segment's CRC, every chunk, item counts against
 * the manifest, and the file's CRC; for a plain RDB file every record's shape and the file's CRC;
 * both walk all records. 0 when nothing was found wrong; else the first problem's code. */
int beam_verify(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem, void *arg,
		struct beam_verify_report *report);

/* The same, and tells each key that can be read. */
int beam_verify_keys(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem,
		     beam_verify_key_fn *key, void *arg, struct beam_verify_report *report);

/* Walks one value of an RDB record without decoding it: *pos (at the value) moves behind it.
 * 0, BEAM_E_TORN, BEAM_E_FORMAT, BEAM_E_UNSUPPORTED for a type that is not known. */
int beam_rdb_skip_value(const uint8_t *buf, size_t len_bytes, size_t *pos, uint8_t type);

/* Moves *pos behind a record of module AUX data, and tells its type. 0, BEAM_E_TORN, or BEAM_E_FORMAT, also where
 * none begins at *pos. */
int beam_rdb_skip_module_aux(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *type_id);

#endif
