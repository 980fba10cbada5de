/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table's control page: one shared memfd per generation, mapped by the daemon, the child, its
 * workers and the waiter. The payload is in slots (region.h); this page tells which slot holds
 * which segment, and which segments are sealed.
 *
 * Who writes what: the daemon grants slots (entry.slot, release) and may set `aborted`. Writers
 * claim indices (`next_index`, by compare-and-swap), fill the slot granted, and seal it: first the
 * slot's bytes, with an sfence after non-temporal stores, then entry.crc and len_bytes, then
 * entry.seal (release). A sealed entry whose slot is 0 again is gone: its bytes are in the file,
 * and its memory holds another segment. Only the coordinator sets `total`, before the last seal.
 * The daemon loads seals with acquire and publishes; nobody else infers readiness. All fields are
 * native: one machine, one build.
 */
#ifndef BEAM_TABLE_H
#define BEAM_TABLE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#include "rdbeam/image_format.h"

#define BEAM_TABLE_MAGIC   0x656c626174646272ull /* "rbdtable" */
#define BEAM_TABLE_VERSION 2

/* A slot is named by its extent and its place in the extent; 0 means none. */
#define BEAM_SLOT(extent, place) (1u << 31 | (uint32_t)(extent) << 16 | (uint32_t)(place))
#define BEAM_SLOT_EXTENT(slot)   ((slot) >> 16 & 0x7fffu)
#define BEAM_SLOT_PLACE(slot)    ((slot)&0xffffu)

struct beam_table_entry {
	_Atomic uint64_t seal; /* 0, or the generation's counter once the segment is complete */
	uint64_t crc;          /* CRC64 of bytes 0..len_bytes of the slot */
	uint32_t len_bytes;    /* segment_bytes; less only for the last segment */
	_Atomic uint32_t slot; /* 0: none granted, or gone */
};

struct beam_table {
	uint64_t magic;
	uint32_t version;
	uint32_t segment_bytes;
	struct beam_gen gen;
	uint32_t capacity; /* entries */
	uint32_t nworkers;
	_Atomic uint32_t next_index; /* segments claimed so far */
	_Atomic uint32_t total;      /* segments of the image; 0 until just before the last seal */
	_Atomic uint32_t aborted;    /* not 0: writers stop at the next claim or seal */
	_Atomic uint64_t keys_done;
	_Atomic uint64_t bytes_done; /* payload bytes, for progress */
	uint64_t keys_expected;
	struct beam_table_entry entry[];
};

static_assert(sizeof(struct beam_table_entry) == 24, "entries are packed");
static_assert(sizeof(struct beam_table) % 8 == 0, "entries are aligned");

/* Size in bytes of a control page for `capacity` segments. */
static inline uint64_t beam_table_bytes(uint32_t capacity)
{
	return sizeof(struct beam_table) + (uint64_t)capacity * sizeof(struct beam_table_entry);
}

#endif
