/* SPDX-License-Identifier: BSD-3-Clause
 * Runs jobs: selects databases, reads their keys, and reports progress. */
#include "walker.h"

#include <errno.h>
#include <stdlib.h>

#include "child_info.h"
#include "clock.h"
#include "fault.h"
#include "image_writer.h"
#include "partition.h"
#include "peek_table.h"
#include "rdbeam/error.h"
#include "record.h"

#define HEARTBEAT_MS  1000
#define REPORT_KEYS   256 /* keys between two updates of the shared counters */
#define DEFERRED_JOBS 8   /* jobs of deferred keys per walk: some take much longer than others */
/* Databases up to this size are scanned: verifying the table would touch as many keys. */
#define SCANNED_KEYS 48
/* From this many databases per walk on, small ones are not divided further. */
#define MANY_DBS 64

struct beam_walker {
	struct beam_walk walk;
	struct beam_table *table;
	struct beam_image_writer *writer;
	struct beam_record_reader *reader;
	struct beam_deferred late; /* read at the end */
	RedisModuleScanCursor *cursor;
	struct beam_peek_table table_view; /* of the selected database, if has_table */
	bool has_table, may_expire;
	unsigned tables; /* enum beam_table_walk, of all databases so far */
	int64_t db;      /* the selected database; -1: none */
	uint32_t job_db; /* of the last job, as an index into the list of databases */
	uint32_t first;  /* number of that database's first job */
	int error;       /* sticky, because callbacks of a scan return nothing */
	volatile int stop;
	uint64_t new_keys, new_bytes;
	uint64_t heartbeat_ms;
};

/* ---- keys ----------------------------------------------------------------------------------- */

static void report_progress(struct beam_walker *walker)
{
	struct beam_table *table = walker->table;

	atomic_fetch_add_explicit(&table->keys_done, walker->new_keys, memory_order_relaxed);
	atomic_fetch_add_explicit(&table->bytes_done, walker->new_bytes, memory_order_relaxed);
	walker->new_keys = walker->new_bytes = 0;
	if (!walker->walk.heartbeat)
		return;
	uint64_t now = beam_now_ms();

	if (now < walker->heartbeat_ms)
		return;
	walker->heartbeat_ms = now + HEARTBEAT_MS;
	beam_child_info_send(atomic_load(&table->keys_done), table->keys_expected);
}

static void count_record(struct beam_walker *walker, size_t head_bytes, uint64_t body_bytes)
{
	walker->new_keys++;
	walker->new_bytes += head_bytes + body_bytes;
	if (walker->new_keys == REPORT_KEYS || body_bytes)
		report_progress(walker);
}

static int put_record(void *arg, uint32_t db, const void *head, size_t head_bytes, const void *body,
		      size_t body_bytes)
{
	struct beam_walker *walker = arg;

	count_record(walker, head_bytes, body_bytes);
	return beam_image_writer_put(walker->writer, db, head, head_bytes, body, body_bytes);
}

static int put_pieces(void *arg, uint32_t db, const void *head, size_t head_bytes,
		      uint64_t body_bytes, beam_record_pieces_fn *pieces, void *pieces_arg)
{
	struct beam_walker *walker = arg;

	count_record(walker, head_bytes, body_bytes);
	return beam_image_writer_put_pieces(walker->writer, db, head, head_bytes, body_bytes,
					    pieces, pieces_arg);
}

static int on_open_key(void *arg, const struct beam_open_key *key)
{
	struct beam_walker *walker = arg;

	return beam_record_read(walker->reader, key);
}

static void on_coming_value(void *arg, const void *object)
{
	struct beam_walker *walker = arg;

	beam_record_coming(walker->reader, object);
}

static void on_scanned_key(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleKey *handle,
			   void *arg)
{
	struct beam_walker *walker = arg;
	struct beam_open_key key = {
	    .handle = handle, .string = name, .may_expire = walker->may_expire};

	(void)ctx;
	if (walker->error || !handle)
		return;
	key.name = RedisModule_StringPtrLen(name, &key.name_bytes);
	walker->error = beam_record_read(walker->reader, &key);
	walker->stop = walker->error != 0;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

/* Number of jobs for a database. All walks must compute the same number. */
static uint32_t parts_of(const struct beam_walk *walk, const struct beam_db_facts *db)
{
	const struct beam_facts *facts = walk->facts;
	uint64_t share = facts->keys / walk->nwalks / MANY_DBS;

	if (facts->ndbs / walk->nwalks >= MANY_DBS && db->keys <= share)
		return 1;
	return beam_partition_parts(facts->partition, db->keys, walk->nwalks);
}

/* Finds a job's database and part; returns false if there are no more jobs. The numbers of a
 * walker's jobs only increase, so it continues where it stopped: there may be 20,000 databases. */
static bool find_job(struct beam_walker *walker, uint32_t job, uint32_t *part, uint32_t *parts)
{
	const struct beam_facts *facts = walker->walk.facts;

	for (; walker->job_db < facts->ndbs; walker->job_db++) {
		*parts = parts_of(&walker->walk, &facts->dbs[walker->job_db]);
		*part = job - walker->first;
		if (*part < *parts)
			return true;
		walker->first += *parts;
	}
	return false;
}

static int select_db(struct beam_walker *walker, uint32_t db)
{
	int err = walker->db == (int64_t)db ? 0 : beam_record_select(walker->reader, db);

	if (!err && walker->db != (int64_t)db &&
	    RedisModule_SelectDb(walker->walk.ctx, (int)db) != REDISMODULE_OK)
		err = BEAM_E_SERVER;
	walker->db = db;
	return err;
}

/* Switches to another database. All walks must decide alike whether to walk its table directly,
 * because their parts must fit together. They do, as they examine the same frozen memory in the
 * same way. */
static int open_db(struct beam_walker *walker, const struct beam_db_facts *db, uint32_t parts)
{
	const struct beam_walk *walk = &walker->walk;
	/* A database that is a single job needs no agreement with other walks. */
	bool known = parts == 1 && (walker->tables & ~(unsigned)BEAM_TABLE_SCANNED);

	if (walker->db == (int64_t)db->db)
		return 0;
	int err = select_db(walker, db->db);

	if (err)
		return err;
	walker->may_expire = db->expires != 0;
	walker->has_table = false;
	if (known && db->keys <= SCANNED_KEYS)
		return 0;
	const struct beam_peek_facts facts = {
	    .keys = db->keys,
	    .expires = db->expires,
	    .by_slot = walk->facts->partition == BEAM_PARTITION_SLOTS,
	    .known = known,
	};

	walker->has_table = walk->fast_path && beam_peek_table_open(walk->ctx, walker->cursor,
								    &facts, &walker->table_view);
	walker->table_view.coming = on_coming_value;
	walker->tables |=
	    walker->has_table ? beam_peek_table_kind(&walker->table_view) : BEAM_TABLE_SCANNED;
	return 0;
}

/* Returns 1 if the job is done, 0 if there is no such job, or a negative error. */
static int run_part(struct beam_walker *walker, uint32_t job)
{
	const struct beam_walk *walk = &walker->walk;
	uint32_t part, parts;

	if (!find_job(walker, job, &part, &parts))
		return 0;
	int err = open_db(walker, &walk->facts->dbs[walker->job_db], parts);

	if (!err)
		err = BEAM_FAULT("worker-job");
	if (!err && walker->has_table)
		err = beam_peek_table_walk(&walker->table_view, part, parts, on_open_key, walker);
	else if (!err)
		err = beam_partition_scan(walk->ctx, walker->cursor, walk->facts->partition, part,
					  parts, on_scanned_key, walker, &walker->stop);
	if (walker->error)
		err = walker->error;
	return err ? err : 1;
}

static int read_keys(struct beam_walker *walker, const struct beam_deferred *list, size_t first,
		     size_t end)
{
	int err = 0;

	for (size_t i = first; i < end && !err; i++) {
		err = select_db(walker, list->keys[i].db);
		if (!err)
			err = beam_record_read_deferred(walker->reader, &list->keys[i]);
	}
	return err;
}

static int run_deferred(struct beam_walker *walker, uint32_t job)
{
	const struct beam_deferred *list = walker->walk.read;
	size_t step = 1 + list->n / ((size_t)walker->walk.nwalks * DEFERRED_JOBS);
	size_t first = job * step, end = first + step < list->n ? first + step : list->n;

	if (first >= list->n)
		return 0;
	int err = read_keys(walker, list, first, end);

	return err ? err : 1;
}

int beam_walker_run(struct beam_walker *walker, _Atomic uint32_t *next_job)
{
	int more, err;

	do {
		uint32_t job = atomic_fetch_add(next_job, 1);

		more = walker->walk.read ? run_deferred(walker, job) : run_part(walker, job);
	} while (more > 0);
	err = more < 0 ? more : BEAM_FAULT("worker-flush");
	if (!err)
		err = read_keys(walker, &walker->late, 0, walker->late.n);
	if (!err)
		err = beam_record_flush(walker->reader);
	if (!err)
		err = beam_image_writer_flush(walker->writer);
	if (!err)
		report_progress(walker);
	return err;
}

/* ---- life ----------------------------------------------------------------------------------- */

int beam_walker_open(const struct beam_walk *walk, struct beam_lane *lane, struct beam_walker **out)
{
	struct beam_walker *walker = calloc(1, sizeof(*walker));
	struct beam_record_opts record = {
	    .eviction = walk->facts->eviction,
	    .fast_path = walk->fast_path,
	    .cluster = walk->facts->cluster,
	    .key_metadata = walk->facts->key_metadata,
	    .other_modules = walk->facts->other_modules,
	    .aux_types = &walk->facts->aux_types,
	    .save_delay_us = walk->facts->save_delay_us,
	    .rdb_version = walk->facts->rdb_version,
	    .defer = walk->defer,
	    .late = walker ? &walker->late : NULL,
	    .put = put_record,
	    .put_pieces = put_pieces,
	    .arg = walker,
	};
	int err;

	if (!walker)
		return -ENOMEM;
	walker->walk = *walk;
	walker->db = -1;
	walker->heartbeat_ms = beam_now_ms() + HEARTBEAT_MS;
	walker->table = beam_lane_table(lane);
	walker->cursor = RedisModule_ScanCursorCreate();
	err = beam_image_writer_open(beam_lane_source(lane), walk->pool, &walker->writer);
	if (!err)
		err = beam_record_reader_open(walk->ctx, &record, &walker->reader);
	if (err)
		beam_walker_close(&walker);
	else
		*out = walker;
	return err;
}

void beam_walker_close(struct beam_walker **walkerp)
{
	struct beam_walker *walker = *walkerp;

	if (!walker)
		return;
	beam_record_reader_close(&walker->reader);
	beam_image_writer_close(&walker->writer);
	RedisModule_ScanCursorDestroy(walker->cursor);
	beam_deferred_free(&walker->late);
	free(walker);
	*walkerp = NULL;
}

struct beam_walk_count beam_walker_count(const struct beam_walker *walker)
{
	struct beam_read_ways ways = beam_record_ways(walker->reader);

	ways.tables = walker->tables;
	return (struct beam_walk_count){
	    .keys = beam_record_keys(walker->reader),
	    .expired = beam_record_expired(walker->reader),
	    .ways = ways,
	    .fast_path_failed = beam_record_fast_path_failed(walker->reader),
	};
}
