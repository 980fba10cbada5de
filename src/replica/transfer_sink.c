/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where a pull's image goes: into a window that feeds the target meanwhile, into a stage if it has
 * to be verified first, into a file, or into a relay's store.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "log.h"
#include "pull_run.h"
#include "rdbeam/error.h"
#include "schedule.h"
#include "tell.h"

#define LOAD_NICE 10

/* Memory for the image. A replica's stream is buffered at the same time and gets a quarter. */
static uint64_t image_memory(const struct beam_pull *pull)
{
	uint64_t buffer = pull->opts.buffer_bytes;

	return pull->opts.target == BEAM_PULL_REPLICA ? buffer - buffer / 4 : buffer;
}

/* Rule 11: the target's data is not replaced before the image is verified, nor is any target fed
 * values that may end it. */
static bool verify_first(const struct beam_pull *pull)
{
	if (pull->opts.target == BEAM_PULL_COPY || pull->opts.target == BEAM_PULL_KEEP)
		return true;
	if (pull->opts.target != BEAM_PULL_REPLICA)
		return false;
	return pull->lacked[0] || (pull->target.has_keys && !pull->opts.stream);
}

/* Asks the target's module before the window is made, because a window cannot become shared
 * later. */
static int choose_loader(struct beam_pull *pull)
{
	struct beam_module_offer offer;
	char why[BEAM_REDIS_ERROR_BYTES] = "";
	const char *loader = pull->opts.loader;

	pull->by_module = false;
	if (strcmp(loader, "stock") == 0 || pull->target.has_keys)
		return 0;
	int rc = beam_module_ask(pull->to, why, &offer);

	pull->by_module = rc == 0;
	if (!rc)
		return 0;
	if (strcmp(loader, "module") == 0)
		return beam_tell(pull->error, rc, "%s", why);
	/* That the target has no module is not worth a message. */
	if (rc != BEAM_E_UNSUPPORTED)
		beam_log(BEAM_LOG_NOTICE, "%s", why);
	return 0;
}

/* A stock load runs on one thread of the target, which everything else waits for, while the window
 * stays ahead of it anyway. Where both run on the same processors, the target should come first.
 * Threads started by this thread inherit the lower priority. */
static void let_target_first(struct beam_pull *pull)
{
	if (pull->lowered || pull->by_module || beam_may_schedule() <= 0)
		return;
	errno = 0;
	int nice = getpriority(PRIO_PROCESS, 0);

	pull->lowered = !errno && !setpriority(PRIO_PROCESS, 0, nice + LOAD_NICE);
}

/* Why the target's module cannot load an image that is verified first. */
static int refuse_module(struct beam_pull *pull)
{
	if (pull->target.has_keys)
		return beam_tell(
		    pull->error, BEAM_E_UNSUPPORTED,
		    "%s holds keys, so it loads into a second database, where a module "
		    "cannot insert: --loader auto, or empty it first",
		    beam_redis_name(pull->to));
	return beam_tell(pull->error, BEAM_E_UNSUPPORTED,
			 "%s lacks the module %s, so the whole image is looked through before the "
			 "server loads it by itself: --loader auto, or load %s there",
			 beam_redis_name(pull->to), pull->lacked, pull->lacked);
}

int beam_transfer_open(struct beam_pull *pull)
{
	struct beam_segment_sink sink;
	uint64_t memory = image_memory(pull);
	bool stage = verify_first(pull);
	int rc = 0;

	if (stage && strcmp(pull->opts.loader, "module") == 0 &&
	    pull->opts.target == BEAM_PULL_REPLICA)
		return refuse_module(pull);
	if (pull->opts.target == BEAM_PULL_RELAY) {
		sink = pull->opts.relay->sink;
	} else if (stage) {
		rc =
		    beam_stage_open(memory, pull->opts.spill_dir, &pull->ticket.gen, &pull->staged);
		if (!rc)
			beam_stage_sink(pull->staged, &sink);
	} else if (pull->opts.target == BEAM_PULL_REPLICA) {
		rc = choose_loader(pull);
		if (rc)
			return rc;
		let_target_first(pull);
		rc = beam_window_open(memory, pull->by_module, &pull->ticket.gen, &pull->window);
		if (!rc)
			beam_window_sink(pull->window, &sink);
	} else {
		rc = beam_image_file_open(pull->opts.target == BEAM_PULL_FILE ? pull->opts.file
									      : NULL,
					  memory, pull->error, &pull->file);
		if (!rc)
			beam_image_file_sink(pull->file, &sink);
	}
	if (!rc)
		rc = beam_fetch_open(&sink, &pull->fetch);
	if (rc)
		return beam_tell(pull->error, rc, "no buffer for the image: %s", beam_strerror(rc));
	beam_fetch_on_reads(pull->fetch, pull->opts.on_reads, pull->opts.on_reads_arg);
	return 0;
}

void beam_transfer_close(struct beam_pull *pull)
{
	beam_fetch_close(&pull->fetch);
	beam_window_close(&pull->window);
	beam_stage_close(&pull->staged);
	beam_image_file_close(&pull->file);
	memset(&pull->counts, 0, sizeof(pull->counts));
}
