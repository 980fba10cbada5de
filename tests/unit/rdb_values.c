/* SPDX-License-Identifier: BSD-3-Clause
 * The walk over RDB values: one value of each shape, as servers write it. Each is walked to its
 * last byte and no further, and truncation is noticed at every byte. */
#include <stdlib.h>
#include <string.h>

#include "image_reader.h"
#include "rdb_walk.h"
#include "rdbeam/error.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct value {
	uint8_t type;
	const char *bytes;
	size_t len;
};
#define VALUE(type, bytes)                                                                         \
	{                                                                                          \
		type, bytes, sizeof(bytes) - 1                                                     \
	}

#define EIGHT   "\x00\x01\x02\x03\x04\x05\x06\x07"
#define ID      EIGHT EIGHT
#define STREAM1 "\x01\x10" ID "\x03lp.\x01\x05\x01" /* listpacks, length, last ID */

static const struct value values[] = {
    VALUE(BEAM_RDB_STRING, "\x05value"),
    VALUE(BEAM_RDB_STRING, "\x00"),
    VALUE(BEAM_RDB_STRING, "\x40\x05value"),
    VALUE(BEAM_RDB_STRING, "\x80\x00\x00\x00\x05value"),
    VALUE(BEAM_RDB_STRING, "\x81\x00\x00\x00\x00\x00\x00\x00\x05value"),
    VALUE(BEAM_RDB_STRING, "\xc0\x7f"),
    VALUE(BEAM_RDB_STRING, "\xc1\x39\x30"),
    VALUE(BEAM_RDB_STRING, "\xc2\xff\xff\xff\x7f"),
    VALUE(BEAM_RDB_STRING, "\xc3\x05\x41\x00\x01xx\xe0\xff"),
    VALUE(BEAM_RDB_LIST, "\x02\x01x\xc0\x05"),
    VALUE(BEAM_RDB_SET, "\x00"),
    VALUE(BEAM_RDB_SET, "\x01\x01m"),
    VALUE(BEAM_RDB_ZSET, "\x04\x01x\x03"
			 "1.5\x01y\xfd\x01z\xfe\x01w\xff"),
    VALUE(BEAM_RDB_HASH, "\x01\x01x\x01y"),
    VALUE(BEAM_RDB_ZSET_2, "\x02\x01x" EIGHT "\x01y" EIGHT),
    VALUE(BEAM_RDB_MODULE_2, "\x81" EIGHT "\x00"),
    VALUE(BEAM_RDB_MODULE_2, "\x81" EIGHT "\x01\x05\x02\x80\x00\x00\x00\x01\x03" /* si ui float */
			     "abcd\x04" EIGHT "\x05\x04text\x00"),
    VALUE(BEAM_RDB_HASH_ZIPMAP, "\x02\x00\xff"),
    VALUE(BEAM_RDB_LIST_ZIPLIST, "\x02zl"),
    VALUE(BEAM_RDB_SET_INTSET, "\x08" EIGHT),
    VALUE(BEAM_RDB_ZSET_ZIPLIST, "\x02zl"),
    VALUE(BEAM_RDB_HASH_ZIPLIST, "\x02zl"),
    VALUE(BEAM_RDB_LIST_QUICKLIST, "\x02\x02zl\x02zl"),
    VALUE(BEAM_RDB_STREAM_LISTPACKS, STREAM1 "\x00"),
    VALUE(BEAM_RDB_STREAM_LISTPACKS, STREAM1 "\x01\x01g\x05\x01"    /* group, its last ID */
					     "\x01" ID EIGHT "\x02" /* pending: ID, time, count */
					     "\x01\x05"
					     "alice" EIGHT "\x01" ID), /* consumer */
    VALUE(BEAM_RDB_HASH_LISTPACK, "\x02lp"),
    VALUE(BEAM_RDB_ZSET_LISTPACK, "\x02lp"),
    VALUE(BEAM_RDB_LIST_QUICKLIST_2, "\x02\x02\x02lp\x01\x03raw"),
    VALUE(BEAM_RDB_STREAM_LISTPACKS_2, STREAM1 "\x01\x01\x00\x00\x05"  /* first, deleted, added */
					       "\x01\x01g\x05\x01\x03" /* with entries read */
					       "\x01" ID EIGHT "\x02\x01\x01"
					       "a" EIGHT "\x01" ID),
    VALUE(BEAM_RDB_SET_LISTPACK, "\x02lp"),
    VALUE(BEAM_RDB_STREAM_LISTPACKS_3,
	  STREAM1 "\x01\x01\x00\x00\x05"
		  "\x01\x01g\x05\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff" /* entries unknown */
		  "\x00\x02\x01"
		  "a" EIGHT EIGHT "\x00\x01"
		  "b" EIGHT EIGHT "\x01" ID),
    VALUE(BEAM_RDB_HASH_2, "\x02\x01x\x01y" EIGHT "\x01z\x01w" EIGHT),
    VALUE(BEAM_RDB_HASH_LISTPACK_EX_PRE_GA, "\x02lp"),
    VALUE(BEAM_RDB_HASH_METADATA, EIGHT "\x02\x00\x01x\x01y\x01\x01z\x01w"),
    VALUE(BEAM_RDB_HASH_LISTPACK_EX, EIGHT "\x02lp"),
    VALUE(BEAM_RDB_STREAM_LISTPACKS_4,
	  STREAM1 "\x01\x01\x00\x00\x05"
		  "\x00"                 /* groups */
		  "\x40\x64\x40\x64\x01" /* seconds, maximum, producers */
		  "\x01p\x02"
		  "\x02i1\x05\x01\x02i2\x05\x02"
		  "\x03\x01"),
    VALUE(BEAM_RDB_STREAM_LISTPACKS_5, STREAM1 "\x01\x01\x00\x00\x05"
					       "\x01\x01g\x05\x01\x03"
					       "\x02" ID EIGHT "\x02" ID EIGHT "\x01\x01\x01"
					       "a" EIGHT EIGHT "\x01" ID "\x01" ID /* given back */
					       "\x40\x64\x40\x64\x00"
					       "\x03\x01"),
    VALUE(BEAM_RDB_ARRAY, "\x01\x00\x05\x00\x04text"),
    VALUE(BEAM_RDB_ARRAY,
	  "\x04\x01\x40\x64" /* elements, position of the last insertion */
	  "\x00\x00\xc0\x05\x01\x01" EIGHT "\x80\x00\x01\x00\x00\x02" EIGHT "\x7f\xff\x03\x01x"),
};
#define NVALUES (sizeof(values) / sizeof(values[0]))

/* Walks bytes at the very end of an allocation, so that sanitizers catch reads past it. */
static int walk_value(uint8_t type, const void *bytes, size_t len, size_t *pos)
{
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, bytes, len);
	*pos = 0;
	int err = beam_rdb_skip_value(copy, len, pos, type);

	free(copy);
	return err;
}

static void test_each_value_is_walked_to_its_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < NVALUES; i++) {
		size_t pos;

		assert_int_equal(walk_value(values[i].type, values[i].bytes, values[i].len, &pos),
				 0);
		assert_int_equal(pos, values[i].len);
	}
}

static void test_what_follows_is_left_alone(void **state)
{
	uint8_t bytes[256];

	(void)state;
	for (size_t i = 0; i < NVALUES; i++) {
		size_t pos = 3;

		memset(bytes, 0xff, sizeof(bytes));
		memcpy(bytes + pos, values[i].bytes, values[i].len);
		assert_int_equal(beam_rdb_skip_value(bytes, sizeof(bytes), &pos, values[i].type),
				 0);
		assert_int_equal(pos, 3 + values[i].len);
	}
}

static void test_each_cut_is_torn(void **state)
{
	(void)state;
	for (size_t i = 0; i < NVALUES; i++) {
		for (size_t len = 0; len < values[i].len; len++) {
			size_t pos;

			assert_int_equal(walk_value(values[i].type, values[i].bytes, len, &pos),
					 BEAM_E_TORN);
			assert_int_equal(pos, 0);
		}
	}
}

static void test_hostile_counts_end_with_the_bytes(void **state)
{
	static const uint8_t types[] = {
	    BEAM_RDB_LIST,
	    BEAM_RDB_HASH,
	    BEAM_RDB_ZSET_2,
	    BEAM_RDB_LIST_QUICKLIST_2,
	    BEAM_RDB_STREAM_LISTPACKS_3,
	    BEAM_RDB_STREAM_LISTPACKS_5,
	    BEAM_RDB_ARRAY,
	    BEAM_RDB_STRING,
	};
	uint8_t bytes[4096] = {0};
	size_t pos;

	(void)state;
	memcpy(bytes, "\x81\xff\xff\xff\xff\xff\xff\xff\xff", 9);
	for (size_t i = 0; i < sizeof(types); i++)
		assert_int_equal(walk_value(types[i], bytes, sizeof(bytes), &pos), BEAM_E_TORN);
	/* A compressed string of 2^64 - 1 bytes. */
	memcpy(bytes, "\xc3\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	assert_int_equal(walk_value(BEAM_RDB_STRING, bytes, sizeof(bytes), &pos), BEAM_E_TORN);
}

static void test_bad_forms_and_unknown_types(void **state)
{
	size_t pos;

	(void)state;
	assert_int_equal(walk_value(BEAM_RDB_STRING, "\xc4xxxxxxxx", 9, &pos), BEAM_E_FORMAT);
	assert_int_equal(walk_value(BEAM_RDB_STRING, "\xbfxxxxxxxx", 9, &pos), BEAM_E_FORMAT);
	/* A count as an encoded integer; a module opcode that does not exist. */
	assert_int_equal(walk_value(BEAM_RDB_LIST, "\xc0\x01\x01x", 4, &pos), BEAM_E_FORMAT);
	assert_int_equal(walk_value(BEAM_RDB_MODULE_2, "\x01\x06\x00", 3, &pos), BEAM_E_FORMAT);
	/* The position of an array's last insertion, or not; a kind of element that does not exist. */
	assert_int_equal(walk_value(BEAM_RDB_ARRAY, "\x01\x02\x05\x00\x01x", 6, &pos),
			 BEAM_E_FORMAT);
	assert_int_equal(walk_value(BEAM_RDB_ARRAY, "\x01\x00\x05\x04\x01x", 6, &pos),
			 BEAM_E_FORMAT);
	for (unsigned type = 0; type < 256; type++) {
		bool known = type <= BEAM_RDB_ARRAY && type != 8 && type != BEAM_RDB_MODULE_PRE_GA;

		if (!known)
			assert_int_equal(walk_value((uint8_t)type, "\x00\x00", 2, &pos),
					 BEAM_E_UNSUPPORTED);
	}
}

/* In front of a key's type, Redis and Valkey use the same opcode for different things. */
static void test_what_stands_before_a_key(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} files[] = {
#define FILE_OF(bytes) {bytes, sizeof(bytes) - 1}
	    FILE_OF("REDIS0013\xfc" EIGHT "\xf3\x02"
		    "abcd\x02\x05\x05\x04text\x00"
		    "efgh\x00" /* of a class that has written nothing */
		    "\x00\x01k\x01v"),
	    FILE_OF("VALKEY080\xf3\x04name\x02\x00\x40\x64\x40\x70\x40\x71\xfc" EIGHT
		    "\x00\x01k\x01v"),
#undef FILE_OF
	};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const uint8_t *bytes = (const uint8_t *)files[i].bytes;
		struct beam_rdb_record record = {0};
		size_t pos = BEAM_RDB_MAGIC_BYTES, cut = BEAM_RDB_MAGIC_BYTES;

		for (int n = 0; n < 3; n++)
			assert_int_equal(beam_rdb_next_record(bytes, files[i].len, &pos, &record),
					 0);
		assert_int_equal(pos, files[i].len);
		assert_int_equal(record.kind, BEAM_RDB_IS_KEY);
		assert_int_equal(record.code, BEAM_RDB_STRING);
		assert_true(record.has_expire);
		memset(&record, 0, sizeof(record));
		while (beam_rdb_next_record(bytes, files[i].len - 5, &cut, &record) == 0)
			;
		assert_true(cut <= files[i].len - 5);
	}
}

/* Stored form: a form byte, lengths, bytes. */
#define STORED(text) (const uint8_t *)(text), sizeof(text) - 1

static struct beam_rdb_string string_of(const uint8_t *bytes, size_t len_bytes)
{
	struct beam_rdb_string string;
	size_t pos = 0;

	assert_int_equal(beam_rdb_get_string(bytes, len_bytes, &pos, &string), 0);
	assert_int_equal(pos, len_bytes);
	return string;
}

static void test_keys_and_texts_of_each_form(void **state)
{
	static const struct {
		const uint8_t *bytes;
		size_t len_bytes;
		const char *text;
	} cases[] = {
	    {STORED("\x03"
		    "abc"),
	     "abc"},
	    {STORED("\x00"), ""},
	    {STORED("\xc0\xfb"), "-5"},
	    {STORED("\xc1\x18\xfc"), "-1000"},
	    {STORED("\xc2\x00\x00\x00\x80"), "-2147483648"},
	    /* Literals, then references of 3 and of 9 bytes that overlap their own output. */
	    {STORED("\xc3\x06\x06\x02xyz\x20\x02"), "xyzxyz"},
	    {STORED("\xc3\x07\x0c\x02xyz\xe0\x00\x02"), "xyzxyzxyzxyz"},
	    {STORED("\xc3\x00\x00"), ""},
	};
	struct beam_rdb_buffer buffer = {0};
	char text[16];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct beam_rdb_string string = string_of(cases[i].bytes, cases[i].len_bytes);
		struct beam_item item = {0};

		beam_rdb_string_text(&string, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
		assert_int_equal(beam_rdb_item_key(&string, &buffer, &item), 0);
		assert_int_equal(item.key_bytes, strlen(cases[i].text));
		assert_memory_equal(item.key ? (const char *)item.key : item.key_text,
				    cases[i].text, item.key_bytes);
		if (*cases[i].text && (string.enc < 0 || string.enc == BEAM_RDB_ENC_LZF)) {
			beam_rdb_string_text(&string, text, strlen(cases[i].text)); /* no room */
			assert_string_equal(text, "");
		}
	}
	free(buffer.bytes);
}

static void test_damaged_compression_is_refused(void **state)
{
	static const struct {
		const uint8_t *bytes;
		size_t len_bytes;
	} cases[] = {
	    {STORED("\xc3\x02\x20\x1fx")},         /* more literals than bytes */
	    {STORED("\xc3\x04\x02\x02xyz")},       /* more literals than room */
	    {STORED("\xc3\x03\x0c\x00x\xe0")},     /* a long reference without its length */
	    {STORED("\xc3\x03\x04\x00x\x20")},     /* a reference without its distance */
	    {STORED("\xc3\x04\x04\x00x\x20\x05")}, /* a reference to before the beginning */
	    {STORED("\xc3\x04\x02\x00x\x20\x00")}, /* a reference longer than the room */
	    {STORED("\xc3\x02\x05\x00x")},         /* too little output */
	    {STORED("\xc3\x02\x7f\xff\x00x")},     /* more than so few bytes can expand to */
	};
	struct beam_rdb_buffer buffer = {0};
	struct beam_item item = {0};
	struct beam_rdb_string string;
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		string = string_of(cases[i].bytes, cases[i].len_bytes);
		beam_rdb_string_text(&string, text, sizeof(text));
		assert_string_equal(text, "");
		assert_int_equal(beam_rdb_item_key(&string, &buffer, &item), BEAM_E_FORMAT);
	}
	string = string_of(STORED("\xc3\x06\x06\x02xyz\x20\x02"));
	assert_int_equal(beam_rdb_item_key(&string, NULL, &item), BEAM_E_FORMAT);
	free(buffer.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_value_is_walked_to_its_end),
	    cmocka_unit_test(test_what_follows_is_left_alone),
	    cmocka_unit_test(test_each_cut_is_torn),
	    cmocka_unit_test(test_hostile_counts_end_with_the_bytes),
	    cmocka_unit_test(test_bad_forms_and_unknown_types),
	    cmocka_unit_test(test_what_stands_before_a_key),
	    cmocka_unit_test(test_keys_and_texts_of_each_form),
	    cmocka_unit_test(test_damaged_compression_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
