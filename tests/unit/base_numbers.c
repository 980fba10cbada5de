/* SPDX-License-Identifier: BSD-3-Clause
 * CRC64 and combining CRCs, RDB lengths and integers, varints, error texts. */
#include <stdlib.h>
#include <string.h>

#include "crc64.h"
#include "rdb.h"
#include "rdbeam/error.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Computes it bit by bit, from the definition: shares nothing with the code under test. */
static uint64_t slow_crc(uint64_t crc, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		crc ^= buf[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x95ac9329ac4bc9b5ull : 0);
	}
	return crc;
}

static void fill(uint8_t *buf, size_t len)
{
	uint32_t x = 12345;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		buf[i] = (uint8_t)(x >> 24);
	}
}

static void test_crc_check_value(void **state)
{
	(void)state;
	assert_int_equal(beam_crc64(0, "123456789", 9), 0xe9c6d914c4b8d9caull);
	assert_int_equal(beam_crc64(0, "", 0), 0);
	assert_int_equal(beam_crc64(42, "", 0), 42);
}

static void test_crc_at_every_length_and_alignment(void **state)
{
	uint8_t buf[600];

	(void)state;
	fill(buf, sizeof(buf));
	for (size_t start = 0; start < 17; start++)
		for (size_t len = 0; len <= 512; len += len < 40 ? 1 : 13)
			assert_int_equal(beam_crc64(start, buf + start, len),
					 slow_crc(start, buf + start, len));
}

static void test_crc_append_joins_parts(void **state)
{
	enum { ALL = 100000 };
	uint8_t *buf = malloc(ALL);
	static const size_t cuts[] = {0, 1, 7, 8, 63, 4096, 65535, 99999, ALL};

	(void)state;
	fill(buf, ALL);
	uint64_t whole = slow_crc(0, buf, ALL);

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct beam_crc64_shift shift;

		beam_crc64_shift_init(&shift, ALL - cuts[i]);
		assert_int_equal(beam_crc64_append(beam_crc64(0, buf, cuts[i]),
						   beam_crc64(0, buf + cuts[i], ALL - cuts[i]),
						   &shift),
				 whole);
	}
	free(buf);
}

static void test_crc_shift_by_terabytes(void **state)
{
	struct beam_crc64_shift one, two;

	(void)state;
	/* Shifting by n twice equals shifting by 2n. */
	for (uint64_t n = 1; n <= (uint64_t)1 << 42; n <<= 3) {
		beam_crc64_shift_init(&one, n);
		beam_crc64_shift_init(&two, 2 * n);
		uint64_t crc = 0x123456789abcdef0;

		crc = beam_crc64_append(beam_crc64_append(crc, 0, &one), 0, &one);
		assert_int_equal(crc, beam_crc64_append(0x123456789abcdef0, 0, &two));
	}
}

static void test_lengths(void **state)
{
	static const struct {
		uint64_t len;
		size_t bytes;
		const char *encoded;
	} cases[] = {
	    {0, 1, "\x00"},
	    {63, 1, "\x3f"},
	    {64, 2, "\x40\x40"},
	    {16383, 2, "\x7f\xff"},
	    {16384, 5, "\x80\x00\x00\x40\x00"},
	    {UINT32_MAX, 5, "\x80\xff\xff\xff\xff"},
	    {(uint64_t)UINT32_MAX + 1, 9, "\x81\x00\x00\x00\x01\x00\x00\x00\x00"},
	    {UINT64_MAX, 9, "\x81\xff\xff\xff\xff\xff\xff\xff\xff"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t out[BEAM_RDB_LEN_MAX_BYTES];
		uint64_t len;
		size_t pos = 0;
		int enc;

		assert_int_equal(beam_rdb_put_len(out, cases[i].len), cases[i].bytes);
		assert_memory_equal(out, cases[i].encoded, cases[i].bytes);
		assert_int_equal(beam_rdb_get_len(out, cases[i].bytes, &pos, &len, &enc), 0);
		assert_int_equal(pos, cases[i].bytes);
		assert_int_equal(len, cases[i].len);
		assert_int_equal(enc, -1);
		for (size_t cut = 0; cut < cases[i].bytes; cut++) {
			pos = 0;
			assert_int_equal(beam_rdb_get_len(out, cut, &pos, &len, &enc), BEAM_E_TORN);
			assert_int_equal(pos, 0);
		}
	}
}

static void test_special_and_bad_length_forms(void **state)
{
	uint64_t len;
	int enc;

	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		uint8_t buf[9] = {(uint8_t)first};
		size_t pos = 0;
		int err = beam_rdb_get_len(buf, sizeof(buf), &pos, &len, &enc);

		if (first >> 6 == 3) {
			assert_int_equal(err, 0);
			assert_int_equal(enc, first & 0x3f);
			assert_int_equal(pos, 1);
		} else if (first >> 6 == 2 && first > 0x81) {
			assert_int_equal(err, BEAM_E_FORMAT);
		} else {
			assert_int_equal(err, 0);
			assert_int_equal(enc, -1);
		}
	}
}

static void test_magic_is_the_servers(void **state)
{
	static const struct {
		unsigned version;
		const char *text;
	} known[] = {{10, "REDIS0010"}, {12, "REDIS0012"}, {79, "REDIS0079"}, {80, "VALKEY080"}};
	static const char *bad[] = {"",         "REDIS001",  "REDIS00x0",
				    "VALKEY08", "VALKEY0x0", "XEDIS0010"};
	uint8_t out[BEAM_RDB_MAGIC_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		beam_rdb_put_magic(out, known[i].version);
		assert_memory_equal(out, known[i].text, sizeof(out));
		assert_int_equal(beam_rdb_get_magic(out, sizeof(out)), known[i].version);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(beam_rdb_get_magic((const uint8_t *)bad[i], strlen(bad[i])),
				 BEAM_E_FORMAT);
}

static void test_integers(void **state)
{
	static const struct {
		int64_t value;
		size_t bytes;
		const char *encoded;
	} cases[] = {
	    {0, 2, "\xc0\x00"},
	    {-1, 2, "\xc0\xff"},
	    {127, 2, "\xc0\x7f"},
	    {-128, 2, "\xc0\x80"},
	    {128, 3, "\xc1\x80\x00"},
	    {-129, 3, "\xc1\x7f\xff"},
	    {32767, 3, "\xc1\xff\x7f"},
	    {32768, 5, "\xc2\x00\x80\x00\x00"},
	    {INT32_MAX, 5, "\xc2\xff\xff\xff\x7f"},
	    {INT32_MIN, 5, "\xc2\x00\x00\x00\x80"},
	    {(int64_t)INT32_MAX + 1, 0, ""},
	    {(int64_t)INT32_MIN - 1, 0, ""},
	    {INT64_MIN, 0, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t out[5];

		assert_int_equal(beam_rdb_put_int(out, cases[i].value), cases[i].bytes);
		assert_memory_equal(out, cases[i].encoded, cases[i].bytes);
	}
}

static void test_varints(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit <= 64; bit++) {
		for (int off = -1; off <= 1; off++) {
			uint64_t value = (bit < 64 ? (uint64_t)1 << bit : 0) + (uint64_t)off, back;
			uint8_t out[10];
			size_t pos = 0, n = beam_put_varint(out, value);

			assert_in_range(n, 1, 10);
			assert_int_equal(beam_get_varint(out, n, &pos, &back), 0);
			assert_int_equal(pos, n);
			assert_int_equal(back, value);
			pos = 0;
			assert_int_equal(beam_get_varint(out, n - 1, &pos, &back), BEAM_E_TORN);
		}
	}
	uint8_t endless[11];
	size_t pos = 0;
	uint64_t value;

	memset(endless, 0xff, sizeof(endless));
	assert_int_equal(beam_get_varint(endless, sizeof(endless), &pos, &value), BEAM_E_FORMAT);
	endless[9] = 2; /* bit 64 */
	pos = 0;
	assert_int_equal(beam_get_varint(endless, sizeof(endless), &pos, &value), BEAM_E_FORMAT);
}

static void test_little_endian_fields(void **state)
{
	uint8_t buf[9] = {0};

	(void)state;
	beam_put_le64(buf + 1, 0x0102030405060708);
	assert_memory_equal(buf, "\x00\x08\x07\x06\x05\x04\x03\x02\x01", 9);
	assert_int_equal(beam_get_le64(buf + 1), 0x0102030405060708);
	assert_int_equal(beam_get_le32(buf + 1), 0x05060708);
	assert_int_equal(beam_get_le16(buf + 1), 0x0708);
}

static void test_every_error_has_a_text(void **state)
{
	static const int codes[] = {
#define X(name, value, scope, text) BEAM_E_##name,
	    BEAM_ERRORS(X)
#undef X
	};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_true(codes[i] < -4095); /* never an errno */
		assert_string_not_equal(beam_error_name(codes[i]), "ERRNO");
		assert_true(strlen(beam_strerror(codes[i])) > 5);
		assert_int_not_equal(beam_error_scope(codes[i]), BEAM_SCOPE_SYSTEM);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(codes[i], codes[j]);
	}
	assert_string_equal(beam_error_name(BEAM_E_CRC), "CRC");
	assert_string_equal(beam_error_name(-2), "ERRNO");
	assert_string_equal(beam_strerror(-2), strerror(2));
	assert_string_equal(beam_strerror(0), "ok");
	assert_non_null(beam_strerror(-999999));
	assert_int_equal(beam_error_scope(-2), BEAM_SCOPE_SYSTEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_crc_check_value),
	    cmocka_unit_test(test_crc_at_every_length_and_alignment),
	    cmocka_unit_test(test_crc_append_joins_parts),
	    cmocka_unit_test(test_crc_shift_by_terabytes),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_special_and_bad_length_forms),
	    cmocka_unit_test(test_magic_is_the_servers),
	    cmocka_unit_test(test_integers),
	    cmocka_unit_test(test_varints),
	    cmocka_unit_test(test_little_endian_fields),
	    cmocka_unit_test(test_every_error_has_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
