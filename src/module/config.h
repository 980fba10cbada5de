/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam.* settings: registered with the server (CONFIG GET|SET|REWRITE, redis.conf), defaults
 * replaced by loadmodule's "--name value" arguments. One table; main thread only.
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
	char *bind;     /* "" : the server's */
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
	char *daemon; /* "": beside the module */
};

extern struct beam_config beam_config;

/* Reads loadmodule's arguments into the defaults and registers all settings. `on_change` is called
 * after each successful CONFIG SET. 0, or -EINVAL after a log line that names setting, value and
 * what is allowed. */
int beam_config_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
		     void (*on_change)(void));

/* The settings as the daemon's CONFIG message (head not filled in): bind and port resolved against
 * the server's own. */
void beam_config_message(RedisModuleCtx *ctx, struct beam_ctl_config *message);
/* Whether a setting of the server's own, by its name, has a part in that message. */
bool beam_config_is_of_message(const char *name);

/* Path of rdbeamd as configured, or beside this shared object. */
void beam_config_daemon_path(char *out, size_t cap);

/* A setting as people read of it. */
struct beam_config_text {
	const char *name, *help; /* static */
	char preset[32];
	char allowed[256];
};

/* Row `i` of the table; false behind its end. Of use without a server too: for the man page. */
bool beam_config_describe(size_t i, struct beam_config_text *out);

const char *beam_config_mode_name(void);
const char *beam_config_transport_name(void);

#endif
