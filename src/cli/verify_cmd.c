/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam verify: checks an RDB file, ours or a plain one, from a mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "image_reader.h"
#include "key_stats.h"
#include "rdbeam/error.h"
#include "report.h"
#include "sockets.h"

#define PROBLEMS_SHOWN 20

struct verify_opts {
	struct beam_common common;
	bool keys;
};

static const struct beam_option verify_options[] = {
    {.name = "--keys",
     .kind = BEAM_OPT_FLAG,
     .offset = offsetof(struct verify_opts, keys),
     .help = "Also count keys, TTLs and bytes by type and by database, and list the largest keys. "
	     "--json always has these."},
    BEAM_COMMON_OPTIONS(struct verify_opts),
};

static const struct verify_opts verify_defaults;

/* The results of one run. */
struct findings {
	bool json;
	struct beam_key_stats *stats; /* NULL: not requested */
	cJSON *array;
	uint64_t seen;
	int damage; /* the first code other than for something merely unknown */
};

static int note_problem(void *arg, int code, uint64_t offset, const char *text)
{
	struct findings *problems = arg;

	if (problems->damage == 0 && code != BEAM_E_UNSUPPORTED && code != BEAM_E_VERSION)
		problems->damage = code;
	if (problems->seen++ >= PROBLEMS_SHOWN)
		return 0;
	if (problems->json) {
		cJSON *problem = cJSON_CreateObject();

		beam_json_text(problem, "code", beam_error_name(code));
		beam_json_u64(problem, "offset", offset);
		beam_json_text(problem, "text", text);
		cJSON_AddItemToArray(problems->array, problem);
	} else {
		printf("problem   at byte %" PRIu64 ": %s (%s)\n", offset, text,
		       beam_error_name(code));
	}
	return 0;
}

static void note_key(void *arg, const struct beam_item *item)
{
	beam_key_stats_add(((struct findings *)arg)->stats, item);
}

/* Handles SIGBUS: a page of the mapping cannot be read, because the file was truncated after its
 * length was checked, or the disk failed. There is no way to continue. */
static void mapping_lost(int signal_number)
{
	static const char text[] =
	    "rdbeam: cannot read: the file became shorter or the disk failed while it was "
	    "checked: look at the kernel's log\n";

	(void)signal_number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(BEAM_EXIT_FAILED);
	_exit(BEAM_EXIT_FAILED);
}

/* Maps the file for reading. Returns 0 with *base and *len_bytes, or rdbeam's exit code. */
static int map_file(const struct beam_common *common, const char *path, const uint8_t **base,
		    size_t *len_bytes)
{
	struct stat st;
	void *map;
	int code = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0) {
		code = -errno;
		beam_close(&fd);
		return beam_fail(common, code, "cannot read: %s (%s): give a file to verify", path,
				 beam_strerror(code));
	}
	if (!S_ISREG(st.st_mode))
		code = beam_fail(common, -EINVAL, "not a regular file: %s: give a dump.rdb", path);
	else if (st.st_size == 0)
		code =
		    beam_fail(common, BEAM_E_TORN, "file is empty: %s: restore another copy", path);
	if (code != 0) {
		beam_close(&fd);
		return code;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	code = map == MAP_FAILED ? -errno : 0;
	beam_close(&fd);
	if (code != 0)
		return beam_fail(common, code, "cannot map: %s (%s): check limits (ulimit -v)",
				 path, beam_strerror(code));
	madvise(map, (size_t)st.st_size, MADV_SEQUENTIAL);
	*base = map;
	*len_bytes = (size_t)st.st_size;
	return 0;
}

static void generation_text(char *out, const struct beam_gen *gen)
{
	snprintf(out, BEAM_TEXT_CAP * 2, "%016" PRIx64 "-%" PRIu64, gen->nonce, gen->counter);
}

static const char *crc_text(const struct beam_verify_report *report)
{
	if (report->crc_absent)
		return "none in the file";
	return report->crc_ok ? "right" : "WRONG";
}

static void print_text(const char *path, const struct beam_verify_report *report,
		       const struct beam_key_stats *stats, int code)
{
	char text[BEAM_TEXT_CAP], gen[BEAM_TEXT_CAP * 2];

	printf("file      %s, %s\n", path, beam_text_bytes(text, report->file_bytes));
	printf("kind      %s, RDB version %d%s%s\n",
	       report->is_image ? "rdbeam image" : "plain RDB file", report->rdb_version,
	       report->server_version[0] ? ", written by " : "", report->server_version);
	if (report->is_image) {
		generation_text(gen, &report->gen);
		printf("segments  %u of %s, %u bad, generation %s\n", report->nsegments,
		       beam_text_bytes(text, report->segment_bytes), report->segments_bad, gen);
	}
	printf("keys      %s in %u database%s", beam_text_count(text, report->keys), report->ndbs,
	       report->ndbs == 1 ? "" : "s");
	printf(", %s with a TTL", beam_text_count(text, report->expires));
	if (report->nexpired)
		printf(", %s expired left out", beam_text_count(text, report->nexpired));
	putchar('\n');
	for (size_t i = 0; i < BEAM_VERIFY_TYPES; i++) {
		if (report->keys_by_type[i] && !stats)
			printf("  %-10s %s\n", beam_verify_type_names[i],
			       beam_text_count(text, report->keys_by_type[i]));
	}
	if (stats)
		beam_key_stats_print(stats);
	if (report->functions)
		printf("functions %s\n", beam_text_count(text, report->functions));
	if (report->repl_id[0])
		printf("cut       %s:%" PRId64 "\n", report->repl_id, report->repl_offset);
	printf("CRC       %s\n", crc_text(report));
	if (report->problems > PROBLEMS_SHOWN)
		printf("problems  %s in all; the first %d are shown\n",
		       beam_text_count(text, report->problems), PROBLEMS_SHOWN);
	printf("verdict   %s\n", code == 0 ? "ok" : beam_strerror(code));
}

static void print_json(const char *path, const struct beam_verify_report *report, int code,
		       const struct findings *found)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *types = cJSON_CreateObject();
	char gen[BEAM_TEXT_CAP * 2];

	beam_json_text(object, "file", path);
	beam_json_bool(object, "ok", code == 0);
	beam_json_text(object, "kind", report->is_image ? "image" : "rdb");
	beam_json_i64(object, "rdb_version", report->rdb_version);
	beam_json_text(object, "server_version", report->server_version);
	beam_json_u64(object, "bytes", report->file_bytes);
	beam_json_u64(object, "segments", report->nsegments);
	beam_json_u64(object, "segment_bytes", report->segment_bytes);
	beam_json_u64(object, "segments_bad", report->segments_bad);
	generation_text(gen, &report->gen);
	beam_json_text(object, "generation", report->is_image ? gen : "");
	beam_json_u64(object, "keys", report->keys);
	beam_json_u64(object, "expires", report->expires);
	beam_json_u64(object, "expired_left_out", report->nexpired);
	beam_json_u64(object, "functions", report->functions);
	beam_json_u64(object, "dbs", report->ndbs);
	for (size_t i = 0; i < BEAM_VERIFY_TYPES; i++)
		beam_json_u64(types, beam_verify_type_names[i], report->keys_by_type[i]);
	beam_json_add(object, "keys_by_type", types);
	beam_key_stats_json(found->stats, object);
	beam_json_text(object, "replid", report->repl_id);
	beam_json_i64(object, "offset", report->repl_offset);
	beam_json_bool(object, "crc_ok", report->crc_ok);
	beam_json_bool(object, "crc_absent", report->crc_absent);
	beam_json_u64(object, "problems_total", report->problems);
	beam_json_add(object, "problems", found->array);
	if (code != 0) {
		beam_json_text(object, "error", beam_strerror(code));
		beam_json_text(object, "code", beam_error_name(code));
	}
	beam_json_print(object);
}

static int verify_run(void *opts, int nargs, char **args)
{
	const struct verify_opts *verify = opts;
	struct findings problems = {.json = verify->common.json};
	struct beam_verify_report report = {0};
	static struct beam_key_stats stats;
	const uint8_t *base = NULL;
	size_t len_bytes = 0;
	int code;

	(void)nargs;
	signal(SIGBUS, mapping_lost);
	code = map_file(&verify->common, args[0], &base, &len_bytes);
	if (code != 0)
		return code;
	problems.array = cJSON_CreateArray();
	if (verify->keys || verify->common.json)
		problems.stats = &stats;
	code = beam_verify_keys(base, len_bytes, note_problem, problems.stats ? note_key : NULL,
				&problems, &report);
	if (problems.damage != 0)
		code = problems.damage; /* what looked unknown may be damage, too */
	munmap((void *)(uintptr_t)base, len_bytes);
	if (verify->common.json) {
		print_json(args[0], &report, code, &problems);
	} else {
		cJSON_Delete(problems.array);
		print_text(args[0], &report, problems.stats, code);
	}
	if (code == 0)
		return BEAM_EXIT_DONE;
	if (code == BEAM_E_UNSUPPORTED || code == BEAM_E_VERSION) {
		fprintf(stderr,
			"rdbeam: not known here: %s: a newer server's type or opcode; what "
			"follows it was not checked\n",
			args[0]);
		return BEAM_EXIT_FAILED;
	}
	fprintf(stderr, "rdbeam: file is corrupt: %s (%s): restore another copy\n", args[0],
		beam_strerror(code));
	return BEAM_EXIT_CORRUPT;
}

const struct beam_command beam_verify_command = {
    .name = "verify",
    .synopsis = "FILE",
    .summary = "Check a dump.rdb, byte by byte, without a server",
    .text =
	"Reads an RDB file and reports what is in it. Of an image that rdbeam wrote it checks\n"
	"every segment's checksum, every record, the number of keys against the manifest, and\n"
	"the file's own checksum. Of a plain RDB file it checks the shape of every record and\n"
	"the file's checksum.\n\n"
	"The exit status is 4 when the file is corrupt, with up to 20 problems listed, and 1 when\n"
	"it cannot be read or holds what this version does not know.",
    .examples = "rdbeam verify /var/lib/redis/dump.rdb\n"
		"rdbeam verify --keys dump.rdb\n"
		"rdbeam verify --json dump.rdb | jq .largest",
    .options = verify_options,
    .noptions = BEAM_NOPTIONS(verify_options),
    .opts_bytes = sizeof(struct verify_opts),
    .defaults = &verify_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = verify_run,
};
