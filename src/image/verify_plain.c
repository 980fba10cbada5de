/* SPDX-License-Identifier: BSD-3-Clause
 * beam_verify for plain RDB files: a walk with the CRC computed just ahead of it, so that each byte
 * is fetched from memory only once. */
#include <inttypes.h>

#include "crc64.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "verify.h"

#define CRC_BYTES   8
#define VERSION_CRC 5 /* from this version on RDB files end with a CRC */

/* CRC and walk take turns in steps of this size, so that both find it in the L2 cache. */
#define CRC_STEP_BYTES (256u << 10)

/* CRC of the file's bytes up to `done`, ahead of the walk. */
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

/* Counts the key that ended at `end`. Its name is decoded only if there is a callback. */
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

/* Walks all records. 0 with *pos after the FF, or the error, which has been reported. */
static int walk_plain(struct beam_verify_run *run, struct crc_follower *crc, size_t *pos)
{
	struct beam_rdb_record record = {0};

	while (!run->stopped) {
		/* The CRC of a large value is computed after it, that of small ones a step ahead of
		 * the walk. */
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
		actual = beam_crc64(0, run->base, at); /* the CRC ran ahead, past `at` */
	}
	run->report->crc_absent = stored == 0;
	run->report->crc_ok = stored == 0 || stored == actual;
	if (!run->report->crc_ok)
		beam_verify_tell(run, BEAM_E_CRC, at,
				 "CRC64 of the file is %016" PRIx64 ", its trailer says %016" PRIx64
				 ": damaged",
				 actual, stored);
}

void beam_verify_plain(struct beam_verify_run *run)
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
		pos = run->len_bytes - CRC_BYTES; /* the CRC at the end may still be valid */
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
