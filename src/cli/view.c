/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fetches a server's state. A server without the module answers RDBEAM.STATUS with "unknown
 * command".
 */
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdbeam/error.h"

void beam_view_close(struct beam_view *view)
{
	if (view->info)
		freeReplyObject(view->info);
	if (view->status)
		freeReplyObject(view->status);
	view->info = NULL;
	view->status = NULL;
}

int beam_view_refresh(struct beam_view *view, struct beam_redis *redis)
{
	int code;

	beam_view_close(view);
	code = beam_redis_command(redis, &view->status, "RDBEAM.STATUS");
	if (code == BEAM_E_SERVER && (strstr(beam_redis_error(redis), "unknown command") ||
				      strncmp(beam_redis_error(redis), "LOADING", 7) == 0))
		code = 0; /* while the server loads, INFO still works and tells how far it is */
	if (code == 0)
		code = beam_redis_command(redis, &view->info, "INFO");
	if (code == 0 && view->info->type != REDIS_REPLY_STRING)
		code = BEAM_E_PROTO;
	return code;
}

void beam_view_info(const struct beam_view *view, const char *field, char *out, size_t cap)
{
	if (beam_redis_info_field(view->info->str, field, out, cap) != 0)
		out[0] = '\0';
}

static int64_t number_of(const char *text, int64_t fallback)
{
	long long value;
	char *end;

	errno = 0;
	value = strtoll(text, &end, 10);
	/* A fraction ("1.50") counts as its integer part. */
	return errno || end == text ? fallback : value;
}

int64_t beam_view_info_number(const struct beam_view *view, const char *field, int64_t fallback)
{
	char text[64];

	beam_view_info(view, field, text, sizeof(text));
	return number_of(text, fallback);
}

uint64_t beam_view_keys(const struct beam_view *view)
{
	uint64_t keys = 0;
	const char *at = strstr(view->info->str, "# Keyspace");

	if (!at)
		return 0;
	while ((at = strstr(at, ":keys=")) != NULL) {
		at += strlen(":keys=");
		keys += (uint64_t)number_of(at, 0);
	}
	return keys;
}

const char *beam_view_status(const struct beam_view *view, const char *field)
{
	const redisReply *value = beam_reply_field(view->status, field);

	if (!value || (value->type != REDIS_REPLY_STRING && value->type != REDIS_REPLY_STATUS))
		return "";
	return value->str;
}

int64_t beam_view_status_number(const struct beam_view *view, const char *field, int64_t fallback)
{
	const redisReply *value = beam_reply_field(view->status, field);

	if (!value)
		return fallback;
	if (value->type == REDIS_REPLY_INTEGER)
		return value->integer;
	if (value->type == REDIS_REPLY_STRING || value->type == REDIS_REPLY_STATUS)
		return number_of(value->str, fallback);
	return fallback;
}
