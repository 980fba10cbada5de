/* SPDX-License-Identifier: BSD-3-Clause
 * librdbeam through its public header only: this links against the exported symbols of the shared
 * library. The files are laid out by hand, or made by real servers (tests/fuzz/corpus). */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rdbeam/rdbeam.h>

#include "image_build.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEGMENT (2u << 20)
#define NFULL   2

static char path[64];

static void write_file(const void *bytes, size_t len_bytes)
{
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len_bytes, file), len_bytes);
	assert_int_equal(fclose(file), 0);
}

static int make_path(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/rdbeam-contract-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

#define ITEM(items, bytes) build_item(items, bytes, sizeof(bytes) - 1)

/* Header | chunk of four keys | last: as rdbeam.so writes them. */
static uint8_t *image_bytes(size_t *len_bytes)
{
	static const struct beam_gen gen = {0xfeedfacecafebeef, 7};
	static const uint8_t header[] = "REDIS0010\xfa\x07repl-id\x28"
					"0123456789012345678901234567890123456789"
					"\xfa\x0brepl-offset\xc0\x63\xfe\x00\xfb\x04\x01";
	struct build_items items = {0};
	uint8_t *image;

	*len_bytes = (size_t)NFULL * SEGMENT + build_last_bytes(NFULL);
	image = calloc(1, *len_bytes);
	assert_non_null(image);
	build_chunk(image, SEGMENT, &gen,
		    &(struct build_chunk){
			.body = header, .body_bytes = sizeof(header) - 1, .nsegments = 1});
	ITEM(&items, "\xfe\x00\x00\x05hello\x05world");
	ITEM(&items, "\xfc\x00\x01\x00\x00\x00\x00\x00\x00\xf8\x09\x00\xc0\x07\x01x"); /* key "7" */
	ITEM(&items, "\xfe\x05\xf9\x0a\x01\x04list\x02\x01u\x01v");
	ITEM(&items, "\x63\x03newwhatever"); /* value type 99 */
	build_chunk(image + SEGMENT, SEGMENT, &gen,
		    &(struct build_chunk){.body = items.body,
					  .body_bytes = items.body_bytes,
					  .index = items.index,
					  .index_bytes = items.index_bytes,
					  .nitems = items.nitems,
					  .first_index = 1,
					  .nsegments = 1});
	build_last(image, NFULL, SEGMENT, &gen, items.nitems);
	return image;
}

static void open_image(struct beam_image **image)
{
	size_t len_bytes;
	uint8_t *bytes = image_bytes(&len_bytes);

	write_file(bytes, len_bytes);
	free(bytes);
	assert_int_equal(beam_image_open(path, image), 0);
}

static void next_is(struct beam_image *image, const char *key, uint32_t db, enum beam_type type)
{
	struct beam_record record;

	assert_int_equal(beam_image_next(image, &record), 1);
	assert_int_equal(record.key_bytes, strlen(key));
	assert_memory_equal(record.key, key, record.key_bytes);
	assert_int_equal(record.db, db);
	assert_int_equal(record.type, type);
}

static void image_gives_its_keys(void **state)
{
	struct beam_image *image = NULL;
	struct beam_record record;

	(void)state;
	open_image(&image);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(beam_image_next(image, &record), 1);
		assert_memory_equal(record.key, "hello", 5);
		assert_int_equal(record.payload_bytes, 6);
		assert_memory_equal(record.payload, "\x05world", 6);
		assert_true(record.expire_ms == -1 && record.idle_s == -1 && record.freq == -1);
		assert_int_equal(beam_image_next(image, &record), 1);
		assert_memory_equal(record.key, "7", record.key_bytes);
		assert_true(record.expire_ms == 256 && record.idle_s == 9);
		assert_int_equal(beam_image_next(image, &record), 1);
		assert_true(record.db == 5 && record.type == BEAM_TYPE_LIST && record.freq == 10);
		next_is(image, "new", 5, BEAM_TYPE_OTHER);
		assert_int_equal(beam_image_next(image, &record), 0);
		assert_int_equal(beam_image_next(image, &record), 0);
		beam_image_rewind(image);
	}
	beam_image_close(&image);
	assert_null(image);
	beam_image_close(&image);
	beam_image_close(NULL);
}

static void image_tells_its_facts(void **state)
{
	struct beam_image *image = NULL;
	struct beam_image_facts facts;

	(void)state;
	open_image(&image);
	assert_int_equal(unlink(path), 0); /* as a server replaces its dump */
	write_file("x", 1);
	beam_image_facts(image, &facts);
	assert_true(facts.is_image && facts.rdb_version == 10 && facts.keys == 4);
	assert_int_equal(facts.segments, NFULL + 1);
	assert_int_equal(facts.segment_bytes, SEGMENT);
	assert_string_equal(facts.generation, "feedfacecafebeef-7");
	assert_string_equal(facts.repl_id, "0123456789012345678901234567890123456789");
	assert_int_equal(facts.repl_offset, 0x63);
	beam_image_close(&image);
}

static int note(void *arg, int code, uint64_t offset, const char *text)
{
	(void)offset;
	assert_true(code < 0 && strlen(text) > 10);
	*(int *)arg += 1;
	return 0;
}

static void damage_is_told(void **state)
{
	struct beam_image *image = NULL;
	struct beam_image_check check;
	struct beam_record record;
	size_t len_bytes;
	uint8_t *bytes = image_bytes(&len_bytes);
	int told = 0;

	(void)state;
	open_image(&image);
	assert_int_equal(beam_image_verify(image, note, &told, &check), 0);
	assert_true(told == 0 && check.keys == 4 && check.expires == 1);
	assert_int_equal(check.keys_by_type[BEAM_TYPE_OTHER], 1);
	beam_image_close(&image);
	bytes[SEGMENT + 9] ^= 1;
	write_file(bytes, len_bytes);
	assert_int_equal(beam_image_open(path, &image), 0);
	assert_int_equal(beam_image_next(image, &record), BEAM_E_CRC);
	assert_int_equal(beam_image_next(image, &record), BEAM_E_CRC);
	assert_int_equal(beam_image_verify(image, note, &told, &check), BEAM_E_CRC);
	assert_true(told > 0 && check.segments_bad == 1 && check.problems == (uint64_t)told);
	assert_int_equal(beam_image_verify(image, NULL, NULL, NULL), BEAM_E_CRC);
	beam_image_close(&image);
	bytes[len_bytes - 30] ^= 1; /* the manifest */
	write_file(bytes, len_bytes);
	assert_int_equal(beam_image_open(path, &image), BEAM_E_CRC);
	assert_null(image);
	free(bytes);
}

/* A key of 40 times "a", compressed as stock servers do it; then a number; then a TTL in the old
 * format. */
static void plain_file_gives_its_keys(void **state)
{
	static const uint8_t rdb[] = "REDIS0010\xfe\x02"
				     "\x00\xc3\x05\x28\x00"
				     "a\xe0\x1e\x00"
				     "\x01v"
				     "\xfd\x02\x00\x00\x00\x00\xc1\x00\x01\x01w"
				     "\xff\0\0\0\0\0\0\0\0";
	struct beam_image *image = NULL;
	struct beam_image_facts facts;
	struct beam_record record;
	char key[41];

	(void)state;
	write_file(rdb, sizeof(rdb) - 1);
	assert_int_equal(beam_image_open(path, &image), 0);
	memset(key, 'a', 40);
	key[40] = '\0';
	next_is(image, key, 2, BEAM_TYPE_STRING);
	assert_int_equal(beam_image_next(image, &record), 1);
	assert_memory_equal(record.key, "256", record.key_bytes);
	assert_true(record.expire_ms == 2000);
	assert_int_equal(beam_image_next(image, &record), 0);
	beam_image_facts(image, &facts);
	assert_true(!facts.is_image && facts.segments == 0 && facts.repl_offset == -1);
	assert_string_equal(facts.generation, "");
	beam_image_close(&image);
}

static void hostile_key_asks_for_no_memory(void **state)
{
	static const uint8_t rdb[] =
	    "REDIS0010\xfe\x00\x00\xc3\x02\x80\x7f\xff\xff\xff\x00x\x01v\xff";
	struct beam_image *image = NULL;
	struct beam_record record;

	(void)state;
	write_file(rdb, sizeof(rdb) - 1);
	assert_int_equal(beam_image_open(path, &image), 0);
	assert_int_equal(beam_image_next(image, &record), BEAM_E_FORMAT);
	beam_image_close(&image);
}

static void what_is_no_image_is_refused(void **state)
{
	struct beam_image *image = NULL;

	(void)state;
	write_file("no dump at all", 14);
	assert_int_equal(beam_image_open(path, &image), BEAM_E_FORMAT);
	write_file("", 0);
	assert_int_equal(beam_image_open(path, &image), BEAM_E_FORMAT);
	assert_int_equal(beam_image_open("/tmp", &image), -EISDIR);
	assert_int_equal(beam_image_open("/does/not/exist", &image), -ENOENT);
	assert_null(image);
}

static void wrong_requests_are_refused(void **state)
{
	char error[256] = "";
	struct beam_pull_request request = {.error = error, .error_cap = sizeof(error)};
	struct beam_image *image = NULL;

	(void)state;
	assert_int_equal(beam_image_pull(&request, &image), -EINVAL);
	assert_non_null(strstr(error, "struct_bytes"));
	request.struct_bytes = sizeof(request);
	assert_int_equal(beam_image_pull(&request, &image), -EINVAL);
	assert_non_null(strstr(error, "from"));
	request.from = "127.0.0.1:1";
	request.transport = "pigeon";
	assert_int_equal(beam_image_pull(&request, &image), -EINVAL);
	request.transport = NULL;
	assert_true(beam_image_pull(&request, &image) < 0);
	assert_non_null(strstr(error, "127.0.0.1:1"));
	assert_true(beam_image_pull_to_file(&request, path) < 0);
	assert_int_equal(beam_image_pull_to_file(&request, NULL), -EINVAL);
	assert_non_null(strstr(error, "path"));
	request.error = NULL;
	assert_true(beam_image_pull(&request, &image) < 0);
	assert_null(image);
}

static void texts_are_there(void **state)
{
	(void)state;
	assert_string_equal(beam_version(), RDBEAM_VERSION);
	assert_string_equal(beam_type_name(BEAM_TYPE_ZSET), "zset");
	assert_string_equal(beam_type_name(BEAM_TYPE_ARRAY), "array");
	assert_string_equal(beam_type_name((enum beam_type)77), "other");
	assert_string_equal(beam_error_name(BEAM_E_CRC), "CRC");
	assert_string_equal(beam_strerror(0), "ok");
	assert_int_equal(beam_error_scope(BEAM_E_GONE), BEAM_SCOPE_CONNECTION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(image_gives_its_keys),
	    cmocka_unit_test(image_tells_its_facts),
	    cmocka_unit_test(damage_is_told),
	    cmocka_unit_test(plain_file_gives_its_keys),
	    cmocka_unit_test(hostile_key_asks_for_no_memory),
	    cmocka_unit_test(what_is_no_image_is_refused),
	    cmocka_unit_test(wrong_requests_are_refused),
	    cmocka_unit_test(texts_are_there),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
