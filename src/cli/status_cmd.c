/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam status: a server, its module and its last snapshot on one screen.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "connect.h"
#include "interrupt.h"
#include "report.h"
#include "stages.h"
#include "text.h"
#include "view.h"

struct status_opts {
	struct beam_common common;
	struct beam_connect connect;
	bool watch;
};

static const struct beam_option status_options[] = {
    {.name = "--watch",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct status_opts, watch),
     .help = "Show it again each second, in place on a terminal, until interrupted."},
    BEAM_CONNECT_OPTIONS(struct status_opts),
    BEAM_COMMON_OPTIONS(struct status_opts),
};

static const struct status_opts status_defaults = {.connect = BEAM_CONNECT_DEFAULTS};

/* ---- text --------------------------------------------------------------------------------- */

static const char *age_text(char *out, int64_t seconds)
{
	if (seconds < 0)
		seconds = 0; /* the two clocks differ */
	if (seconds < 120)
		snprintf(out, BEAM_TEXT_CAP, "%" PRId64 " s", seconds);
	else if (seconds < 120 * 60)
		snprintf(out, BEAM_TEXT_CAP, "%" PRId64 " min", seconds / 60);
	else if (seconds < 48 * 3600)
		snprintf(out, BEAM_TEXT_CAP, "%" PRId64 " h", seconds / 3600);
	else
		snprintf(out, BEAM_TEXT_CAP, "%" PRId64 " days", seconds / 86400);
	return out;
}

/* Uses the server's clock, so that ages are right when the server is on another host. */
static int64_t server_now(const struct beam_view *view)
{
	return beam_view_info_number(view, "server_time_usec", (int64_t)beam_wall_ms() * 1000) /
	       1000000;
}

static void put_server(const struct beam_view *view, const char *name, FILE *out)
{
	char version[64], role[32], host[256], text[BEAM_TEXT_CAP], rss[BEAM_TEXT_CAP];
	const char *engine = "valkey";

	beam_view_info(view, "valkey_version", version, sizeof(version));
	if (!version[0]) {
		engine = "redis";
		beam_view_info(view, "redis_version", version, sizeof(version));
	}
	beam_view_info(view, "role", role, sizeof(role));
	fprintf(out, "server     %s, %s %s, up %s, ", name, engine, version,
		age_text(text, beam_view_info_number(view, "uptime_in_seconds", 0)));
	if (strcmp(role, "slave") == 0) {
		beam_view_info(view, "master_host", host, sizeof(host));
		fprintf(out, "replica of %s:%" PRId64 "\n", host,
			beam_view_info_number(view, "master_port", 0));
	} else {
		fprintf(out, "primary of %s\n",
			beam_text_counted(
			    text, (uint64_t)beam_view_info_number(view, "connected_slaves", 0),
			    "replica"));
	}
	fprintf(out, "memory     %s used, %s resident, ",
		beam_text_bytes(text, (uint64_t)beam_view_info_number(view, "used_memory", 0)),
		beam_text_bytes(rss, (uint64_t)beam_view_info_number(view, "used_memory_rss", 0)));
	fprintf(out, "%s\n", beam_text_counted(text, beam_view_keys(view), "key"));
}

/* The server takes its start for the time of its last save until there is one, and its count of saves
 * may have been reset. */
static bool has_not_saved(const struct beam_view *view)
{
	int64_t start = server_now(view) - beam_view_info_number(view, "uptime_in_seconds", 0);

	return beam_view_info_number(view, "rdb_saves", 1) == 0 &&
	       beam_view_info_number(view, "rdb_last_save_time", 0) <= start + 1;
}

static void put_saving(const struct beam_view *view, FILE *out)
{
	char status[32], age[BEAM_TEXT_CAP], changes[BEAM_TEXT_CAP];
	int64_t last = beam_view_info_number(view, "rdb_last_save_time", 0);
	const char *now = "idle";

	if (beam_view_info_number(view, "loading", 0))
		now = "LOADING its data";
	else if (beam_view_info_number(view, "rdb_bgsave_in_progress", 0))
		now = "BGSAVE runs";
	else if (beam_view_info_number(view, "aof_rewrite_in_progress", 0))
		now = "AOF rewrite runs";
	beam_view_info(view, "rdb_last_bgsave_status", status, sizeof(status));
	fprintf(out, "saving     %s; ", now);
	if (!has_not_saved(view))
		fprintf(out, "last BGSAVE %s, dump of %s ago", status,
			age_text(age, server_now(view) - last));
	else if (strcmp(status, "ok") == 0)
		fputs("no dump since its start", out);
	else
		fprintf(out, "last BGSAVE %s, no dump since its start", status);
	fprintf(out, ", %s since\n",
		beam_text_counted(
		    changes,
		    (uint64_t)beam_view_info_number(view, "rdb_changes_since_last_save", 0),
		    "change"));
}

static void put_module(const struct beam_view *view, FILE *out)
{
	char region[BEAM_TEXT_CAP], page[BEAM_TEXT_CAP], workers[BEAM_TEXT_CAP];

	fprintf(out, "module     mode %s, daemon %s, transport %s, port %" PRId64 ", %s\n",
		beam_view_status(view, "mode"), beam_view_status(view, "daemon_state"),
		beam_view_status(view, "transport"), beam_view_status_number(view, "port", 0),
		beam_text_counted(workers, (uint64_t)beam_view_status_number(view, "workers", 0),
				  "worker"));
	fprintf(
	    out, "region     %s in pages of %s\n",
	    beam_text_bytes(region, (uint64_t)beam_view_status_number(view, "region_bytes", 0)),
	    beam_text_bytes(page, (uint64_t)beam_view_status_number(view, "region_page_bytes", 0)));
}

static void put_device(const struct beam_view *view, FILE *out)
{
	const char *device = beam_view_status(view, "rdma_device");
	char bytes[BEAM_TEXT_CAP];

	if (!*device) {
		fputs("device     no RDMA device in use\n", out);
		return;
	}
	fprintf(out,
		"device     %s port %" PRId64 ", GID %s, MTU %" PRId64 ", depth %" PRId64
		", %s registered\n",
		device, beam_view_status_number(view, "rdma_port", 0),
		beam_view_status(view, "rdma_gid"), beam_view_status_number(view, "rdma_mtu", 0),
		beam_view_status_number(view, "rdma_depth", 0),
		beam_text_bytes(
		    bytes, (uint64_t)beam_view_status_number(view, "rdma_registered_bytes", 0)));
}

static void put_image(const struct beam_view *view, struct beam_stages *stages, FILE *out)
{
	const char *state = beam_view_status(view, "state");
	const char *generation = beam_view_status(view, "generation");
	char keys[BEAM_TEXT_CAP], bytes[BEAM_TEXT_CAP], cow[BEAM_TEXT_CAP];

	fprintf(out, "state      %s, generation %s\n", state, *generation ? generation : "none");
	beam_stages_print(stages, view, out);
	if (!*generation)
		return;
	fprintf(
	    out, "snapshot   %s, %s, copy-on-write for %s\n",
	    beam_text_counted(keys, (uint64_t)beam_view_status_number(view, "snapshot_keys", 0),
			      "key"),
	    beam_text_bytes(bytes, (uint64_t)beam_view_status_number(view, "snapshot_bytes", 0)),
	    beam_text_ms(cow, (uint64_t)beam_view_status_number(view, "cow_window_ms", 0)));
	if (*beam_view_status(view, "replid"))
		fprintf(out, "cut        %s:%" PRId64 "\n", beam_view_status(view, "replid"),
			beam_view_status_number(view, "offset", 0));
	else
		fputs("cut        none: the server has no replication backlog\n", out);
}

static void put_flush(const struct beam_view *view, FILE *out)
{
	int64_t durable = beam_view_status_number(view, "last_durable_unixtime", 0);
	char text[BEAM_TEXT_CAP];

	if (durable <= 0) {
		fputs("durable    no image of this daemon yet\n", out);
		return;
	}
	fprintf(out, "durable    %s ago\n", age_text(text, server_now(view) - durable));
}

static void put_counters(const struct beam_view *view, FILE *out)
{
	const char *reason = beam_view_status(view, "last_fallback_reason");
	const char *error = beam_view_status(view, "last_error");
	char count[BEAM_TEXT_CAP], bytes[BEAM_TEXT_CAP];

	fprintf(
	    out, "served     %s, %s\n",
	    beam_text_counted(count, (uint64_t)beam_view_status_number(view, "pulls_total", 0),
			      "pull"),
	    beam_text_bytes(bytes, (uint64_t)beam_view_status_number(view, "pull_bytes_total", 0)));
	fprintf(out, "fallbacks  %" PRId64 "%s%s\n",
		beam_view_status_number(view, "fallback_total", 0), *reason ? ", last: " : "",
		reason);
	fprintf(out, "last error %s\n", *error ? error : "none");
}

static void put_screen(const struct beam_view *view, const char *name, struct beam_stages *stages,
		       FILE *out)
{
	put_server(view, name, out);
	put_saving(view, out);
	if (!view->status) {
		fputs(beam_view_info_number(view, "loading", 0)
			  ? "module     not known while the server loads\n"
			  : "module     not loaded: put \"loadmodule /path/to/rdbeam.so\" into its "
			    "config\n",
		      out);
		return;
	}
	put_module(view, out);
	put_device(view, out);
	put_image(view, stages, out);
	put_flush(view, out);
	put_counters(view, out);
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void add_info(cJSON *object, const struct beam_view *view, const char *field)
{
	char text[256];
	char *end;

	beam_view_info(view, field, text, sizeof(text));
	if (!text[0])
		return;
	strtoll(text, &end, 10);
	if (*end)
		beam_json_text(object, field, text);
	else
		beam_json_i64(object, field, strtoll(text, NULL, 10));
}

static void add_status(cJSON *object, const char *name, const redisReply *value);

/* Converts a flat array (RESP2) of names and values. */
static cJSON *object_of(const redisReply *map)
{
	cJSON *object = cJSON_CreateObject();

	for (size_t i = 0; i + 1 < map->elements; i += 2)
		if (map->element[i]->str)
			add_status(object, map->element[i]->str, map->element[i + 1]);
	return object;
}

/* Adds a number, a text, or a list of maps. */
static void add_status(cJSON *object, const char *name, const redisReply *value)
{
	cJSON *list;

	if (value->type == REDIS_REPLY_INTEGER) {
		beam_json_i64(object, name, value->integer);
	} else if (value->type == REDIS_REPLY_ARRAY) {
		list = cJSON_CreateArray();
		for (size_t i = 0; i < value->elements; i++)
			cJSON_AddItemToArray(list, object_of(value->element[i]));
		beam_json_add(object, name, list);
	} else {
		beam_json_text(object, name, value->str ? value->str : "");
	}
}

static void print_json(const struct beam_view *view, const char *name)
{
	static const char *const fields[] = {
	    "redis_version",
	    "valkey_version",
	    "uptime_in_seconds",
	    "role",
	    "connected_slaves",
	    "used_memory",
	    "used_memory_rss",
	    "loading",
	    "rdb_bgsave_in_progress",
	    "aof_rewrite_in_progress",
	    "rdb_last_save_time",
	    "rdb_last_bgsave_status",
	    "rdb_changes_since_last_save",
	};
	cJSON *object = cJSON_CreateObject();
	cJSON *server = cJSON_CreateObject();
	cJSON *module = view->status ? object_of(view->status) : cJSON_CreateNull();

	beam_json_text(server, "name", name);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		add_info(server, view, fields[i]);
	beam_json_u64(server, "keys", beam_view_keys(view));
	beam_json_add(object, "server", server);
	beam_json_add(object, "rdbeam", module);
	beam_json_print(object);
}

/* ---- the command -------------------------------------------------------------------------- */

/* Redraws the whole screen in one write: move the cursor home, clear each line to its end and
 * everything below. The terminal cuts long lines instead of wrapping them, or the screen would
 * scroll. */
static void redraw(const char *screen, bool first)
{
	fputs(first ? "\033[2J\033[?7l\033[H" : "\033[?7l\033[H", stdout);
	while (*screen) {
		size_t len = strcspn(screen, "\n");

		printf("%.*s\033[K\n", (int)len, screen);
		screen += len + (screen[len] == '\n');
	}
	fputs("\033[J\033[?7h", stdout);
}

/* Much of the screen is text from the server, which must not control the terminal. */
static void make_plain(char *screen)
{
	while (*screen) {
		char *end = screen + strcspn(screen, "\n");
		char behind = *end;

		*end = '\0';
		beam_text_plain(screen);
		*end = behind;
		screen = end + (behind == '\n');
	}
}

static int show(const struct status_opts *opts, const struct beam_view *view, const char *name,
		struct beam_stages *stages, bool first)
{
	char *screen = NULL;
	size_t len;
	FILE *out;

	if (opts->common.json) {
		print_json(view, name);
		return 0;
	}
	out = open_memstream(&screen, &len);
	if (!out)
		return beam_fail(&opts->common, -ENOMEM, "out of memory: screen: free some");
	put_screen(view, name, stages, out);
	fclose(out);
	make_plain(screen);
	if (opts->watch && isatty(STDOUT_FILENO) == 1) {
		redraw(screen, first);
	} else {
		if (!first)
			putchar('\n');
		fputs(screen, stdout);
	}
	free(screen);
	return 0;
}

static int status_run(void *arg, int nargs, char **args)
{
	const struct status_opts *opts = arg;
	const struct timespec second = {.tv_sec = 1};
	struct beam_redis *redis;
	struct beam_view view = {0};
	struct beam_stages stages = {0};
	bool first = true;
	int code;

	(void)nargs;
	(void)args;
	code = beam_connect_open(&opts->common, &opts->connect, &redis);
	if (code != 0)
		return code;
	if (opts->watch)
		beam_interrupt_is_the_end();
	do {
		code = beam_view_refresh(&view, redis);
		if (beam_interrupted())
			code = BEAM_EXIT_DONE;
		else if (code != 0)
			code = beam_fail_redis(&opts->common, redis, code, "status");
		else
			code = show(opts, &view, beam_redis_name(redis), &stages, first);
		first = false;
		/* If the reader of a pipe is gone, nobody would stop us. */
		if (code == 0 && fflush(stdout) != 0)
			code = BEAM_EXIT_FAILED;
	} while (code == 0 && opts->watch && !beam_interrupted() &&
		 clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL) == 0);
	beam_view_close(&view);
	beam_redis_close(&redis);
	return code;
}

const struct beam_command beam_status_command = {
    .name = "status",
    .synopsis = "",
    .summary = "Show a server, its module and its last snapshot",
    .text =
	"Asks the server for RDBEAM.STATUS and INFO and prints one screen: server, module and\n"
	"daemon, the region in memory, the last snapshot with its times and cut, pulls, and how\n"
	"often and why saving fell back to the server's own. Works without the module, and\n"
	"then says so.",
    .examples = "rdbeam status --watch\nrdbeam status --json | jq .rdbeam",
    .options = status_options,
    .noptions = BEAM_NOPTIONS(status_options),
    .opts_bytes = sizeof(struct status_opts),
    .defaults = &status_defaults,
    .run = status_run,
};
