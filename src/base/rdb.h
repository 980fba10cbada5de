/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The RDB format's opcodes, types and number encodings (source: rdb.h and rdb.c of Redis 7.0.15,
 * 7.4.1, 8.6.3 and 8.8, Valkey 8.0.1 and 9.1). Pure functions on bytes: no allocation; any thread.
 */
#ifndef BEAM_RDB_H
#define BEAM_RDB_H

#include <stddef.h>
#include <stdint.h>

enum beam_rdb_opcode {
	BEAM_RDB_OP_KEY_METADATA = 0xf3, /* Redis 8.6: by modules, in front of a key's type */
	BEAM_RDB_OP_SLOT_IMPORT = 0xf3,  /* Valkey 9: name and ranges of slots being imported */
	BEAM_RDB_OP_SLOT_INFO = 0xf4,    /* 7.4+, valkey 8: slot, slot size, expires size */
	BEAM_RDB_OP_FUNCTION2 = 0xf5,
	BEAM_RDB_OP_FUNCTION_PRE_GA = 0xf6,
	BEAM_RDB_OP_MODULE_AUX = 0xf7,
	BEAM_RDB_OP_IDLE = 0xf8,
	BEAM_RDB_OP_FREQ = 0xf9,
	BEAM_RDB_OP_AUX = 0xfa,
	BEAM_RDB_OP_RESIZEDB = 0xfb,
	BEAM_RDB_OP_EXPIRETIME_MS = 0xfc,
	BEAM_RDB_OP_EXPIRETIME = 0xfd,
	BEAM_RDB_OP_SELECTDB = 0xfe,
	BEAM_RDB_OP_EOF = 0xff,
};

enum beam_rdb_type {
	BEAM_RDB_STRING = 0,
	BEAM_RDB_LIST = 1,
	BEAM_RDB_SET = 2,
	BEAM_RDB_ZSET = 3,
	BEAM_RDB_HASH = 4,
	BEAM_RDB_ZSET_2 = 5,
	BEAM_RDB_MODULE_PRE_GA = 6,
	BEAM_RDB_MODULE_2 = 7,
	BEAM_RDB_HASH_ZIPMAP = 9,
	BEAM_RDB_LIST_ZIPLIST = 10,
	BEAM_RDB_SET_INTSET = 11,
	BEAM_RDB_ZSET_ZIPLIST = 12,
	BEAM_RDB_HASH_ZIPLIST = 13,
	BEAM_RDB_LIST_QUICKLIST = 14,
	BEAM_RDB_STREAM_LISTPACKS = 15,
	BEAM_RDB_HASH_LISTPACK = 16,
	BEAM_RDB_ZSET_LISTPACK = 17,
	BEAM_RDB_LIST_QUICKLIST_2 = 18,
	BEAM_RDB_STREAM_LISTPACKS_2 = 19,
	BEAM_RDB_SET_LISTPACK = 20,
	BEAM_RDB_STREAM_LISTPACKS_3 = 21,
	BEAM_RDB_HASH_2 = 22,                  /* Valkey 9: each field has its expiry time, or -1 */
	BEAM_RDB_HASH_LISTPACK_EX_PRE_GA = 23, /* 7.4 release candidates */
	BEAM_RDB_HASH_METADATA = 24,           /* hash fields with a TTL, 7.4 */
	BEAM_RDB_HASH_LISTPACK_EX = 25,
	BEAM_RDB_STREAM_LISTPACKS_4 = 26, /* Redis 8.6: with data to detect duplicate messages */
	BEAM_RDB_STREAM_LISTPACKS_5 = 27, /* Redis 8.8: groups say what was given back to them */
	BEAM_RDB_ARRAY = 28,
};

/* Special string encodings, after a length byte of 11xxxxxx. */
enum beam_rdb_enc {
	BEAM_RDB_ENC_INT8 = 0,
	BEAM_RDB_ENC_INT16 = 1,
	BEAM_RDB_ENC_INT32 = 2,
	BEAM_RDB_ENC_LZF = 3,
};

#define BEAM_RDB_MAGIC_BYTES   9
#define BEAM_RDB_VALKEY_FIRST  80  /* first version whose files begin with VALKEY and 3 digits */
#define BEAM_RDB_VERSION_MAX   999 /* largest that fits in either beginning */
#define BEAM_RDB_LEN_MAX_BYTES 9   /* longest encoded length */

/* Writes how a file of this version begins: REDIS and four digits, or VALKEY and three. Each server
 * refuses the other's files. */
void beam_rdb_put_magic(uint8_t out[BEAM_RDB_MAGIC_BYTES], unsigned version);
/* Returns the version from either beginning, or BEAM_E_FORMAT if there is none. */
int beam_rdb_get_magic(const uint8_t *bytes, size_t len_bytes);

/* Writes the shortest encoding of `len` to `out` (room for BEAM_RDB_LEN_MAX_BYTES). Returns the
 * number of bytes: 1, 2, 5 or 9. */
size_t beam_rdb_put_len(uint8_t *out, uint64_t len);

/* Writes `value` as an integer-encoded string (C0 x, C1 xx, C2 xxxx) to `out` (room for 5 bytes).
 * Returns the number of bytes, or 0 if the value does not fit in 32 bits. */
size_t beam_rdb_put_int(uint8_t *out, int64_t value);

/* Reads a length at *pos of `buf` (len_bytes long) and moves *pos past it. For a special encoding
 * *enc is its number and *len is 0; otherwise *enc is -1. 0, BEAM_E_TORN if the bytes end too
 * early, or BEAM_E_FORMAT for an invalid form; after an error *pos is unchanged. */
int beam_rdb_get_len(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *len, int *enc);

/* Little-endian stores and loads, any alignment. */
void beam_put_le16(uint8_t *out, uint16_t v);
void beam_put_le32(uint8_t *out, uint32_t v);
void beam_put_le64(uint8_t *out, uint64_t v);
uint16_t beam_get_le16(const uint8_t *in);
uint32_t beam_get_le32(const uint8_t *in);
uint64_t beam_get_le64(const uint8_t *in);

/* LEB128, for counts of our own. Writes 1 to 10 bytes; returns how many. */
size_t beam_put_varint(uint8_t *out, uint64_t v);
/* Reads such a number and moves *pos past it. 0, BEAM_E_TORN, or BEAM_E_FORMAT (more than 64
 * bits). */
int beam_get_varint(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *v);

#endif
