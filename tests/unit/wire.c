/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Encoding, decoding and proofs of the pull protocol.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "rdbeam/error.h"
#include "wire.h"

/* One message of each type, with a different value in every field. */
static const struct beam_wire_message samples[] = {
    {.type = BEAM_WIRE_HELLO,
     .hello = {.magic = BEAM_WIRE_MAGIC,
	       .version = 0x0102,
	       .flags = 0x0304,
	       .id = {1, 2, 3, 4, 5, 6, 7, 8},
	       .nonce = {9, 8, 7, 6, 5, 4, 3, 2},
	       .proof = {0xaa, [31] = 0xbb}}},
    {.type = BEAM_WIRE_WELCOME,
     .welcome = {.proof = {0xcc, [31] = 0xdd},
		 .gen = {.nonce = 0x1020304050607080, .counter = 0x90a0b0c0d0e0f001},
		 .segment_bytes = 0x11223344,
		 .read_max = 0x55667788}},
    {.type = BEAM_WIRE_REFUSED, .text = {.code = BEAM_E_DENIED, .text = "no"}},
    {.type = BEAM_WIRE_SEALED,
     .sealed = {.index = 0x01020304, .len_bytes = 0x05060708, .crc = 0x1112131415161718}},
    {.type = BEAM_WIRE_COMPLETE,
     .complete = {.nsegments = 0x01020304,
		  .image_bytes = 0x2122232425262728,
		  .file_crc = 0x3132333435363738}},
    {.type = BEAM_WIRE_READ,
     .read = {.index = 1, .offset = 0x10203040, .len_bytes = 0x50607080, .tag = 0xfffffffe}},
    {.type = BEAM_WIRE_DATA, .data = {.tag = 0x01020304, .len_bytes = BEAM_WIRE_READ_MAX}},
    {.type = BEAM_WIRE_CHECK, .check = {.tag = 0x01020304}},
    {.type = BEAM_WIRE_VALID, .valid = {.tag = 0x05060708}},
    {.type = BEAM_WIRE_STALE, .text = {.code = BEAM_E_STALE, .text = ""}},
    {.type = BEAM_WIRE_DONE, .done = {.bytes = 0x0102030405060708, .ms = 0x1112131415161718}},
    {.type = BEAM_WIRE_FAILED, .text = {.code = -5, .text = "broken"}},
    {.type = BEAM_WIRE_WAITING, .waiting = {.position = 0x01020304, .waiting = 0x01020305}},
    {.type = BEAM_WIRE_PLACED,
     .placed = {.index = 3, .rkey = 0x89abcdef, .address = 0x1122334455667788}},
    {.type = BEAM_WIRE_PROGRESS, .done = {.bytes = 77, .ms = 88}},
    {.type = BEAM_WIRE_TAKEN, .taken = {.index = 0x01020304}},
    {.type = BEAM_WIRE_VOUCHED,
     .vouched = {.index = 0x01020304,
		 .digest = {0x11, [BEAM_DIGEST_BYTES - 1] = 0x22},
		 .signature = {0x33, [BEAM_SIGNATURE_BYTES - 1] = 0x44}}},
    {.type = BEAM_WIRE_LENT,
     .lent = {.index = 0x01020304,
	      .len_bytes = 0x05060708,
	      .at = 0x1112131415161718,
	      .dev = 0x2122232425262728,
	      .ino = 0x3132333435363738}},
};
#define NSAMPLES (sizeof(samples) / sizeof(samples[0]))

static size_t encode(const struct beam_wire_message *message, uint8_t *out)
{
	memset(out, 0x5a, BEAM_WIRE_MESSAGE_MAX + 1);
	size_t n = beam_wire_encode(message, out);

	assert_true(n > BEAM_WIRE_HEAD_BYTES && n <= BEAM_WIRE_MESSAGE_MAX);
	assert_int_equal(out[n], 0x5a);
	return n;
}

static void every_message_comes_back(void **state)
{
	uint8_t bytes[BEAM_WIRE_MESSAGE_MAX + 1], again[BEAM_WIRE_MESSAGE_MAX + 1];

	(void)state;
	for (size_t i = 0; i < NSAMPLES; i++) {
		struct beam_wire_message back;
		size_t n = encode(&samples[i], bytes);

		assert_int_equal(beam_wire_decode(bytes, n, &back), n);
		assert_int_equal(back.type, samples[i].type);
		assert_int_equal(encode(&back, again), n);
		assert_memory_equal(bytes, again, n);
		assert_memory_equal(&back.hello, &samples[i].hello,
				    sizeof(back) - offsetof(struct beam_wire_message, hello));
	}
}

static void the_bytes_are_little_endian_in_this_order(void **state)
{
	static const uint8_t read_bytes[] = {6,    0,    0,    0,    16,   0,    0,    0,
					     1,    0,    0,    0,    0x40, 0x30, 0x20, 0x10,
					     0x80, 0x70, 0x60, 0x50, 0xfe, 0xff, 0xff, 0xff};
	static const uint8_t hello_head[] = {1,    0,    0,    0,    56,   0,    0,    0,
					     0x62, 0x65, 0x61, 0x6d, 0x02, 0x01, 0x04, 0x03};
	uint8_t bytes[BEAM_WIRE_MESSAGE_MAX + 1];

	(void)state;
	assert_int_equal(encode(&samples[5], bytes), sizeof(read_bytes));
	assert_memory_equal(bytes, read_bytes, sizeof(read_bytes));
	assert_int_equal(encode(&samples[0], bytes), BEAM_WIRE_HEAD_BYTES + 56);
	assert_memory_equal(bytes, hello_head, sizeof(hello_head));
}

static void a_part_of_a_message_needs_more(void **state)
{
	uint8_t bytes[BEAM_WIRE_MESSAGE_MAX + 1];
	struct beam_wire_message back;

	(void)state;
	for (size_t i = 0; i < NSAMPLES; i++) {
		size_t n = encode(&samples[i], bytes);

		for (size_t part = 0; part < n; part++)
			assert_int_equal(beam_wire_decode(bytes, part, &back), 0);
		assert_int_equal(beam_wire_decode(bytes, n + 1, &back), n);
	}
}

/* Decodes sample i with one byte changed, given no more than `len` bytes of it. */
static int decode_changed(size_t i, size_t at, uint8_t value, size_t len)
{
	uint8_t bytes[BEAM_WIRE_MESSAGE_MAX + 1];
	struct beam_wire_message back;
	size_t n = encode(&samples[i], bytes);

	bytes[at] = value;
	return beam_wire_decode(bytes, len < n ? len : n, &back);
}

static void a_bad_head_is_known_from_the_head_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSAMPLES; i++) {
		assert_int_equal(decode_changed(i, 0, 0, 8), BEAM_E_PROTO); /* type 0 */
		/* after the last type */
		assert_int_equal(decode_changed(i, 0, BEAM_WIRE_LENT + 1, 8), BEAM_E_PROTO);
		assert_int_equal(decode_changed(i, 1, 1, 8), BEAM_E_PROTO); /* type 256 + n */
		assert_int_equal(decode_changed(i, 2, 1, 8), BEAM_E_PROTO); /* flags */
		assert_int_equal(decode_changed(i, 3, 128, 8), BEAM_E_PROTO);
		assert_int_equal(decode_changed(i, 4, 3, 8), BEAM_E_PROTO); /* too short */
		assert_int_equal(decode_changed(i, 5, 0x80, 8), BEAM_E_PROTO);
		assert_int_equal(decode_changed(i, 7, 0xff, 8), BEAM_E_PROTO); /* 4 GiB */
	}
}

static void bad_bodies_are_refused(void **state)
{
	uint8_t bytes[BEAM_WIRE_MESSAGE_MAX + 1];
	struct beam_wire_message back, large = samples[6];

	(void)state;
	assert_int_equal(decode_changed(0, 8, 'B', 1000), BEAM_E_PROTO); /* magic */
	assert_int_equal(decode_changed(4, 12, 1, 1000), BEAM_E_PROTO);  /* padding */
	assert_int_equal(decode_changed(16, 12, 1, 1000), BEAM_E_PROTO); /* padding */
	/* a position behind the end of the queue */
	assert_int_equal(decode_changed(12, 11, 0x7f, 1000), BEAM_E_PROTO);
	large.data.len_bytes = BEAM_WIRE_READ_MAX + 1;
	size_t n = encode(&large, bytes);

	assert_int_equal(beam_wire_decode(bytes, n, &back), BEAM_E_PROTO);
	n = encode(&samples[2], bytes);
	memset(bytes + BEAM_WIRE_HEAD_BYTES + 4, 'x', BEAM_TEXT_BYTES);
	assert_int_equal(beam_wire_decode(bytes, n, &back), BEAM_E_PROTO);
	bytes[BEAM_WIRE_HEAD_BYTES + 4 + BEAM_TEXT_BYTES - 1] = 0;
	assert_int_equal(beam_wire_decode(bytes, n, &back), n);
	assert_int_equal(strlen(back.text.text), BEAM_TEXT_BYTES - 1);
}

static void a_text_without_end_is_cut_when_encoded(void **state)
{
	uint8_t bytes[BEAM_WIRE_MESSAGE_MAX + 1];
	struct beam_wire_message back, m = {.type = BEAM_WIRE_FAILED, .text = {.code = -1}};

	(void)state;
	memset(m.text.text, 'y', sizeof(m.text.text));
	size_t n = encode(&m, bytes);

	assert_int_equal(beam_wire_decode(bytes, n, &back), n);
	assert_int_equal(strlen(back.text.text), BEAM_TEXT_BYTES - 1);
	/* Bytes after the end of the text are not sent. */
	snprintf(m.text.text, sizeof(m.text.text), "short");
	n = encode(&m, bytes);
	for (size_t i = BEAM_WIRE_HEAD_BYTES + 4 + 5; i < n; i++)
		assert_int_equal(bytes[i], 0);
}

/* ---- proofs --------------------------------------------------------------------------------- */

static void make_pair(uint8_t key[BEAM_TICKET_KEY_BYTES], struct beam_wire_hello *hello,
		      struct beam_wire_welcome *welcome)
{
	for (uint8_t i = 0; i < BEAM_TICKET_KEY_BYTES; i++)
		key[i] = i;
	*hello = samples[0].hello;
	*welcome = samples[1].welcome;
	beam_wire_prove_hello(key, hello);
	beam_wire_prove_welcome(key, hello, welcome);
}

/* Computed with Python's hmac module over the bytes that wire.h names: an independent
 * implementation must give the same result. */
static void proofs_are_the_hmacs_that_the_header_names(void **state)
{
	static const uint8_t hello_proof[BEAM_PROOF_BYTES] = {
	    0xf6, 0x59, 0x82, 0x64, 0x8d, 0xbf, 0x33, 0x92, 0xfe, 0x42, 0x11,
	    0x72, 0x05, 0x3b, 0x75, 0x59, 0x8b, 0x6e, 0x18, 0x31, 0x54, 0x38,
	    0x76, 0x33, 0x79, 0x49, 0x11, 0x76, 0x1a, 0x5b, 0xaa, 0xc1};
	static const uint8_t welcome_proof[BEAM_PROOF_BYTES] = {
	    0xb2, 0x74, 0x29, 0xc8, 0xe6, 0xf1, 0x7a, 0xd1, 0xb7, 0xd3, 0xf2,
	    0x1c, 0x06, 0x23, 0x3d, 0x80, 0x3b, 0x83, 0xc6, 0x5d, 0x1f, 0x35,
	    0x58, 0x3e, 0xd4, 0x1d, 0xb6, 0x7d, 0xc5, 0x3a, 0x00, 0xc8};
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_wire_hello hello;
	struct beam_wire_welcome welcome;

	(void)state;
	make_pair(key, &hello, &welcome);
	assert_memory_equal(hello.proof, hello_proof, sizeof(hello_proof));
	assert_memory_equal(welcome.proof, welcome_proof, sizeof(welcome_proof));
}

static void proofs_hold_only_for_what_they_were_made_of(void **state)
{
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_wire_hello hello;
	struct beam_wire_welcome welcome;

	(void)state;
	make_pair(key, &hello, &welcome);
	assert_int_equal(beam_wire_check_hello(key, &hello), 0);
	assert_int_equal(beam_wire_check_welcome(key, &hello, &welcome), 0);
	uint8_t *const fields[] = {key,         key + BEAM_TICKET_KEY_BYTES - 1,
				   hello.id,    hello.id + sizeof(hello.id) - 1,
				   hello.nonce, hello.nonce + sizeof(hello.nonce) - 1};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		*fields[i] ^= 1;
		assert_int_equal(beam_wire_check_hello(key, &hello), BEAM_E_DENIED);
		assert_int_equal(beam_wire_check_welcome(key, &hello, &welcome), BEAM_E_DENIED);
		*fields[i] ^= 1;
	}
	for (size_t bit = 0; bit < 8 * BEAM_PROOF_BYTES; bit++) {
		hello.proof[bit / 8] ^= (uint8_t)(1u << bit % 8);
		welcome.proof[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(beam_wire_check_hello(key, &hello), BEAM_E_DENIED);
		assert_int_equal(beam_wire_check_welcome(key, &hello, &welcome), BEAM_E_DENIED);
		hello.proof[bit / 8] ^= (uint8_t)(1u << bit % 8);
		welcome.proof[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	welcome.gen.counter++;
	assert_int_equal(beam_wire_check_welcome(key, &hello, &welcome), BEAM_E_DENIED);
	welcome.gen.counter--;
	welcome.gen.nonce ^= 1ull << 63;
	assert_int_equal(beam_wire_check_welcome(key, &hello, &welcome), BEAM_E_DENIED);
}

static void the_hello_is_no_answer(void **state)
{
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_wire_hello hello;
	struct beam_wire_welcome welcome;

	(void)state;
	make_pair(key, &hello, &welcome);
	memcpy(welcome.proof, hello.proof, sizeof(welcome.proof));
	assert_int_equal(beam_wire_check_welcome(key, &hello, &welcome), BEAM_E_DENIED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_message_comes_back),
	    cmocka_unit_test(the_bytes_are_little_endian_in_this_order),
	    cmocka_unit_test(a_part_of_a_message_needs_more),
	    cmocka_unit_test(a_bad_head_is_known_from_the_head_alone),
	    cmocka_unit_test(bad_bodies_are_refused),
	    cmocka_unit_test(a_text_without_end_is_cut_when_encoded),
	    cmocka_unit_test(proofs_are_the_hmacs_that_the_header_names),
	    cmocka_unit_test(proofs_hold_only_for_what_they_were_made_of),
	    cmocka_unit_test(the_hello_is_no_answer),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
