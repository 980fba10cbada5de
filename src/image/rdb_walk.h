/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Walks an RDB file record by record; private to this folder. Pure functions on bytes in memory.
 * After an error *pos is unchanged: at the start of what could not be read.
 */
#ifndef BEAM_RDB_WALK_H
#define BEAM_RDB_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image_reader.h"

/* A string as it is stored. */
struct beam_rdb_string {
	const uint8_t *bytes; /* the stored bytes: raw, or compressed if enc is LZF */
	size_t stored_bytes;
	uint64_t len_bytes; /* of the string itself; differs for LZF only */
	int enc;            /* -1: raw; else enum beam_rdb_enc */
	int32_t number;     /* if enc is one of the integers */
};

/* Reads a length where no special encoding is allowed. 0, BEAM_E_TORN, or BEAM_E_FORMAT. */
int beam_rdb_get_number(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *number);

/* Reads a string. 0, BEAM_E_TORN, or BEAM_E_FORMAT; *out is valid only if 0. */
int beam_rdb_get_string(const uint8_t *buf, size_t len_bytes, size_t *pos,
			struct beam_rdb_string *out);

/* Writes the decoded string as a C string to `out` (`cap` bytes); "" if it does not fit or is
 * damaged. */
void beam_rdb_string_text(const struct beam_rdb_string *string, char *out, size_t cap);

/* Memory for keys that have to be decompressed. */
struct beam_rdb_buffer {
	uint8_t *bytes; /* from malloc; the owner frees it */
	size_t cap;
};

/* Sets item->key, key_bytes and key_text: the stored bytes, the text of a number, or `buffer` with
 * the expanded bytes of a compressed key. The buffer may be NULL if no key is compressed. 0,
 * BEAM_E_FORMAT for a compressed key that is damaged or claims an absurd length, or -ENOMEM. */
int beam_rdb_item_key(const struct beam_rdb_string *key, struct beam_rdb_buffer *buffer,
		      struct beam_item *item);

enum beam_rdb_kind {
	BEAM_RDB_IS_KEY,
	BEAM_RDB_IS_AUX,
	BEAM_RDB_IS_FUNCTION,
	BEAM_RDB_IS_OTHER, /* SELECTDB, RESIZEDB, expiry and the like */
	BEAM_RDB_IS_END,   /* the FF; the CRC after it is not read */
};

/* One step of the walk. Zero it at the start; db and has_expire persist from step to step. */
struct beam_rdb_record {
	enum beam_rdb_kind kind;
	uint8_t code; /* opcode, or the key's type; valid after an error, too */
	uint32_t db;
	bool has_expire;
	int64_t expire_ms, idle_s;    /* of the next key; -1: none; valid if `begun` */
	int freq;                     /* the same */
	bool begun;                   /* the three above have been set */
	size_t value_at;              /* where a key's value starts */
	struct beam_rdb_string key;   /* name of the key or AUX field */
	struct beam_rdb_string value; /* value of the AUX field */
};

/* Reads one record and moves *pos past it. 0, BEAM_E_TORN, BEAM_E_FORMAT, or BEAM_E_UNSUPPORTED if
 * its type is not known. */
int beam_rdb_next_record(const uint8_t *buf, size_t len_bytes, size_t *pos,
			 struct beam_rdb_record *record);

/* Converts a record of kind BEAM_RDB_IS_KEY to an item; `end` is *pos after the step that read it.
 * `buffer` is passed to beam_rdb_item_key, whose codes are returned; NULL: the name of a compressed
 * key is left out. After an error all fields but the key are filled in. */
int beam_rdb_record_item(const uint8_t *buf, size_t end, const struct beam_rdb_record *record,
			 struct beam_rdb_buffer *buffer, struct beam_item *item);

/* Parses the last segment without checking its CRCs (beam_manifest_open does both), so that
 * beam_verify can say more about a damaged one. 0 or BEAM_E_FORMAT. */
int beam_manifest_parse(const uint8_t *base, size_t len_bytes, struct beam_manifest *out);

#endif
