/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a server says of itself at one moment: INFO, and RDBEAM.STATUS where the module is loaded.
 */
#ifndef BEAM_VIEW_H
#define BEAM_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "redis.h"

struct beam_view {
	redisReply *info;   /* INFO's text */
	redisReply *status; /* RDBEAM.STATUS, NULL without the module */
};

/* Asks the server; frees what the view held before. The view starts zeroed. 0, or a negative code
 * with the reason in beam_redis_error. */
int beam_view_refresh(struct beam_view *view, struct beam_redis *redis);
void beam_view_close(struct beam_view *view);

/* A field of INFO; "" or `fallback` when it is not there. */
void beam_view_info(const struct beam_view *view, const char *field, char *out, size_t cap);
int64_t beam_view_info_number(const struct beam_view *view, const char *field, int64_t fallback);
/* Keys in all databases, by INFO keyspace. */
uint64_t beam_view_keys(const struct beam_view *view);

/* A field of RDBEAM.STATUS, its text or number; "" or `fallback` without it or the module. The text
 * lives until the next refresh. */
const char *beam_view_status(const struct beam_view *view, const char *field);
int64_t beam_view_status_number(const struct beam_view *view, const char *field, int64_t fallback);

#endif
