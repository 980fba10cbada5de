/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam snapshot: starts a save, shows its progress, runs the hook, and reports the result.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "command.h"
#include "connect.h"
#include "hook.h"
#include "progress.h"
#include "rdbeam/error.h"
#include "report.h"
#include "save.h"

/* Polling interval: short at first, since a save may end at once, later ten times a second. */
#define LOOK_FIRST_MS 5
#define LOOK_MOST_MS  100

struct snapshot_opts {
	struct beam_common common;
	struct beam_connect connect;
	bool memory;
	const char *hook;
	bool wait;
	bool no_wait;
	int64_t timeout_s;
};

static const struct beam_option snapshot_options[] = {
    {.name = "--memory",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct snapshot_opts, memory),
     .help = "Make an image in memory only (RDBEAM.SNAPSHOT), for replicas; no file."},
    {.name = "--hook",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct snapshot_opts, hook),
     .value = "COMMAND",
     .help = "Run COMMAND in a shell when the image is ready in memory, and again when it is "
	     "durable on disk."},
    {.name = "--wait",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct snapshot_opts, wait),
     .help = "Wait for the end of the save. This is the default."},
    {.name = "--no-wait",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct snapshot_opts, no_wait),
     .help = "Start the save and exit."},
    {.name = "--timeout",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct snapshot_opts, timeout_s),
     .value = "SECONDS",
     .min = 0,
     .max = 1000000000,
     .help = "Stop waiting after this time; the save goes on. Default 0: never."},
    BEAM_CONNECT_OPTIONS(struct snapshot_opts),
    BEAM_COMMON_OPTIONS(struct snapshot_opts),
};

static const struct snapshot_opts snapshot_defaults = {.connect = BEAM_CONNECT_DEFAULTS};

/* What is known about a save when it ends, or so far. */
struct outcome {
	bool by_image;
	const char *state; /* "ready", "durable" */
	const char *generation;
	const char *replid;
	int64_t offset;
	uint64_t keys, bytes;
	const char *fallback; /* reason, "" if none */
	const char *file;
};

static void take_outcome(const struct beam_save *save, const char *state, struct outcome *out)
{
	const struct beam_view *view = &save->view;

	memset(out, 0, sizeof(*out));
	out->by_image = beam_save_by_image(save);
	out->state = state;
	out->generation = out->by_image ? beam_view_status(view, "generation") : "";
	out->replid = out->by_image ? beam_view_status(view, "replid") : "";
	out->offset = out->by_image ? beam_view_status_number(view, "offset", -1) : -1;
	out->keys = out->by_image ? (uint64_t)beam_view_status_number(view, "snapshot_keys", 0)
				  : save->keys;
	out->bytes =
	    out->by_image ? (uint64_t)beam_view_status_number(view, "snapshot_bytes", 0) : 0;
	out->fallback =
	    beam_save_fell_back(save) ? beam_view_status(view, "last_fallback_reason") : "";
	out->file = strcmp(state, "durable") == 0 ? save->file : "";
}

/* ---- hook --------------------------------------------------------------------------------- */

static int run_hook(struct beam_hook *hook, const struct beam_save *save, const char *state)
{
	static const char *const names[] = {
	    "RDBEAM_STATE",  "RDBEAM_GENERATION", "RDBEAM_KEYS", "RDBEAM_BYTES",
	    "RDBEAM_REPLID", "RDBEAM_OFFSET",     "RDBEAM_FILE", NULL};
	char keys[24], bytes[24], offset[24];
	struct outcome outcome;
	int code;

	take_outcome(save, state, &outcome);
	snprintf(keys, sizeof(keys), "%" PRIu64, outcome.keys);
	snprintf(bytes, sizeof(bytes), "%" PRIu64, outcome.bytes);
	snprintf(offset, sizeof(offset), "%" PRId64, outcome.offset);
	/* What a stock save does not report is empty, not 0. */
	const char *const values[] = {state,          outcome.generation,
				      keys,           outcome.by_image ? bytes : "",
				      outcome.replid, outcome.by_image ? offset : "",
				      outcome.file};
	code = beam_hook_start(hook, names, values);
	if (code != 0)
		hook->failed = 127;
	return code;
}

/* ---- following ---------------------------------------------------------------------------- */

static bool ended(const struct beam_save *save)
{
	return save->state >= BEAM_SAVE_READY;
}

static void show(const struct beam_save *save, struct beam_progress *progress)
{
	const struct beam_view *view = &save->view;
	char note[64] = "", bytes[BEAM_TEXT_CAP];
	uint64_t keys, total;

	if (beam_save_by_image(save)) {
		bool flush =
		    save->state != BEAM_SAVE_COPYING && !save->memory && !save->in_memory_only;
		int64_t percent = beam_view_status_number(view, "progress_pct", 0);
		int64_t have = beam_view_status_number(view, "snapshot_bytes", 0);

		if (have > 0)
			snprintf(note, sizeof(note), "%s", beam_text_bytes(bytes, (uint64_t)have));
		beam_progress_update(progress, flush ? "flush" : "copy", BEAM_PROGRESS_PERCENT,
				     (uint64_t)(percent < 0 ? 0 : percent), 100, note);
		return;
	}
	if (beam_save_expects_image(save)) /* the child has not reported yet */
		return;
	keys = (uint64_t)beam_view_info_number(view, "current_save_keys_processed", 0);
	total = (uint64_t)beam_view_info_number(view, "current_save_keys_total", 0);
	if (ended(save)) /* the server has reset both */
		keys = total = save->keys;
	if (strcmp(progress->stage, "save") != 0)
		beam_progress_abandon(progress); /* the child gave the image up */
	beam_progress_update(progress, "save", BEAM_PROGRESS_KEYS, keys, total, "by stock Redis");
}

/* Polls until the save ends or the time is up. Returns 0, -ETIMEDOUT, or a failure to ask. */
static int follow(struct beam_save *save, const struct snapshot_opts *opts, struct beam_hook *hook)
{
	uint64_t deadline_ms = save->began_ms + (uint64_t)opts->timeout_s * 1000;
	struct beam_progress progress;
	long pause_ms = LOOK_FIRST_MS;
	bool told_ready = false;
	int code = 0;

	beam_progress_init(&progress, opts->common.quiet);
	while (code == 0) {
		struct timespec pause = {.tv_nsec = pause_ms * 1000000};

		code = beam_save_look(save);
		if (code != 0 || save->state == BEAM_SAVE_FAILED)
			break;
		show(save, &progress);
		if (!told_ready && save->state > BEAM_SAVE_COPYING && beam_save_by_image(save)) {
			told_ready = true;
			code = run_hook(hook, save, "ready");
		}
		if (ended(save) || code != 0)
			break;
		if (opts->timeout_s && beam_now_ms() >= deadline_ms)
			code = -ETIMEDOUT;
		else
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		if (pause_ms < LOOK_MOST_MS)
			pause_ms =
			    pause_ms * 3 / 2 < LOOK_MOST_MS ? pause_ms * 3 / 2 : LOOK_MOST_MS;
	}
	if (save->state == BEAM_SAVE_READY || save->state == BEAM_SAVE_DURABLE)
		beam_progress_end(&progress);
	else
		beam_progress_abandon(&progress);
	if (code == 0 && save->state == BEAM_SAVE_DURABLE)
		code = run_hook(hook, save, "durable");
	beam_hook_wait(hook);
	return code;
}

/* ---- report ------------------------------------------------------------------------------- */

static void print_image(const struct beam_save *save, const struct outcome *outcome)
{
	const struct beam_view *view = &save->view;
	char text[BEAM_TEXT_CAP], bytes[BEAM_TEXT_CAP];

	printf("snapshot %s %s: %s, %s\n", outcome->generation, outcome->state,
	       beam_text_counted(text, outcome->keys, "key"),
	       beam_text_bytes(bytes, outcome->bytes));
	printf("  copy   %s at %" PRId64 " MB/s, copy-on-write for %" PRId64 " ms\n",
	       beam_text_ms(text, (uint64_t)beam_view_status_number(view, "snapshot_copy_ms", 0)),
	       beam_view_status_number(view, "snapshot_copy_mb_per_s", 0),
	       beam_view_status_number(view, "cow_window_ms", 0));
	if (save->state == BEAM_SAVE_DURABLE)
		printf("  flush  %s at %" PRId64 " MB/s\n",
		       beam_text_ms(text, (uint64_t)beam_view_status_number(view, "flush_ms", 0)),
		       beam_view_status_number(view, "flush_mb_per_s", 0));
	if (*outcome->replid)
		printf("  cut    %s:%" PRId64 "\n", outcome->replid, outcome->offset);
	else
		puts("  cut    none: the server has no replication backlog");
}

static void print_text(const struct beam_save *save, const struct outcome *outcome,
		       uint64_t total_ms)
{
	const char *mode = beam_view_status(&save->view, "mode");
	char keys[BEAM_TEXT_CAP], time[BEAM_TEXT_CAP];

	if (outcome->by_image)
		print_image(save, outcome);
	else
		printf("saved by stock Redis: about %s in %s\n",
		       beam_text_counted(keys, outcome->keys, "key"), beam_text_ms(time, total_ms));
	if (!save->module)
		puts("  why    rdbeam.so is not loaded: this was a stock BGSAVE");
	else if (*outcome->fallback)
		printf("  why    the module fell back: %s\n", outcome->fallback);
	else if (!outcome->by_image)
		printf("  why    rdbeam.mode is %s\n", *mode ? mode : "not known");
	if (*outcome->file)
		printf("  file   %s (on the server's host)\n", outcome->file);
}

static void print_json(const struct beam_save *save, const struct outcome *outcome,
		       uint64_t total_ms)
{
	static const char *const numbers[][2] = {{"copy_ms", "snapshot_copy_ms"},
						 {"copy_mb_per_s", "snapshot_copy_mb_per_s"},
						 {"cow_window_ms", "cow_window_ms"},
						 {"flush_ms", "flush_ms"},
						 {"flush_mb_per_s", "flush_mb_per_s"}};
	cJSON *object = cJSON_CreateObject();

	beam_json_text(object, "server", beam_redis_name(save->redis));
	beam_json_text(object, "method", outcome->by_image ? "rdbeam" : "stock");
	beam_json_bool(object, "module", save->module);
	beam_json_text(object, "state", outcome->state);
	beam_json_text(object, "generation", outcome->generation);
	beam_json_u64(object, "keys", outcome->keys);
	if (outcome->by_image) {
		beam_json_u64(object, "bytes", outcome->bytes);
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			beam_json_i64(object, numbers[i][0],
				      beam_view_status_number(&save->view, numbers[i][1], 0));
		beam_json_text(object, "replid", outcome->replid);
		beam_json_i64(object, "offset", outcome->offset);
	}
	beam_json_text(object, "fallback_reason", outcome->fallback);
	beam_json_text(object, "file", outcome->file);
	beam_json_u64(object, "total_ms", total_ms);
	beam_json_print(object);
}

static int report(const struct beam_save *save, const struct snapshot_opts *opts,
		  const struct beam_hook *hook, uint64_t total_ms)
{
	struct outcome outcome;

	take_outcome(save, save->state == BEAM_SAVE_DURABLE ? "durable" : "ready", &outcome);
	if (hook->failed)
		return beam_fail(&opts->common, BEAM_E_ABORTED,
				 "hook failed: exit status %d of %s: the snapshot itself is %s",
				 hook->failed, hook->command, outcome.state);
	if (opts->common.json)
		print_json(save, &outcome, total_ms);
	else
		print_text(save, &outcome, total_ms);
	return BEAM_EXIT_DONE;
}

/* ---- the command -------------------------------------------------------------------------- */

static int begin_only(struct beam_save *save, const struct snapshot_opts *opts)
{
	if (opts->common.json) {
		cJSON *object = cJSON_CreateObject();

		beam_json_text(object, "server", beam_redis_name(save->redis));
		beam_json_text(object, "state", "begun");
		beam_json_print(object);
	} else {
		printf("save started at %s: rdbeam status --watch follows it\n",
		       beam_redis_name(save->redis));
	}
	return BEAM_EXIT_DONE;
}

static int snapshot(struct beam_save *save, const struct snapshot_opts *opts)
{
	struct beam_hook hook = {.command = opts->hook, .to_stderr = opts->common.json};
	int code = beam_save_begin(save);

	if (code != 0)
		return beam_fail(&opts->common, code, "%s", save->error);
	if (opts->no_wait)
		return begin_only(save, opts);
	if (!save->module)
		beam_remark(&opts->common, "rdbeam.so is not loaded at %s: stock BGSAVE",
			    beam_redis_name(save->redis));
	code = follow(save, opts, &hook);
	if (code == -ETIMEDOUT)
		return beam_fail(&opts->common, code,
				 "no end yet: --timeout %" PRId64
				 ": the save goes on; rdbeam status --watch follows it",
				 opts->timeout_s);
	if (save->state == BEAM_SAVE_FAILED)
		return beam_fail(&opts->common, BEAM_E_SERVER, "%s", save->error);
	if (hook.failed == 127 && code != 0)
		return beam_fail(&opts->common, code,
				 "cannot run the hook: %s (%s): correct --hook", opts->hook,
				 beam_strerror(code));
	if (code != 0)
		return beam_fail(&opts->common, code, "%s", save->error);
	return report(save, opts, &hook, beam_now_ms() - save->began_ms);
}

static int snapshot_run(void *arg, int nargs, char **args)
{
	const struct snapshot_opts *opts = arg;
	struct beam_redis *redis;
	struct beam_save save;
	int code;

	(void)nargs;
	(void)args;
	if (opts->no_wait && (opts->hook || opts->wait || opts->timeout_s))
		return beam_fail_usage(&opts->common, "--no-wait: given with %s: choose one",
				       opts->hook   ? "--hook"
				       : opts->wait ? "--wait"
						    : "--timeout");
	code = beam_connect_open(&opts->common, &opts->connect, &redis);
	if (code != 0)
		return code;
	code = beam_save_prepare(redis, opts->memory, &save);
	if (code != 0)
		code = beam_fail(&opts->common, code, "%s", save.error);
	else
		code = snapshot(&save, opts);
	beam_save_close(&save);
	beam_redis_close(&redis);
	return code;
}

const struct beam_command beam_snapshot_command = {
    .name = "snapshot",
    .synopsis = "",
    .summary = "Make a snapshot and follow it to its end",
    .text =
	"Sends BGSAVE (with --memory, RDBEAM.SNAPSHOT) and follows the save: the copy into\n"
	"memory, then the flush to disk. At the end it prints keys, bytes, times and the cut,\n"
	"which is the replication id and offset at which the snapshot was taken. If saving fell\n"
	"back to the server's own, it says so and why. It also works without the module: then it\n"
	"is a stock BGSAVE, and the number of keys is that from before the save.\n\n"
	"If a save, an AOF rewrite or a module's child is in progress, it refuses (exit status\n"
	"3).\n\n"
	"The environment of a hook has RDBEAM_STATE (ready or durable), RDBEAM_GENERATION,\n"
	"RDBEAM_KEYS, RDBEAM_BYTES, RDBEAM_REPLID, RDBEAM_OFFSET and RDBEAM_FILE, a path on the\n"
	"server's host. Unknown values are empty. If a hook fails, the command fails.",
    .examples = "rdbeam snapshot -h primary --timeout 600\n"
		"rdbeam snapshot --hook '[ $RDBEAM_STATE = ready ] || cp $RDBEAM_FILE /backup/'",
    .options = snapshot_options,
    .noptions = BEAM_NOPTIONS(snapshot_options),
    .opts_bytes = sizeof(struct snapshot_opts),
    .defaults = &snapshot_defaults,
    .run = snapshot_run,
};
