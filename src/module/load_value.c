/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sets keys to values without a copy (docs/adr/0108).
 *
 * RM_StringSet takes a reference of its own, so the server finds two and copies. We take our
 * reference off the object's refcount just before the call, which leaves the server the only one,
 * and do not free the string afterwards. The API does not say where in the object the refcount is.
 * It is found by retaining a string and watching which bits count, and only on a server that was
 * seen to copy. */
#include "load_value.h"

#include <stdint.h>
#include <string.h>

#include "log.h"

#define HEAD_WORDS    2 /* of a string object, which begin every server's and contain the refcount */
#define TELLING_BYTES 256 /* shorter values may be copied by servers that move longer ones */

enum way {
	UNKNOWN,
	KEPT,   /* the server keeps the object, and with it the bytes */
	TRIED,  /* it copies; the next long value shows whether handing over helps */
	MOVED,  /* it moves the bytes if our reference is handed over */
	COPIED, /* it copies in any case */
};

static struct {
	enum way way;
	bool hand_over;
	int word;       /* index of the word with the refcount */
	uint64_t count; /* what one reference adds to that word */
} values;

void beam_load_value_begin(bool hand_over)
{
	values.way = UNKNOWN;
	values.hand_over = hand_over;
}

static void look(const RedisModuleString *value, uint64_t words[HEAD_WORDS])
{
	memcpy(words, value, HEAD_WORDS * sizeof(words[0]));
}

static void add(RedisModuleString *value, uint64_t count)
{
	uint64_t words[HEAD_WORDS];

	look(value, words);
	words[values.word] += count;
	memcpy(value, words, sizeof(words));
}

/* Finds the refcount of `value`, which has one reference. A field in one of the words must count 1,
 * 2, 3 with the references and return to 1, and nothing else may change. */
static bool find_count(RedisModuleString *value)
{
	uint64_t one[HEAD_WORDS], two[HEAD_WORDS], three[HEAD_WORDS], again[HEAD_WORDS];

	look(value, one);
	RedisModule_RetainString(NULL, value);
	look(value, two);
	RedisModule_RetainString(NULL, value);
	look(value, three);
	RedisModule_FreeString(NULL, value);
	RedisModule_FreeString(NULL, value);
	look(value, again);
	if (memcmp(one, again, sizeof(one)) != 0)
		return false;
	values.word = one[0] != two[0] ? 0 : 1;
	uint64_t step = two[values.word] - one[values.word];
	int other = 1 - values.word;

	values.count = step;
	return step && (step & (step - 1)) == 0 && !(step >> 62) &&
	       three[values.word] - two[values.word] == step && one[other] == two[other] &&
	       one[other] == three[other] && (one[values.word] & 3 * step) == step;
}

/* True if the key's value is still at the address that it had as a string. */
static bool has_bytes(RedisModuleKey *key, const char *bytes)
{
	size_t len_bytes;

	return RedisModule_StringDMA(key, &len_bytes, REDISMODULE_READ) == bytes;
}

static void tell(enum way way)
{
	values.way = way;
	if (way == MOVED)
		beam_log(BEAM_LOG_NOTICE, "loading by module: values are moved into their keys");
	else if (way == COPIED)
		beam_log(BEAM_LOG_NOTICE, "loading by module: the server copies each value");
}

static bool set(RedisModuleKey *key, RedisModuleString *value)
{
	size_t len_bytes;
	const char *bytes = RedisModule_StringPtrLen(value, &len_bytes);
	bool done = RedisModule_StringSet(key, value) == REDISMODULE_OK;

	if (done && values.way == UNKNOWN && len_bytes >= TELLING_BYTES) {
		if (has_bytes(key, bytes))
			tell(KEPT);
		else
			tell(values.hand_over && find_count(value) ? TRIED : COPIED);
	}
	RedisModule_FreeString(NULL, value);
	return done;
}

static bool hand_over(RedisModuleKey *key, RedisModuleString *value)
{
	size_t len_bytes;
	const char *bytes = RedisModule_StringPtrLen(value, &len_bytes);

	add(value, -values.count);
	if (RedisModule_StringSet(key, value) != REDISMODULE_OK) {
		add(value, values.count);
		RedisModule_FreeString(NULL, value);
		return false;
	}
	if (values.way == TRIED && len_bytes >= TELLING_BYTES)
		tell(has_bytes(key, bytes) ? MOVED : COPIED);
	return true;
}

bool beam_load_value_set(RedisModuleKey *key, RedisModuleString *value)
{
	if (values.way == TRIED || values.way == MOVED)
		return hand_over(key, value);
	return set(key, value);
}
