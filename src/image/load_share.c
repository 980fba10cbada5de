/* SPDX-License-Identifier: BSD-3-Clause
 * Decides which side takes an item, and writes the AUX records (source: rdbSaveModulesAux and
 * moduleTypeEncodeId of Redis 7.0.15). */
#include "load_share.h"

#include <string.h>

#include "rdbeam/version.h"

/* The server stores text of up to 20 digits as a number, and text of up to 44 bytes within the
 * object. It loads such values itself at less cost than they could be handed over. */
#define VALUE_LEAST_BYTES 64
/* Average of a whole chunk. With items of 85 bytes handing them over still saves the server's
 * thread a quarter of its time; of smaller ones most are numbers and short texts, which are left to
 * the server anyway. */
#define ITEM_LEAST_BYTES 64

enum module_opcode { MODULE_EOF = 0, MODULE_UINT = 2, MODULE_STRING = 5 };

const char *beam_load_version(void)
{
	return RDBEAM_VERSION "+" BEAM_LOAD_SUM;
}

bool beam_load_takes(const struct beam_item *item)
{
	/* The two high bits of the first byte: 3 is an integer or a compressed string. */
	return item->type == BEAM_RDB_STRING && item->value_bytes > VALUE_LEAST_BYTES &&
	       item->value[0] >> 6 != 3;
}

bool beam_load_worth(const struct beam_chunk_footer *footer)
{
	return footer->nitems && footer->body_bytes / footer->nitems >= ITEM_LEAST_BYTES;
}

static uint64_t type_id(void)
{
	static const char set[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint64_t id = 0;

	for (const char *c = BEAM_LOAD_TYPE_NAME; *c; c++)
		id = id << 6 | (uint64_t)(strchr(set, *c) - set);
	return id << 10 | BEAM_LOAD_TYPE_VERSION;
}

size_t beam_load_put_aux(uint8_t *out, enum beam_load_aux kind, uint64_t number, uint64_t count,
			 const uint8_t nonce[BEAM_LOAD_SECRET_BYTES])
{
	const uint64_t numbers[] = {kind, number, count};
	uint8_t *at = out;

	*at++ = BEAM_RDB_OP_MODULE_AUX;
	at += beam_rdb_put_len(at, type_id());
	at += beam_rdb_put_len(at, MODULE_UINT);
	at += beam_rdb_put_len(at, 1); /* "before the keys" */
	for (size_t i = 0; i < 3; i++) {
		at += beam_rdb_put_len(at, MODULE_UINT);
		at += beam_rdb_put_len(at, numbers[i]);
	}
	at += beam_rdb_put_len(at, MODULE_STRING);
	at += beam_rdb_put_len(at, BEAM_LOAD_SECRET_BYTES);
	memcpy(at, nonce, BEAM_LOAD_SECRET_BYTES);
	at += BEAM_LOAD_SECRET_BYTES;
	at += beam_rdb_put_len(at, MODULE_EOF);
	return (size_t)(at - out);
}
