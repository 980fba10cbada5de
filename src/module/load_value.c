/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An object with the reference taken away that its maker has is what RM_StringSet makes an object with one reference of.
 * Where the count stands is found by counting, never known. */
#include "load_value.h"

#include <stdint.h>
#include <string.h>

#include "log.h"

#define HEAD_WORDS 2 /* of every string object of the server; the count is in there */

enum way {
	UNKNOWN,
	KEPT,   /* the server keeps the object, and its bytes with it */
	TRIED,  /* copies; the next reference is handed over, and looked whether that helps */
	MOVED,  /* does not copy when the reference is handed over */
	COPIED, /* copies in any case */
};

static struct {
	enum way way;
	bool hand_over;
	int word;       /* of the object, where the count is */
	uint64_t count; /* one reference, as it stands there */
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

/* `value` has one reference. With two and three, a field of one of its words counts 1, 2, 3, and nothing else changes. */
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

/* The bytes are where they were when the value was made. */
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
	const char *bytes = RedisModule_StringPtrLen(value, NULL);
	bool done = RedisModule_StringSet(key, value) == REDISMODULE_OK;

	if (done && values.way == UNKNOWN) {
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
	const char *bytes = RedisModule_StringPtrLen(value, NULL);

	add(value, -values.count);
	if (RedisModule_StringSet(key, value) != REDISMODULE_OK) {
		add(value, values.count);
		RedisModule_FreeString(NULL, value);
		return false;
	}
	if (values.way == TRIED)
		tell(has_bytes(key, bytes) ? MOVED : COPIED);
	return true;
}

bool beam_load_value_set(RedisModuleKey *key, RedisModuleString *value)
{
	if (values.way == TRIED || values.way == MOVED)
		return hand_over(key, value);
	return set(key, value);
}
