/* SPDX-License-Identifier: BSD-3-Clause
 * Connects the table of settings with the server: registers them, checks values, and composes the
 * daemon's CONFIG message. */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "command_names.h"
#include "options.h"
#include "settings.h"
#include "snapshot_facts.h"
#include "text.h"

#define PORT_DISTANCE 20000
#define BIND_MAX      (sizeof(((struct beam_ctl_config *)0)->bind) / BEAM_ADDR_BYTES)

static_assert(BIND_MAX == 16 && BEAM_ADDR_BYTES == 64, "as the refusal says");

static const int enum_values[] = {0, 1, 2, 3};

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
	if (i >= beam_nsettings)
		return false;
	out->name = beam_settings[i].name;
	out->help = beam_settings[i].help;
	preset_text(&beam_settings[i], out->preset, sizeof(out->preset));
	allowed_text(&beam_settings[i], out->allowed, sizeof(out->allowed));
	return true;
}

static bool number_allowed(const struct setting *s, long long value)
{
	return value >= s->min && value <= s->max && (!s->multiple || value % s->multiple == 0);
}

static int text_set(const struct setting *s, const char *text)
{
	char *copy = beam_strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*(char **)s->value);
	*(char **)s->value = copy;
	return 0;
}

/* Parses a value from loadmodule's arguments into the row's default. */
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
		if (beam_parse_bytes(text, &bytes) || bytes > SETTING_BYTES_MAX)
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

		for (size_t k = 0; k < beam_nsettings; k++)
			if (strncmp(name, "--", 2) == 0 &&
			    strcasecmp(name + 2, beam_settings[k].name) == 0)
				s = &beam_settings[k];
		if (!s) {
			RedisModule_Log(
			    ctx, "warning",
			    "%s: no such setting; loadmodule takes --NAME VALUE, with the names "
			    "of CONFIG GET rdbeam.* after the point: --retain 300",
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
	static RedisModuleString *shown; /* the server borrows it until the next call */

	(void)name;
	if (shown)
		RedisModule_FreeString(NULL, shown);
	shown = RedisModule_CreateString(NULL, text, strlen(text));
	return shown;
}

/* True if split_bind() below can take this text. */
static bool bind_fits(const char *text)
{
	size_t n = 0;

	for (const char *at = text + strspn(text, " "); *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");

		if (++n > BIND_MAX || len >= BEAM_ADDR_BYTES)
			return false;
		at += len;
	}
	return true;
}

static int set_text(const char *name, RedisModuleString *value, void *arg, RedisModuleString **err)
{
	static const char fixed[] = "cannot be changed while the server runs";
	static const char too_many[] = "must be at most 16 addresses, of at most 63 bytes each";
	const char *text = RedisModule_StringPtrLen(value, NULL);
	struct setting *s = arg;

	(void)name;
	/* The server's own flag for immutable settings is not used: it rejects even the current
	 * value, and some clients write back all that CONFIG GET returned (Redis's own tests
	 * do). */
	if (registered && s->fixed && strcmp(text, *(char **)s->value) != 0) {
		*err = RedisModule_CreateString(NULL, fixed, strlen(fixed));
		return REDISMODULE_ERR;
	}
	if (s->value == &beam_config.bind && !bind_fits(text)) {
		*err = RedisModule_CreateString(NULL, too_many, strlen(too_many));
		return REDISMODULE_ERR;
	}
	return text_set(s, text) ? refuse(s, err) : REDISMODULE_OK;
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
		text = beam_strdup(*(char **)s->value);
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
	for (size_t i = 0; i < beam_nsettings; i++) {
		if (register_one(ctx, &beam_settings[i]) != REDISMODULE_OK) {
			RedisModule_Log(ctx, "warning", "cannot register setting rdbeam.%s",
					beam_settings[i].name);
			return -EINVAL;
		}
	}
	if (RedisModule_LoadConfigs(ctx) != REDISMODULE_OK)
		return -EINVAL; /* the server has logged which value is wrong */
	registered = true;
	return 0;
}

/* The server's port plus 20000, or minus 20000 if that exceeds 65535. Returns 0 if the server has
 * no port or CONFIG is renamed. */
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
	if (port < 1 || port > 65535)
		return 0;
	return (uint32_t)(port + PORT_DISTANCE <= 65535 ? port + PORT_DISTANCE
							: port - PORT_DISTANCE);
}

static void split_bind(const char *text, struct beam_ctl_config *message)
{
	char copy[2048], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &save); word && message->nbind < BIND_MAX;
	     word = strtok_r(NULL, " ", &save)) {
		if (word[0] == '-' && word[1])
			word++;
		snprintf(message->bind[message->nbind++], BEAM_ADDR_BYTES, "%s", word);
	}
}

/* auto means: as the server's own replication does. If the server's settings are not `known`
 * (CONFIG is renamed), the safer value is assumed, here and below. */
static bool must_tls(RedisModuleCtx *ctx, bool known)
{
	char text[8];

	if (beam_config.tls != BEAM_TLS_AUTO)
		return beam_config.tls == BEAM_TLS_YES;
	beam_config_get(ctx, "tls-replication", text, sizeof(text));
	return !known || strcmp(text, "yes") == 0;
}

/* Protected mode as the server applies it: it is on, and the default user has no password. */
static bool is_protected(RedisModuleCtx *ctx, bool known)
{
	char text[8];
	size_t len;

	beam_config_get(ctx, "protected-mode", text, sizeof(text));
	if (known && strcmp(text, "yes") != 0)
		return false;
	RedisModuleCallReply *user =
	    RedisModule_Call(ctx, beam_command("ACL"), "cc", "GETUSER", "default");
	RedisModuleCallReply *flags = user ? RedisModule_CallReplyArrayElement(user, 1) : NULL;
	size_t nflags = flags ? RedisModule_CallReplyLength(flags) : 0;
	bool nopass = !flags;

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
	char server_bind[2048];
	bool known = beam_config_get(ctx, "bind", server_bind, sizeof(server_bind));

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
	message->must_tls = must_tls(ctx, known);
	message->is_protected = is_protected(ctx, known);
	/* If it is unknown where the server listens, listen nowhere unless rdbeam.bind is set. */
	if (beam_config.transport == BEAM_TRANSPORT_OFF || (!known && !beam_config.bind[0]))
		return;
	split_bind(beam_config.bind[0] ? beam_config.bind : server_bind, message);
	if (message->nbind) /* bind "": the server listens on no address */
		message->port = beam_config.port ? (uint32_t)beam_config.port : default_port(ctx);
}

bool beam_config_is_of_message(const char *name)
{
	/* requirepass is the default user's password, which decides about protected mode. */
	static const char *const names[] = {"bind",        "port",     "protected-mode",
					    "requirepass", "tls-port", "tls-replication"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
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
	return beam_mode_names[beam_config.mode];
}

const char *beam_config_transport_name(void)
{
	return beam_transport_names[beam_config.transport];
}
