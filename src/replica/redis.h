/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A Redis client connection over hiredis (RESP2, Debian 12's 0.14): options as in redis-cli, errors
 * as one line that names the server and the remedy. Blocking, one thread. hiredis' conventions end
 * here, but one: it writes without MSG_NOSIGNAL, so programs ignore SIGPIPE.
 */
#ifndef BEAM_REDIS_H
#define BEAM_REDIS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

#include "tunnel.h"

#define BEAM_REDIS_ERROR_BYTES 512

struct beam_redis_addr {
	char host[256]; /* or socket path with is_unix */
	char first[64]; /* the address of `host` to try before others; "" : none */
	uint32_t port;
	bool is_unix;
	char user[128];           /* "" default */
	char password[512];       /* "" none; never printed */
	char renamed[512];        /* commands by other names (redis_renamed.h); never printed */
	bool use_tls;             /* not with is_unix */
	struct beam_tls_opts tls; /* its strings are the caller's and outlive the address */
};

/* Parses "host:port", "[v6]:port", "host", "/path.sock" or "redis://[user:pass@]host[:port][/db]";
 * rediss:// is the same over TLS. Fields not named keep what `addr` holds. 0 or -EINVAL. */
int beam_redis_parse_addr(const char *text, struct beam_redis_addr *addr);

struct beam_redis;

/* Connects, authenticates. On failure `error` (BEAM_REDIS_ERROR_BYTES) has one line naming address
 * and remedy. 0; -ECONNREFUSED, -ETIMEDOUT, ...; BEAM_E_DENIED (wrong password, NOAUTH). */
int beam_redis_open(const struct beam_redis_addr *addr, int timeout_ms, char *error,
		    struct beam_redis **out);
/* The same where an answer, the first one too, may take timeout_ms, but the host must show within host_ms (0: no sooner), and is
 * watched. */
int beam_redis_open_busy(const struct beam_redis_addr *addr, int host_ms, int timeout_ms,
			 char *error, struct beam_redis **out);
void beam_redis_close(struct beam_redis **redis);

/* From now on a connection that the server has closed between two commands is opened anew at `addr`, which
 * outlives it. Only for who leaves nothing in a connection: SELECT, MULTI and the like are gone. NULL: no
 * longer. */
void beam_redis_reopen_idle(struct beam_redis *redis, const struct beam_redis_addr *addr);
/* Closes one that may be reopened, until something is asked of it. */
void beam_redis_rest(struct beam_redis *redis);

/* From now on a host that gives no sign of life for gone_ms ends the wait for an answer (-ETIMEDOUT and the like, "its
 * host does not answer"), however long its server is given for it. Not with much in flight to a server: one that
 * takes nothing looks the same. */
void beam_redis_watch_host(struct beam_redis *redis, int gone_ms);
/* What is enough for that where one step has timeout_ms: a packet may be lost, and the next. */
static inline int beam_redis_gone_ms(int timeout_ms)
{
	return timeout_ms < 2000 ? 4000 : timeout_ms > INT32_MAX / 2 ? INT32_MAX : 2 * timeout_ms;
}
/* Between two commands: 0, also where the server has closed the connection, or -ETIMEDOUT with its line when the host that
 * is watched is gone. Does not wait. */
int beam_redis_check_host(struct beam_redis *redis);
/* True once that, or a command, has told so. */
bool beam_redis_was_gone(const struct beam_redis *redis);
/* By errno of the connection's end: it is not the server that ended it, its host or the network is gone. */
bool beam_redis_host_is_gone(const struct beam_redis *redis, int err);

/* Runs a command (hiredis format). Error replies become BEAM_E_SERVER (BEAM_E_DENIED for NOPERM,
 * NOAUTH, WRONGPASS) with the text in beam_redis_error. *reply is the caller's to freeReplyObject;
 * `reply` may be NULL to drop it. */
int beam_redis_command(struct beam_redis *redis, redisReply **reply, const char *format, ...);
int beam_redis_commandv(struct beam_redis *redis, redisReply **reply, const char *format,
			va_list ap);
int beam_redis_argv(struct beam_redis *redis, redisReply **reply, int argc, const char **argv,
		    const size_t *argvlen);

/* Value of a field of INFO `section` ("replication", "master_replid") copied to `out`.
 * 0, -ENOENT (out is ""), -ERANGE when it does not fit, or an error of the connection. */
int beam_redis_info(struct beam_redis *redis, const char *section, const char *field, char *out,
		    size_t cap);
/* The field as a number; -ENOENT too when it is not one. */
int beam_redis_info_int(struct beam_redis *redis, const char *section, const char *field,
			int64_t *out);

/* A field's line in INFO's text, already fetched (NUL-terminated). 0, -ENOENT (out is ""), -ERANGE
 * when the value does not fit. */
int beam_redis_info_field(const char *info, const char *field, char *out, size_t cap);

/* The value of a configuration parameter. 0; or with "" in `out` BEAM_E_PROTO when there is none that fits, or an
 * error of the connection or of a server that does not let it be read. */
int beam_redis_config(struct beam_redis *redis, const char *name, char *out, size_t cap);

/* Looks a key up in a flat map reply ["k", v, "k", v ...] (RESP2 form of a map); NULL if absent. */
const redisReply *beam_reply_field(const redisReply *map, const char *key);

/* A field's text of 2 * len_bytes hex digits as bytes. 0 or BEAM_E_PROTO. */
int beam_reply_hex(const redisReply *map, const char *field, uint8_t *out, size_t len_bytes);

/* No reply within this: -ETIMEDOUT. 0: wait for ever. */
int beam_redis_set_timeout(struct beam_redis *redis, int timeout_ms);

/* Of the last failure: the server's own text for an error reply, else a line that names the server.
 * Lives until the next command. */
const char *beam_redis_error(const struct beam_redis *redis);
const char *beam_redis_name(const struct beam_redis *redis); /* "host:port" for messages */
redisContext *beam_redis_context(struct beam_redis *redis);  /* for pipelining */
/* The connection's socket, for its addresses; over TLS the context's fd is another. */
int beam_redis_socket(const struct beam_redis *redis);
/* The address at its other end as text; "" of a unix socket. */
void beam_redis_peer(const struct beam_redis *redis, char *out, size_t cap);

#endif
