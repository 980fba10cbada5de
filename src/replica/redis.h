/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A Redis client connection on top of hiredis (RESP2, version 0.14 as in Debian 12). Options are as
 * in redis-cli; an error is one line that names the server and the remedy. Calls block; a
 * connection is used by one thread at a time. hiredis' conventions stay inside, except one: it
 * writes without MSG_NOSIGNAL, so programs must ignore SIGPIPE.
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
	char host[256]; /* or the socket's path, with is_unix */
	char first[64]; /* address of `host` to try first; "": none */
	uint32_t port;
	bool is_unix;
	char user[128];           /* "": the default user */
	char password[512];       /* "": none; never printed */
	char renamed[512];        /* renamed commands (redis_renamed.h); never printed */
	bool use_tls;             /* not with is_unix */
	struct beam_tls_opts tls; /* its strings belong to the caller and outlive this */
};

/* Parses "host:port", "[v6]:port", "host", "/path.sock" or "redis://[user:pass@]host[:port][/db]";
 * rediss:// is the same over TLS. Parts that `text` does not name keep the value in `addr`. Returns
 * 0 or -EINVAL (`addr` unchanged). */
int beam_redis_parse_addr(const char *text, struct beam_redis_addr *addr);

struct beam_redis;

/* Connects and authenticates; timeout_ms bounds the connecting and then each answer (0: wait for
 * ever). Returns 0; -ECONNREFUSED, -ETIMEDOUT, ...; BEAM_E_DENIED (wrong password, NOAUTH). On
 * failure `error` (BEAM_REDIS_ERROR_BYTES) holds one line that names the address and the remedy. */
int beam_redis_open(const struct beam_redis_addr *addr, int timeout_ms, char *error,
		    struct beam_redis **out);
/* The same for a server that may be busy: any answer, even the first, may take timeout_ms, but its
 * host must answer within host_ms (0: no separate limit) and is watched from then on. */
int beam_redis_open_busy(const struct beam_redis_addr *addr, int host_ms, int timeout_ms,
			 char *error, struct beam_redis **out);
/* Closes the connection. Accepts NULL; clears the pointer. */
void beam_redis_close(struct beam_redis **redis);

/* From now on, a connection that the server has closed between two commands is opened again to
 * `addr`, which must outlive it. Only for callers that keep no state in the connection: SELECT,
 * MULTI and the like are lost. NULL: do not reopen any more. */
void beam_redis_reopen_idle(struct beam_redis *redis, const struct beam_redis_addr *addr);
/* Closes a connection that may be reopened; the next command opens it again. */
void beam_redis_rest(struct beam_redis *redis);

/* From now on, a wait for an answer ends when the host has shown no sign of life for gone_ms,
 * however long its server is given to answer (-ETIMEDOUT and the like, "its host does not answer").
 * Not for use with much data in flight: a server that reads nothing looks the same. */
void beam_redis_watch_host(struct beam_redis *redis, int gone_ms);
/* A suitable gone_ms for steps of timeout_ms: two packets in a row may be lost. */
static inline int beam_redis_gone_ms(int timeout_ms)
{
	return timeout_ms < 2000 ? 4000 : timeout_ms > INT32_MAX / 2 ? INT32_MAX : 2 * timeout_ms;
}
/* Checks a watched host between two commands, without waiting. Returns 0, also when the server has
 * closed the connection, or -ETIMEDOUT with its line when the host is gone. */
int beam_redis_check_host(struct beam_redis *redis);
/* True once beam_redis_check_host or a command has found the host gone. */
bool beam_redis_was_gone(const struct beam_redis *redis);
/* True when the errno that ended the connection means that the host or the network is gone, rather
 * than that the server closed it. */
bool beam_redis_host_is_gone(const struct beam_redis *redis, int err);

/* Runs a command (hiredis format). Returns 0 with the reply in *reply, which the caller frees with
 * freeReplyObject (`reply` may be NULL to drop it). An error reply becomes BEAM_E_SERVER
 * (BEAM_E_DENIED for NOPERM, NOAUTH, WRONGPASS), with its text in beam_redis_error; other codes are
 * those of the connection. */
int beam_redis_command(struct beam_redis *redis, redisReply **reply, const char *format, ...);
/* The same with a va_list. */
int beam_redis_commandv(struct beam_redis *redis, redisReply **reply, const char *format,
			va_list ap);
/* The same with separate arguments of argvlen[i] bytes. */
int beam_redis_argv(struct beam_redis *redis, redisReply **reply, int argc, const char **argv,
		    const size_t *argvlen);

/* Copies the value of one INFO field of `section` (for example "replication", "master_replid") to
 * `out`. Returns 0, -ENOENT (`out` is ""), -ERANGE when it does not fit, or an error of the
 * connection. */
int beam_redis_info(struct beam_redis *redis, const char *section, const char *field, char *out,
		    size_t cap);
/* The same as a number; -ENOENT also when the value is not a number. */
int beam_redis_info_int(struct beam_redis *redis, const char *section, const char *field,
			int64_t *out);

/* Finds a field in the text of an INFO reply (NUL-terminated). Returns 0, -ENOENT (`out` is ""), or
 * -ERANGE when the value does not fit. */
int beam_redis_info_field(const char *info, const char *field, char *out, size_t cap);

/* Reads the value of a configuration parameter. Returns 0; otherwise `out` is "" and the code is
 * BEAM_E_PROTO when there is no such value or it does not fit, or an error of the connection or of
 * a server that does not let us read it. */
int beam_redis_config(struct beam_redis *redis, const char *name, char *out, size_t cap);

/* Looks up a key in a flat map reply ["k", v, "k", v ...], the RESP2 form of a map. Returns NULL
 * when it is absent. The result belongs to `map`. */
const redisReply *beam_reply_field(const redisReply *map, const char *key);

/* Decodes a field of 2 * len_bytes hex digits. Returns 0 or BEAM_E_PROTO. */
int beam_reply_hex(const redisReply *map, const char *field, uint8_t *out, size_t len_bytes);

/* Sets how long to wait for a reply before -ETIMEDOUT; 0: for ever. Returns 0 or an error of the
 * connection. */
int beam_redis_set_timeout(struct beam_redis *redis, int timeout_ms);

/* The text of the last failure: the server's own for an error reply, otherwise a line that names
 * the server. Valid until the next command. */
const char *beam_redis_error(const struct beam_redis *redis);
const char *beam_redis_name(const struct beam_redis *redis); /* "host:port" for messages */
redisContext *beam_redis_context(struct beam_redis *redis);  /* for pipelining */
/* The connection's TCP socket, to query its addresses. Over TLS the context's fd is a different
 * one. */
int beam_redis_socket(const struct beam_redis *redis);
/* The peer's address as text; "" for a unix socket. */
void beam_redis_peer(const struct beam_redis *redis, char *out, size_t cap);

#endif
