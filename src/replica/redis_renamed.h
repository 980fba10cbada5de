/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands that a server has under another name (rename-command), as its operator tells them:
 * "CONFIG=name REPLICAOF=name". No reply of a server tells them. The names are secrets.
 */
#ifndef BEAM_REDIS_RENAMED_H
#define BEAM_REDIS_RENAMED_H

#include <stddef.h>

/* 0, or -EINVAL for a list that is not written so. */
int beam_redis_renamed_check(const char *list);

/* The same request by the other name, to be freed, in *out. `request` is as hiredis formats it. 0 with its
 * length in *len, -ENOENT if the list has no other name for it, -ENOMEM. */
int beam_redis_renamed(const char *list, const char *request, size_t request_bytes, char **out,
		       size_t *len);

#endif
