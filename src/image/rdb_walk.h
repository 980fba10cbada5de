/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Walks an RDB file record by record, for this folder's own use. Pure functions over bytes. On an
 * error *pos stays where it was, at the start of what could not be read.
 */
#ifndef BEAM_RDB_WALK_H
#define BEAM_RDB_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image_reader.h"

/* A string as it is stored. */
struct beam_rdb_string {
	const uint8_t *bytes; /* the stored bytes: raw, or compressed when enc is LZF */
	size_t stored_bytes;
	uint64_t len_bytes; /* of the string itself; differs for LZF only */
	int enc;            /* -1: raw; else enum beam_rdb_enc */
	int32_t number;     /* when enc is one of the integers */
};

/* A length where no special encoding is allowed. 0, BEAM_E_TORN, BEAM_E_FORMAT. */
int beam_rdb_get_number(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *number);

/* 0 and *out, BEAM_E_TORN, BEAM_E_FORMAT. */
int beam_rdb_get_string(const uint8_t *buf, size_t len_bytes, size_t *pos,
			struct beam_rdb_string *out);

/* Writes the string, decoded, as a C string of less than `cap` bytes; "" when it does not fit or is
 * damaged. */
void beam_rdb_string_text(const struct beam_rdb_string *string, char *out, size_t cap);

/* A key as it is read out: its bytes when they are stored as they are, a number's text, or the
 * buffer's after a compressed one was expanded. */
struct beam_rdb_buffer {
	uint8_t *bytes; /* malloc; the owner frees it */
	size_t cap;
};

/* Sets item->key, key_bytes and key_text. The buffer may be NULL where no key is compressed. 0,
 * BEAM_E_FORMAT for a compressed key that is damaged or claims an absurd length, -ENOMEM. */
int beam_rdb_item_key(const struct beam_rdb_string *key, struct beam_rdb_buffer *buffer,
		      struct beam_item *item);

enum beam_rdb_kind {
	BEAM_RDB_IS_KEY,
	BEAM_RDB_IS_AUX,
	BEAM_RDB_IS_FUNCTION,
	BEAM_RDB_IS_OTHER, /* SELECTDB, RESIZEDB, expiry and the like */
	BEAM_RDB_IS_END,   /* the FF; its CRC is not read */
};

/* One step of the walk. Start zeroed; db and has_expire are kept from step to step. */
struct beam_rdb_record {
	enum beam_rdb_kind kind;
	uint8_t code; /* opcode, or the key's type; valid after an error too */
	uint32_t db;
	bool has_expire;
	int64_t expire_ms, idle_s;    /* of the next key; -1: none; valid with `begun` */
	int freq;                     /* the same */
	bool begun;                   /* the three above were set */
	size_t value_at;              /* where a key's value starts */
	struct beam_rdb_string key;   /* the key's or AUX field's name */
	struct beam_rdb_string value; /* the AUX field's value */
};

/* Reads one record and moves *pos behind it. 0, BEAM_E_TORN, BEAM_E_FORMAT, or BEAM_E_UNSUPPORTED
 * when its type is not known. */
int beam_rdb_next_record(const uint8_t *buf, size_t len_bytes, size_t *pos,
			 struct beam_rdb_record *record);

/* The key that a record of kind BEAM_RDB_IS_KEY is, after the step that read it has moved *pos to
 * `end`. item is filled in but for what failed: see beam_rdb_item_key, whose `buffer` this is; NULL:
 * a compressed key's name is left out. */
int beam_rdb_record_item(const uint8_t *buf, size_t end, const struct beam_rdb_record *record,
			 struct beam_rdb_buffer *buffer, struct beam_item *item);

/* The last segment's parts without the check of its CRCs (beam_manifest_open does both), so that
 * beam_verify can say more about a damaged one. 0 or BEAM_E_FORMAT. */
int beam_manifest_parse(const uint8_t *base, size_t len_bytes, struct beam_manifest *out);

#endif
