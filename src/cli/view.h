/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A server's state at one moment: INFO, and RDBEAM.STATUS where the module is loaded.
 */
#ifndef BEAM_VIEW_H
#define BEAM_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "redis.h"

struct beam_view {
	redisReply *info;   /* text of INFO */
	redisReply *status; /* RDBEAM.STATUS, NULL without the module */
};

/* Queries the server and frees what the view held before. The view starts zeroed. Returns 0, or a
 * negative code with the reason in beam_redis_error. */
int beam_view_refresh(struct beam_view *view, struct beam_redis *redis);
/* Frees the replies. May be called again. */
void beam_view_close(struct beam_view *view);

/* A field of INFO; "" or `fallback` when it is absent. */
void beam_view_info(const struct beam_view *view, const char *field, char *out, size_t cap);
int64_t beam_view_info_number(const struct beam_view *view, const char *field, int64_t fallback);
/* Number of keys in all databases, from INFO keyspace. */
uint64_t beam_view_keys(const struct beam_view *view);

/* A field of RDBEAM.STATUS as text or number; "" or `fallback` when it or the module is absent. The
 * text is valid until the next refresh. */
const char *beam_view_status(const struct beam_view *view, const char *field);
int64_t beam_view_status_number(const struct beam_view *view, const char *field, int64_t fallback);

#endif
