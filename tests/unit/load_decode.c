/* SPDX-License-Identifier: BSD-3-Clause
 * The decoder of a load by module: threads take jobs, and the main thread helps. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "image_build.h"
#include "load_decode.h"
#include "load_share.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define CHUNK_BYTES  (8u << 10)
#define MEMORY_BYTES (128u << 20) /* not touched beyond the first pages */
#define NITEMS       3
#define VALUE_BYTES  300
#define AHEAD        16 /* threads stop when more batches than this wait for the main thread */
#define PATIENCE_MS  60000

struct RedisModuleString {
	size_t len_bytes;
	char bytes[];
};

static RedisModuleString *make(RedisModuleCtx *ctx, const char *bytes, size_t len_bytes)
{
	RedisModuleString *s = malloc(sizeof(*s) + len_bytes);

	assert_null(ctx);
	assert_non_null(s);
	s->len_bytes = len_bytes;
	memcpy(s->bytes, bytes, len_bytes);
	return s;
}

static const char *bytes_of(const RedisModuleString *s, size_t *len_bytes)
{
	*len_bytes = s->len_bytes;
	return s->bytes;
}

static void let_go(RedisModuleCtx *ctx, RedisModuleString *s)
{
	(void)ctx;
	free(s);
}

struct rig {
	int socks[2]; /* ours, the decoder's */
	int file;
	struct beam_decoder *decoder;
	uint32_t njobs;
};

static void ended(void)
{
}

/* One item of database 1: "kN" with a value of VALUE_BYTES letters. */
static void add(struct build_items *items, int n)
{
	const uint8_t head[] = {BEAM_RDB_OP_SELECTDB,
				1,
				BEAM_RDB_STRING,
				2,
				'k',
				(uint8_t)('0' + n),
				0x40 | VALUE_BYTES >> 8,
				VALUE_BYTES & 0xff};
	uint8_t bytes[sizeof(head) + VALUE_BYTES];

	memcpy(bytes, head, sizeof(head));
	memset(bytes + sizeof(head), 'a' + n, VALUE_BYTES);
	build_item(items, bytes, sizeof(bytes));
}

static void rig_open(struct rig *rig)
{
	static const struct beam_gen gen = {0x1122334455667788, 9};
	struct build_items items = {.nitems = 0};
	struct build_chunk chunk = {.first_index = 1, .nsegments = 1};

	RedisModule_CreateString = make;
	RedisModule_FreeString = let_go;
	RedisModule_StringPtrLen = bytes_of;
	*rig = (struct rig){.file = memfd_create("chunks", MFD_CLOEXEC)};
	assert_int_equal(ftruncate(rig->file, MEMORY_BYTES), 0);
	uint8_t *base = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, rig->file, 0);

	assert_ptr_not_equal(base, MAP_FAILED);
	for (int i = 0; i < NITEMS; i++)
		add(&items, i);
	chunk.body = items.body;
	chunk.body_bytes = items.body_bytes;
	chunk.index = items.index;
	chunk.index_bytes = items.index_bytes;
	chunk.nitems = items.nitems;
	build_chunk(base, CHUNK_BYTES, &gen, &chunk);
	munmap(base, CHUNK_BYTES);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, rig->socks), 0);
	assert_int_equal(
	    beam_decoder_open(rig->socks[1], rig->file, MEMORY_BYTES, ended, &rig->decoder), 0);
}

static void rig_close(struct rig *rig)
{
	beam_decoder_close(&rig->decoder);
	assert_null(rig->decoder);
	close(rig->socks[0]);
	close(rig->socks[1]);
	close(rig->file);
}

static void give_job(struct rig *rig, uint64_t len_bytes)
{
	struct beam_load_job job = {.len_bytes = len_bytes, .number = rig->njobs++};

	assert_int_equal(beam_packet_send(rig->socks[0], &job, sizeof(job), NULL, 0), 0);
}

static void wait_decoded(struct rig *rig)
{
	struct beam_load_news news;

	assert_int_equal(
	    beam_packet_recv(rig->socks[0], &news, sizeof(news), NULL, NULL, PATIENCE_MS),
	    sizeof(news));
	assert_int_equal(news.word, BEAM_LOAD_DECODED);
}

static void expect_batch(struct rig *rig, uint32_t number, int timeout_ms)
{
	struct beam_load_batch *batch = NULL;

	assert_int_equal(beam_decoder_take(rig->decoder, number, timeout_ms, &batch), 0);
	assert_int_equal(batch->nitems, NITEMS);
	for (int i = 0; i < NITEMS; i++) {
		assert_int_equal(batch->items[i].key->len_bytes, 2);
		assert_int_equal(batch->items[i].key->bytes[1], '0' + i);
		assert_int_equal(batch->items[i].value->len_bytes, VALUE_BYTES);
		assert_int_equal(batch->items[i].value->bytes[VALUE_BYTES - 1], 'a' + i);
	}
	beam_load_batch_free(batch);
}

static int breaths;

static void breathe(void)
{
	breaths++;
}

/* Gives jobs until this thread has decoded one; returns its number. The threads stop when AHEAD
 * batches wait for this one, except for those that wait for a job already. */
static uint32_t help(struct rig *rig)
{
	for (int i = 0; i <= AHEAD; i++)
		give_job(rig, CHUNK_BYTES);
	for (int i = 0; i <= AHEAD; i++)
		wait_decoded(rig);
	for (;;) {
		give_job(rig, CHUNK_BYTES);
		bool helped = beam_decoder_help(rig->decoder, breathe);

		wait_decoded(rig);
		if (helped)
			return rig->njobs - 1;
	}
}

static void threads_decode_in_any_order(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	for (int i = 0; i < 8; i++)
		give_job(&rig, CHUNK_BYTES);
	for (uint32_t i = 8; i-- > 0;)
		expect_batch(&rig, i, PATIENCE_MS);
	rig_close(&rig);
}

static void the_main_thread_decodes_what_waits(void **state)
{
	struct beam_load_batch *batch;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	assert_false(beam_decoder_help(rig.decoder, breathe)); /* no job */
	assert_int_equal(beam_decoder_take(rig.decoder, 0, 0, &batch), -ETIMEDOUT);
	expect_batch(&rig, help(&rig), 0);
	assert_false(beam_decoder_help(rig.decoder, breathe));
	rig_close(&rig);
}

static void long_chunks_are_left_to_the_threads(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	help(&rig);
	give_job(&rig, MEMORY_BYTES);
	assert_false(beam_decoder_help(rig.decoder, breathe));
	rig_close(&rig);
}

/* The code is that of the job, whoever ran it, and comes after all batches that are there. */
static void a_bad_chunk_ends_the_decoding(void **state)
{
	struct beam_load_batch *batch;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	help(&rig);
	give_job(&rig, 2 * CHUNK_BYTES); /* its end is not the end of a chunk */
	assert_false(beam_decoder_help(rig.decoder, breathe));
	expect_batch(&rig, 0, 0);
	assert_int_equal(beam_decoder_take(rig.decoder, rig.njobs - 1, PATIENCE_MS, &batch),
			 BEAM_E_FORMAT);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(threads_decode_in_any_order),
	    cmocka_unit_test(the_main_thread_decodes_what_waits),
	    cmocka_unit_test(long_chunks_are_left_to_the_threads),
	    cmocka_unit_test(a_bad_chunk_ends_the_decoding),
	};

	return cmocka_run_group_tests_name("load-decode", tests, NULL, NULL);
}
