/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One measurement. The replicas are new, empty processes with the method's settings. All get their
 * order at once, and INFO tells when each one's link is up at the primary's offset. The digests are
 * compared after the clock has stopped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "bench_memory.h"
#include "bench_process.h"
#include "bench_sync.h"
#include "bench_tool.h"
#include "clock.h"
#include "rdbeam/error.h"

#define LOOK_EVERY_MS 5
#define READY_MS      (10 * 60 * 1000)
#define CHILDREN_MS   60000
#define LOOP_LIMIT_MS 200000
#define LOADING_MS    120000 /* to answer while a large key is loaded */

struct replica {
	struct beam_bench_server server;
	struct beam_tool tool;
	char dir[PATH_MAX];
	double began_cpu_s;
	double ready_ms; /* 0: not yet */
};

struct once {
	const struct beam_sync_place *place;
	const struct beam_sync_method *method;
	struct replica replicas[BEAM_SYNC_REPLICAS_MAX];
	int n;
	uint64_t began_ns;
	char generation[64]; /* of the image that all pulls must get; "": any */
	char *why;
};

static int tell(const struct once *once, int code, const char *what, const char *value)
{
	return beam_bench_fail(once->place->rig, code, what, value, "see its log (run again)");
}

static int set(const struct once *once, struct beam_redis *redis, const char *name,
	       const char *value)
{
	int code = beam_redis_command(redis, NULL, "CONFIG SET %s %s", name, value);

	return code ? tell(once, code, name, beam_redis_error(redis)) : 0;
}

/* ---- before ------------------------------------------------------------------------------- */

/* The best settings for stock: a single replica is served at once; several are waited for, and then
 * one child serves all of them, from the next run of the server's cron, which is once a second. */
static int set_gathering(const struct once *once, struct beam_redis *redis)
{
	char count[16];
	int code = set(once, redis, "repl-diskless-sync-delay", once->n > 1 ? "5" : "0");

	snprintf(count, sizeof(count), "%d", once->n);
	return code ? code : set(once, redis, "repl-diskless-sync-max-replicas", count);
}

/* A pull would get the newest complete image that its stream can reach: that of the previous
 * measurement, and our own copy would be useless. After a change of the replication id no stream
 * reaches that image. */
static int outdate_images(const struct once *once)
{
	struct beam_redis *redis = once->place->primary->redis;
	int code = beam_redis_command(redis, NULL, "DEBUG CHANGE-REPL-ID");

	return code ? tell(once, code, "DEBUG CHANGE-REPL-ID", beam_redis_error(redis)) : 0;
}

static int prepare_primary(const struct once *once)
{
	const struct beam_sync_method *method = once->method;
	struct beam_redis *redis = once->place->primary->redis;
	bool pull = method->kind == BEAM_SYNC_PULL;
	const char *dir = once->place->primary_disk;
	int code = set_gathering(once, redis);

	if (!code)
		code = set(once, redis, "rdbcompression", method->tuned || pull ? "no" : "yes");
	if (!code)
		code =
		    set(once, redis, "repl-diskless-sync", method->diskless || pull ? "yes" : "no");
	if (!code)
		code = set(once, redis, "rdbeam.mode", pull ? "replace" : "off");
	/* Valkey only, which was checked when the method was found possible. */
	beam_redis_command(redis, NULL, "CONFIG SET dual-channel-replication-enabled %s",
			   method->dual_channel ? "yes" : "no");
	if (!code)
		code = set(once, redis, "dir", dir ? dir : once->place->primary->dir);
	if (!code && pull && !method->retained)
		code = outdate_images(once);
	return code;
}

static int start_replica(struct once *once, struct replica *replica, int number)
{
	struct beam_bench_rig *rig = once->place->rig;
	const struct beam_sync_method *method = once->method;
	bool by_module = method->loader && strcmp(method->loader, "module") == 0;
	char name[16];
	struct beam_bench_server_opts opts = {.program = rig->opts->server,
					      .module = by_module ? rig->module : NULL,
					      .dir = replica->dir,
					      .config = rig->config[0] ? rig->config : NULL,
					      .checksum = strcmp(rig->opts->checksum, "yes") == 0};
	struct beam_process_use use;
	int code;

	snprintf(name, sizeof(name), "replica%d", number);
	code = beam_bench_rig_dir(rig, replica->dir, rig->work, name);
	if (!code)
		code = beam_bench_server_start(&opts, rig->error, &replica->server);
	if (!code)
		code = set(once, replica->server.redis, "repl-diskless-load",
			   method->diskless_load ? "on-empty-db" : "disabled");
	if (!code && once->place->replica_disk)
		code = set(once, replica->server.redis, "dir", once->place->replica_disk);
	if (code)
		return code;
	if (method->dual_channel)
		beam_redis_command(replica->server.redis, NULL,
				   "CONFIG SET dual-channel-replication-enabled yes");
	beam_redis_set_timeout(replica->server.redis, LOADING_MS);
	beam_process_use(replica->server.pid, &use);
	replica->began_cpu_s = use.cpu_s;
	return 0;
}

static void stop_replicas(struct once *once)
{
	for (int i = 0; i < once->n; i++) {
		struct replica *replica = &once->replicas[i];

		beam_tool_stop(&replica->tool);
		beam_bench_server_stop(&replica->server);
		if (replica->dir[0])
			beam_bench_remove(replica->dir);
	}
}

/* ---- CPU ---------------------------------------------------------------------------------- */

static double info_seconds(struct beam_redis *redis, const char *field)
{
	char text[32];

	return beam_redis_info(redis, "cpu", field, text, sizeof(text)) ? 0 : strtod(text, NULL);
}

/* The server, its ended children, and rdbeamd. */
static double primary_cpu_s(const struct beam_bench_server *primary)
{
	struct beam_redis *redis = primary->redis;

	return info_seconds(redis, "used_cpu_user") + info_seconds(redis, "used_cpu_sys") +
	       info_seconds(redis, "used_cpu_user_children") +
	       info_seconds(redis, "used_cpu_sys_children") + beam_bench_daemon_cpu_s(primary);
}

/* A child's time counts only after the server has reaped it. */
static int wait_childless(const struct once *once)
{
	struct beam_redis *redis = once->place->primary->redis;
	uint64_t deadline = beam_now_ms() + CHILDREN_MS;
	int64_t saving = 1, forked = 1;

	while (saving || forked) {
		int code =
		    beam_redis_info_int(redis, "persistence", "rdb_bgsave_in_progress", &saving);

		if (!code)
			code = beam_redis_info_int(redis, "persistence", "module_fork_in_progress",
						   &forked);
		if (code || beam_now_ms() >= deadline || beam_bench_interrupted())
			return tell(once, code ? code : -ETIMEDOUT, "primary's child does not end",
				    once->method->name);
		if (saving || forked)
			beam_bench_pause_ms(LOOK_EVERY_MS);
	}
	return 0;
}

/* ---- the order ---------------------------------------------------------------------------- */

static int order_pull(struct once *once, struct replica *replica)
{
	char from[32], to[32];
	const char *argv[16] = {"rdbeam", "pull", "--json", "--quiet", "--from", from, "--to", to};
	int n = 8;

	snprintf(from, sizeof(from), "127.0.0.1:%d", once->place->primary->port);
	snprintf(to, sizeof(to), "127.0.0.1:%d", replica->server.port);
	argv[n++] = "--transport";
	argv[n++] = once->method->transport;
	if (beam_sync_pull_has("--loader", once->method->loader)) {
		argv[n++] = "--loader";
		argv[n++] = once->method->loader;
	}
	int code = beam_tool_run(argv, replica->dir, &replica->tool);

	return code ? tell(once, code, "cannot start", "rdbeam pull") : 0;
}

static int order(struct once *once, struct replica *replica)
{
	const struct beam_sync_place *place = once->place;
	int code;

	switch (once->method->kind) {
	case BEAM_SYNC_PULL:
		return order_pull(once, replica);
	case BEAM_SYNC_LOOP:
		code = beam_tool_loop(place->data, place->rig->opts->scale, place->primary->port,
				      replica->server.port, LOOP_LIMIT_MS, replica->dir,
				      &replica->tool);
		return code ? tell(once, code, "cannot start", "loop") : 0;
	case BEAM_SYNC_STOCK:
		break;
	}
	code = beam_redis_command(replica->server.redis, NULL, "REPLICAOF 127.0.0.1 %d",
				  place->primary->port);
	return code ? tell(once, code, "REPLICAOF", beam_redis_error(replica->server.redis)) : 0;
}

static int order_image(struct once *once)
{
	struct beam_redis *redis = once->place->primary->redis;
	redisReply *reply = NULL;
	int code = beam_redis_command(redis, &reply, "RDBEAM.SNAPSHOT");

	if (code)
		return tell(once, code, "RDBEAM.SNAPSHOT", beam_redis_error(redis));
	const redisReply *generation = beam_reply_field(reply, "generation");

	if (generation && generation->str && !once->place->warming_up)
		snprintf(once->generation, sizeof(once->generation), "%s", generation->str);
	freeReplyObject(reply);
	return 0;
}

/* Pulls that start together share one image, which is made now and counts as part of the time. */
static int order_all(struct once *once)
{
	int code = 0;

	once->began_ns = beam_now_ns();
	if (once->method->kind == BEAM_SYNC_PULL && !once->method->retained)
		code = order_image(once);
	for (int i = 0; i < once->n && !code; i++)
		code = order(once, &once->replicas[i]);
	return code;
}

/* ---- until they are ready ----------------------------------------------------------------- */

/* Returns 1 when the link is up at the primary's offset. */
static int is_ready(const struct once *once, struct replica *replica)
{
	struct beam_redis *redis = replica->server.redis;
	redisReply *reply = NULL;
	char status[8], offset[24];
	int64_t want = 0;
	int code = beam_redis_command(redis, &reply, "INFO replication");

	if (code)
		return tell(once, code, "replica does not answer", beam_redis_error(redis));
	int up = !beam_redis_info_field(reply->str, "master_link_status", status, sizeof(status)) &&
		 strcmp(status, "up") == 0;
	char port[8] = "";

	beam_redis_info_field(reply->str, "master_port", port, sizeof(port));
	if (beam_redis_info_field(reply->str, "slave_repl_offset", offset, sizeof(offset)))
		offset[0] = '\0';
	freeReplyObject(reply);
	if (!up || atoi(port) != once->place->primary->port)
		return 0;
	code = beam_redis_info_int(once->place->primary->redis, "replication", "master_repl_offset",
				   &want);
	return code ? tell(once, code, "primary does not answer", "INFO")
		    : strtoll(offset, NULL, 10) == want;
}

static int tool_failed(struct once *once, const struct replica *replica)
{
	cJSON *said = beam_tool_said(&replica->tool);
	const cJSON *error = cJSON_GetObjectItem(said, "error");
	int code = BEAM_E_SERVER;

	if (WIFEXITED(replica->tool.status) &&
	    WEXITSTATUS(replica->tool.status) == BEAM_TOOL_GAVE_UP) {
		snprintf(once->why, BEAM_SYNC_WHY_BYTES, "given up after %d s",
			 LOOP_LIMIT_MS / 1000);
		code = -ECANCELED;
	} else {
		tell(once, code, once->method->name,
		     cJSON_IsString(error) ? error->valuestring : "it says nothing");
	}
	cJSON_Delete(said);
	return code;
}

/* Returns 1 when this replica is ready. */
static int look(struct once *once, struct replica *replica)
{
	bool ended = beam_tool_ended(&replica->tool);

	if (once->method->kind != BEAM_SYNC_STOCK && ended && replica->tool.status)
		return tool_failed(once, replica);
	if (once->method->kind == BEAM_SYNC_LOOP)
		return ended;
	/* The pull may wait for its replica a moment longer than we do. */
	return is_ready(once, replica);
}

static int wait_ready(struct once *once)
{
	uint64_t deadline = beam_now_ms() + READY_MS;
	int ready = 0;

	while (ready < once->n) {
		for (int i = 0; i < once->n; i++) {
			struct replica *replica = &once->replicas[i];
			int rc = replica->ready_ms > 0 ? 0 : look(once, replica);

			if (rc < 0)
				return rc;
			if (rc == 0)
				continue;
			replica->ready_ms = (double)(beam_now_ns() - once->began_ns) / 1e6;
			ready++;
		}
		if (beam_now_ms() >= deadline || beam_bench_interrupted())
			return tell(once, -ETIMEDOUT, "replica is not ready", once->method->name);
		beam_bench_pause_ms(LOOK_EVERY_MS);
	}
	return 0;
}

/* ---- after -------------------------------------------------------------------------------- */

static void read_stages(const struct replica *replica, struct beam_sync_sample *out)
{
	cJSON *said = beam_tool_said(&replica->tool);
	const struct {
		const char *name;
		double *value;
	} stages[] = {{"image_bytes", &out->image_bytes}, {"copy_ms", &out->copy_ms},
		      {"transfer_ms", &out->transfer_ms}, {"load_ms", &out->load_ms},
		      {"catchup_ms", &out->catchup_ms},   {"handover_ms", &out->handover_ms}};

	for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		const cJSON *value = cJSON_GetObjectItem(said, stages[i].name);

		*stages[i].value = cJSON_IsNumber(value) ? value->valuedouble : 0;
	}
	cJSON_Delete(said);
}

static int check_generation(const struct once *once, const struct replica *replica)
{
	cJSON *said = beam_tool_said(&replica->tool);
	const char *got = cJSON_GetStringValue(cJSON_GetObjectItem(said, "generation"));
	bool right = !once->generation[0] || (got && strcmp(got, once->generation) == 0);

	cJSON_Delete(said);
	return right ? 0
		     : tell(once, BEAM_E_STALE, "pulled another image than was made for it",
			    once->method->name);
}

static int wait_tools(struct once *once)
{
	uint64_t deadline = beam_now_ms() + CHILDREN_MS;

	for (int i = 0; i < once->n; i++) {
		struct replica *replica = &once->replicas[i];

		while (!beam_tool_ended(&replica->tool)) {
			if (beam_now_ms() >= deadline || beam_bench_interrupted())
				return tell(once, -ETIMEDOUT, "tool does not end",
					    once->method->name);
			beam_bench_pause_ms(LOOK_EVERY_MS);
		}
		if (replica->tool.status)
			return tool_failed(once, replica);
		int code = check_generation(once, replica);

		if (code)
			return code;
	}
	return 0;
}

static void take_sample(struct once *once, struct beam_sync_sample *out)
{
	memset(out, 0, sizeof(*out));
	out->first_ready_ms = once->replicas[0].ready_ms;
	for (int i = 0; i < once->n; i++) {
		const struct replica *replica = &once->replicas[i];
		struct beam_process_use use;

		if (replica->ready_ms > out->ready_ms)
			out->ready_ms = replica->ready_ms;
		if (replica->ready_ms < out->first_ready_ms)
			out->first_ready_ms = replica->ready_ms;
		beam_process_use(replica->server.pid, &use);
		out->tool_cpu_ms += replica->tool.cpu_ms / once->n;
		out->replica_cpu_ms +=
		    ((use.cpu_s - replica->began_cpu_s) * 1000 + replica->tool.cpu_ms) / once->n;
	}
	if (once->method->kind == BEAM_SYNC_PULL)
		read_stages(&once->replicas[0], out);
}

int beam_sync_digest(struct beam_bench_rig *rig, struct beam_redis *redis, char out[48])
{
	redisReply *reply = NULL;
	int code = beam_redis_command(redis, &reply, "DEBUG DIGEST");

	if (code)
		return beam_bench_fail(rig, code, "DEBUG DIGEST", beam_redis_error(redis),
				       "see the server's log");
	snprintf(out, 48, "%s", reply->str ? reply->str : "");
	freeReplyObject(reply);
	return 0;
}

static int compare_digests(struct once *once)
{
	int code = 0;

	for (int i = 0; i < once->n && !code; i++) {
		char digest[48];

		code = beam_sync_digest(once->place->rig, once->replicas[i].server.redis, digest);
		if (!code && strcmp(digest, once->place->digest) != 0)
			code = tell(once, BEAM_E_COUNT, "the replica's data differ",
				    once->method->name);
	}
	return code;
}

static int measure(struct once *once, struct beam_sync_sample *out)
{
	const struct beam_bench_server *primary = once->place->primary;
	double before;
	int code = prepare_primary(once);

	for (int i = 0; i < once->n && !code; i++)
		code = start_replica(once, &once->replicas[i], i);
	if (code)
		return code;
	/* More than the replicas take: nobody knows which of the free pages they will get. */
	beam_bench_warm_memory(primary->redis, once->n + 2);
	beam_bench_let_rest(primary, 1);
	before = primary_cpu_s(primary);
	code = order_all(once);
	if (!code)
		code = wait_ready(once);
	if (!code)
		code = wait_tools(once);
	if (!code)
		take_sample(once, out);
	if (!code)
		code = wait_childless(once);
	if (!code)
		out->primary_cpu_ms = (primary_cpu_s(primary) - before) * 1000;
	return code ? code : compare_digests(once);
}

int beam_sync_once(const struct beam_sync_place *place, const struct beam_sync_method *method,
		   int replicas, char *why, struct beam_sync_sample *out)
{
	struct once *once = calloc(1, sizeof(*once));
	int code;

	if (!once)
		return beam_bench_fail(place->rig, -ENOMEM, "cannot measure", method->name,
				       "free memory");
	*once = (struct once){.place = place, .method = method, .n = replicas, .why = why};
	code = measure(once, out);
	stop_replicas(once);
	free(once);
	return code;
}
