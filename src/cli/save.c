/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How to tell that a save has ended: rdb_bgsave_in_progress becomes 0, or rdb_saves, which counts
 * the saves begun, goes past ours. How to tell how it ended: success changes rdb_last_save_time (in
 * seconds), failure sets rdb_last_bgsave_status, and a save that was killed on purpose (FLUSHALL,
 * REPLICAOF) changes neither.
 */
#include "save.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "rdbeam/error.h"
#include "tell.h"

#define SETTLE_MS 1000
#define SECOND_US 1000000
#define COARSE_US 200000 /* a virtual machine may miss some ticks */

static int fail(struct beam_save *save, int code, const char *what, const char *remedy)
{
	snprintf(save->error, sizeof(save->error), "%s: %s: %s", what, beam_redis_name(save->redis),
		 remedy);
	return code;
}

/* `rules` of ACL SETUSER grant the command. */
static int fail_command(struct beam_save *save, int code, const char *command, const char *rules)
{
	const char *text = beam_redis_error(save->redis);
	char remedy[BEAM_REMEDY_BYTES] = ": see its log";

	if (code == BEAM_E_DENIED || beam_is_unknown_command(text))
		beam_remedy(text, rules, remedy, sizeof(remedy));
	if (code == BEAM_E_SERVER || code == BEAM_E_DENIED)
		snprintf(save->error, sizeof(save->error), "%s refused: %s (%s)%s", command,
			 beam_redis_name(save->redis), text, remedy);
	else
		snprintf(save->error, sizeof(save->error), "%s", text);
	return code;
}

/* ---- before ------------------------------------------------------------------------------- */

static int check_may_begin(struct beam_save *save)
{
	const struct beam_view *view = &save->view;

	if (!save->memory && beam_view_info_number(view, "rdb_last_save_time", -1) < 0)
		return fail(save, BEAM_E_UNSUPPORTED, "INFO has no rdb_last_save_time",
			    "the end of a save could not be detected: start it with BGSAVE");
	if (beam_view_info_number(view, "loading", 0))
		return fail(save, BEAM_E_BUSY, "server loads its data",
			    "wait until it answers PING with PONG");
	if (beam_view_info_number(view, "rdb_bgsave_in_progress", 0))
		return fail(save, BEAM_E_BUSY, "another save is in progress",
			    "wait for its end (rdbeam status --watch)");
	if (beam_view_info_number(view, "aof_rewrite_in_progress", 0))
		return fail(save, BEAM_E_BUSY, "an AOF rewrite is in progress",
			    "wait for its end (rdbeam status --watch)");
	if (beam_view_info_number(view, "module_fork_in_progress", 0))
		return fail(save, BEAM_E_BUSY, "a module's child (perhaps a pull's) is in progress",
			    "wait for its end (rdbeam status --watch)");
	return 0;
}

static void ask_config(struct beam_save *save)
{
	char dir[768], name[256], durable[16];

	beam_redis_config(save->redis, "dir", dir, sizeof(dir));
	beam_redis_config(save->redis, "dbfilename", name, sizeof(name));
	if (dir[0] && name[0])
		snprintf(save->file, sizeof(save->file), "%s/%s", dir, name);
	beam_redis_config(save->redis, "rdbeam.durable", durable, sizeof(durable));
	save->in_memory_only = save->module && strcmp(durable, "no") == 0;
}

/* The time of the last save has a resolution of seconds. If a save ended (or the server started) in
 * the present second, ours could end without changing it. So this sleeps until the server's next
 * second; returns true if it did. It sleeps a little longer than that, because the time of the last
 * save comes from a clock that is updated by kernel ticks and lags behind the one we read. */
static bool wait_for_new_second(const struct beam_view *view)
{
	int64_t now_us = beam_view_info_number(view, "server_time_usec", 0);
	int64_t last_us = SECOND_US * beam_view_info_number(view, "rdb_last_save_time", 0);
	int64_t left_us = last_us + SECOND_US + COARSE_US - now_us;
	struct timespec pause = {.tv_sec = left_us / SECOND_US,
				 .tv_nsec = left_us % SECOND_US * 1000};

	if (now_us < last_us || left_us <= 0)
		return false;
	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	return true;
}

int beam_save_prepare(struct beam_redis *redis, bool memory, struct beam_save *save)
{
	int code;

	memset(save, 0, sizeof(*save));
	save->redis = redis;
	save->memory = memory;
	do {
		code = beam_view_refresh(&save->view, redis);
		if (code != 0)
			return fail_command(save, code, "status", "+info +rdbeam.status");
		code = check_may_begin(save);
		if (code != 0)
			return code;
	} while (!memory && wait_for_new_second(&save->view));
	save->module = save->view.status != NULL;
	if (memory && !save->module)
		return fail(save, BEAM_E_UNSUPPORTED, "RDBEAM.SNAPSHOT is not there",
			    "load rdbeam.so, or leave --memory out for a stock BGSAVE");
	ask_config(save);
	snprintf(save->old_generation, sizeof(save->old_generation), "%s",
		 beam_view_status(&save->view, "generation"));
	save->old_fallbacks = beam_view_status_number(&save->view, "fallback_total", 0);
	save->old_saves = beam_view_info_number(&save->view, "rdb_saves", INT32_MAX);
	save->old_save_time = beam_view_info_number(&save->view, "rdb_last_save_time", 0);
	save->keys = beam_view_keys(&save->view);
	return 0;
}

int beam_save_begin(struct beam_save *save)
{
	const char *command = save->memory ? "RDBEAM.SNAPSHOT" : "BGSAVE";
	int code = beam_redis_command(save->redis, NULL, command);

	save->began_ms = beam_now_ms();
	if (code == 0)
		return 0;
	/* Somebody else started one between our check and the command. */
	if (code == BEAM_E_SERVER && (strstr(beam_redis_error(save->redis), "in progress") ||
				      strstr(beam_redis_error(save->redis), "child process")))
		return fail(save, BEAM_E_BUSY, "another save or rewrite is in progress",
			    "wait for its end (rdbeam status --watch)");
	return fail_command(save, code, command, save->memory ? "+rdbeam.snapshot" : "+bgsave");
}

/* ---- after -------------------------------------------------------------------------------- */

bool beam_save_by_image(const struct beam_save *save)
{
	const char *generation = beam_view_status(&save->view, "generation");

	return *generation && strcmp(generation, save->old_generation) != 0 &&
	       !beam_save_fell_back(save);
}

bool beam_save_fell_back(const struct beam_save *save)
{
	return beam_view_status_number(&save->view, "fallback_total", 0) > save->old_fallbacks;
}

bool beam_save_expects_image(const struct beam_save *save)
{
	return save->memory || (save->module && !beam_save_fell_back(save) &&
				strcmp(beam_view_status(&save->view, "mode"), "replace") == 0);
}

static void set_failed(struct beam_save *save, const char *what, const char *remedy)
{
	const char *reason = beam_view_status(&save->view, "last_error");

	save->state = BEAM_SAVE_FAILED;
	if (*reason)
		snprintf(save->error, sizeof(save->error), "%s: %s (%s): %s", what,
			 beam_redis_name(save->redis), reason, remedy);
	else
		fail(save, 0, what, remedy);
}

/* An image is ready a moment before its child is gone, and until then no other save can start. The
 * order may also be reversed: the child may be gone before the module learns the result. */
static void look_at_memory(struct beam_save *save)
{
	const char *state = beam_view_status(&save->view, "state");
	bool child = beam_view_info_number(&save->view, "module_fork_in_progress", 0) != 0;
	bool ours = beam_save_by_image(save);

	if (ours && strcmp(state, "ready") == 0) {
		save->state = child ? BEAM_SAVE_FLUSHING : BEAM_SAVE_READY;
		return;
	}
	if (child) {
		save->booked_ms = 0;
		return;
	}
	if (save->booked_ms == 0)
		save->booked_ms = beam_now_ms();
	if ((ours && strcmp(state, "failed") == 0) || beam_save_fell_back(save) ||
	    beam_now_ms() - save->booked_ms >= SETTLE_MS)
		set_failed(save, "snapshot failed", "see the server's log");
}

static bool save_succeeded(const struct beam_save *save)
{
	int64_t save_time = beam_view_info_number(&save->view, "rdb_last_save_time", 0);
	char status[16];

	beam_view_info(&save->view, "rdb_last_bgsave_status", status, sizeof(status));
	return strcmp(status, "ok") == 0 && save_time != save->old_save_time;
}

/* The module hears of an image's end from its daemon, a moment before or after the server records
 * the save. The report waits for that, but not for ever. */
static bool settled(struct beam_save *save)
{
	const struct beam_view *view = &save->view;
	uint64_t now = beam_now_ms();

	if (!beam_save_expects_image(save))
		return true;
	if (save->booked_ms == 0)
		save->booked_ms = now;
	if (beam_save_by_image(save) && strcmp(beam_view_status(view, "state"), "ready") == 0)
		return true;
	return now - save->booked_ms >= SETTLE_MS;
}

static void look_at_bgsave(struct beam_save *save)
{
	const struct beam_view *view = &save->view;
	const char *state = beam_view_status(view, "state");
	bool by_image = beam_save_by_image(save);
	char status[16];

	if (beam_view_info_number(view, "rdb_bgsave_in_progress", 0) &&
	    beam_view_info_number(view, "rdb_saves", 0) <= save->old_saves + 1) {
		if (by_image && (strcmp(state, "flushing") == 0 || strcmp(state, "ready") == 0))
			save->state = BEAM_SAVE_FLUSHING;
		return;
	}
	if (save_succeeded(save)) {
		if (!settled(save))
			return;
		save->state =
		    save->in_memory_only && by_image ? BEAM_SAVE_READY : BEAM_SAVE_DURABLE;
		return;
	}
	beam_view_info(view, "rdb_last_bgsave_status", status, sizeof(status));
	if (strcmp(status, "ok") == 0)
		set_failed(save, "save was cancelled by the server",
			   "FLUSHALL, REPLICAOF or SHUTDOWN end a save; try again");
	else
		set_failed(save, "save failed", "see the server's log; the old dump stays");
}

int beam_save_look(struct beam_save *save)
{
	int code = beam_view_refresh(&save->view, save->redis);

	if (code != 0)
		return fail_command(save, code, "status", "+info +rdbeam.status");
	if (save->memory)
		look_at_memory(save);
	else
		look_at_bgsave(save);
	return 0;
}

void beam_save_close(struct beam_save *save)
{
	beam_view_close(&save->view);
}
