/* SPDX-License-Identifier: BSD-3-Clause
 * The fields of INFO rdbeam and RDBEAM.STATUS: one table serves both. Main thread. */
#ifndef BEAM_FIELDS_H
#define BEAM_FIELDS_H

#include "redis_api.h"

/* RM_RegisterInfoFunc's callback. */
void beam_fields_info(RedisModuleInfoCtx *info, int for_crash_report);

/* Replies all fields as a map (flat array in RESP2). */
int beam_fields_reply(RedisModuleCtx *ctx);

#endif
