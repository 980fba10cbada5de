/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The methods as a table, and which of them are possible on this machine and with this build.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_sync.h"
#include "command.h"

const struct beam_sync_method beam_sync_methods[BEAM_SYNC_METHODS] = {
    {.name = "stock-disk"},
    {.name = "stock-diskless", .diskless = true},
    {.name = "stock-diskless-load", .diskless = true, .diskless_load = true},
    {.name = "stock-dual-channel", .diskless = true, .diskless_load = true, .dual_channel = true},
    {.name = "stock-disk-tuned", .tuned = true},
    {.name = "stock-diskless-tuned", .tuned = true, .diskless = true},
    {.name = "stock-diskless-load-tuned", .tuned = true, .diskless = true, .diskless_load = true},
    {.name = "stock-dual-channel-tuned",
     .tuned = true,
     .diskless = true,
     .diskless_load = true,
     .dual_channel = true},
    {.name = "get-set-loop", .kind = BEAM_SYNC_LOOP},
    {.name = "rdbeam-stock-loader", .kind = BEAM_SYNC_PULL, .loader = "stock", .transport = "tcp"},
    {.name = "rdbeam-module-loader",
     .kind = BEAM_SYNC_PULL,
     .loader = "module",
     .transport = "tcp"},
    {.name = "rdbeam-retained",
     .kind = BEAM_SYNC_PULL,
     .loader = "stock",
     .transport = "tcp",
     .retained = true},
    {.name = "rdbeam-same-host", .kind = BEAM_SYNC_PULL, .loader = "module", .transport = "auto"},
    {.name = "rdbeam-verbs", .kind = BEAM_SYNC_PULL, .loader = "stock", .transport = "verbs"},
};

int beam_sync_methods_parse(const char *text, bool chosen[BEAM_SYNC_METHODS], char *bad, size_t cap)
{
	for (size_t i = 0; i < BEAM_SYNC_METHODS; i++)
		chosen[i] = text == NULL;
	while (text) {
		size_t len = strcspn(text, ","), i = 0;

		while (i < BEAM_SYNC_METHODS &&
		       (strlen(beam_sync_methods[i].name) != len ||
			strncmp(beam_sync_methods[i].name, text, len) != 0))
			i++;
		if (i == BEAM_SYNC_METHODS || chosen[i]) {
			snprintf(bad, cap, "%.*s%s", (int)len, text,
				 i < BEAM_SYNC_METHODS ? " a second time" : "");
			return -EINVAL;
		}
		chosen[i] = true;
		text = text[len] ? text + len + 1 : NULL;
	}
	return 0;
}

bool beam_sync_pull_has(const char *option, const char *choice)
{
	const struct beam_command *pull = beam_command_find("pull");

	for (size_t i = 0; pull && i < pull->noptions; i++) {
		const struct beam_option *o = &pull->options[i];

		if (strcmp(o->name, option) == 0)
			return !choice || (o->choices && strstr(o->choices, choice));
	}
	return false;
}

static bool has_rdma_device(void)
{
	DIR *dir = opendir("/sys/class/infiniband");
	const struct dirent *entry = NULL;

	if (!dir)
		return false;
	do {
		entry = readdir(dir);
	} while (entry && entry->d_name[0] == '.');
	closedir(dir);
	return entry != NULL;
}

static bool has_setting(struct beam_redis *redis, const char *name)
{
	redisReply *reply;
	bool has;

	if (beam_redis_command(redis, &reply, "CONFIG GET %s", name))
		return false;
	has = beam_reply_field(reply, name) != NULL;
	freeReplyObject(reply);
	return has;
}

static bool strings_only(const struct beam_bench_data *data)
{
	for (size_t i = 0; i < data->nparts; i++) {
		const char *at = data->parts[i].types;

		for (size_t len = strcspn(at, ","); *at; at += len, len = strcspn(at, ",")) {
			if (strncmp(at, "string", len) != 0 && strncmp(at, "int", len) != 0)
				return false;
			at += at[len] == ',';
		}
	}
	return true;
}

bool beam_sync_impossible(const struct beam_sync_method *method,
			  const struct beam_sync_place *place, char *why)
{
	const char *reason = NULL;

	if (method->dual_channel &&
	    !has_setting(place->primary->redis, "dual-channel-replication-enabled"))
		reason = "the server has no dual channel replication (Valkey 8.0 and newer have)";
	else if (method->kind == BEAM_SYNC_LOOP && !strings_only(place->data))
		reason = "GET and SET copy strings only";
	else if (method->kind == BEAM_SYNC_PULL && strcmp(method->loader, "module") == 0 &&
		 !beam_sync_pull_has("--loader", "module"))
		reason = "this build has no --loader module";
	else if (method->transport && strcmp(method->transport, "verbs") == 0 && !has_rdma_device())
		reason = "no RDMA device in /sys/class/infiniband";
	if (reason)
		snprintf(why, BEAM_SYNC_WHY_BYTES, "%s", reason);
	return reason != NULL;
}
