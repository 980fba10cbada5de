/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The reply to RDBEAM.TICKET, from an honest primary and from one that lies.
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdbeam/error.h"
#include "ticket.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HEX16  "00112233445566778899aabbccddeeff"
#define HEX32  HEX16 HEX16
#define REPLID "0123456789abcdef0123456789abcdef01234567"

/* Names and values in turn; a value that begins with ':' is sent as an integer. */
static const char *const good[][2] = {
    {"id", NULL},           {"key", NULL},        {"port", ":7379"},
    {"tls", ":1"},          {"transport", "tcp"}, {"nonce", "18446744073709551615"},
    {"counter", ":7"},      {"replid", REPLID},   {"offset", ":4096"},
    {"reused", ":0"},       {"copy_ms", ":12"},   {"keys", ":34"},
    {"min_replicas", ":2"}, {"host", "10.0.0.1"}, {"relay", ""},
    {"public", HEX32},      {"ttl_ms", ":5000"},
};
#define NFIELDS (sizeof(good) / sizeof(good[0]))

/* The field's value; for the binary fields, as many hex digits as they need. */
static const char *value_of(size_t field)
{
	static char hex[2][129];
	size_t bytes = field ? BEAM_TICKET_KEY_BYTES : BEAM_TICKET_ID_BYTES;

	if (field > 1)
		return good[field][1];
	for (size_t i = 0; i < bytes; i++)
		snprintf(hex[field] + 2 * i, 3, "%02zx", i + 1);
	return hex[field];
}

static size_t put_text(char *out, const char *text)
{
	return (size_t)sprintf(out, "$%zu\r\n%s\r\n", strlen(text), text);
}

/* Parses the good reply with one field's value replaced; NULL: the field is left out. */
static int parse_with(size_t field, const char *value, struct beam_ticket *out)
{
	char bytes[4096];
	size_t n = (size_t)sprintf(bytes, "*%zu\r\n", 2 * (NFIELDS - (value == NULL)));
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	for (size_t i = 0; i < NFIELDS; i++) {
		const char *is = i == field ? value : value_of(i);

		if (!is)
			continue;
		n += put_text(bytes + n, good[i][0]);
		if (*is == ':')
			n += (size_t)sprintf(bytes + n, "%s\r\n", is);
		else
			n += put_text(bytes + n, is);
	}
	assert_int_equal(redisReaderFeed(reader, bytes, n), REDIS_OK);
	assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
	assert_non_null(reply);
	int rc = beam_ticket_parse(reply, out);

	freeReplyObject(reply);
	redisReaderFree(reader);
	return rc;
}

static size_t field_of(const char *name)
{
	size_t i = 0;

	while (strcmp(good[i][0], name) != 0)
		assert_true(++i < NFIELDS);
	return i;
}

static int parse_named(const char *name, const char *value)
{
	struct beam_ticket ticket;

	return parse_with(field_of(name), value, &ticket);
}

static void test_each_field_is_taken(void **state)
{
	struct beam_ticket t;

	(void)state;
	assert_int_equal(parse_with(NFIELDS, "", &t), 0);
	assert_int_equal(t.id[0], 1);
	assert_int_equal(t.id[BEAM_TICKET_ID_BYTES - 1], BEAM_TICKET_ID_BYTES);
	assert_int_equal(t.key[BEAM_TICKET_KEY_BYTES - 1], BEAM_TICKET_KEY_BYTES);
	assert_int_equal(t.public_key[1], 0x11);
	assert_int_equal(t.port, 7379);
	assert_true(t.by_tls);
	assert_false(t.reused);
	assert_string_equal(t.transport, "tcp");
	assert_true(t.gen.nonce == UINT64_MAX);
	assert_int_equal(t.gen.counter, 7);
	assert_string_equal(t.replid, REPLID);
	assert_int_equal(t.offset, 4096);
	assert_int_equal(t.copy_ms, 12);
	assert_int_equal(t.keys, 34);
	assert_int_equal(t.min_replicas, 2);
	assert_string_equal(t.host, "10.0.0.1");
	assert_string_equal(t.relay, "");
}

static void test_a_missing_field_or_another_type_is_refused(void **state)
{
	struct beam_ticket t;

	(void)state;
	for (size_t i = 0; i < NFIELDS; i++) {
		assert_int_equal(parse_with(i, NULL, &t), BEAM_E_PROTO);
		assert_int_equal(
		    parse_with(i, good[i][1] && good[i][1][0] == ':' ? "x" : ":-1", &t),
		    BEAM_E_PROTO);
	}
	assert_int_equal(beam_ticket_parse(NULL, &t), BEAM_E_PROTO);
}

static void test_values_that_cannot_be_are_refused(void **state)
{
	char text[256];

	(void)state;
	assert_int_equal(parse_named("port", ":0"), BEAM_E_PROTO);
	assert_int_equal(parse_named("port", ":65536"), BEAM_E_PROTO);
	assert_int_equal(parse_named("port", "-1"), BEAM_E_PROTO);
	assert_int_equal(parse_named("port", "80x"), BEAM_E_PROTO);
	assert_int_equal(parse_named("port", ""), BEAM_E_PROTO);
	assert_int_equal(parse_named("port", "65535"), 0);
	assert_int_equal(parse_named("nonce", "18446744073709551616"), BEAM_E_PROTO);
	assert_int_equal(parse_named("offset", "9223372036854775808"), BEAM_E_PROTO);
	assert_int_equal(parse_named("replid", ""), 0);
	assert_int_equal(parse_named("replid", "0123"), BEAM_E_PROTO);
	assert_int_equal(parse_named("replid", "X" HEX16 "0123456"), BEAM_E_PROTO);
	assert_int_equal(parse_named("id", "00"), BEAM_E_PROTO);
	assert_int_equal(parse_named("public", HEX16 "zz"), BEAM_E_PROTO);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(parse_named("transport", text), BEAM_E_PROTO);
	assert_int_equal(parse_named("host", text), BEAM_E_PROTO);
	assert_int_equal(parse_named("relay", text), BEAM_E_PROTO);
	assert_int_equal(parse_named("replid", text), BEAM_E_PROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_field_is_taken),
	    cmocka_unit_test(test_a_missing_field_or_another_type_is_refused),
	    cmocka_unit_test(test_values_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
