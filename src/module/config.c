/* SPDX-License-Identifier: BSD-3-Clause
 * The table of settings: each row gives name, kind, default, bounds, and where the value lives. */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "options.h"
#include "snapshot_facts.h"

#define PORT_DISTANCE 20000

enum kind { KIND_ENUM, KIND_BOOL, KIND_NUMBER, KIND_BYTES, KIND_TEXT };

struct setting {
	const char *name;
	const char *help; /* sentences, for the man page */
	enum kind kind;
	void *value; /* int *, long long *, char ** by kind */
	long long preset;
	long long min, max;
	long long multiple; /* of which a number must be; 0: any */
	const char **names; /* of an enum's values 0..n-1 */
	int nnames;
	unsigned flags;
};

struct beam_config beam_config;

static const char *mode_names[] = {"replace", "mirror", "off"};
static const char *hugepages_names[] = {"try", "require", "no"};
static const char *transport_names[] = {"auto", "verbs", "tcp", "off"};
static const char *tls_names[] = {"auto", "yes", "no"};
static const int enum_values[] = {0, 1, 2, 3};

#define BYTES_MAX (1ll << 46)

static struct setting settings[] = {
    {.name = "mode",
     .help = "replace: what BGSAVE writes is the table. mirror: the table is made, and "
	     "stock saving goes on too. off: stock saving only.",
     .kind = KIND_ENUM,
     .value = &beam_config.mode,
     .names = mode_names,
     .nnames = 3},
    {.name = "durable",
     .help = "Write the table to dir/dbfilename. no: keep it in memory only, for replicas.",
     .kind = KIND_BOOL,
     .value = &beam_config.durable,
     .preset = 1},
    {.name = "region-size",
     .help = "Most bytes of shared memory for tables. 0: as needed, up to half of the "
	     "memory available.",
     .kind = KIND_BYTES,
     .value = &beam_config.region_size,
     .max = BYTES_MAX},
    {.name = "segment-size",
     .help = "Bytes of a segment, the piece that is sealed, sent, and written.",
     .kind = KIND_BYTES,
     .value = &beam_config.segment_size,
     .preset = BEAM_SEGMENT_DEFAULT,
     .min = BEAM_SEGMENT_ALIGN,
     .max = BEAM_SEGMENT_MAX,
     .multiple = BEAM_SEGMENT_ALIGN},
    {.name = "hugepages",
     .help = "Whether the table takes pages of 2 MiB from vm.nr_hugepages: if there are "
	     "any, always, or never.",
     .kind = KIND_ENUM,
     .value = &beam_config.hugepages,
     .names = hugepages_names,
     .nnames = 3},
    {.name = "workers",
     .help = "Processes that read the keyspace beside each other. 0: by the CPUs and the "
	     "number of keys.",
     .kind = KIND_NUMBER,
     .value = &beam_config.workers,
     .max = 64},
    {.name = "retain",
     .help = "Seconds an image stays in memory for later replicas.",
     .kind = KIND_NUMBER,
     .value = &beam_config.retain,
     .preset = 300,
     .max = INT_MAX},
    {.name = "transport",
     .help = "How pulls read: auto is verbs (RDMA) where there is a device, and tcp. off: "
	     "no pulls.",
     .kind = KIND_ENUM,
     .value = &beam_config.transport,
     .names = transport_names,
     .nnames = 4},
    {.name = "bind",
     .help = "Addresses where pulls connect, with spaces between. Empty: the server's own.",
     .kind = KIND_TEXT,
     .value = &beam_config.bind},
    {.name = "port",
     .help = "Port where pulls connect. 0: the server's plus 20000.",
     .kind = KIND_NUMBER,
     .value = &beam_config.port,
     .max = 65535},
    {.name = "max-pulls",
     .help = "Pulls at the same time; more wait for a place.",
     .kind = KIND_NUMBER,
     .value = &beam_config.max_pulls,
     .preset = 16,
     .min = 1,
     .max = 1024},
    {.name = "fanout",
     .help = "How often the image is sent by this server while relays can take over.",
     .kind = KIND_NUMBER,
     .value = &beam_config.fanout,
     .preset = 2,
     .min = 1,
     .max = 1024},
    {.name = "rate-limit",
     .help = "Bytes per second of all pulls together. 0: no limit.",
     .kind = KIND_BYTES,
     .value = &beam_config.rate_limit,
     .max = BYTES_MAX},
    {.name = "flush-rate-limit",
     .help = "Bytes per second to the disk. 0: no limit.",
     .kind = KIND_BYTES,
     .value = &beam_config.flush_rate_limit,
     .max = BYTES_MAX},
    {.name = "stall-timeout",
     .help = "Seconds after which a pull that reads nothing is dropped.",
     .kind = KIND_NUMBER,
     .value = &beam_config.stall_timeout,
     .preset = 60,
     .min = 1,
     .max = 86400},
    {.name = "fast-path",
     .help = "Read values by their layout where a self-test at load allows it. no: by the "
	     "public module API only.",
     .kind = KIND_BOOL,
     .value = &beam_config.fast_path,
     .preset = 1},
    {.name = "fork-thp",
     .help =
	 "Huge pages for the heap, so that a fork takes about a tenth of the time, after a test "
	 "that this kernel copies 4 KiB of them on a write.",
     .kind = KIND_BOOL,
     .value = &beam_config.fork_thp},
    {.name = "tls",
     .help = "Whether pulls over TCP are encrypted, by the server's own certificate. auto: as its "
	     "replication is.",
     .kind = KIND_ENUM,
     .value = &beam_config.tls,
     .names = tls_names,
     .nnames = 3},
    {.name = "auto-pull",
     .help = "On a replica: whoever tells it its primary (REPLICAOF, Sentinel, redis.conf) has it "
	     "pulled; the server's own sync goes on wherever that does not work.",
     .kind = KIND_BOOL,
     .value = &beam_config.auto_pull},
    {.name = "daemon",
     .help = "Path of rdbeamd. Empty: beside the module.",
     .kind = KIND_TEXT,
     .value = &beam_config.daemon,
     .flags = REDISMODULE_CONFIG_IMMUTABLE},
};
#define NSETTINGS (sizeof(settings) / sizeof(settings[0]))

static void (*changed)(void);
static bool registered;

static void allowed_text(const struct setting *s, char *out, size_t cap)
{
	size_t len = 0;

	switch (s->kind) {
	case KIND_BOOL:
		snprintf(out, cap, "yes or no");
		return;
	case KIND_TEXT:
		snprintf(out, cap, "a text");
		return;
	case KIND_ENUM:
		for (int i = 0; i < s->nnames && len < cap; i++)
			len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? ", " : "one of ",
						s->names[i]);
		return;
	default:
		len = (size_t)snprintf(out, cap, "%lld to %lld", s->min, s->max);
		if (s->multiple && len < cap)
			snprintf(out + len, cap - len, ", a multiple of %lld", s->multiple);
		return;
	}
}

static void preset_text(const struct setting *s, char *out, size_t cap)
{
	if (s->kind == KIND_TEXT)
		snprintf(out, cap, "empty");
	else if (s->kind == KIND_BOOL)
		snprintf(out, cap, "%s", s->preset ? "yes" : "no");
	else if (s->kind == KIND_ENUM)
		snprintf(out, cap, "%s", s->names[s->preset]);
	else if (s->kind == KIND_BYTES && s->preset && s->preset % (1 << 20) == 0)
		snprintf(out, cap, "%lldmb", s->preset >> 20);
	else
		snprintf(out, cap, "%lld", s->preset);
}

bool beam_config_describe(size_t i, struct beam_config_text *out)
{
	if (i >= NSETTINGS)
		return false;
	out->name = settings[i].name;
	out->help = settings[i].help;
	preset_text(&settings[i], out->preset, sizeof(out->preset));
	allowed_text(&settings[i], out->allowed, sizeof(out->allowed));
	return true;
}

static bool number_allowed(const struct setting *s, long long value)
{
	return value >= s->min && value <= s->max && (!s->multiple || value % s->multiple == 0);
}

static int text_set(const struct setting *s, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*(char **)s->value);
	*(char **)s->value = copy;
	return 0;
}

/* Parses one value of loadmodule's arguments into the row's default. */
static int parse_preset(struct setting *s, const char *text)
{
	uint64_t bytes;
	char *end;

	switch (s->kind) {
	case KIND_TEXT:
		return text_set(s, text);
	case KIND_BOOL:
		if (strcasecmp(text, "yes") != 0 && strcasecmp(text, "no") != 0)
			return -EINVAL;
		s->preset = strcasecmp(text, "yes") == 0;
		return 0;
	case KIND_ENUM:
		for (int i = 0; i < s->nnames; i++) {
			if (strcasecmp(text, s->names[i]) == 0) {
				s->preset = i;
				return 0;
			}
		}
		return -EINVAL;
	case KIND_BYTES:
		if (beam_parse_bytes(text, &bytes) || bytes > BYTES_MAX)
			return -EINVAL;
		s->preset = (long long)bytes;
		break;
	case KIND_NUMBER:
		errno = 0;
		s->preset = strtoll(text, &end, 10);
		if (errno || end == text || *end)
			return -EINVAL;
		break;
	}
	return number_allowed(s, s->preset) ? 0 : -EINVAL;
}

static int parse_arguments(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
	char allowed[256];

	for (int i = 0; i < argc; i += 2) {
		const char *name = RedisModule_StringPtrLen(argv[i], NULL);
		const char *value =
		    i + 1 < argc ? RedisModule_StringPtrLen(argv[i + 1], NULL) : NULL;
		struct setting *s = NULL;

		for (size_t k = 0; k < NSETTINGS; k++)
			if (strncmp(name, "--", 2) == 0 &&
			    strcasecmp(name + 2, settings[k].name) == 0)
				s = &settings[k];
		if (!s) {
			RedisModule_Log(
			    ctx, "warning",
			    "%s: no such setting; loadmodule takes --NAME VALUE with the names "
			    "of CONFIG GET rdbeam.*",
			    name);
			return -EINVAL;
		}
		if (!value || parse_preset(s, value)) {
			allowed_text(s, allowed, sizeof(allowed));
			RedisModule_Log(ctx, "warning", "--%s %s: not allowed; must be %s", s->name,
					value ? value : "(no value)", allowed);
			return -EINVAL;
		}
	}
	return 0;
}

static int refuse(const struct setting *s, RedisModuleString **err)
{
	char allowed[256], text[400];

	allowed_text(s, allowed, sizeof(allowed));
	snprintf(text, sizeof(text), "must be %s", allowed);
	*err = RedisModule_CreateString(NULL, text, strlen(text));
	return REDISMODULE_ERR;
}

static int get_int(const char *name, void *arg)
{
	(void)name;
	return *(int *)((struct setting *)arg)->value;
}

static int set_int(const char *name, int value, void *arg, RedisModuleString **err)
{
	(void)name;
	(void)err;
	*(int *)((struct setting *)arg)->value = value;
	return REDISMODULE_OK;
}

static long long get_number(const char *name, void *arg)
{
	(void)name;
	return *(long long *)((struct setting *)arg)->value;
}

static int set_number(const char *name, long long value, void *arg, RedisModuleString **err)
{
	struct setting *s = arg;

	(void)name;
	if (!number_allowed(s, value))
		return refuse(s, err);
	*(long long *)s->value = value;
	return REDISMODULE_OK;
}

static RedisModuleString *get_text(const char *name, void *arg)
{
	const char *text = *(char **)((struct setting *)arg)->value;
	static RedisModuleString *shown; /* the server borrows it */

	(void)name;
	if (shown)
		RedisModule_FreeString(NULL, shown);
	shown = RedisModule_CreateString(NULL, text, strlen(text));
	return shown;
}

static int set_text(const char *name, RedisModuleString *value, void *arg, RedisModuleString **err)
{
	struct setting *s = arg;

	(void)name;
	return text_set(s, RedisModule_StringPtrLen(value, NULL)) ? refuse(s, err) : REDISMODULE_OK;
}

static int apply(RedisModuleCtx *ctx, void *arg, RedisModuleString **err)
{
	(void)ctx;
	(void)arg;
	(void)err;
	if (registered)
		changed();
	return REDISMODULE_OK;
}

static int register_one(RedisModuleCtx *ctx, struct setting *s)
{
	char *text;
	int err;

	switch (s->kind) {
	case KIND_ENUM:
		return RedisModule_RegisterEnumConfig(ctx, s->name, (int)s->preset, s->flags,
						      s->names, enum_values, s->nnames, get_int,
						      set_int, apply, s);
	case KIND_BOOL:
		return RedisModule_RegisterBoolConfig(ctx, s->name, (int)s->preset, s->flags,
						      get_int, set_int, apply, s);
	case KIND_TEXT:
		text = strdup(*(char **)s->value);
		if (!text)
			return REDISMODULE_ERR;
		err = RedisModule_RegisterStringConfig(ctx, s->name, text, s->flags, get_text,
						       set_text, apply, s);
		free(text);
		return err;
	case KIND_BYTES:
		s->flags |= REDISMODULE_CONFIG_MEMORY;
		break;
	case KIND_NUMBER:
		break;
	}
	return RedisModule_RegisterNumericConfig(ctx, s->name, s->preset, s->flags, s->min, s->max,
						 get_number, set_number, apply, s);
}

int beam_config_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
		     void (*on_change)(void))
{
	int err;

	changed = on_change;
	if (text_set(&(struct setting){.value = &beam_config.bind}, "") ||
	    text_set(&(struct setting){.value = &beam_config.daemon}, ""))
		return -ENOMEM;
	err = parse_arguments(ctx, argv, argc);
	if (err)
		return err;
	for (size_t i = 0; i < NSETTINGS; i++) {
		if (register_one(ctx, &settings[i]) != REDISMODULE_OK) {
			RedisModule_Log(ctx, "warning", "cannot register setting rdbeam.%s",
					settings[i].name);
			return -EINVAL;
		}
	}
	if (RedisModule_LoadConfigs(ctx) != REDISMODULE_OK)
		return -EINVAL; /* the server has said which value is wrong */
	registered = true;
	return 0;
}

static uint32_t default_port(RedisModuleCtx *ctx)
{
	char text[32];
	long port;

	beam_config_get(ctx, "port", text, sizeof(text));
	port = strtol(text, NULL, 10);
	if (port == 0) {
		beam_config_get(ctx, "tls-port", text, sizeof(text));
		port = strtol(text, NULL, 10);
	}
	if (port == 0)
		return 0;
	return (uint32_t)(port + PORT_DISTANCE <= 65535 ? port + PORT_DISTANCE
							: port - PORT_DISTANCE);
}

static void split_bind(const char *text, struct beam_ctl_config *message)
{
	char copy[1024], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &save); word && message->nbind < 8;
	     word = strtok_r(NULL, " ", &save)) {
		if (word[0] == '-' && word[1])
			word++;
		snprintf(message->bind[message->nbind++], BEAM_ADDR_BYTES, "%s", word);
	}
}

/* auto: as the server's own replication. */
static bool must_tls(RedisModuleCtx *ctx)
{
	char text[8];

	if (beam_config.tls != BEAM_TLS_AUTO)
		return beam_config.tls == BEAM_TLS_YES;
	beam_config_get(ctx, "tls-replication", text, sizeof(text));
	return strcmp(text, "yes") == 0;
}

/* Protected mode as the server applies it: on, and the default user without a password. */
static bool is_protected(RedisModuleCtx *ctx)
{
	char text[8];
	size_t len;

	beam_config_get(ctx, "protected-mode", text, sizeof(text));
	if (strcmp(text, "yes") != 0)
		return false;
	RedisModuleCallReply *user = RedisModule_Call(ctx, "ACL", "cc", "GETUSER", "default");
	RedisModuleCallReply *flags = user ? RedisModule_CallReplyArrayElement(user, 1) : NULL;
	size_t nflags = flags ? RedisModule_CallReplyLength(flags) : 0;
	bool nopass = false;

	for (size_t i = 0; i < nflags && !nopass; i++) {
		RedisModuleCallReply *flag = RedisModule_CallReplyArrayElement(flags, i);
		const char *name = flag ? RedisModule_CallReplyStringPtr(flag, &len) : NULL;

		nopass = name && len == strlen("nopass") && memcmp(name, "nopass", len) == 0;
	}
	if (user)
		RedisModule_FreeCallReply(user);
	return nopass;
}

void beam_config_message(RedisModuleCtx *ctx, struct beam_ctl_config *message)
{
	char server_bind[1024];

	memset(message, 0, sizeof(*message));
	message->region_bytes = (uint64_t)beam_config.region_size;
	message->segment_bytes = (uint32_t)beam_config.segment_size;
	message->hugepages = (uint32_t)beam_config.hugepages;
	message->transport = (uint32_t)beam_config.transport;
	message->retain_s = (uint32_t)beam_config.retain;
	message->max_pulls = (uint32_t)beam_config.max_pulls;
	message->rate_limit = (uint64_t)beam_config.rate_limit;
	message->flush_rate_limit = (uint64_t)beam_config.flush_rate_limit;
	message->stall_timeout_s = (uint32_t)beam_config.stall_timeout;
	message->must_tls = must_tls(ctx);
	message->is_protected = is_protected(ctx);
	if (beam_config.transport == BEAM_TRANSPORT_OFF)
		return;
	message->port = beam_config.port ? (uint32_t)beam_config.port : default_port(ctx);
	beam_config_get(ctx, "bind", server_bind, sizeof(server_bind));
	split_bind(beam_config.bind[0] ? beam_config.bind : server_bind, message);
	if (!message->nbind)
		split_bind("* ::*", message);
}

void beam_config_daemon_path(char *out, size_t cap)
{
	Dl_info info;

	if (beam_config.daemon[0]) {
		snprintf(out, cap, "%s", beam_config.daemon);
		return;
	}
	snprintf(out, cap, "rdbeamd");
	if (dladdr((void *)(uintptr_t)beam_config_daemon_path, &info) && info.dli_fname) {
		const char *slash = strrchr(info.dli_fname, '/');

		if (slash)
			snprintf(out, cap, "%.*s/rdbeamd", (int)(slash - info.dli_fname),
				 info.dli_fname);
	}
}

const char *beam_config_mode_name(void)
{
	return mode_names[beam_config.mode];
}

const char *beam_config_transport_name(void)
{
	return transport_names[beam_config.transport];
}
