/* SPDX-License-Identifier: BSD-3-Clause
 * Reads back what the image writer has written: every key once, with its value, by the index and by
 * beam_verify; for items from one byte to several segments. */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "copy_pool.h"
#include "image_reader.h"
#include "image_writer.h"
#include "rdbeam/error.h"
#include "trap.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEGMENT  BEAM_SEGMENT_ALIGN
#define SEGMENTS 40
#define KEYS     3000

struct memory {
	uint8_t *base;
	uint32_t claimed;
	uint32_t sealed_bytes[SEGMENTS];
	uint64_t crc[SEGMENTS];
};

static int claim(void *ctx, uint32_t count, uint32_t *first)
{
	struct memory *m = ctx;

	if (m->claimed + count > SEGMENTS)
		return BEAM_E_FULL;
	*first = m->claimed;
	m->claimed += count;
	return 0;
}

static int unclaim(void *ctx, uint32_t first, uint32_t count)
{
	struct memory *m = ctx;

	if (first + count != m->claimed)
		return -EBUSY;
	m->claimed -= count;
	return 0;
}

static int slot(void *ctx, uint32_t index, uint8_t **base)
{
	struct memory *m = ctx;

	assert_true(index < m->claimed && m->sealed_bytes[index] == 0);
	*base = m->base + (size_t)index * SEGMENT;
	return 0;
}

static bool has_slot(void *ctx, uint32_t index)
{
	const struct memory *m = ctx;

	/* For some slots the writer has to wait; all earlier segments must have been sealed
	 * then. */
	return index % 5 != 3 && m->sealed_bytes[index] == 0;
}

static int seal(void *ctx, uint32_t index, uint32_t len_bytes, uint64_t crc)
{
	struct memory *m = ctx;

	assert_true(index < m->claimed && m->sealed_bytes[index] == 0 && len_bytes > 0);
	m->sealed_bytes[index] = len_bytes;
	m->crc[index] = crc;
	return 0;
}

static int crcs(void *ctx, uint32_t count, uint64_t *out)
{
	const struct memory *m = ctx;

	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(m->sealed_bytes[i], SEGMENT);
		out[i] = m->crc[i];
	}
	return 0;
}

static const struct beam_gen gen = {77, 5};
static struct memory memory;
static struct beam_segment_source source = {
    .ctx = &memory,
    .segment_bytes = SEGMENT,
    .gen = {77, 5},
    .claim = claim,
    .unclaim = unclaim,
    .has_slot = has_slot,
    .slot = slot,
    .seal = seal,
    .crcs = crcs,
};

/* Length and bytes of value i follow from i. Most values are small; some take a good part of a
 * segment, some more than one. */
static size_t value_bytes(unsigned i)
{
	if (i % 1000 == 999)
		return 5u << 20;
	if (i % 100 == 50)
		return 300000 + i;
	return i % 700;
}

static uint8_t value_byte(unsigned i, size_t at)
{
	return (uint8_t)(i * 31 + at * 7 + (at >> 8));
}

static uint8_t *values[KEYS]; /* what was put; must stay valid until the flush */

struct value {
	const uint8_t *bytes;
	size_t len;
};

static int give_pieces(void *arg, beam_image_add_fn *add, void *to)
{
	const struct value *value = arg;
	int err = 0;

	for (size_t at = 0, n; at < value->len && !err; at += n) {
		n = at % 7 == 0 ? 5 : 70000;
		n = at + n < value->len ? n : value->len - at;
		err = add(to, value->bytes + at, n);
	}
	return err;
}

static int put(struct beam_image_writer *writer, unsigned i)
{
	uint8_t head[64] = {BEAM_RDB_STRING};
	size_t n = 1, len = value_bytes(i);
	uint8_t *value = malloc(len ? len : 1);
	char key[16];

	for (size_t at = 0; at < len; at++)
		value[at] = value_byte(i, at);
	n += beam_rdb_put_len(head + n, (uint64_t)snprintf(key, sizeof(key), "key:%u", i));
	memcpy(head + n, key, strlen(key));
	n += strlen(key);
	n += beam_rdb_put_len(head + n, len);
	values[i] = value;
	if (i % 3 == 0) {
		struct value pieces = {value, len};

		return beam_image_writer_put_pieces(writer, i % 3, head, n, len, give_pieces,
						    &pieces);
	}
	return beam_image_writer_put(writer, i % 3, head, n, value, len);
}

static size_t write_image(struct beam_copy_pool *pool)
{
	static const struct beam_image_aux aux[] = {
	    {"redis-ver", "7.0.15"},
	    {"repl-id", "0123456789abcdef0123456789abcdef01234567"},
	    {"repl-offset", "12345678901"},
	};
	static const struct beam_image_db_size dbs[] = {{0, 1000, 0}, {1, 1000, 0}, {2, 1000, 0}};
	struct beam_image_header header = {
	    .rdb_version = 10, .aux = aux, .naux = 3, .dbs = dbs, .ndbs = 3};
	struct beam_image_totals totals = {.nitems = KEYS, .nexpired = 4};
	struct beam_image_writer *writers[2];

	assert_int_equal(beam_image_write_header(&source, &header), 0);
	for (int w = 0; w < 2; w++)
		assert_int_equal(beam_image_writer_open(&source, w ? NULL : pool, &writers[w]), 0);
	for (unsigned i = 0; i < KEYS; i++)
		assert_int_equal(put(writers[i / 10 % 2], i), 0);
	for (int w = 0; w < 2; w++) {
		assert_int_equal(beam_image_writer_flush(writers[w]), 0);
		beam_image_writer_close(&writers[w]);
	}
	for (unsigned i = 0; i < KEYS; i++)
		free(values[i]);
	assert_int_equal(beam_image_write_last(&source, &totals, NULL, NULL), 0);
	assert_int_equal(totals.nsegments, memory.claimed);
	return (size_t)totals.image_bytes;
}

static int print_problem(void *arg, int code, uint64_t offset, const char *text)
{
	(void)arg;
	print_error("%s at %llu: %s\n", beam_error_name(code), (unsigned long long)offset, text);
	return 0;
}

static void check_item(const struct beam_item *item, bool *seen)
{
	char key[32] = {0};
	uint64_t len;
	size_t pos = 0;
	int enc;

	assert_true(item->key_bytes < sizeof(key));
	memcpy(key, item->key, item->key_bytes);
	unsigned i = (unsigned)strtoul(key + 4, NULL, 10);

	assert_true(i < KEYS && !seen[i]);
	seen[i] = true;
	assert_int_equal(item->db, i % 3);
	assert_int_equal(item->type, BEAM_RDB_STRING);
	assert_int_equal(beam_rdb_get_len(item->value, item->value_bytes, &pos, &len, &enc), 0);
	assert_int_equal(len, value_bytes(i));
	assert_int_equal(item->value_bytes, pos + len);
	for (size_t at = 0; at < len; at++)
		if (item->value[pos + at] != value_byte(i, at))
			fail_msg("key:%u differs at byte %zu", i, at);
}

static void check_image(struct beam_copy_pool *pool)
{
	struct beam_verify_report report;
	struct beam_manifest manifest;
	size_t image_bytes = write_image(pool);
	uint32_t full = memory.claimed - 1, at = 0;
	bool *seen = calloc(KEYS, sizeof(*seen));
	uint64_t nitems = 0;

	assert_int_equal(beam_verify(memory.base, image_bytes, print_problem, NULL, &report), 0);
	assert_true(report.is_image && report.crc_ok);
	assert_int_equal(report.keys, KEYS);
	assert_int_equal(report.nexpired, 4);
	assert_int_equal(report.ndbs, 3);
	assert_int_equal(report.repl_offset, 12345678901);
	assert_int_equal(report.gen.nonce, gen.nonce);

	assert_int_equal(beam_manifest_open(memory.base + (size_t)full * SEGMENT,
					    image_bytes - (size_t)full * SEGMENT, &manifest),
			 0);
	while (at < full) {
		struct beam_chunk_cursor cursor = {0};
		struct beam_chunk chunk;
		struct beam_item item;
		uint32_t n = 1;
		int more;

		while (at + n <= full && beam_chunk_open(memory.base + (size_t)at * SEGMENT,
							 (size_t)n * SEGMENT, true, &chunk))
			n++;
		assert_true(at + n <= full);
		assert_int_equal(chunk.footer.first_index, at);
		assert_int_equal(chunk.footer.nsegments, n);
		while ((more = beam_chunk_next(&chunk, &cursor, &item)) == 1)
			check_item(&item, seen);
		assert_int_equal(more, 0);
		nitems += chunk.footer.nitems;
		at += n;
	}
	assert_int_equal(nitems, KEYS);
	free(seen);
}

static void test_every_key_comes_back_once(void **state)
{
	(void)state;
	check_image(NULL);
}

static void test_a_pool_writes_the_same(void **state)
{
	struct beam_copy_pool *pool;

	(void)state;
	assert_int_equal(beam_copy_pool_open(3, true, &pool), 0);
	check_image(pool);
	beam_copy_pool_close(&pool);
}

/* A piece more or less than announced would be misread as something else. */
static void test_pieces_are_counted(void **state)
{
	static const uint8_t bytes[100];
	struct value value = {bytes, sizeof(bytes)};

	(void)state;
	for (uint64_t told = sizeof(bytes) - 1; told <= sizeof(bytes) + 1; told++) {
		struct beam_image_writer *writer;
		int err;

		assert_int_equal(beam_image_writer_open(&source, NULL, &writer), 0);
		err = beam_image_writer_put_pieces(writer, 0, "head", 4, told, give_pieces, &value);
		assert_int_equal(err, told == sizeof(bytes) ? 0 : BEAM_E_COUNT);
		beam_image_writer_close(&writer);
	}
}

static int cpus_of(pid_t tid, cpu_set_t *set)
{
	assert_int_equal(sched_getaffinity(tid, sizeof(*set), set), 0);
	return CPU_COUNT(set);
}

/* With as many threads as processors, including the owner, each has its own processor until the
 * pool is closed. */
static void test_threads_have_a_processor_each(void **state)
{
	struct beam_copy_pool *pool;
	cpu_set_t before, set, used;
	struct dirent *entry;
	int cpus = cpus_of(0, &before), threads = 0;

	(void)state;
	CPU_ZERO(&used);
	assert_int_equal(beam_copy_pool_open((uint32_t)cpus - 1, true, &pool), 0);
	DIR *tasks = opendir("/proc/self/task");

	assert_non_null(tasks);
	while ((entry = readdir(tasks))) {
		/* A sanitizer's own thread may run on all of them. */
		if (entry->d_name[0] == '.' || cpus_of((pid_t)atoi(entry->d_name), &set) != 1)
			continue;
		CPU_OR(&used, &used, &set);
		threads++;
	}
	closedir(tasks);
	assert_int_equal(threads, cpus);
	assert_true(CPU_EQUAL(&used, &before));
	beam_copy_pool_close(&pool);
	assert_int_equal(cpus_of(0, &set), cpus);
	/* If there are more threads than processors the scheduler decides. */
	assert_int_equal(beam_copy_pool_open((uint32_t)cpus, true, &pool), 0);
	assert_int_equal(cpus_of(0, &set), cpus);
	beam_copy_pool_close(&pool);
}

/* The owner continues, and so do the threads. */
static void test_a_piece_that_cannot_be_read_fails_its_job(void **state)
{
	uint8_t *hole = mmap(NULL, SEGMENT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct beam_copy_pool *pool;
	struct beam_traps before;
	struct beam_copy_job *job;

	(void)state;
	assert_true(hole != MAP_FAILED);
	assert_int_equal(beam_copy_pool_open(2, true, &pool), 0);
	beam_traps_set(&before);
	for (uint32_t i = 0; i < 4; i++) {
		job = beam_copy_pool_new(pool);
		assert_non_null(job);
		job->base = memory.base + (size_t)i * SEGMENT;
		job->len_bytes = SEGMENT;
		job->index = i;
		assert_int_equal(beam_copy_job_add(job, job->base + 100,
						   i == 2 ? hole : memory.base + 5 * SEGMENT,
						   SEGMENT / 2),
				 0);
		beam_copy_pool_submit(pool, job);
	}
	for (uint32_t i = 0; i < 4; i++) {
		job = beam_copy_pool_reap(pool, true);
		assert_non_null(job);
		assert_int_equal(job->index, i);
		assert_int_equal(job->error, i == 2 ? -EFAULT : 0);
		beam_copy_pool_free(pool, job);
	}
	assert_null(beam_copy_pool_reap(pool, true));
	beam_copy_pool_close(&pool);
	beam_traps_restore(&before);
	munmap(hole, SEGMENT);
}

static int setup(void **state)
{
	(void)state;
	memset(&memory, 0, sizeof(memory));
	memory.base = malloc((size_t)SEGMENTS * SEGMENT);
	if (!memory.base)
		return -1;
	memset(memory.base, 0xa5, (size_t)SEGMENTS * SEGMENT); /* as slots are not zeroed either */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(memory.base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_every_key_comes_back_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_pool_writes_the_same, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pieces_are_counted, setup, teardown),
	    cmocka_unit_test(test_threads_have_a_processor_each),
	    cmocka_unit_test_setup_teardown(test_a_piece_that_cannot_be_read_fails_its_job, setup,
					    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
