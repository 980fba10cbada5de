/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks the server: its version, and those of its own options that affect snapshots and pulls.
 */
#include "doctor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define OLDEST_MAJOR 7
/* With less, a pull from a busy server cannot continue from the stream. */
#define SMALL_BACKLOG (16ll << 20)
/* A replica's stream is buffered by the puller, but a short stall of the network must fit in
 * here. */
#define SMALL_OUTPUT_BUFFER (32ll << 20)

static void check_version(struct beam_doctor *doctor)
{
	char version[64], valkey[64];

	beam_view_info(&doctor->view, "redis_version", version, sizeof(version));
	beam_view_info(&doctor->view, "valkey_version", valkey, sizeof(valkey));
	if (valkey[0])
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "version", "", "valkey %s", valkey);
	else if (strtol(version, NULL, 10) >= OLDEST_MAJOR)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "version", "", "redis %s", version);
	else
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "version",
				"use Redis 7.0 or newer, or Valkey: older servers lack calls that "
				"the module needs",
				"redis %s", version);
}

static void check_last_save(struct beam_doctor *doctor)
{
	char status[32];

	beam_view_info(&doctor->view, "rdb_last_bgsave_status", status, sizeof(status));
	if (strcmp(status, "ok") == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "last-save", "", "ok");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "last-save",
				"fix what the server's log reports, and run rdbeam snapshot",
				"the last BGSAVE ended with %s", status);
}

/* Bytes of replication stream per second since the server started, computed from the offset. */
static int64_t stream_rate(const struct beam_doctor *doctor)
{
	int64_t seconds = beam_view_info_number(&doctor->view, "uptime_in_seconds", 1);

	return beam_view_info_number(&doctor->view, "master_repl_offset", 0) /
	       (seconds > 0 ? seconds : 1);
}

static void check_backlog(struct beam_doctor *doctor)
{
	int64_t size = beam_doctor_config_number(doctor, "repl-backlog-size", -1);
	int64_t want =
	    stream_rate(doctor) * beam_doctor_config_number(doctor, "rdbeam.retain", 300);
	char size_text[BEAM_TEXT_CAP], want_text[BEAM_TEXT_CAP], remedy[240];

	if (size < 0)
		return;
	if (want < SMALL_BACKLOG)
		want = SMALL_BACKLOG;
	beam_text_bytes(size_text, (uint64_t)size);
	beam_text_bytes(want_text, (uint64_t)want);
	if (size >= want) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "backlog", "", "repl-backlog-size is %s",
				size_text);
		return;
	}
	snprintf(
	    remedy, sizeof(remedy),
	    "CONFIG SET repl-backlog-size %" PRId64
	    " (%s): an image serves later replicas only as long as the backlog reaches back to "
	    "it",
	    want, want_text);
	beam_doctor_add(doctor, BEAM_LEVEL_WARN, "backlog", remedy, "repl-backlog-size is %s",
			size_text);
}

static void check_backlog_ttl(struct beam_doctor *doctor)
{
	int64_t ttl = beam_doctor_config_number(doctor, "repl-backlog-ttl", 0);
	int64_t retain = beam_doctor_config_number(doctor, "rdbeam.retain", 300);

	if (ttl == 0 || ttl >= retain)
		return;
	beam_doctor_add(doctor, BEAM_LEVEL_WARN, "backlog-ttl",
			"set it to 0 or to rdbeam.retain: without replicas the backlog is freed "
			"before the image is",
			"repl-backlog-ttl is %" PRId64 " s, rdbeam.retain %" PRId64 " s", ttl,
			retain);
}

static void check_diskless(struct beam_doctor *doctor)
{
	char sync[16], load[32], role[16];
	int64_t delay = beam_doctor_config_number(doctor, "repl-diskless-sync-delay", 0);
	bool is_target;

	if (!beam_doctor_config(doctor, "repl-diskless-sync", sync, sizeof(sync)))
		return;
	if (strcmp(sync, "yes") == 0 && delay > 0)
		beam_doctor_add(
		    doctor, BEAM_LEVEL_OK, "diskless-sync", "",
		    "yes: rdbeam pull uses the image, a replica that syncs by itself does not");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "diskless-sync", "",
				"%s, delay %" PRId64 ": a server that never had a replica forks "
				"once more at its first pull",
				sync, delay);
	/* Only a replica, or an empty server that may become one, loads images. A pull cannot fill a
	 * node of a cluster. */
	beam_view_info(&doctor->view, "role", role, sizeof(role));
	is_target = (strcmp(role, "slave") == 0 || beam_view_keys(&doctor->view) == 0) &&
		    !beam_view_info_number(&doctor->view, "cluster_enabled", 0);
	beam_doctor_config(doctor, "repl-diskless-load", load, sizeof(load));
	if (is_target && strcmp(load, "disabled") == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "diskless-load",
				"CONFIG SET repl-diskless-load on-empty-db: otherwise a pull into "
				"this server goes to its disk and back first",
				"repl-diskless-load is disabled");
}

static void check_output_buffer(struct beam_doctor *doctor)
{
	char limits[512], text[BEAM_TEXT_CAP];
	const char *at;
	int64_t hard;

	if (!beam_doctor_config(doctor, "client-output-buffer-limit", limits, sizeof(limits)))
		return;
	at = strstr(limits, "slave ");
	if (!at)
		at = strstr(limits, "replica ");
	if (!at)
		return;
	hard = strtoll(strchr(at, ' '), NULL, 10);
	beam_text_bytes(text, (uint64_t)hard);
	if (hard > 0 && hard < SMALL_OUTPUT_BUFFER)
		beam_doctor_add(
		    doctor, BEAM_LEVEL_WARN, "output-buffer",
		    "CONFIG SET client-output-buffer-limit \"replica 256mb 64mb 60\": a "
		    "pull's stream is cut when the network stalls for a moment",
		    "%s for replicas", text);
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "output-buffer", "", "%s for replicas",
				hard > 0 ? text : "no limit");
}

static void check_min_replicas(struct beam_doctor *doctor)
{
	int64_t least = beam_doctor_config_number(doctor, "min-replicas-to-write", -1);

	if (least > 0)
		beam_doctor_add(
		    doctor, BEAM_LEVEL_WARN, "min-replicas",
		    "make the backlog large enough for the writes of a whole pull: its stream "
		    "begins only after the load, so that it does not count as a replica",
		    "min-replicas-to-write is %" PRId64, least);
	else if (least == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "min-replicas", "",
				"min-replicas-to-write is 0");
}

static void check_title(struct beam_doctor *doctor)
{
	char title[256];

	if (!beam_doctor_config(doctor, "proc-title-template", title, sizeof(title)))
		return;
	if (strncmp(title, "{title}", strlen("{title}")) == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "proc-title", "", "begins with {title}");
	else
		beam_doctor_add(
		    doctor, BEAM_LEVEL_FAIL, "proc-title",
		    "let proc-title-template begin with {title}: from it the module knows what a "
		    "child is for; without it, saves are left to the server",
		    "proc-title-template is %s", title);
}

static void check_module_command(struct beam_doctor *doctor)
{
	char value[16];

	if (!beam_doctor_config(doctor, "enable-module-command", value, sizeof(value)))
		return;
	if (strcmp(value, "yes") == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "module-command",
				"set it to no, its default: loadmodule in the configuration does "
				"not need MODULE LOAD, which lets any administrator run any code",
				"enable-module-command is yes");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "module-command", "",
				"enable-module-command is %s", value);
}

static bool module_lacks(const struct beam_doctor *doctor, const char *command)
{
	return strstr(beam_view_status(&doctor->view, "hidden_commands"), command);
}

/* Checks whether CONFIG is hidden from the module, or at least from us. */
static void check_hidden(struct beam_doctor *doctor)
{
	if (module_lacks(doctor, "config"))
		beam_doctor_add(doctor, BEAM_LEVEL_FAIL, "options",
				"give CONFIG a new name in a configuration file that the server "
				"can read (rename-command), or keep its own name and deny it to "
				"users by ACL: until then saves are the server's own, and pulls "
				"need rdbeam.bind and rdbeam.port in its configuration file",
				"CONFIG is renamed (rename-command), so the module cannot read the "
				"dump's name; options not checked");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "options",
				"put RDBEAM_RENAMED=CONFIG=<its name there> into the environment",
				"CONFIG is renamed (rename-command)%s; options not checked",
				doctor->view.status ? ", which is no problem for the module" : "");
}

void beam_doctor_server(struct beam_doctor *doctor)
{
	char dir[16];

	check_version(doctor);
	check_last_save(doctor);
	if (beam_doctor_config_hidden(doctor)) {
		check_hidden(doctor);
		return;
	}
	if (!beam_doctor_config(doctor, "port", dir, sizeof(dir))) {
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "options",
				"give a user that may run CONFIG GET", "%s: options not checked",
				beam_redis_error(doctor->redis));
		return;
	}
	check_backlog(doctor);
	check_backlog_ttl(doctor);
	check_diskless(doctor);
	check_output_buffer(doctor);
	check_min_replicas(doctor);
	check_title(doctor);
	check_module_command(doctor);
}
