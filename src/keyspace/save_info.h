/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the server would write about its replication stream into a dump now, from the function that
 * it has for this (source: rdbSaveInfo in server.h, rdbPopulateSaveInfo in rdb.c of Redis 7.0.15 to
 * 8.6, Valkey 7.2.7 to 9.1).
 */
#ifndef BEAM_SAVE_INFO_H
#define BEAM_SAVE_INFO_H

#include <stdbool.h>
#include <stdint.h>

/* On a replica: gets the database that is selected in the primary's stream, even while the link is
 * down; -1: there is no stream that it could continue. False: the server does not export the
 * function, or it is not the one that is known; then *db must not be used. Call it on the server's
 * main thread. */
bool beam_save_info_stream_db(int64_t *db);

#endif
