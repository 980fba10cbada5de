/* SPDX-License-Identifier: BSD-3-Clause
 * The fields of INFO rdbeam and RDBEAM.STATUS, from one table. Main thread. */
#ifndef BEAM_FIELDS_H
#define BEAM_FIELDS_H

#include "redis_api.h"

/* Callback for RM_RegisterInfoFunc. */
void beam_fields_info(RedisModuleInfoCtx *info, int for_crash_report);

/* Replies with all fields as a map (a flat array in RESP2). Returns REDISMODULE_OK. */
int beam_fields_reply(RedisModuleCtx *ctx);

#endif
