/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The connection options that commands share, named as in redis-cli, and the hiding of passwords:
 * every user of the host can read argv.
 */
#ifndef BEAM_CONNECT_H
#define BEAM_CONNECT_H

#include "command.h"
#include "redis.h"

/* TLS options as in redis-cli, for every connection of the command. */
struct beam_connect_tls {
	bool on; /* also without rediss:// */
	struct beam_tls_opts opts;
};

struct beam_connect {
	const char *host;
	int64_t port;
	const char *socket;
	const char *password;
	const char *user;
	const char *url;
	struct beam_connect_tls tls;
};

#define BEAM_CONNECT_DEFAULTS                                                                      \
	{                                                                                          \
		.host = "127.0.0.1", .port = 6379                                                  \
	}

/* Time limit for connecting and for a single reply. */
#define BEAM_CONNECT_TIMEOUT_MS 10000

/* Rows of a command's table; `field` is the option struct's member of type beam_connect_tls. */
#define BEAM_CONNECT_TLS_OPTIONS(type, field)                                                      \
	{.name = "--tls",                                                                          \
	 .kind = BEAM_OPT_FLAG,                                                                    \
	 .offset = offsetof(type, field.on),                                                       \
	 .help = "Connect by TLS, as rediss:// does."},                                            \
	    {.name = "--cacert",                                                                   \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, field.opts.cacert),                                          \
	     .value = "FILE",                                                                      \
	     .help = "Certificate authorities to trust, PEM. Default: the system's."},             \
	    {.name = "--cacertdir",                                                                \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, field.opts.cacertdir),                                       \
	     .value = "DIR",                                                                       \
	     .help = "Directory of hashed certificate authorities."},                              \
	    {.name = "--cert",                                                                     \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, field.opts.cert),                                            \
	     .value = "FILE",                                                                      \
	     .help = "Client certificate, PEM; with --key."},                                      \
	    {.name = "--key",                                                                      \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, field.opts.key),                                             \
	     .value = "FILE",                                                                      \
	     .help = "Private key of --cert, PEM."},                                               \
	    {.name = "--sni",                                                                      \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, field.opts.sni),                                             \
	     .value = "NAME",                                                                      \
	     .help = "Server name to ask for. Default: the host name."},                           \
	    {.name = "--tls-ciphers",                                                              \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, field.opts.ciphers),                                         \
	     .value = "LIST",                                                                      \
	     .help = "Ciphers for TLS 1.2, as openssl(1) writes them."},                           \
	    {.name = "--tls-ciphersuites",                                                         \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, field.opts.ciphersuites),                                    \
	     .value = "LIST",                                                                      \
	     .help = "Ciphers for TLS 1.3."},                                                      \
	{                                                                                          \
		.name = "--insecure", .kind = BEAM_OPT_FLAG,                                       \
		.offset = offsetof(type, field.opts.insecure),                                     \
		.help = "Accept any certificate: anybody on the path can then read and change "    \
			"everything."                                                              \
	}

/* Rows of a command's table; the command's option struct has a member `connect`. */
#define BEAM_CONNECT_OPTIONS(type)                                                                 \
	{.name = "-h",                                                                             \
	 .kind = BEAM_OPT_STRING,                                                                  \
	 .offset = offsetof(type, connect.host),                                                   \
	 .value = "HOST",                                                                          \
	 .help = "Server's host name or address. Default 127.0.0.1."},                             \
	    {.name = "-p",                                                                         \
	     .kind = BEAM_OPT_INT,                                                                 \
	     .offset = offsetof(type, connect.port),                                               \
	     .value = "PORT",                                                                      \
	     .min = 1,                                                                             \
	     .max = 65535,                                                                         \
	     .help = "Server's port. Default 6379."},                                              \
	    {.name = "-s",                                                                         \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, connect.socket),                                             \
	     .value = "SOCKET",                                                                    \
	     .help = "Server's unix socket; overrides host and port."},                            \
	    {.name = "--pass",                                                                     \
	     .letter = 'a',                                                                        \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, connect.password),                                           \
	     .value = "PASSWORD",                                                                  \
	     .help = "Password. The environment's REDISCLI_AUTH is safer: other users can see "    \
		     "arguments for a moment."},                                                   \
	    {.name = "--user",                                                                     \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, connect.user),                                               \
	     .value = "NAME",                                                                      \
	     .help = "ACL user. Default: the default user."},                                      \
	    {.name = "-u",                                                                         \
	     .kind = BEAM_OPT_STRING,                                                              \
	     .offset = offsetof(type, connect.url),                                                \
	     .value = "URL",                                                                       \
	     .help = "Server as redis://[user:password@]host[:port], rediss:// for TLS; "          \
		     "overrides the others."},                                                     \
	    BEAM_CONNECT_TLS_OPTIONS(type, connect.tls)

/* Connects according to the options and REDISCLI_AUTH. A password in argv is overwritten. Returns 0
 * with *out, or rdbeam's exit code after writing the line. */
int beam_connect_open(const struct beam_common *common, const struct beam_connect *connect,
		      struct beam_redis **out);

/* Gets the address named by the options and REDISCLI_AUTH; a password in argv is overwritten.
 * Returns as beam_connect_open. The caller must wipe `addr`, since it contains the password. */
int beam_connect_where(const struct beam_common *common, const struct beam_connect *connect,
		       struct beam_redis_addr *addr);

/* Reports a command that failed on an open connection: `what` was attempted on `redis`, followed by
 * the server's text or the connection's state. Returns rdbeam's exit code. */
int beam_fail_redis(const struct beam_common *common, const struct beam_redis *redis, int code,
		    const char *what);

/* Makes `addr` from an address with optional user and password; the default port is 6379, and both
 * passwords in argv are overwritten. Without `password` the environment's `env_name` is used, then
 * REDISCLI_AUTH; a password in the address takes precedence over all. `option` is its name in error
 * messages. Returns as beam_connect_open. */
int beam_connect_addr(const struct beam_common *common, const char *option, const char *text,
		      const char *user, const char *password, const char *env_name,
		      const struct beam_connect_tls *tls, struct beam_redis_addr *addr);

#endif
