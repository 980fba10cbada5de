/* SPDX-License-Identifier: BSD-3-Clause
 * The report of beam_verify: what both walks count in it, and the problems that they report. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdb.h"
#include "rdbeam/error.h"
#include "text.h"
#include "verify.h"

const char *const beam_verify_type_names[BEAM_VERIFY_TYPES] = {
    [BEAM_VERIFY_STRING] = "string", [BEAM_VERIFY_LIST] = "list",
    [BEAM_VERIFY_SET] = "set",       [BEAM_VERIFY_ZSET] = "zset",
    [BEAM_VERIFY_HASH] = "hash",     [BEAM_VERIFY_STREAM] = "stream",
    [BEAM_VERIFY_MODULE] = "module", [BEAM_VERIFY_ARRAY] = "array",
    [BEAM_VERIFY_OTHER] = "other",   [BEAM_VERIFY_FUNCTIONS] = "functions",
};

enum beam_verify_type beam_verify_type(uint8_t rdb_type)
{
	switch (rdb_type) {
	case BEAM_RDB_STRING:
		return BEAM_VERIFY_STRING;
	case BEAM_RDB_LIST:
	case BEAM_RDB_LIST_ZIPLIST:
	case BEAM_RDB_LIST_QUICKLIST:
	case BEAM_RDB_LIST_QUICKLIST_2:
		return BEAM_VERIFY_LIST;
	case BEAM_RDB_SET:
	case BEAM_RDB_SET_INTSET:
	case BEAM_RDB_SET_LISTPACK:
		return BEAM_VERIFY_SET;
	case BEAM_RDB_ZSET:
	case BEAM_RDB_ZSET_2:
	case BEAM_RDB_ZSET_ZIPLIST:
	case BEAM_RDB_ZSET_LISTPACK:
		return BEAM_VERIFY_ZSET;
	case BEAM_RDB_HASH:
	case BEAM_RDB_HASH_ZIPMAP:
	case BEAM_RDB_HASH_ZIPLIST:
	case BEAM_RDB_HASH_LISTPACK:
	case BEAM_RDB_HASH_2:
	case BEAM_RDB_HASH_LISTPACK_EX_PRE_GA:
	case BEAM_RDB_HASH_METADATA:
	case BEAM_RDB_HASH_LISTPACK_EX:
		return BEAM_VERIFY_HASH;
	case BEAM_RDB_STREAM_LISTPACKS:
	case BEAM_RDB_STREAM_LISTPACKS_2:
	case BEAM_RDB_STREAM_LISTPACKS_3:
	case BEAM_RDB_STREAM_LISTPACKS_4:
	case BEAM_RDB_STREAM_LISTPACKS_5:
		return BEAM_VERIFY_STREAM;
	case BEAM_RDB_MODULE_2:
		return BEAM_VERIFY_MODULE;
	case BEAM_RDB_ARRAY:
		return BEAM_VERIFY_ARRAY;
	default:
		return BEAM_VERIFY_OTHER;
	}
}

void beam_verify_tell(struct beam_verify_run *run, int code, uint64_t offset, const char *fmt, ...)
{
	char text[256];
	va_list args;

	if (run->stopped)
		return;
	run->report->problems++;
	if (!run->first_code)
		run->first_code = code;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (run->problem && run->problem(run->arg, code, offset, text))
		run->stopped = true;
}

/* Databases from BEAM_VERIFY_DBS on count once for each run of keys in them. */
static void book_db(struct beam_verify_run *run, uint32_t db)
{
	if (run->last_db == (int64_t)db)
		return;
	run->last_db = db;
	if (db < BEAM_VERIFY_DBS) {
		uint64_t bit = (uint64_t)1 << db % 64;

		if (run->db_seen[db / 64] & bit)
			return;
		run->db_seen[db / 64] |= bit;
	}
	run->report->ndbs++;
}

void beam_verify_book_key(struct beam_verify_run *run, const struct beam_item *item)
{
	run->report->keys++;
	run->report->expires += item->expire_ms != -1;
	run->report->keys_by_type[beam_verify_type(item->type)]++;
	book_db(run, item->db);
	if (run->key)
		run->key(run->arg, item);
}

static void book_aux(struct beam_verify_run *run, const struct beam_rdb_record *record)
{
	struct beam_verify_report *report = run->report;
	char name[32], text[64];

	if (record->key.len_bytes == 0 || record->key.len_bytes >= sizeof(name))
		return;
	beam_rdb_string_text(&record->key, name, sizeof(name));
	if (strncmp(name, "rdbeam-", 7) == 0) {
		run->own_aux = true;
		return;
	}
	beam_rdb_string_text(&record->value, text, sizeof(text));
	beam_text_plain(text); /* it may hold any bytes */
	if (strcmp(name, "repl-id") == 0 && strlen(text) < sizeof(report->repl_id))
		memcpy(report->repl_id, text, strlen(text) + 1);
	else if (strcmp(name, "repl-offset") == 0)
		report->repl_offset = strtoll(text, NULL, 10);
	else if (strcmp(name, "redis-ver") == 0 || strcmp(name, "valkey-ver") == 0)
		snprintf(report->server_version, sizeof(report->server_version), "%.31s", text);
}

void beam_verify_book_record(struct beam_verify_run *run, const struct beam_rdb_record *record)
{
	if (record->kind == BEAM_RDB_IS_AUX) {
		book_aux(run, record);
	} else if (record->kind == BEAM_RDB_IS_FUNCTION) {
		run->report->functions++;
		run->report->keys_by_type[BEAM_VERIFY_FUNCTIONS]++;
	} else if (record->code == BEAM_RDB_OP_MODULE_AUX) {
		run->report->module_aux++;
	}
}

bool beam_verify_magic(struct beam_verify_run *run)
{
	int version = beam_rdb_get_magic(run->base, run->len_bytes);

	if (version < 0) {
		beam_verify_tell(run, BEAM_E_FORMAT, 0,
				 "does not begin with REDIS or VALKEY and a version: not an RDB "
				 "file");
		return false;
	}
	run->report->rdb_version = version;
	return true;
}

void beam_verify_tell_record(struct beam_verify_run *run, int code, uint64_t offset,
			     const struct beam_rdb_record *record)
{
	bool is_key = record->kind == BEAM_RDB_IS_KEY;
	const char *what = is_key ? "key with value type" : "record with opcode";

	if (code == BEAM_E_TORN)
		beam_verify_tell(run, code, offset,
				 "%s %u runs past the end: truncated, or damaged here or before",
				 what, record->code);
	else if (code == BEAM_E_UNSUPPORTED)
		beam_verify_tell(run, code, offset,
				 "%s %u is not known here (RDB version %d): nothing after it was "
				 "walked",
				 what, record->code, run->report->rdb_version);
	else
		beam_verify_tell(run, code, offset, "%s %u has a bad length or field: damaged",
				 what, record->code);
}
