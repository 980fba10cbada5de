/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam doctor: connects, runs all checks, prints the findings.
 */
#include "doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "connect.h"
#include "report.h"
#include "sockets.h"

#define STARTING_LOOKS 50 /* 5 s in all */

struct doctor_opts {
	struct beam_common common;
	struct beam_connect connect;
};

static const struct beam_option doctor_options[] = {
    BEAM_CONNECT_OPTIONS(struct doctor_opts),
    BEAM_COMMON_OPTIONS(struct doctor_opts),
};

static const struct doctor_opts doctor_defaults = {.connect = BEAM_CONNECT_DEFAULTS};

static const char *const level_names[] = {"ok", "warn", "fail"};

/* ---- findings ----------------------------------------------------------------------------- */

static int count_level(const struct beam_doctor *doctor, enum beam_level level)
{
	int found = 0;

	for (int i = 0; i < doctor->nfindings; i++)
		found += doctor->findings[i].level == level;
	return found;
}

static void print_text(const struct beam_doctor *doctor)
{
	for (int i = 0; i < doctor->nfindings; i++) {
		const struct beam_finding *finding = &doctor->findings[i];

		printf("%-4s  %-13s  %s%s%s\n", level_names[finding->level], finding->name,
		       finding->text, *finding->remedy ? ": " : "", finding->remedy);
	}
	printf("%d ok, %d to improve, %d to repair\n", count_level(doctor, BEAM_LEVEL_OK),
	       count_level(doctor, BEAM_LEVEL_WARN), count_level(doctor, BEAM_LEVEL_FAIL));
}

static void print_json(const struct beam_doctor *doctor)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *checks = cJSON_CreateArray();

	for (int i = 0; i < doctor->nfindings; i++) {
		const struct beam_finding *finding = &doctor->findings[i];
		cJSON *check = cJSON_CreateObject();

		beam_json_text(check, "level", level_names[finding->level]);
		beam_json_text(check, "check", finding->name);
		beam_json_text(check, "text", finding->text);
		beam_json_text(check, "remedy", finding->remedy);
		cJSON_AddItemToArray(checks, check);
	}
	beam_json_add(object, "checks", checks);
	for (enum beam_level level = BEAM_LEVEL_OK; level <= BEAM_LEVEL_FAIL; level++)
		beam_json_i64(object, level_names[level], count_level(doctor, level));
	beam_json_print(object);
}

/* ---- the command -------------------------------------------------------------------------- */

/* The server's pid, if the process with that number here is a server; a container has its own
 * numbers. */
static pid_t visible_pid(const struct beam_doctor *doctor)
{
	int64_t pid = beam_view_info_number(&doctor->view, "process_id", 0);
	char path[64], comm[64];

	if (!doctor->local || pid <= 0 || pid > INT32_MAX)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	beam_doctor_read(path, comm, sizeof(comm));
	return strstr(comm, "redis") || strstr(comm, "valkey") || strstr(comm, "redict")
		   ? (pid_t)pid
		   : 0;
}

/* True while the daemon of a server that was just started has not reported its listener yet. */
static bool is_starting(const struct beam_view *view)
{
	if (!view->status || *beam_view_status(view, "last_error") ||
	    strcmp(beam_view_status(view, "transport"), "off") == 0)
		return false;
	return strcmp(beam_view_status(view, "daemon_state"), "starting") == 0 ||
	       (strcmp(beam_view_status(view, "daemon_state"), "up") == 0 &&
		beam_view_status_number(view, "port", 0) == 0);
}

/* Reads the state, and again every tenth of a second while the daemon starts. */
static int look(struct beam_doctor *doctor)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000000l};
	int code = beam_view_refresh(&doctor->view, doctor->redis);

	for (int i = 0; i < STARTING_LOOKS && code == 0 && is_starting(&doctor->view); i++) {
		nanosleep(&pause, NULL);
		code = beam_view_refresh(&doctor->view, doctor->redis);
	}
	return code;
}

static void look_at_server(struct beam_doctor *doctor)
{
	int64_t bytes;

	doctor->local = beam_peer_is_here(beam_redis_socket(doctor->redis));
	if (look(doctor) != 0) {
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "access",
				"give a user that may run INFO, CONFIG GET and RDBEAM.STATUS",
				"%s: the server does not report its state",
				beam_redis_error(doctor->redis));
		beam_redis_close(&doctor->redis);
		return;
	}
	doctor->has_info = true;
	doctor->pid = visible_pid(doctor);
	doctor->transport = doctor->view.status ? beam_view_status(&doctor->view, "transport") : "";
	bytes = beam_view_info_number(&doctor->view, "used_memory_dataset", 0);
	doctor->data_bytes = bytes > 0 ? (uint64_t)bytes : 0;
}

static void run_checks(struct beam_doctor *doctor, const char *error)
{
	doctor->transport = "";
	doctor->local = !doctor->redis;
	if (!doctor->redis)
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "server",
				"only this host can be checked without it", "%s", error);
	else
		look_at_server(doctor);
	if (doctor->has_info)
		beam_doctor_server(doctor);
	if (doctor->has_info)
		beam_doctor_service(doctor);
	if (!doctor->local) {
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "host",
				"run rdbeam doctor on the server's host too",
				"not checked: the server is on another host");
		return;
	}
	beam_doctor_host(doctor);
	if (doctor->has_info)
		beam_doctor_disk(doctor);
}

static int doctor_run(void *arg, int nargs, char **args)
{
	const struct doctor_opts *opts = arg;
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_redis_addr addr;
	struct beam_doctor *doctor;
	int code = beam_connect_where(&opts->common, &opts->connect, &addr);

	(void)nargs;
	(void)args;
	doctor = calloc(1, sizeof(*doctor));
	if (code == 0 && doctor &&
	    beam_redis_open(&addr, BEAM_CONNECT_TIMEOUT_MS, error, &doctor->redis) != 0)
		doctor->redis = NULL;
	explicit_bzero(&addr, sizeof(addr));
	if (code != 0) {
		free(doctor);
		return code;
	}
	if (!doctor)
		return beam_fail(&opts->common, -ENOMEM, "out of memory: findings: free some");
	run_checks(doctor, error);
	if (opts->common.json)
		print_json(doctor);
	else
		print_text(doctor);
	code = count_level(doctor, BEAM_LEVEL_FAIL) ? BEAM_EXIT_FAILED : BEAM_EXIT_DONE;
	beam_view_close(&doctor->view);
	beam_redis_close(&doctor->redis);
	free(doctor);
	return code;
}

const struct beam_command beam_doctor_command = {
    .name = "doctor",
    .synopsis = "",
    .summary = "Check a server and its host for what rdbeam needs",
    .text = "Looks at the server's version and options, the module, the daemon and its listener, "
	    "and, on\n"
	    "the server's host, at limits, memory, RDMA devices, io_uring and the dump directory. "
	    "Each\n"
	    "check is one line: ok, warn (works, but slower or with less safety) or fail, with "
	    "what to\n"
	    "change and why. Nothing is changed.\n\n"
	    "Run it as root or as the server's user: others cannot try the dump directory. Exit "
	    "status\n"
	    "1 means that at least one check failed.",
    .examples = "rdbeam doctor -p 6379\nrdbeam doctor --json | jq '.checks[] | select(.level != "
		"\"ok\")'",
    .options = doctor_options,
    .noptions = BEAM_NOPTIONS(doctor_options),
    .opts_bytes = sizeof(struct doctor_opts),
    .defaults = &doctor_defaults,
    .run = doctor_run,
};
