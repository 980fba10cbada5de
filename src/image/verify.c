/* SPDX-License-Identifier: BSD-3-Clause
 * beam_verify: the report, and the walk over a plain RDB file, with its CRC taken just ahead of the
 * walk so that each byte comes from memory once. */
#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc64.h"
#include "rdb.h"
#include "rdbeam/error.h"

#define CRC_BYTES   8
#define VERSION_CRC 5 /* RDB files end with a CRC from this version on */

/* The CRC and the walk take turns by this much, so that both find it in the L2 cache. */
#define CRC_STEP_BYTES (256u << 10)

const char *const beam_verify_type_names[BEAM_VERIFY_TYPES] = {
    [BEAM_VERIFY_STRING] = "string",
    [BEAM_VERIFY_LIST] = "list",
    [BEAM_VERIFY_SET] = "set",
    [BEAM_VERIFY_ZSET] = "zset",
    [BEAM_VERIFY_HASH] = "hash",
    [BEAM_VERIFY_STREAM] = "stream",
    [BEAM_VERIFY_MODULE] = "module",
    [BEAM_VERIFY_OTHER] = "other",
    [BEAM_VERIFY_FUNCTIONS] = "functions",
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
		return BEAM_VERIFY_STREAM;
	case BEAM_RDB_MODULE_2:
		return BEAM_VERIFY_MODULE;
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

/* Databases above BEAM_VERIFY_DBS count once for each run of keys in them. */
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

/* CRC of a file's bytes so far, following the walk. */
struct crc_follower {
	uint64_t crc;
	size_t done;
};

static void follow(struct crc_follower *crc, const struct beam_verify_run *run, size_t upto)
{
	if (upto > run->len_bytes - CRC_BYTES)
		upto = run->len_bytes - CRC_BYTES;
	if (upto <= crc->done)
		return;
	crc->crc = beam_crc64(crc->crc, run->base + crc->done, upto - crc->done);
	crc->done = upto;
}

/* The key that ended at `end`. Its name is read where somebody asks for it only. */
static void book_plain_key(struct beam_verify_run *run, const struct beam_rdb_record *record,
			   size_t end)
{
	struct beam_item item;
	int err =
	    beam_rdb_record_item(run->base, end, record, run->key ? &run->key_buffer : NULL, &item);

	if (run->key && err)
		beam_verify_tell(run, err, record->value_at,
				 "the key before this value is damaged");
	beam_verify_book_key(run, &item);
}

/* Walks all records. 0 and *pos behind the FF, or the walk's error, told. */
static int walk_plain(struct beam_verify_run *run, struct crc_follower *crc, size_t *pos)
{
	struct beam_rdb_record record = {0};

	while (!run->stopped) {
		/* Large values go through the CRC at once, small ones a step ahead of the walk. */
		if (*pos >= crc->done)
			follow(crc, run, *pos + CRC_STEP_BYTES);
		int err = beam_rdb_next_record(run->base, run->len_bytes, pos, &record);

		if (err) {
			beam_verify_tell_record(run, err, *pos, &record);
			return err;
		}
		if (record.kind == BEAM_RDB_IS_END)
			return 0;
		if (record.kind == BEAM_RDB_IS_KEY)
			book_plain_key(run, &record, *pos);
		else
			beam_verify_book_record(run, &record);
	}
	return BEAM_E_ABORTED;
}

/* Compares the file's CRC, which covers all bytes before base[at]. */
static void check_plain_crc(struct beam_verify_run *run, struct crc_follower *crc, size_t at)
{
	uint64_t stored = beam_get_le64(run->base + at);
	uint64_t actual;

	if (at >= crc->done) {
		follow(crc, run, at);
		actual = crc->crc;
	} else {
		actual = beam_crc64(0, run->base, at); /* the CRC ran ahead, into what follows */
	}
	run->report->crc_absent = stored == 0;
	run->report->crc_ok = stored == 0 || stored == actual;
	if (!run->report->crc_ok)
		beam_verify_tell(run, BEAM_E_CRC, at,
				 "CRC64 of the file is %016" PRIx64 ", its trailer says %016" PRIx64
				 ": damaged",
				 actual, stored);
}

static void verify_plain(struct beam_verify_run *run)
{
	struct crc_follower crc = {0};
	size_t pos = BEAM_RDB_MAGIC_BYTES;

	if (!beam_verify_magic(run))
		return;
	if (run->len_bytes < BEAM_RDB_MAGIC_BYTES + 1 + CRC_BYTES) {
		beam_verify_tell(run, BEAM_E_TORN, run->len_bytes,
				 "ends before its end mark and CRC: truncated");
		return;
	}
	int err = walk_plain(run, &crc, &pos);
	bool has_crc = run->report->rdb_version >= VERSION_CRC;
	size_t trailer = has_crc ? CRC_BYTES : 0;

	if (err == BEAM_E_UNSUPPORTED || err == BEAM_E_FORMAT)
		pos = run->len_bytes - CRC_BYTES; /* if the end is there, the CRC still tells */
	else if (err)
		return;
	if (!has_crc) {
		run->report->crc_absent = run->report->crc_ok = true;
	} else if (run->len_bytes - pos < CRC_BYTES) {
		beam_verify_tell(run, BEAM_E_TORN, run->len_bytes,
				 "ends before its CRC: truncated");
		return;
	} else if (!err || run->base[pos - 1] == BEAM_RDB_OP_EOF) {
		check_plain_crc(run, &crc, pos);
	}
	if (!err && run->len_bytes - pos > trailer)
		beam_verify_tell(run, BEAM_E_FORMAT, pos + trailer,
				 "%zu bytes follow the end of the RDB data",
				 run->len_bytes - pos - trailer);
}

/* Whether the file ends as an image does; true only with *manifest filled. */
static bool find_manifest(struct beam_verify_run *run, struct beam_manifest *manifest)
{
	const size_t tail = BEAM_MANIFEST_FOOTER_BYTES + BEAM_LAST_TAIL_BYTES;
	struct beam_manifest_footer footer;

	if (run->len_bytes < tail ||
	    beam_manifest_footer_get(run->base + run->len_bytes - tail, &footer))
		return false;
	uint64_t start = footer.nsegments ? (uint64_t)(footer.nsegments - 1) * footer.segment_bytes
					  : run->len_bytes;

	if (start < run->len_bytes &&
	    beam_manifest_parse(run->base + start, run->len_bytes - start, manifest) == 0)
		return true;
	beam_verify_tell(run, BEAM_E_FORMAT, run->len_bytes - tail,
			 "the manifest does not fit the file (%" PRIu32 " segments of %" PRIu32
			 " bytes): damaged or truncated; walked as a plain RDB file",
			 footer.nsegments, footer.segment_bytes);
	return false;
}

int beam_verify(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem, void *arg,
		struct beam_verify_report *report)
{
	return beam_verify_keys(base, len_bytes, problem, NULL, arg, report);
}

int beam_verify_keys(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem,
		     beam_verify_key_fn *key, void *arg, struct beam_verify_report *report)
{
	struct beam_verify_run run = {
	    .base = base,
	    .len_bytes = len_bytes,
	    .problem = problem,
	    .key = key,
	    .arg = arg,
	    .report = report,
	    .last_db = -1,
	};
	struct beam_manifest manifest;

	memset(report, 0, sizeof(*report));
	report->file_bytes = len_bytes;
	report->repl_offset = -1;
	if (find_manifest(&run, &manifest)) {
		report->is_image = true;
		beam_verify_image(&run, &manifest);
	} else {
		verify_plain(&run);
		if (run.own_aux)
			beam_verify_tell(&run, BEAM_E_TORN, len_bytes,
					 "written by rdbeam, but its last segment is not at the "
					 "end: truncated or damaged");
	}
	free(run.key_buffer.bytes);
	return run.first_code;
}
