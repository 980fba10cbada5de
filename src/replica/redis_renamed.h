/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands that a server has under another name (rename-command), as its operator configures them
 * for us: "CONFIG=name REPLICAOF=name". A server never reveals these names; they are secrets.
 */
#ifndef BEAM_REDIS_RENAMED_H
#define BEAM_REDIS_RENAMED_H

#include <stddef.h>

/* Returns 0, or -EINVAL for a list that is not of this form. */
int beam_redis_renamed_check(const char *list);

/* Rewrites a request to use the command's other name. `request` is as hiredis formats it. Returns 0
 * with the new request in *out (the caller frees it) and its length in *len, -ENOENT when the list
 * has no other name for this command, or -ENOMEM. */
int beam_redis_renamed(const char *list, const char *request, size_t request_bytes, char **out,
		       size_t *len);

#endif
