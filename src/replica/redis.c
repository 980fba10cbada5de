/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One client connection to Redis. hiredis reports errors by NULL, err and errstr; this file turns
 * them into our codes and one line of text.
 */
#include "redis_connect.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "rdbeam/error.h"
#include "redis_renamed.h"
#include "tell.h"

#define IDLE_LEAST_MS 1000 /* the shortest `timeout` a server can have */

/* ---- errors ------------------------------------------------------------------------------- */

/* Copies a server's error text as a single line, whatever characters it contains. */
static void set_error_reply(struct beam_redis *redis, const redisReply *reply)
{
	size_t len = (size_t)reply->len;
	size_t used = 0;

	for (size_t i = 0; i < len && used + 1 < sizeof(redis->error); i++) {
		char c = reply->str[i];

		if ((unsigned char)c < 0x20 || c == 0x7f)
			c = ' ';
		redis->error[used++] = c;
	}
	redis->error[used] = '\0';
}

static int error_reply_code(const char *text)
{
	static const char *const denials[] = {"NOPERM", "NOAUTH", "WRONGPASS", "DENIED"};

	for (size_t i = 0; i < sizeof(denials) / sizeof(denials[0]); i++) {
		if (beam_starts_with(text, denials[i]))
			return BEAM_E_DENIED;
	}
	return BEAM_E_SERVER;
}

/* ---- its life ---------------------------------------------------------------------------- */

static void name_connection(const struct beam_redis_addr *addr, char *name, size_t cap)
{
	if (addr->is_unix)
		snprintf(name, cap, "%s", addr->host);
	else if (strchr(addr->host, ':'))
		snprintf(name, cap, "[%s]:%u", addr->host, addr->port);
	else
		snprintf(name, cap, "%s:%u", addr->host, addr->port);
}

static int reopen(struct beam_redis *redis)
{
	const struct beam_redis_addr *addr = redis->again;

	beam_redis_disconnect(redis);
	redis->again = NULL; /* must not recurse */
	int timeout_ms = redis->timeout_ms;
	int code = beam_redis_connect(redis, addr, redis->connect_ms);

	code = code ? code : beam_redis_limit(redis, timeout_ms);
	if (code)
		beam_redis_disconnect(redis);
	redis->timeout_ms = timeout_ms;
	redis->again = addr;
	return code;
}

/* Called before a command. No request is outstanding, so if anything is readable it is the end of
 * the connection. A server with `timeout` closes connections that were idle, as a pull's are while
 * an image is fetched or loaded. */
static int wake(struct beam_redis *redis)
{
	struct pollfd pfd = {.fd = redis->context ? redis->context->fd : -1, .events = POLLIN};

	redis->error[0] = '\0';
	if (redis->context && (!redis->again || poll(&pfd, 1, 0) <= 0))
		return 0;
	if (redis->again)
		return reopen(redis);
	snprintf(redis->error, sizeof(redis->error), "connection lost: %s", redis->name);
	return BEAM_E_GONE;
}

int beam_redis_open_busy(const struct beam_redis_addr *addr, int host_ms, int timeout_ms,
			 char *error, struct beam_redis **out)
{
	struct beam_redis *redis = calloc(1, sizeof(*redis));
	int code;

	error[0] = '\0';
	if (!redis) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "out of memory: connection: free some");
		return -ENOMEM;
	}
	name_connection(addr, redis->name, sizeof(redis->name));
	redis->connect_ms = timeout_ms;
	redis->host_ms = host_ms;
	redis->gone_ms = host_ms ? beam_redis_gone_ms(host_ms) : 0;
	code = beam_redis_connect(redis, addr, timeout_ms);
	if (code != 0) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", redis->error);
		beam_redis_close(&redis);
		return code;
	}
	redis->error[0] = '\0';
	*out = redis;
	return 0;
}

int beam_redis_open(const struct beam_redis_addr *addr, int timeout_ms, char *error,
		    struct beam_redis **out)
{
	return beam_redis_open_busy(addr, 0, timeout_ms, error, out);
}

void beam_redis_close(struct beam_redis **redis)
{
	if (!*redis)
		return;
	beam_redis_disconnect(*redis);
	explicit_bzero((*redis)->renamed, sizeof((*redis)->renamed));
	free(*redis);
	*redis = NULL;
}

void beam_redis_reopen_idle(struct beam_redis *redis, const struct beam_redis_addr *addr)
{
	redis->again = addr;
}

void beam_redis_rest(struct beam_redis *redis)
{
	if (redis->again)
		beam_redis_disconnect(redis);
}

void beam_redis_watch_host(struct beam_redis *redis, int gone_ms)
{
	redis->gone_ms = gone_ms;
	beam_redis_watch_socket(redis);
}

int beam_redis_set_timeout(struct beam_redis *redis, int timeout_ms)
{
	int code = wake(redis);

	return code ? code : beam_redis_limit(redis, timeout_ms);
}

/* ---- commands ----------------------------------------------------------------------------- */

static int take_reply(struct beam_redis *redis, redisReply *got, redisReply **reply)
{
	int code = 0;

	if (!got)
		return beam_redis_lost(redis);
	if (got->type == REDIS_REPLY_ERROR) {
		set_error_reply(redis, got);
		code = error_reply_code(redis->error);
	}
	if (code == 0 && reply)
		*reply = got;
	else
		freeReplyObject(got);
	return code;
}

static int run_once(struct beam_redis *redis, redisReply **reply, const char *command, size_t len)
{
	void *got = NULL;

	errno = 0;
	if (redisAppendFormattedCommand(redis->context, command, len) == REDIS_OK)
		redisGetReply(redis->context, &got);
	return take_reply(redis, got, reply);
}

/* Sends the command again under its other name, if it has one. The server's reply to an unknown
 * command contains that secret name, so the reply to the first attempt is kept. */
static int run_renamed(struct beam_redis *redis, redisReply **reply, const char *command,
		       size_t len)
{
	char first[BEAM_REDIS_ERROR_BYTES], *other;

	memcpy(first, redis->error, sizeof(first));
	if (beam_redis_renamed(redis->renamed, command, len, &other, &len))
		return BEAM_E_SERVER;
	redis->error[0] = '\0';
	int code = run_once(redis, reply, other, len);

	if (code == BEAM_E_SERVER && beam_is_unknown_command(redis->error))
		memcpy(redis->error, first, sizeof(first));
	explicit_bzero(other, len);
	free(other);
	return code;
}

static int run(struct beam_redis *redis, redisReply **reply, const char *command, size_t len)
{
	int code = run_once(redis, reply, command, len);

	return code == BEAM_E_SERVER && beam_is_unknown_command(redis->error)
		   ? run_renamed(redis, reply, command, len)
		   : code;
}

/* An idle connection may be closed while our command is on its way, by a server that was loading
 * for seconds before it looked at its clients. The command was not run then, so it can be sent
 * again. */
static bool was_idle(const struct beam_redis *redis, int code)
{
	return redis->again && (code == BEAM_E_GONE || code == -ECONNRESET || code == -EPIPE) &&
	       beam_now_ms() - redis->used_ms >= IDLE_LEAST_MS;
}

static int run_awake(struct beam_redis *redis, redisReply **reply, const char *command, size_t len)
{
	int code = wake(redis);

	if (!code) {
		code = run(redis, reply, command, len);
		if (was_idle(redis, code))
			code = reopen(redis) ? code : run(redis, reply, command, len);
	}
	redis->used_ms = beam_now_ms();
	return code;
}

int beam_redis_commandv(struct beam_redis *redis, redisReply **reply, const char *format,
			va_list ap)
{
	char *command = NULL;
	int len = redisvFormatCommand(&command, format, ap);

	if (len < 0)
		return len == -1 ? beam_redis_no_memory(redis) : -EINVAL;
	int code = run_awake(redis, reply, command, (size_t)len);

	redisFreeCommand(command);
	return code;
}

int beam_redis_command(struct beam_redis *redis, redisReply **reply, const char *format, ...)
{
	va_list ap;
	int code;

	va_start(ap, format);
	code = beam_redis_commandv(redis, reply, format, ap);
	va_end(ap);
	return code;
}

int beam_redis_argv(struct beam_redis *redis, redisReply **reply, int argc, const char **argv,
		    const size_t *argvlen)
{
	char *command = NULL;
	long long len = redisFormatCommandArgv(&command, argc, argv, argvlen);

	if (len < 0)
		return beam_redis_no_memory(redis);
	int code = run_awake(redis, reply, command, (size_t)len);

	redisFreeCommand(command);
	return code;
}

const char *beam_redis_error(const struct beam_redis *redis)
{
	return redis->error;
}

const char *beam_redis_name(const struct beam_redis *redis)
{
	return redis->name;
}

redisContext *beam_redis_context(struct beam_redis *redis)
{
	return redis->context;
}

int beam_redis_socket(const struct beam_redis *redis)
{
	if (redis->tunnel)
		return beam_tunnel_socket(redis->tunnel);
	return redis->context ? redis->context->fd : -1;
}
