/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The image: a valid RDB file in fixed-size segments. docs/image-format.md tells it in prose.
 *
 *	file   := chunk* last
 *	chunk  := 1..n consecutive segments, claimed together; full segments, n * segment_bytes long
 *	         body: items (see below), then one AUX record that reaches to the chunk's end:
 *	         FA 00 80 <be32 length> <zero padding> <index> <struct beam_chunk_footer>
 *	last   := one short segment: FA 00 80 <be32 length> <manifest> FF <le64 file CRC>
 *
 * Chunk 0 starts with "REDIS<vvvv>", the AUX header, functions, and SELECTDB/RESIZEDB per database;
 * it has no items. Every other chunk starts with an item. An item is one key:
 *	[FE db] [FC ms] [F8 idle | F9 freq] type key value
 * The first item of a chunk always carries its FE <db>; a later one where the database changes.
 * Index: one LEB128 length for each item, in order, so item i starts where item i-1 ends.
 * Everything of ours is little endian, encoded field by field (image.h); RDB's own numbers are
 * RDB's.
 */
#ifndef RDBEAM_IMAGE_FORMAT_H
#define RDBEAM_IMAGE_FORMAT_H

#include <stdint.h>

#define BEAM_IMAGE_VERSION   1
#define BEAM_SEGMENT_ALIGN   (2u << 20) /* a segment is a multiple of this */
#define BEAM_SEGMENT_DEFAULT (4u << 20)
#define BEAM_SEGMENT_MAX     (64u << 20)
#define BEAM_SEGMENTS_MAX    (1u << 20) /* per image: limits what a peer can make us allocate */
#define BEAM_AUX_FIXED_BYTES 7          /* FA 00 80 + 4 length bytes */
#define BEAM_LAST_TAIL_BYTES 9          /* FF + CRC64 */

#define BEAM_CHUNK_MAGIC    "rdbmCHK1"
#define BEAM_MANIFEST_MAGIC "rdbmEND1"

/* Names a generation. Never reused, and unique across daemons and restarts. */
struct beam_gen {
	uint64_t nonce;   /* random, drawn after the fork: no stored value has it */
	uint64_t counter; /* 1, 2, ... of a daemon process */
};

/* Ends every chunk. Encoded in BEAM_CHUNK_FOOTER_BYTES, fields in this order. */
struct beam_chunk_footer {
	char magic[8];
	struct beam_gen gen;
	uint32_t first_index; /* the first segment's index in the file */
	uint32_t nsegments;
	uint32_t nitems;
	uint32_t index_bytes;
	uint64_t body_bytes; /* offset of the AUX record in the chunk */
	uint64_t crc;        /* CRC64 of all bytes of the chunk before this field */
};
#define BEAM_CHUNK_FOOTER_BYTES 56
/* Bytes that a writer reserves at a chunk's end, besides the index. */
#define BEAM_CHUNK_TAIL_BYTES (BEAM_AUX_FIXED_BYTES + BEAM_CHUNK_FOOTER_BYTES)

/* The manifest is the value of the last segment's AUX record: nsegments-1 CRC64s (le64), one for
 * each full segment, followed by these fields. */
struct beam_manifest_footer {
	uint64_t nitems;    /* keys in the image */
	uint64_t nexpired;  /* keys left out because they had expired at the cut */
	uint32_t nsegments; /* of the file, including the last one */
	uint32_t segment_bytes;
	struct beam_gen gen;
	char magic[8];
};
#define BEAM_MANIFEST_FOOTER_BYTES 48

#endif
