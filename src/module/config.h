/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rdbeam.* settings: registered with the server (CONFIG GET|SET|REWRITE, redis.conf), with
 * defaults that loadmodule's "--name value" arguments replace. Main thread only.
 */
#ifndef BEAM_CONFIG_H
#define BEAM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl.h"
#include "redis_api.h"

enum beam_tls { BEAM_TLS_AUTO, BEAM_TLS_YES, BEAM_TLS_NO };
enum beam_mode { BEAM_MODE_REPLACE, BEAM_MODE_MIRROR, BEAM_MODE_OFF };

struct beam_config {
	int mode; /* enum beam_mode */
	int durable;
	long long region_size;
	long long segment_size;
	int hugepages; /* enum beam_hugepages */
	long long workers;
	long long retain;
	int transport;  /* enum beam_transport_choice */
	char *bind;     /* "": the server's */
	long long port; /* 0: the server's + 20000 */
	long long max_pulls;
	long long fanout;
	long long rate_limit;
	long long flush_rate_limit;
	long long stall_timeout;
	int fast_path;
	int fork_thp;
	int tls; /* enum beam_tls */
	int auto_pull;
	char *daemon; /* "": the rdbeamd beside the module */
};

extern struct beam_config beam_config;

/* Reads loadmodule's arguments into the defaults and registers all settings. `on_change` is called
 * after each successful CONFIG SET. Returns 0; -ENOMEM; or -EINVAL after logging the setting, its
 * value and what is allowed. */
int beam_config_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
		     void (*on_change)(void));

/* Fills in the daemon's CONFIG message, except its head: bind and port are resolved with the
 * server's own settings. */
void beam_config_message(RedisModuleCtx *ctx, struct beam_ctl_config *message);
/* True if the server's own setting `name` influences that message. */
bool beam_config_is_of_message(const char *name);

/* Writes the path of rdbeamd: as configured, or beside this shared object. */
void beam_config_daemon_path(char *out, size_t cap);

/* A setting in the form in which it is documented. */
struct beam_config_text {
	const char *name, *help; /* static */
	char preset[32];
	char allowed[256];
};

/* Describes row `i` of the table; returns false past the end. Works without a server, for the man
 * page. */
bool beam_config_describe(size_t i, struct beam_config_text *out);

/* The current values of rdbeam.mode and rdbeam.transport. Static storage. */
const char *beam_config_mode_name(void);
const char *beam_config_transport_name(void);

#endif
