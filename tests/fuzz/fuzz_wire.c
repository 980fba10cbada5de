/* SPDX-License-Identifier: BSD-3-Clause
 * The input is what a peer sends: a sequence of messages. An accepted one must encode to the bytes
 * it came from (texts: to the same text), and any prefix of it must ask for more. */
#include "fuzz.h"

#include <string.h>

#include "rdb.h"
#include "rdbeam/error.h"
#include "wire.h"

static void check_message(const uint8_t *data, size_t size, const struct beam_wire_message *message)
{
	uint8_t bytes[BEAM_WIRE_MESSAGE_MAX];
	struct beam_wire_message part;

	FUZZ_CHECK(size <= BEAM_WIRE_MESSAGE_MAX);
	FUZZ_CHECK(beam_wire_encode(message, bytes) == size);
	if (message->type == BEAM_WIRE_REFUSED || message->type == BEAM_WIRE_STALE ||
	    message->type == BEAM_WIRE_FAILED) {
		/* What follows the end of the text is not encoded again. */
		size_t text_end = BEAM_WIRE_HEAD_BYTES + 4 + strlen(message->text.text) + 1;

		FUZZ_CHECK(text_end <= size);
		FUZZ_CHECK(!memcmp(bytes, data, text_end));
	} else {
		FUZZ_CHECK(!memcmp(bytes, data, size));
	}
	FUZZ_CHECK(beam_wire_decode(data, size - 1, &part) == 0);
	if (message->type == BEAM_WIRE_DATA)
		FUZZ_CHECK(message->data.len_bytes <= BEAM_WIRE_READ_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beam_wire_message message;
	size_t at = 0;
	int n;

	while ((n = beam_wire_decode(data + at, size - at, &message)) > 0) {
		FUZZ_CHECK((size_t)n <= size - at);
		check_message(data + at, (size_t)n, &message);
		at += (size_t)n;
	}
	FUZZ_CHECK(n == 0 || n == BEAM_E_PROTO);
	if (n == 0)
		FUZZ_CHECK(size - at < BEAM_WIRE_MESSAGE_MAX); /* fits in a session's buffer */
	return 0;
}

#ifdef RDBEAM_FUZZERS
/* Mutates, and then gives most messages the length of their type again. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static const uint8_t lengths[] = {56, 56, 4, 16, 24, 16, 8, 4, 4, 4, 16, 4, 4};

	size = LLVMFuzzerMutate(data, size, max_size);
	for (size_t at = 0; seed % 4 && size - at >= BEAM_WIRE_HEAD_BYTES;) {
		uint16_t type = (uint16_t)(1 + data[at] % (sizeof(lengths)));
		uint32_t body = lengths[type - 1];

		if (type == BEAM_WIRE_REFUSED || type == BEAM_WIRE_STALE ||
		    type == BEAM_WIRE_FAILED)
			body = 4 + BEAM_TEXT_BYTES;
		beam_put_le16(data + at, type);
		beam_put_le16(data + at + 2, 0);
		beam_put_le32(data + at + 4, body);
		at += BEAM_WIRE_HEAD_BYTES + body;
		if (at > size)
			break;
	}
	return size;
}
#endif
