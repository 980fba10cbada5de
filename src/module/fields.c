/* SPDX-License-Identifier: BSD-3-Clause
 * One table of fields, which INFO and RDBEAM.STATUS walk. Each field has a function that gets its
 * value; most of these are made by the macros TEXT and NUMBER. */
#include "fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command_names.h"
#include "config.h"
#include "fork_thp.h"
#include "link.h"
#include "rdbeam/version.h"
#include "relays.h"
#include "shared.h"
#include "text.h"

struct value {
	int is_text;
	uint64_t number;
	char text[BEAM_TEXT_BYTES];
};

struct field {
	const char *name;
	void (*get)(const struct beam_ctl_status *status, struct value *out);
};

/* `bytes` in `ms` as MB/s (10^6 bytes), the unit that operators use. */
static uint64_t mb_per_s(uint64_t bytes, uint64_t ms)
{
	return ms ? bytes / 1000 / ms : 0;
}

static void set_text(struct value *out, const char *text)
{
	out->is_text = 1;
	snprintf(out->text, sizeof(out->text), "%s", text);
	/* INFO is a format of lines. */
	for (char *c = out->text; *c; c++)
		if (*c == '\r' || *c == '\n')
			*c = ' ';
}

#define TEXT(name, expr)                                                                           \
	static void get_##name(const struct beam_ctl_status *s, struct value *out)                 \
	{                                                                                          \
		(void)s;                                                                           \
		set_text(out, (expr));                                                             \
	}
#define NUMBER(name, expr)                                                                         \
	static void get_##name(const struct beam_ctl_status *s, struct value *out)                 \
	{                                                                                          \
		(void)s;                                                                           \
		out->number = (uint64_t)(expr);                                                    \
	}

static const char *state_name(const struct beam_ctl_status *s)
{
	static const char *const names[] = {"idle", "copying", "flushing", "ready", "failed"};

	return s->state < sizeof(names) / sizeof(names[0]) ? names[s->state] : "idle";
}

static void get_generation(const struct beam_ctl_status *s, struct value *out)
{
	char text[BEAM_GEN_TEXT_BYTES] = "";

	if (s->gen.counter)
		beam_gen_to_text(&s->gen, text);
	set_text(out, text);
}

static const char *last_error(const struct beam_ctl_status *s)
{
	return beam_link_error()[0] ? beam_link_error() : s->last_error;
}

TEXT(version, RDBEAM_VERSION)
TEXT(mode, beam_config_mode_name())
TEXT(daemon_state, beam_link_state_name())
NUMBER(daemon_pid, beam_link_pid())
TEXT(transport, beam_config_transport_name())
NUMBER(port, beam_link_port())
NUMBER(region_bytes, s->region_bytes)
NUMBER(region_page_bytes, s->page_bytes)
TEXT(state, state_name(s))
NUMBER(workers, s->nworkers)
NUMBER(snapshot_keys, s->keys)
NUMBER(snapshot_bytes, s->image_bytes)
NUMBER(snapshot_copy_ms, s->copy_ms)
NUMBER(snapshot_copy_mb_per_s, mb_per_s(s->image_bytes, s->copy_ms))
NUMBER(snapshot_keys_by_layout, beam_shared->ways.by_layout)
NUMBER(snapshot_keys_by_serializer, beam_shared->ways.by_serializer)
NUMBER(snapshot_keys_by_api, beam_shared->ways.by_api)
NUMBER(snapshot_elements_ahead, beam_shared->ways.ahead)
TEXT(snapshot_tables, beam_shared_tables())
NUMBER(cow_window_ms, s->cow_window_ms)
NUMBER(flush_ms, s->flush_ms)
NUMBER(flush_mb_per_s, mb_per_s(s->flushed_bytes, s->flush_ms))
NUMBER(last_durable_unixtime, s->last_durable_ms / 1000)
NUMBER(progress_pct, s->progress_permille / 10)
NUMBER(pulls_active, s->pulls_active)
NUMBER(pulls_waiting, s->pulls_waiting)
NUMBER(pulls_total, s->pulls_total)
NUMBER(pull_bytes_total, s->pull_bytes_total)
NUMBER(tickets_denied, s->tickets_denied)
NUMBER(relays, beam_relay_counts.relays)
NUMBER(relay_tickets_total, beam_relay_counts.tickets)
NUMBER(relay_complaints_total, beam_relay_counts.complaints)
TEXT(transports, beam_link_transports())
TEXT(rdma_device, s->device.name)
NUMBER(rdma_port, s->device.port)
TEXT(rdma_gid, s->device.gid)
NUMBER(rdma_mtu, s->device.mtu)
NUMBER(rdma_depth, s->device.depth)
NUMBER(rdma_registered_bytes, s->device.registered_bytes)
TEXT(replid, s->cut.replid)
NUMBER(offset, s->cut.offset)
TEXT(hidden_commands, beam_commands_hidden())
TEXT(fork_thp, beam_fork_thp_state())
NUMBER(fork_thp_bytes, beam_fork_thp_bytes())
NUMBER(fallback_total, atomic_load(&beam_shared->fallbacks))
TEXT(last_fallback_reason, beam_shared->reason)
TEXT(last_error, last_error(s))

#define FIELD(name)                                                                                \
	{                                                                                          \
#name, get_##name                                                                  \
	}
static const struct field fields[] = {
    FIELD(version),
    FIELD(mode),
    FIELD(daemon_state),
    FIELD(daemon_pid),
    FIELD(transport),
    FIELD(port),
    FIELD(region_bytes),
    FIELD(region_page_bytes),
    FIELD(generation),
    FIELD(state),
    FIELD(workers),
    FIELD(snapshot_keys),
    FIELD(snapshot_bytes),
    FIELD(snapshot_copy_ms),
    FIELD(snapshot_copy_mb_per_s),
    FIELD(snapshot_keys_by_layout),
    FIELD(snapshot_keys_by_serializer),
    FIELD(snapshot_keys_by_api),
    FIELD(snapshot_elements_ahead),
    FIELD(snapshot_tables),
    FIELD(cow_window_ms),
    FIELD(flush_ms),
    FIELD(flush_mb_per_s),
    FIELD(last_durable_unixtime),
    FIELD(progress_pct),
    FIELD(pulls_active),
    FIELD(pulls_waiting),
    FIELD(pulls_total),
    FIELD(pull_bytes_total),
    FIELD(tickets_denied),
    FIELD(relays),
    FIELD(relay_tickets_total),
    FIELD(relay_complaints_total),
    FIELD(transports),
    FIELD(rdma_device),
    FIELD(rdma_port),
    FIELD(rdma_gid),
    FIELD(rdma_mtu),
    FIELD(rdma_depth),
    FIELD(rdma_registered_bytes),
    FIELD(replid),
    FIELD(offset),
    FIELD(hidden_commands),
    FIELD(fork_thp),
    FIELD(fork_thp_bytes),
    FIELD(fallback_total),
    FIELD(last_fallback_reason),
    FIELD(last_error),
};
#define NFIELDS (sizeof(fields) / sizeof(fields[0]))

void beam_fields_info(RedisModuleInfoCtx *info, int for_crash_report)
{
	const struct beam_ctl_status *status = beam_link_status();

	(void)for_crash_report;
	if (RedisModule_InfoAddSection(info, "") != REDISMODULE_OK)
		return;
	for (size_t i = 0; i < NFIELDS; i++) {
		struct value value = {0};

		fields[i].get(status, &value);
		if (value.is_text)
			RedisModule_InfoAddFieldCString(info, fields[i].name, value.text);
		else
			RedisModule_InfoAddFieldULongLong(info, fields[i].name, value.number);
	}
}

static void reply_pull(RedisModuleCtx *ctx, const struct beam_ctl_pull *pull)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {{"number", pull->number},
		       {"bytes", pull->bytes},
		       {"image_bytes", pull->image_bytes},
		       {"ms", pull->ms}};

	RedisModule_ReplyWithMap(ctx, 2 + sizeof(numbers) / sizeof(numbers[0]));
	RedisModule_ReplyWithCString(ctx, "peer");
	RedisModule_ReplyWithCString(ctx, pull->peer);
	RedisModule_ReplyWithCString(ctx, "transport");
	RedisModule_ReplyWithCString(ctx, pull->transport);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		RedisModule_ReplyWithCString(ctx, numbers[i].name);
		RedisModule_ReplyWithLongLong(ctx, (long long)numbers[i].value);
	}
}

/* A list of the active pulls. INFO has no lists, and only shows totals. */
static void reply_pulls(RedisModuleCtx *ctx, const struct beam_ctl_status *status)
{
	RedisModule_ReplyWithCString(ctx, "pulls");
	RedisModule_ReplyWithArray(ctx, status->npulls);
	for (uint32_t i = 0; i < status->npulls; i++)
		reply_pull(ctx, &status->pulls[i]);
}

int beam_fields_reply(RedisModuleCtx *ctx)
{
	const struct beam_ctl_status *status = beam_link_status();

	RedisModule_ReplyWithMap(ctx, (long)NFIELDS + 1);
	for (size_t i = 0; i < NFIELDS; i++) {
		struct value value = {0};

		fields[i].get(status, &value);
		RedisModule_ReplyWithCString(ctx, fields[i].name);
		if (value.is_text)
			RedisModule_ReplyWithCString(ctx, value.text);
		else
			RedisModule_ReplyWithLongLong(ctx, (long long)value.number);
	}
	reply_pulls(ctx, status);
	return REDISMODULE_OK;
}
