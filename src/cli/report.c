/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Output shared by the commands. cJSON reports lack of memory by NULL at each step; a program that
 * cannot get memory to print a few hundred bytes exits.
 */
#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "rdbeam/error.h"
#include "text.h"

#define FAIL_TEXT_BYTES 1024

/* Maps an error code (0 or negative) to rdbeam's exit code. */
static enum beam_exit exit_of(int code)
{
	switch (code) {
	case 0:
		return BEAM_EXIT_DONE;
	case BEAM_E_DENIED:
	case BEAM_E_BUSY:
	case BEAM_E_UNSUPPORTED:
	case BEAM_E_VERSION:
		return BEAM_EXIT_REFUSED;
	case BEAM_E_TORN:
	case BEAM_E_CRC:
	case BEAM_E_FORMAT:
	case BEAM_E_STALE:
	case BEAM_E_COUNT:
		return BEAM_EXIT_CORRUPT;
	default:
		return BEAM_EXIT_FAILED;
	}
}

static void fail_text(const struct beam_common *common, const char *code_name, const char *fmt,
		      va_list args) __attribute__((format(printf, 3, 0)));

static void fail_text(const struct beam_common *common, const char *code_name, const char *fmt,
		      va_list args)
{
	char text[FAIL_TEXT_BYTES];

	vsnprintf(text, sizeof(text), fmt, args);
	beam_text_plain(text); /* it may contain text from a server */
	fprintf(stderr, "rdbeam: %s\n", text);
	if (common && common->json) {
		cJSON *object = cJSON_CreateObject();

		beam_json_text(object, "error", text);
		beam_json_text(object, "code", code_name);
		beam_json_print(object);
	}
}

int beam_fail(const struct beam_common *common, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail_text(common, beam_error_name(code), fmt, args);
	va_end(args);
	return (int)exit_of(code);
}

int beam_fail_usage(const struct beam_common *common, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail_text(common, "USAGE", fmt, args);
	va_end(args);
	return BEAM_EXIT_USAGE;
}

void beam_remark(const struct beam_common *common, const char *fmt, ...)
{
	char text[FAIL_TEXT_BYTES];
	va_list args;

	if (common->quiet)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	beam_text_plain(text);
	fprintf(stderr, "rdbeam: %s\n", text);
}

/* ---- numbers for people ------------------------------------------------------------------- */

const char *beam_text_bytes(char *out, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, BEAM_TEXT_CAP, "%u B", (unsigned)bytes);
		return out;
	}
	value /= 1024;
	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(out, BEAM_TEXT_CAP, "%.*f %s",
		 value < 10    ? 2
		 : value < 100 ? 1
			       : 0,
		 value, units[unit]);
	return out;
}

const char *beam_text_count(char *out, uint64_t count)
{
	char digits[BEAM_TEXT_CAP];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	int used = 0;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[used++] = ',';
		out[used++] = digits[i];
	}
	out[used] = '\0';
	return out;
}

const char *beam_text_counted(char *out, uint64_t count, const char *noun)
{
	beam_text_count(out, count);
	size_t used = strlen(out);

	snprintf(out + used, BEAM_TEXT_CAP - used, " %s%s", noun, count == 1 ? "" : "s");
	return out;
}

const char *beam_text_ms(char *out, uint64_t ms)
{
	if (ms < 1000)
		snprintf(out, BEAM_TEXT_CAP, "%u ms", (unsigned)ms);
	else if (ms < 60 * 1000)
		snprintf(out, BEAM_TEXT_CAP, "%.2f s", (double)ms / 1000);
	else
		snprintf(out, BEAM_TEXT_CAP, "%" PRIu64 " min %02u s", ms / 60000,
			 (unsigned)(ms / 1000 % 60));
	return out;
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void must(const void *made)
{
	if (made)
		return;
	fputs("rdbeam: out of memory: JSON: free some\n", stderr);
	exit(BEAM_EXIT_FAILED);
}

void beam_json_u64(cJSON *object, const char *name, uint64_t value)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%" PRIu64, value);
	must(cJSON_AddRawToObject(object, name, digits));
}

void beam_json_i64(cJSON *object, const char *name, int64_t value)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%" PRId64, value);
	must(cJSON_AddRawToObject(object, name, digits));
}

void beam_json_seconds(cJSON *object, const char *name, uint64_t ms)
{
	char digits[32];

	snprintf(digits, sizeof(digits), "%" PRIu64 ".%03u", ms / 1000, (unsigned)(ms % 1000));
	must(cJSON_AddRawToObject(object, name, digits));
}

void beam_json_text(cJSON *object, const char *name, const char *value)
{
	char *text = beam_strdup(value);

	must(text);
	beam_text_utf8(text);
	must(cJSON_AddStringToObject(object, name, text));
	free(text);
}

void beam_json_bool(cJSON *object, const char *name, bool value)
{
	must(cJSON_AddBoolToObject(object, name, value));
}

void beam_json_decimal(cJSON *object, const char *name, double value, int decimals)
{
	char digits[352]; /* room for the largest double and the decimals */

	snprintf(digits, sizeof(digits), "%.*f", decimals, value);
	must(cJSON_AddRawToObject(object, name, digits));
}

void beam_json_add(cJSON *object, const char *name, cJSON *value)
{
	must(value);
	cJSON_AddItemToObject(object, name, value);
}

void beam_json_print(cJSON *object)
{
	char *text = cJSON_PrintUnformatted(object);

	must(text);
	puts(text);
	cJSON_free(text);
	cJSON_Delete(object);
}
