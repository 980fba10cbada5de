/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads images, and plain RDB files as far as they have the same records. Input is hostile: every
 * length is checked, no allocation trusts a number from a peer beyond a cap, and nothing asserts.
 * Reads memory that the caller maps; does no I/O. Pure functions and small structs: any thread may
 * use them, but one thread at a time each struct.
 */
#ifndef BEAM_IMAGE_READER_H
#define BEAM_IMAGE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdb.h"
#include "rdbeam/image_format.h"

/* ---- chunks ------------------------------------------------------------------------------- */

/* Decodes a footer of BEAM_CHUNK_FOOTER_BYTES bytes at `at`. 0, or BEAM_E_FORMAT if it is not a
 * footer. */
int beam_chunk_footer_get(const uint8_t *at, struct beam_chunk_footer *footer);
/* Encodes a footer to BEAM_CHUNK_FOOTER_BYTES bytes; writes the magic itself. */
void beam_chunk_footer_put(uint8_t *at, const struct beam_chunk_footer *footer);
/* The same for a manifest's footer, of BEAM_MANIFEST_FOOTER_BYTES. */
int beam_manifest_footer_get(const uint8_t *at, struct beam_manifest_footer *footer);
void beam_manifest_footer_put(uint8_t *at, const struct beam_manifest_footer *footer);

/* Gets the footer of the chunk of image `gen` that ends at `end`. A generation is random, so no
 * stored value looks like a footer, either by accident or on purpose. 0, or BEAM_E_FORMAT if no
 * chunk of the image ends there. */
int beam_chunk_footer_of(const struct beam_gen *gen, const uint8_t *end,
			 struct beam_chunk_footer *footer);
/* Whether base[0..len_bytes) ends like the last segment of image `gen`. */
bool beam_is_last(const struct beam_gen *gen, const uint8_t *base, size_t len_bytes);

/* Finds the padding of a chunk of image `gen` that consists of one segment of len_bytes:
 * base[*from..*to). `end` is the end of the segment, of which at least the footer's bytes must be in
 * memory. False if there is no padding, or if the segment does not end such a chunk. The bytes of
 * the padding are not looked at. */
bool beam_chunk_padding(const struct beam_gen *gen, const uint8_t *end, uint32_t len_bytes,
			uint32_t *from, uint32_t *to);

/* Parts of a chunk whose shape has been checked. */
struct beam_chunk {
	struct beam_chunk_footer footer;
	const uint8_t *base;
	const uint8_t *index;
};

/* Opens the chunk base[0..len_bytes), and checks its shape. Its CRC is checked if `check_crc`;
 * false: the caller has checked the segments. 0, BEAM_E_FORMAT, or BEAM_E_CRC. */
int beam_chunk_open(const uint8_t *base, size_t len_bytes, bool check_crc, struct beam_chunk *out);

/* A key of an image. The pointers are into the chunk. */
struct beam_item {
	uint32_t db;
	int64_t expire_ms; /* absolute; -1: none */
	int64_t idle_s;    /* -1: none */
	int freq;          /* -1: none */
	uint8_t type;
	const uint8_t *key; /* raw bytes; NULL if the key is stored as an integer: see key_text */
	size_t key_bytes;
	char key_text[24];
	const uint8_t *value; /* as in the RDB file, without the type byte */
	size_t value_bytes;
};

struct beam_chunk_cursor {
	uint32_t next; /* number of the next item */
	size_t index_pos;
	size_t body_pos;
	uint32_t db;
};

/* Gets the next item of a chunk. It is found by the index, so value types need not be known. Zero
 * `cursor` at the start. 1 with *item, 0 at the end, BEAM_E_FORMAT or BEAM_E_TORN. */
int beam_chunk_next(const struct beam_chunk *chunk, struct beam_chunk_cursor *cursor,
		    struct beam_item *item);

/* Opens the chunk that begins with segment `first` of the `nsegments` full segments of image
 * `gen` at `base`, and checks its CRC. 0, BEAM_E_FORMAT if no chunk begins there, or BEAM_E_CRC. */
int beam_chunk_find(const struct beam_gen *gen, const uint8_t *base, uint32_t nsegments,
		    uint32_t segment_bytes, uint32_t first, struct beam_chunk *out);

/* ---- the last segment --------------------------------------------------------------------- */

struct beam_manifest {
	struct beam_manifest_footer footer;
	const uint8_t *crcs; /* (nsegments - 1) le64 */
	uint64_t file_crc;
};

/* Opens the last segment, which is exactly base[0..len_bytes). 0, BEAM_E_FORMAT if it is not one,
 * or BEAM_E_CRC if the CRCs that it lists do not combine to the file's CRC: a damaged manifest is
 * never trusted. */
int beam_manifest_open(const uint8_t *base, size_t len_bytes, struct beam_manifest *out);

/* ---- whole files -------------------------------------------------------------------------- */

/* Called with each problem found, at `offset` in the file. Returns 0 to go on; anything else
 * stops. */
typedef int beam_verify_problem_fn(void *arg, int code, uint64_t offset, const char *text);

/* Called for each key, in the file's order. What `item` points to is valid during the call only. */
typedef void beam_verify_key_fn(void *arg, const struct beam_item *item);

enum beam_verify_type {
	BEAM_VERIFY_STRING,
	BEAM_VERIFY_LIST,
	BEAM_VERIFY_SET,
	BEAM_VERIFY_ZSET,
	BEAM_VERIFY_HASH,
	BEAM_VERIFY_STREAM,
	BEAM_VERIFY_MODULE,
	BEAM_VERIFY_ARRAY,
	BEAM_VERIFY_OTHER, /* a type of a newer server */
	BEAM_VERIFY_FUNCTIONS,
	BEAM_VERIFY_TYPES,
};

struct beam_verify_report {
	bool is_image; /* made by rdbeam: a manifest was found */
	int rdb_version;
	uint64_t file_bytes;
	uint32_t segment_bytes; /* 0 for a plain file */
	uint32_t nsegments;
	uint32_t segments_bad;
	struct beam_gen gen;
	uint64_t keys, expires, functions;
	uint64_t keys_by_type[BEAM_VERIFY_TYPES];
	uint64_t module_aux; /* records of what modules keep outside of keys */
	uint64_t nexpired;   /* keys left out as expired, according to the manifest */
	uint32_t ndbs;
	bool crc_ok; /* of the whole file; also true if the file has none (0) */
	bool crc_absent;
	uint64_t problems;
	char repl_id[41];
	int64_t repl_offset; /* -1: none */
	char server_version[32];
};

extern const char *const beam_verify_type_names[BEAM_VERIFY_TYPES];

/* The data type that an RDB value type encodes. */
enum beam_verify_type beam_verify_type(uint8_t rdb_type);

/* Checks a whole file in memory. For an image: the CRC of every segment, every chunk, the number of
 * items against the manifest, and the file's CRC. For a plain RDB file: the shape of every record
 * and the file's CRC. Both walk all records. 0 if nothing is wrong; otherwise the code of the first
 * problem. */
int beam_verify(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem, void *arg,
		struct beam_verify_report *report);

/* The same, and passes each key that can be read to `key`. */
int beam_verify_keys(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem,
		     beam_verify_key_fn *key, void *arg, struct beam_verify_report *report);

/* Skips a value of an RDB record without decoding it: moves *pos from the value to what follows it.
 * 0, BEAM_E_TORN, BEAM_E_FORMAT, or BEAM_E_UNSUPPORTED for an unknown type; after an error *pos is
 * unchanged. */
int beam_rdb_skip_value(const uint8_t *buf, size_t len_bytes, size_t *pos, uint8_t type);

/* Moves *pos past a record of module AUX data, and gets its type. 0, BEAM_E_TORN, or BEAM_E_FORMAT,
 * which is also returned if there is no such record at *pos; after an error *pos is unchanged. */
int beam_rdb_skip_module_aux(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *type_id);

#endif
