/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the server would write of its replication stream into a dump now, asked of the function that it has for that
 * (source: rdbSaveInfo in server.h, rdbPopulateSaveInfo in rdb.c of Redis 7.0.15 to 8.6, Valkey 7.2.7 to 9.1).
 */
#ifndef BEAM_SAVE_INFO_H
#define BEAM_SAVE_INFO_H

#include <stdbool.h>
#include <stdint.h>

/* On a replica: the database selected in its primary's stream, also while the link is down; -1: there is no stream that it could
 * go on with. False: the server hides the function, or it is another one. Main thread of the server. */
bool beam_save_info_stream_db(int64_t *db);

#endif
