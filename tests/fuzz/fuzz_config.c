/* SPDX-License-Identifier: BSD-3-Clause
 * The input is words separated by NULs: arguments of loadmodule, and the same words again as values
 * of CONFIG SET and as the server's answers to CONFIG GET and ACL GETUSER. No value may exceed the
 * bounds in its row, a refusal must say why, and the daemon must accept the message that is sent to
 * it. */
#include "fuzz.h"

#include <stdarg.h>
#include <string.h>

#include "config.h"
#include "settings.h"

#define WORDS_MAX    64
#define SETTINGS_MAX 64
#define BYTES_MAX    4096

struct RedisModuleString {
	char *text;
	size_t len;
};

struct RedisModuleCallReply {
	const char *text; /* NULL: an array */
};

static struct RedisModuleString words[WORDS_MAX];
static size_t nwords, next_word;
static struct RedisModuleCallReply array, element;

static const char *word(void)
{
	return nwords ? words[next_word++ % nwords].text : "";
}

/* ---- the server ----------------------------------------------------------------------------- */

static const char *string_text(const RedisModuleString *string, size_t *len)
{
	if (len)
		*len = string->len;
	return string->text;
}

static RedisModuleString *create_string(RedisModuleCtx *ctx, const char *text, size_t len)
{
	struct RedisModuleString *string = malloc(sizeof(*string));

	(void)ctx;
	FUZZ_CHECK(string);
	string->text = malloc(len + 1);
	FUZZ_CHECK(string->text);
	memcpy(string->text, text, len);
	string->text[len] = 0;
	string->len = len;
	return string;
}

static void free_string(RedisModuleCtx *ctx, RedisModuleString *string)
{
	(void)ctx;
	free(string->text);
	free(string);
}

static void log_nothing(RedisModuleCtx *ctx, const char *level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void log_nothing(RedisModuleCtx *ctx, const char *level, const char *format, ...)
{
	char text[2048];
	va_list args;

	(void)ctx;
	(void)level;
	va_start(args, format);
	FUZZ_CHECK(vsnprintf(text, sizeof(text), format, args) > 0);
	va_end(args);
}

/* An empty word stands for a renamed command. */
static RedisModuleCallReply *call(RedisModuleCtx *ctx, const char *command, const char *format, ...)
{
	(void)ctx;
	(void)command;
	(void)format;
	element.text = word();
	return element.text[0] ? &array : NULL;
}

static void free_reply(RedisModuleCallReply *reply)
{
	(void)reply;
}

static int reply_type(RedisModuleCallReply *reply)
{
	return reply->text ? REDISMODULE_REPLY_STRING : REDISMODULE_REPLY_ARRAY;
}

static size_t reply_length(RedisModuleCallReply *reply)
{
	return reply->text ? strlen(reply->text) : 2;
}

static RedisModuleCallReply *reply_element(RedisModuleCallReply *reply, size_t at)
{
	/* The second element of ACL GETUSER is an array itself: one level only. */
	return reply->text || at > 1 ? NULL : &element;
}

static const char *reply_text(RedisModuleCallReply *reply, size_t *len)
{
	*len = reply->text ? strlen(reply->text) : 0;
	return reply->text;
}

/* ---- what is registered --------------------------------------------------------------------- */

static void check_error(int rc, RedisModuleString *error)
{
	FUZZ_CHECK((rc != REDISMODULE_OK) == (error != NULL));
	if (error) {
		FUZZ_CHECK(error->len > 0);
		free_string(NULL, error);
	}
}

static int register_number(RedisModuleCtx *ctx, const char *name, long long preset, unsigned flags,
			   long long min, long long max, RedisModuleConfigGetNumericFunc get,
			   RedisModuleConfigSetNumericFunc set, RedisModuleConfigApplyFunc apply,
			   void *arg)
{
	const struct setting *row = arg;
	RedisModuleString *error = NULL;
	long long value = strtoll(word(), NULL, 10);

	(void)flags;
	FUZZ_CHECK(preset >= min && preset <= max);
	FUZZ_CHECK(set(name, preset, arg, &error) == REDISMODULE_OK && get(name, arg) == preset);
	int rc = set(name, value, arg, &error);

	check_error(rc, error);
	FUZZ_CHECK(get(name, arg) == (rc == REDISMODULE_OK ? value : preset));
	FUZZ_CHECK(get(name, arg) >= row->min && get(name, arg) <= row->max);
	FUZZ_CHECK(!row->multiple || get(name, arg) % row->multiple == 0);
	error = NULL;
	return apply(ctx, arg, &error);
}

static int register_bool(RedisModuleCtx *ctx, const char *name, int preset, unsigned flags,
			 RedisModuleConfigGetBoolFunc get, RedisModuleConfigSetBoolFunc set,
			 RedisModuleConfigApplyFunc apply, void *arg)
{
	RedisModuleString *error = NULL;

	(void)flags;
	FUZZ_CHECK(preset == 0 || preset == 1);
	FUZZ_CHECK(set(name, preset, arg, &error) == REDISMODULE_OK && get(name, arg) == preset);
	return apply(ctx, arg, &error);
}

static int register_enum(RedisModuleCtx *ctx, const char *name, int preset, unsigned flags,
			 const char **names, const int *values, int n,
			 RedisModuleConfigGetEnumFunc get, RedisModuleConfigSetEnumFunc set,
			 RedisModuleConfigApplyFunc apply, void *arg)
{
	RedisModuleString *error = NULL;

	(void)flags;
	FUZZ_CHECK(preset >= 0 && preset < n && values[preset] == preset && names[preset]);
	FUZZ_CHECK(set(name, preset, arg, &error) == REDISMODULE_OK && get(name, arg) == preset);
	return apply(ctx, arg, &error);
}

static int register_text(RedisModuleCtx *ctx, const char *name, const char *preset, unsigned flags,
			 RedisModuleConfigGetStringFunc get, RedisModuleConfigSetStringFunc set,
			 RedisModuleConfigApplyFunc apply, void *arg)
{
	RedisModuleString *error = NULL, *value;

	(void)flags;
	FUZZ_CHECK(strcmp(get(name, arg)->text, preset) == 0);
	const char *asked = word();

	value = create_string(NULL, asked, strlen(asked));
	int rc = set(name, value, arg, &error);

	check_error(rc, error);
	FUZZ_CHECK(strcmp(get(name, arg)->text, rc == REDISMODULE_OK ? value->text : preset) == 0);
	free_string(NULL, value);
	error = NULL;
	return apply(ctx, arg, &error);
}

static int load_configs(RedisModuleCtx *ctx)
{
	(void)ctx;
	return REDISMODULE_OK;
}

static void be_the_server(void)
{
	RedisModule_StringPtrLen = string_text;
	RedisModule_CreateString = create_string;
	RedisModule_FreeString = free_string;
	RedisModule_Log = log_nothing;
	RedisModule_Call = call;
	RedisModule_FreeCallReply = free_reply;
	RedisModule_CallReplyType = reply_type;
	RedisModule_CallReplyLength = reply_length;
	RedisModule_CallReplyArrayElement = reply_element;
	RedisModule_CallReplyStringPtr = reply_text;
	RedisModule_RegisterNumericConfig = register_number;
	RedisModule_RegisterBoolConfig = register_bool;
	RedisModule_RegisterEnumConfig = register_enum;
	RedisModule_RegisterStringConfig = register_text;
	RedisModule_LoadConfigs = load_configs;
}

/* ---- one input ------------------------------------------------------------------------------ */

static void on_change(void)
{
}

static void check_message(void)
{
	struct beam_ctl_config message;

	beam_config_message(NULL, &message);
	FUZZ_CHECK(message.port <= 65535);
	FUZZ_CHECK(message.nbind <= sizeof(message.bind) / sizeof(message.bind[0]));
	for (uint32_t i = 0; i < message.nbind; i++)
		FUZZ_CHECK(memchr(message.bind[i], 0, sizeof(message.bind[i])) &&
			   message.bind[i][0]);
	FUZZ_CHECK(message.segment_bytes && message.segment_bytes % BEAM_SEGMENT_ALIGN == 0 &&
		   message.segment_bytes <= BEAM_SEGMENT_MAX);
	FUZZ_CHECK(message.hugepages <= BEAM_HUGEPAGES_NO &&
		   message.transport <= BEAM_TRANSPORT_OFF);
}

static void split(char *text, size_t size)
{
	nwords = next_word = 0;
	for (size_t at = 0; at < size && nwords < WORDS_MAX; at += strlen(text + at) + 1)
		words[nwords++] =
		    (struct RedisModuleString){.text = text + at, .len = strlen(text + at)};
}

static void forget(const struct setting *rows)
{
	memcpy(beam_settings, rows, beam_nsettings * sizeof(*rows));
	free(beam_config.bind);
	free(beam_config.daemon);
	memset(&beam_config, 0, sizeof(beam_config));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct setting rows[SETTINGS_MAX];
	RedisModuleString *argv[WORDS_MAX];
	char *text;

	if (size == 0 || size > BYTES_MAX)
		return 0;
	if (!rows[0].name) {
		FUZZ_CHECK(beam_nsettings <= SETTINGS_MAX);
		memcpy(rows, beam_settings, beam_nsettings * sizeof(*rows));
		be_the_server();
	}
	text = malloc(size + 1);
	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = 0;
	split(text, size);
	for (size_t i = 0; i < nwords; i++)
		argv[i] = &words[i];
	if (beam_config_load(NULL, argv, (int)nwords, on_change) == 0)
		check_message();
	forget(rows);
	free(text);
	return 0;
}

#ifdef RDBEAM_FUZZERS
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	(void)seed;
	return LLVMFuzzerMutate(data, size, max_size);
}
#endif
