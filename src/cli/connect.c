/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Turns options into a connection. String options point into argv, which we may overwrite: a
 * password there is copied and wiped before the first packet is sent.
 */
#include "connect.h"

#include <stdlib.h>
#include <string.h>

#include "rdbeam/error.h"
#include "redis_renamed.h"
#include "report.h"
#include "tell.h"

#define RENAMED "RDBEAM_RENAMED"

/* Wipes text in argv. One 'x' remains, so that a process listing shows that something was there,
 * but not how long it was. */
static void wipe(const char *from, const char *end)
{
	char *at = (char *)(uintptr_t)from;

	if (from == end)
		return;
	explicit_bzero(at, (size_t)(end - from));
	*at = 'x';
}

static void wipe_text(const char *text)
{
	if (text)
		wipe(text, text + strlen(text));
}

/* Wipes everything after "redis://" if there is a user part. */
static void wipe_url(const char *text)
{
	const char *start = text ? strstr(text, "://") : NULL;

	if (start && strchr(start, '@'))
		wipe_text(start + 3);
}

static int put_text(const struct beam_common *common, const char *what, const char *text, char *out,
		    size_t cap)
{
	if (strlen(text) >= cap)
		return beam_fail_usage(common, "%s: too long: give at most %zu bytes", what,
				       cap - 1);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

/* Sets user and password given outside of the address. */
static int put_login(const struct beam_common *common, const char *user, const char *password,
		     const char *env_name, struct beam_redis_addr *addr)
{
	int code;

	if (user) {
		code = put_text(common, "user name", user, addr->user, sizeof(addr->user));
		if (code != 0)
			return code;
	}
	if (!password && env_name)
		password = getenv(env_name);
	if (!password)
		password = getenv("REDISCLI_AUTH");
	if (!password)
		return 0;
	return put_text(common, "password", password, addr->password, sizeof(addr->password));
}

/* Reads the names of renamed commands (rename-command). */
static int put_renamed(const struct beam_common *common, struct beam_redis_addr *addr)
{
	const char *list = getenv(RENAMED);

	if (!list)
		return 0;
	if (beam_redis_renamed_check(list))
		return beam_fail_usage(common, "%s: give COMMAND=NAME, several with spaces between",
				       RENAMED);
	return put_text(common, RENAMED, list, addr->renamed, sizeof(addr->renamed));
}

static int put_address(const struct beam_common *common, const char *option, const char *text,
		       struct beam_redis_addr *addr)
{
	int code = beam_redis_parse_addr(text, addr);

	wipe_url(text);
	if (code != 0)
		return beam_fail_usage(common,
				       "%s: %s: give host:port, a socket's path, or "
				       "redis://user:password@host:port",
				       option, text);
	return 0;
}

int beam_connect_addr(const struct beam_common *common, const char *option, const char *text,
		      const char *user, const char *password, const char *env_name,
		      const struct beam_connect_tls *tls, struct beam_redis_addr *addr)
{
	int code;

	memset(addr, 0, sizeof(*addr));
	addr->use_tls = tls->on;
	addr->tls = tls->opts;
	strcpy(addr->host, "127.0.0.1");
	addr->port = 6379;
	code = put_login(common, user, password, env_name, addr);
	wipe_text(password);
	code = code ? code : put_renamed(common, addr);
	if (code != 0)
		return code;
	return put_address(common, option, text, addr);
}

int beam_connect_where(const struct beam_common *common, const struct beam_connect *connect,
		       struct beam_redis_addr *addr)
{
	int code;

	memset(addr, 0, sizeof(*addr));
	addr->use_tls = connect->tls.on;
	addr->tls = connect->tls.opts;
	addr->port = (uint32_t)connect->port;
	code = put_login(common, connect->user, connect->password, NULL, addr);
	wipe_text(connect->password);
	code = code ? code : put_renamed(common, addr);
	if (code != 0)
		return code;
	addr->is_unix = connect->socket != NULL;
	code = put_text(common, connect->socket ? "-s" : "-h",
			connect->socket ? connect->socket : connect->host, addr->host,
			sizeof(addr->host));
	if (code == 0 && connect->url)
		code = put_address(common, "-u", connect->url, addr);
	return code;
}

int beam_connect_open(const struct beam_common *common, const struct beam_connect *connect,
		      struct beam_redis **out)
{
	char error[BEAM_REDIS_ERROR_BYTES];
	struct beam_redis_addr addr;
	int code = beam_connect_where(common, connect, &addr);

	if (code == 0) {
		code = beam_redis_open(&addr, BEAM_CONNECT_TIMEOUT_MS, error, out);
		if (code != 0)
			code = beam_fail(common, code, "%s", error);
	}
	explicit_bzero(&addr, sizeof(addr));
	return code;
}

int beam_fail_redis(const struct beam_common *common, const struct beam_redis *redis, int code,
		    const char *what)
{
	const char *text = beam_redis_error(redis);
	char remedy[BEAM_REMEDY_BYTES] = ": see its log";

	if (beam_is_unknown_command(text))
		beam_remedy(text, "", remedy, sizeof(remedy));
	if (code == BEAM_E_DENIED)
		return beam_fail(common, code, "access refused: %s at %s (%s): ask for the right",
				 what, beam_redis_name(redis), text);
	if (code == BEAM_E_SERVER)
		return beam_fail(common, code, "server refused: %s at %s (%s)%s", what,
				 beam_redis_name(redis), text, remedy);
	return beam_fail(common, code, "%s", *text ? text : beam_strerror(code));
}
