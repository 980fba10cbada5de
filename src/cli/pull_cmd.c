/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam pull: the options, progress display and report around beam_pull_run.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "connect.h"
#include "progress.h"
#include "pull.h"
#include "rdbeam/error.h"
#include "report.h"

struct pull_opts {
	struct beam_common common;
	const char *from, *to, *primary;
	const char *from_user, *from_pass;
	const char *to_user, *to_pass;
	const char *as;
	const char *to_file;
	bool discard;
	bool stream;
	bool force;
	bool fresh;
	uint64_t buffer;
	const char *spill_dir;
	uint64_t spill;
	const char *transport;
	const char *loader;
	int64_t timeout_s;
	int64_t handover_timeout_s;
	struct beam_connect_tls tls;
};

#define TIMEOUT_MAX_S 1000000 /* fits an int in milliseconds */

static const struct beam_option pull_options[] = {
    {.name = "--from",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, from),
     .value = "ADDR",
     .help = "The primary, or a replica of it, with rdbeam.so loaded: host:port or "
	     "redis://user:password@host:port; rediss:// for TLS."},
    {.name = "--to",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, to),
     .value = "ADDR",
     .help = "The server to fill, on this host: host:port, a socket's path, or redis://..."},
    {.name = "--primary",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, primary),
     .value = "ADDR",
     .help = "With --from REPLICA: the address at which the new replica reaches the primary. "
	     "Default: the one that the replica uses."},
    {.name = "--from-user",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, from_user),
     .value = "NAME",
     .help = "ACL user at the primary."},
    {.name = "--from-pass",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, from_pass),
     .value = "PASSWORD",
     .help = "Password at the primary; safer in the environment: RDBEAM_FROM_PASS, or "
	     "REDISCLI_AUTH for both servers."},
    {.name = "--to-user",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, to_user),
     .value = "NAME",
     .help = "ACL user at the server to fill."},
    {.name = "--to-pass",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, to_pass),
     .value = "PASSWORD",
     .help = "Password there; safer in the environment: RDBEAM_TO_PASS or REDISCLI_AUTH."},
    {.name = "--as",
     .kind = BEAM_OPT_CHOICE,
     .offset = offsetof(struct pull_opts, as),
     .choices = "replica|copy",
     .help = "Leave the server as a replica of the primary, or add the keys to a server that "
	     "stays independent. Default replica."},
    {.name = "--to-file",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, to_file),
     .value = "PATH",
     .help = "Write a dump.rdb instead. A file of that name is replaced once the new one is whole "
	     "and on disk."},
    {.name = "--discard",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct pull_opts, discard),
     .help = "Read and check the image but keep nothing, for measuring."},
    {.name = "--stream",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct pull_opts, stream),
     .help = "Feed the server before the whole image is verified, even when it holds keys: faster, "
	     "but a failure leaves it without its old data."},
    {.name = "--force",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct pull_opts, force),
     .help = "Replace the server's keys even if they are not this primary's."},
    {.name = "--fresh",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct pull_opts, fresh),
     .help = "Have a new snapshot made, even if the primary still holds one."},
    {.name = "--buffer",
     .kind = BEAM_OPT_BYTES,
     .offset = offsetof(struct pull_opts, buffer),
     .value = "BYTES",
     .min = 16ll << 20,
     .max = INT64_MAX,
     .help = "Memory on this host for the image and the stream in transit. Default 256mb."},
    {.name = "--spill-dir",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct pull_opts, spill_dir),
     .value = "DIR",
     .help = "Directory for what does not fit into the buffer. Default TMPDIR, or /tmp."},
    {.name = "--spill",
     .kind = BEAM_OPT_BYTES,
     .offset = offsetof(struct pull_opts, spill),
     .value = "BYTES",
     .help = "Maximum bytes there. Default 64gb."},
    {.name = "--transport",
     .kind = BEAM_OPT_CHOICE,
     .offset = offsetof(struct pull_opts, transport),
     .choices = "auto|tcp|verbs",
     .help = "How the image is transferred. Default auto: verbs (RDMA) if both hosts have a device "
	     "and a route, otherwise tcp. On the primary's host, run as the server's user or root, "
	     "auto without verbs reads the primary's memory and sends nothing; tcp always sends."},
    {.name = "--loader",
     .kind = BEAM_OPT_CHOICE,
     .offset = offsetof(struct pull_opts, loader),
     .choices = "auto|module|stock",
     .help = "How the server to fill creates the keys: by its own loader alone (stock), or also by "
	     "threads of its rdbeam.so, from memory shared with this program (module). Default "
	     "auto: module if the server is empty and has rdbeam.so of this version, and this "
	     "program runs as the server's user or as root; otherwise stock."},
    {.name = "--timeout",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct pull_opts, timeout_s),
     .value = "SECONDS",
     .min = 1,
     .max = TIMEOUT_MAX_S,
     .help = "Limit for each step, such as connecting. Default 10. If an image has to be made, it "
	     "may take a minute longer to begin while another child of the primary runs."},
    {.name = "--handover-timeout",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct pull_opts, handover_timeout_s),
     .value = "SECONDS",
     .min = 1,
     .max = TIMEOUT_MAX_S,
     .help = "Limit for the replica to catch up with the writes made since, and then to continue "
	     "from the primary by itself. Default 60."},
    BEAM_CONNECT_TLS_OPTIONS(struct pull_opts, tls),
    BEAM_COMMON_OPTIONS(struct pull_opts),
};

static const struct pull_opts pull_defaults = {
    .as = "replica",
    .buffer = 256ull << 20,
    .spill = 64ull << 30,
    .transport = "auto",
    .loader = "auto",
    .timeout_s = 10,
    .handover_timeout_s = 60,
};

/* ---- options ------------------------------------------------------------------------------ */

static int check_target(const struct pull_opts *opts, enum beam_pull_target *target)
{
	const char *other = opts->to_file ? "--to-file" : "--discard";

	if (!opts->from)
		return beam_fail_usage(&opts->common,
				       "--from: missing: give the primary's host:port");
	if (opts->to_file && opts->discard)
		return beam_fail_usage(&opts->common, "--to-file and --discard: both given: "
						      "choose one");
	if (opts->to_file || opts->discard) {
		*target = opts->to_file ? BEAM_PULL_FILE : BEAM_PULL_DISCARD;
		if (opts->to)
			return beam_fail_usage(&opts->common, "--to and %s: both given: choose one",
					       other);
		return 0;
	}
	if (!opts->to)
		return beam_fail_usage(&opts->common, "--to: missing: give the server to fill, or "
						      "--to-file or --discard");
	*target = strcmp(opts->as, "copy") == 0 ? BEAM_PULL_COPY : BEAM_PULL_REPLICA;
	return 0;
}

/* Returns 0, or rdbeam's exit code after writing the line. */
static int make_opts(const struct pull_opts *opts, struct beam_pull_opts *pull)
{
	int code = check_target(opts, &pull->target);

	if (code != 0)
		return code;
	code = beam_connect_addr(&opts->common, "--from", opts->from, opts->from_user,
				 opts->from_pass, "RDBEAM_FROM_PASS", &opts->tls, &pull->from);
	if (code == 0 && opts->to)
		code = beam_connect_addr(&opts->common, "--to", opts->to, opts->to_user,
					 opts->to_pass, "RDBEAM_TO_PASS", &opts->tls, &pull->to);
	if (code == 0 && opts->primary)
		code = beam_connect_addr(&opts->common, "--primary", opts->primary, opts->from_user,
					 opts->from_pass, "RDBEAM_FROM_PASS", &opts->tls,
					 &pull->primary);
	pull->file = opts->to_file;
	pull->transport = opts->transport;
	pull->loader = opts->loader;
	pull->pull_id = getenv("RDBEAM_PULL_ID"); /* set by rdbeam.auto-pull */
	pull->stream = opts->stream;
	pull->force = opts->force;
	pull->fresh = opts->fresh;
	pull->buffer_bytes = opts->buffer;
	pull->spill_bytes = opts->spill;
	pull->spill_dir = opts->spill_dir;
	pull->timeout_ms = (int)opts->timeout_s * 1000;
	pull->handover_timeout_ms = (int)opts->handover_timeout_s * 1000;
	return code;
}

/* ---- progress ----------------------------------------------------------------------------- */

static void show_progress(void *arg, const struct beam_pull_progress *now)
{
	static const char *const stages[BEAM_STAGES] = {
	    [BEAM_STAGE_TICKET] = "ticket",      [BEAM_STAGE_TRANSFER] = "transfer",
	    [BEAM_STAGE_LOAD] = "load",          [BEAM_STAGE_CATCHUP] = "catch-up",
	    [BEAM_STAGE_HANDOVER] = "hand-over",
	};
	struct beam_progress *progress = arg;
	enum beam_progress_unit unit = BEAM_PROGRESS_BYTES;
	uint64_t done = now->bytes;
	uint64_t total = now->bytes_total;
	char note[64] = "", bytes[BEAM_TEXT_CAP];

	if (now->queue_position > 0)
		snprintf(note, sizeof(note), "queue position %u of %u", now->queue_position,
			 now->queue_length);
	else if (now->stream_bytes > 0)
		snprintf(note, sizeof(note), "stream %s",
			 beam_text_bytes(bytes, now->stream_bytes));
	if (now->stage == BEAM_STAGE_LOAD)
		done = now->fed_bytes;
	if (now->stage == BEAM_STAGE_CATCHUP) {
		done = now->stream_bytes;
		total = 0;
	}
	if (now->stage == BEAM_STAGE_TICKET || now->stage == BEAM_STAGE_HANDOVER) {
		unit = BEAM_PROGRESS_PERCENT; /* nothing to count */
		done = total = 0;
	}
	if (now->stage == BEAM_STAGE_TICKET &&
	    strcmp(progress->stage, stages[BEAM_STAGE_TICKET]) != 0)
		beam_progress_abandon(progress); /* the pull begins again, with another image */
	beam_progress_update(progress, stages[now->stage], unit, done, total, note);
}

/* ---- report ------------------------------------------------------------------------------- */

static void put_stage(const char *name, uint64_t ms, uint64_t bytes)
{
	char time[BEAM_TEXT_CAP], rate[BEAM_TEXT_CAP];

	printf("  %-10s %12s", name, beam_text_ms(time, ms));
	if (bytes > 0 && ms > 0)
		printf("  %12s/s", beam_text_bytes(rate, bytes * 1000 / ms));
	putchar('\n');
}

static const char *handover_text(const struct beam_pull_opts *pull,
				 const struct beam_pull_result *result)
{
	switch (pull->target) {
	case BEAM_PULL_REPLICA:
		if (result->full_resyncs > 0)
			return "replica by a FULL resync of the server's own";
		return "replica by partial resync";
	case BEAM_PULL_COPY:
		return "copied";
	case BEAM_PULL_FILE:
		return "written";
	case BEAM_PULL_KEEP: /* never from this command */
	case BEAM_PULL_RELAY:
	case BEAM_PULL_DISCARD:
		break;
	}
	return "verified and discarded";
}

static void print_text(const struct beam_pull_opts *pull, const struct beam_pull_result *result)
{
	char keys[BEAM_TEXT_CAP], bytes[BEAM_TEXT_CAP], time[BEAM_TEXT_CAP];
	bool fed = pull->target == BEAM_PULL_REPLICA || pull->target == BEAM_PULL_COPY;

	puts("  stage              time          rate");
	put_stage("ticket", result->ticket_ms, 0);
	put_stage("copy", result->copy_ms, result->image_bytes);
	put_stage("transfer", result->transfer_ms, result->image_bytes);
	if (fed)
		put_stage("load", result->load_ms, result->image_bytes);
	if (pull->target == BEAM_PULL_REPLICA) {
		put_stage("catch-up", result->catchup_ms, result->stream_bytes);
		put_stage("hand-over", result->handover_ms, 0);
	}
	put_stage("total", result->total_ms, result->image_bytes);
	printf("%s: %s, %s in %s by %s%s%s%s, %s, cut %s:%" PRId64 "\n",
	       handover_text(pull, result), beam_text_counted(keys, result->keys, "key"),
	       beam_text_bytes(bytes, result->image_bytes), beam_text_ms(time, result->total_ms),
	       result->transport, result->near_bytes ? " and the host's memory" : "",
	       result->loader[0] ? ", loader " : "", result->loader,
	       result->reused ? "image reused" : "image made for this pull", result->cut.replid,
	       result->cut.offset);
}

static void print_json(const struct beam_pull_result *result)
{
	cJSON *object = cJSON_CreateObject();
	char gen[64];

	snprintf(gen, sizeof(gen), "%016" PRIx64 "-%" PRIu64, result->gen.nonce,
		 result->gen.counter);
	beam_json_text(object, "generation", gen);
	beam_json_text(object, "transport", result->transport);
	if (result->loader[0])
		beam_json_text(object, "loader", result->loader);
	beam_json_bool(object, "reused", result->reused);
	beam_json_text(object, "relay", result->relay);
	beam_json_u64(object, "relays_failed", result->relays_failed);
	beam_json_u64(object, "keys", result->keys);
	beam_json_u64(object, "image_bytes", result->image_bytes);
	beam_json_u64(object, "same_host_bytes", result->near_bytes);
	beam_json_u64(object, "segments", result->nsegments);
	beam_json_u64(object, "reread_segments", result->reread_segments);
	beam_json_u64(object, "stream_bytes", result->stream_bytes);
	beam_json_u64(object, "spilled_bytes", result->spilled_bytes);
	beam_json_u64(object, "copy_ms", result->copy_ms);
	beam_json_u64(object, "ticket_ms", result->ticket_ms);
	beam_json_u64(object, "transfer_ms", result->transfer_ms);
	beam_json_u64(object, "load_ms", result->load_ms);
	beam_json_u64(object, "catchup_ms", result->catchup_ms);
	beam_json_u64(object, "handover_ms", result->handover_ms);
	beam_json_u64(object, "total_ms", result->total_ms);
	beam_json_i64(object, "partial_resyncs", result->partial_resyncs);
	beam_json_i64(object, "full_resyncs", result->full_resyncs);
	beam_json_text(object, "replid", result->cut.replid);
	beam_json_i64(object, "offset", result->cut.offset);
	beam_json_print(object);
}

/* Detaches a pull that a server started (rdbeam.auto-pull). The server must not keep a child that
 * it does not know, so its child exits here and leaves the work to a process of its own, whose pid
 * it reports. The server waits for the child's exit; so if the fork fails, the child must not do
 * the work itself. Returns 0 or -errno. */
static int detach(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		_exit(0);
	setsid();
	fprintf(stderr, "pid %d\n", (int)getpid());
	return 0;
}

static int pull_run(void *arg, int nargs, char **args)
{
	const struct pull_opts *opts = arg;
	struct beam_pull_opts pull = {0};
	struct beam_pull_result result = {0};
	struct beam_progress progress;
	int code = make_opts(opts, &pull);

	(void)nargs;
	(void)args;
	if (code != 0)
		return code;
	if (pull.pull_id)
		code = detach();
	if (code != 0)
		return beam_fail(&opts->common, code, "cannot start: a process (%s): free some",
				 beam_strerror(code));
	beam_progress_init(&progress, opts->common.quiet);
	code = beam_pull_run(&pull, show_progress, &progress, &result);
	if (code == 0)
		beam_progress_end(&progress);
	else
		beam_progress_abandon(&progress);
	explicit_bzero(pull.from.password, sizeof(pull.from.password));
	explicit_bzero(pull.to.password, sizeof(pull.to.password));
	explicit_bzero(pull.primary.password, sizeof(pull.primary.password));
	if (code == -EINVAL && result.error[0]) /* options that contradict each other */
		return beam_fail_usage(&opts->common, "%s", result.error);
	if (code != 0)
		return beam_fail(&opts->common, code, "%s",
				 result.error[0] ? result.error : beam_strerror(code));
	if (pull.pull_id)
		fprintf(stderr, "%s, %" PRIu64 " key%s in %" PRIu64 " ms, loader %s\n",
			handover_text(&pull, &result), result.keys, result.keys == 1 ? "" : "s",
			result.total_ms, result.loader);
	if (opts->common.json)
		print_json(&result);
	else
		print_text(&pull, &result);
	return BEAM_EXIT_DONE;
}

const struct beam_command beam_pull_command = {
    .name = "pull",
    .synopsis = "--from ADDR --to ADDR",
    .summary = "Fill a replica from a primary's image",
    .text =
	"Run it on the replica's host. It reads the primary's image, checks every segment, feeds\n"
	"the local server as its temporary primary, replays the changes made since, and hands\n"
	"over: the server then continues from the real primary by partial resync. Data that the\n"
	"server holds is replaced only after the image is verified, unless --stream is given.\n\n"
	"At the end it prints how long each stage took; with --json it prints one object with\n"
	"the members generation, transport, loader, reused, relay, relays_failed, keys,\n"
	"image_bytes, same_host_bytes (copied from the primary's memory, not sent), segments,\n"
	"reread_segments, stream_bytes, spilled_bytes, copy_ms, ticket_ms, transfer_ms, load_ms,\n"
	"catchup_ms, handover_ms, total_ms, partial_resyncs, full_resyncs, replid, offset, or\n"
	"with error and code.",
    .examples = "rdbeam pull --from primary:6379 --to 127.0.0.1:6379\n"
		"rdbeam pull --from primary:6379 --to-file /var/lib/redis/dump.rdb",
    .options = pull_options,
    .noptions = BEAM_NOPTIONS(pull_options),
    .opts_bytes = sizeof(struct pull_opts),
    .defaults = &pull_defaults,
    .run = pull_run,
};
