/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One client connection to Redis. hiredis reports by NULL, err and errstr; from here on there are
 * our codes and one line of text.
 */
#include "redis.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"

#define IDLE_LEAST_MS 1000 /* the shortest `timeout` */

struct beam_redis {
	redisContext *context;
	struct beam_tunnel *tunnel; /* NULL without TLS */
	char name[300];             /* a host name and a port */
	int timeout_ms;
	uint64_t used_ms;                    /* when the last command was answered */
	const struct beam_redis_addr *again; /* to be opened again at; NULL: not */
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* ---- errors ------------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Copies a server's error text: one line, whatever it sent. */
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
		if (starts_with(text, denials[i]))
			return BEAM_E_DENIED;
	}
	return BEAM_E_SERVER;
}

/* Translates the state of a broken context; call at once, while errno is hiredis'. */
static int context_error(const redisContext *context)
{
	switch (context->err) {
	case REDIS_ERR_IO:
		/* A receive timeout shows as EAGAIN on a blocking socket. */
		return errno == EAGAIN || errno == 0 ? -ETIMEDOUT : -errno;
	case REDIS_ERR_EOF:
		return BEAM_E_GONE;
	case REDIS_ERR_PROTOCOL:
		return BEAM_E_PROTO;
	case REDIS_ERR_OOM:
		return -ENOMEM;
	default: /* REDIS_ERR_OTHER: the name did not resolve */
		return -EHOSTUNREACH;
	}
}

static int connection_lost(struct beam_redis *redis)
{
	int code = context_error(redis->context);

	if (code == -ETIMEDOUT)
		snprintf(redis->error, sizeof(redis->error),
			 "no answer: %s: the server hangs or is overloaded", redis->name);
	else if (code == BEAM_E_PROTO)
		snprintf(redis->error, sizeof(redis->error),
			 "not a Redis protocol answer: %s: is this the Redis port?", redis->name);
	else
		snprintf(redis->error, sizeof(redis->error),
			 "connection lost: %s (%s): look at the server's log", redis->name,
			 beam_strerror(code));
	return code;
}

/* ---- connecting --------------------------------------------------------------------------- */

static struct timeval timeval_of_ms(int timeout_ms)
{
	return (struct timeval){.tv_sec = timeout_ms / 1000,
				.tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
}

static redisContext *connect_context(const struct beam_redis_addr *addr, int timeout_ms)
{
	struct timeval timeout = timeval_of_ms(timeout_ms);

	errno = 0;
	if (addr->is_unix)
		return timeout_ms > 0 ? redisConnectUnixWithTimeout(addr->host, timeout)
				      : redisConnectUnix(addr->host);
	return timeout_ms > 0 ? redisConnectWithTimeout(addr->host, (int)addr->port, timeout)
			      : redisConnect(addr->host, (int)addr->port);
}

static void name_connection(const struct beam_redis_addr *addr, char *name, size_t cap)
{
	if (addr->is_unix)
		snprintf(name, cap, "%s", addr->host);
	else if (strchr(addr->host, ':'))
		snprintf(name, cap, "[%s]:%u", addr->host, addr->port);
	else
		snprintf(name, cap, "%s:%u", addr->host, addr->port);
}

static int connect_failed(struct beam_redis *redis, const struct beam_redis_addr *addr)
{
	int code = context_error(redis->context);

	if (redis->context->err == REDIS_ERR_OTHER)
		snprintf(redis->error, sizeof(redis->error), "unknown host: %s (%s): correct it",
			 addr->host, redis->context->errstr);
	else
		snprintf(redis->error, sizeof(redis->error),
			 "cannot connect: %s (%s): start the server or correct the address",
			 redis->name, beam_strerror(code));
	return code;
}

/* 0 with a context that may be in error, or a code with the line written. */
static int connect_tls(struct beam_redis *redis, const struct beam_redis_addr *addr, int timeout_ms)
{
	char text[BEAM_REDIS_ERROR_BYTES / 2];
	int code = beam_tunnel_open(addr->host, addr->port, &addr->tls,
				    timeout_ms > 0 ? timeout_ms : INT_MAX, text, sizeof(text),
				    &redis->tunnel);

	if (code == -ENXIO)
		snprintf(redis->error, sizeof(redis->error), "unknown host: %s: correct it",
			 addr->host);
	else if (code != 0 && text[0])
		snprintf(redis->error, sizeof(redis->error), "cannot connect: %s by TLS: %s",
			 redis->name, text);
	else if (code != 0)
		snprintf(redis->error, sizeof(redis->error),
			 "cannot connect: %s by TLS (%s): start the server or correct the address",
			 redis->name, beam_strerror(code));
	if (code == 0)
		redis->context = redisConnectFd(beam_tunnel_take_fd(redis->tunnel));
	return code == -ENXIO ? -EHOSTUNREACH : code;
}

/* A connection too many is told so in answer to whatever it says first. */
static bool is_full(struct beam_redis *redis)
{
	if (!starts_with(redis->error, "ERR max number of clients"))
		return false;
	snprintf(redis->error, sizeof(redis->error),
		 "refused: %s: the server's maxclients is reached; raise it or close some",
		 redis->name);
	return true;
}

/* AUTH. A password that the server does not ask for does no harm: REDISCLI_AUTH serves for several
 * servers. The server's text is not repeated where it could repeat the arguments. */
static int authenticate(struct beam_redis *redis, const struct beam_redis_addr *addr)
{
	const char *user = addr->user[0] ? addr->user : "default";
	int code;

	if (addr->user[0])
		code = beam_redis_command(redis, NULL, "AUTH %s %s", addr->user, addr->password);
	else
		code = beam_redis_command(redis, NULL, "AUTH %s", addr->password);
	if (code == BEAM_E_DENIED) {
		bool wrong = starts_with(redis->error, "WRONGPASS");

		snprintf(redis->error, sizeof(redis->error), "%s: user %s at %s: %s",
			 wrong ? "wrong password" : "access refused", user, redis->name,
			 wrong ? "correct the password" : "look at the server's ACL and bind");
		return code;
	}
	if (code == BEAM_E_SERVER) {
		if (is_full(redis))
			return code;
		if (strstr(redis->error, "without any password configured"))
			return 0;
		snprintf(redis->error, sizeof(redis->error),
			 "AUTH failed: user %s at %s: is AUTH renamed or the server too old?", user,
			 redis->name);
		return BEAM_E_DENIED;
	}
	return code;
}

/* A first PING tells whether we are let in. Other errors (LOADING, MISCONF, a user who may not
 * PING) are for the command that meets them. */
static int check_access(struct beam_redis *redis)
{
	char text[BEAM_REDIS_ERROR_BYTES];
	int code = beam_redis_command(redis, NULL, "PING");

	if (code == 0)
		return 0;
	snprintf(text, sizeof(text), "%s", redis->error);
	if (starts_with(text, "NOAUTH")) {
		snprintf(redis->error, sizeof(redis->error),
			 "password needed: %s: give one (REDISCLI_AUTH, or the password option)",
			 redis->name);
		return BEAM_E_DENIED;
	}
	if (starts_with(text, "DENIED")) {
		snprintf(redis->error, sizeof(redis->error),
			 "refused: %s: the server is in protected mode; set a password there or "
			 "connect from its own host",
			 redis->name);
		return BEAM_E_DENIED;
	}
	if (is_full(redis))
		return BEAM_E_SERVER;
	return code == BEAM_E_SERVER || code == BEAM_E_DENIED ? 0 : code;
}

static void disconnect(struct beam_redis *redis)
{
	if (redis->context)
		redisFree(redis->context);
	redis->context = NULL;
	beam_tunnel_close(&redis->tunnel);
}

static int connect_any(struct beam_redis *redis, const struct beam_redis_addr *addr, int timeout_ms)
{
	int code = BEAM_FAULT("redis-connect");

	if (code)
		return code;
	if (addr->use_tls && !addr->is_unix)
		code = connect_tls(redis, addr, timeout_ms);
	else
		redis->context = connect_context(addr, timeout_ms);
	if (code != 0)
		return code;
	if (!redis->context)
		return -ENOMEM;
	if (redis->context->err)
		return connect_failed(redis, addr);
	fcntl(redis->context->fd, F_SETFD,
	      FD_CLOEXEC); /* hiredis leaves it to hooks and the like */
	if (!redis->tunnel && !addr->is_unix)
		redisEnableKeepAlive(redis->context); /* best effort: a dead peer ends a wait */
	return beam_redis_set_timeout(redis, timeout_ms);
}

static int connect_and_enter(struct beam_redis *redis, const struct beam_redis_addr *addr,
			     int timeout_ms)
{
	int code = connect_any(redis, addr, timeout_ms);

	if (code == 0 && addr->password[0])
		code = authenticate(redis, addr);
	return code ? code : check_access(redis);
}

static int reopen(struct beam_redis *redis)
{
	const struct beam_redis_addr *addr = redis->again;

	disconnect(redis);
	redis->again = NULL; /* not within itself */
	int code = connect_and_enter(redis, addr, redis->timeout_ms);

	if (code)
		disconnect(redis);
	redis->again = addr;
	return code;
}

/* Before a command: with nothing asked, all that there can be to read is the end. A server with `timeout`
 * closes what has been idle, as a pull's connections are while an image is read or loaded. */
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

int beam_redis_open(const struct beam_redis_addr *addr, int timeout_ms, char *error,
		    struct beam_redis **out)
{
	struct beam_redis *redis = calloc(1, sizeof(*redis));
	int code;

	error[0] = '\0';
	if (!redis) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "out of memory: connection: free some");
		return -ENOMEM;
	}
	name_connection(addr, redis->name, sizeof(redis->name));
	code = connect_and_enter(redis, addr, timeout_ms);
	if (code != 0) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", redis->error);
		beam_redis_close(&redis);
		return code;
	}
	redis->error[0] = '\0';
	*out = redis;
	return 0;
}

void beam_redis_close(struct beam_redis **redis)
{
	if (!*redis)
		return;
	disconnect(*redis);
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
		disconnect(redis);
}

int beam_redis_set_timeout(struct beam_redis *redis, int timeout_ms)
{
	int code = wake(redis);

	if (code)
		return code;
	redis->timeout_ms = timeout_ms;
	if (redisSetTimeout(redis->context, timeval_of_ms(timeout_ms)) != REDIS_OK)
		return connection_lost(redis);
	return 0;
}

/* ---- commands ----------------------------------------------------------------------------- */

static int take_reply(struct beam_redis *redis, redisReply *got, redisReply **reply)
{
	int code = 0;

	if (!got)
		return connection_lost(redis);
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

static int run(struct beam_redis *redis, redisReply **reply, const char *command, size_t len)
{
	void *got = NULL;

	errno = 0;
	if (redisAppendFormattedCommand(redis->context, command, len) == REDIS_OK)
		redisGetReply(redis->context, &got);
	return take_reply(redis, got, reply);
}

/* What has been idle may be closed while the command is on its way: by a server that has loaded for
 * seconds before it looks at any. Then it was not looked at. */
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
		return len == -1 ? -ENOMEM : -EINVAL;
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
		return -ENOMEM;
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
