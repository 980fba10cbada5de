/* SPDX-License-Identifier: BSD-3-Clause
 * librdbeam: pulls. These are the pulls of rdbeam(1), made fit for a library: no SIGPIPE from
 * broken connections, nothing printed, and the request's size is checked. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "library.h"
#include "pull.h"

#define PORT_DEFAULT 6379

/* hiredis writes to sockets that a server may have closed. This blocks SIGPIPE in the calling
 * thread, and removes one that was raised meanwhile. */
struct pipe_guard {
	sigset_t before;
	bool was_pending;
};

static void pipe_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGPIPE);
}

static void guard_pipe(struct pipe_guard *guard)
{
	sigset_t pipes, pending;

	pipe_set(&pipes);
	sigpending(&pending);
	guard->was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipes, &guard->before);
}

static void unguard_pipe(const struct pipe_guard *guard)
{
	const struct timespec at_once = {0};
	sigset_t pipes;

	pipe_set(&pipes);
	while (!guard->was_pending && sigtimedwait(&pipes, NULL, &at_once) == SIGPIPE)
		continue;
	pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}

static int say(const struct beam_pull_request *request, int code, const char *text)
{
	if (request->error && request->error_cap)
		snprintf(request->error, request->error_cap, "%s", text);
	return code;
}

static void progress(void *arg, const struct beam_pull_progress *at)
{
	const struct beam_pull_request *request = arg;

	if (request->progress)
		request->progress(request->arg, at->bytes, at->bytes_total);
}

static int fill_options(const struct beam_pull_request *request, struct beam_pull_opts *opts)
{
	int err;

	if (request->struct_bytes != sizeof(*request))
		return say(request, -EINVAL,
			   "struct_bytes is not sizeof(struct beam_pull_request): set it, and "
			   "compile with this library's header");
	if (!request->from)
		return say(request, -EINVAL, "from is NULL: give the primary's address");
	snprintf(opts->from.host, sizeof(opts->from.host), "127.0.0.1");
	opts->from.port = PORT_DEFAULT;
	err = beam_redis_parse_addr(request->from, &opts->from);
	if (err)
		return say(
		    request, err,
		    "from cannot be used: give host:port or redis://user:password@host:port");
	if (request->transport && strcmp(request->transport, "auto") != 0 &&
	    strcmp(request->transport, "tcp") != 0 && strcmp(request->transport, "verbs") != 0)
		return say(request, -EINVAL, "transport is unknown: give auto, tcp or verbs");
	opts->transport = request->transport;
	opts->spill_dir = request->spill_dir;
	opts->buffer_bytes = request->buffer_bytes;
	opts->timeout_ms = request->timeout_ms;
	opts->fresh = request->fresh != 0;
	return 0;
}

static int run(const struct beam_pull_request *request, struct beam_pull_opts *opts)
{
	struct beam_pull_result result;
	struct pipe_guard guard;
	int err;

	beam_library_be_silent();
	err = fill_options(request, opts);
	if (err)
		return err;
	guard_pipe(&guard);
	err = beam_pull_run(opts, progress, (void *)(uintptr_t)request, &result);
	unguard_pipe(&guard);
	explicit_bzero(opts->from.password, sizeof(opts->from.password));
	return err ? say(request, err, result.error) : 0;
}

int beam_image_pull(const struct beam_pull_request *request, struct beam_image **out)
{
	struct beam_stage *staged = NULL;
	struct beam_pull_opts opts = {.target = BEAM_PULL_KEEP, .kept = &staged};
	int err = run(request, &opts);

	if (err)
		return err;
	err =
	    beam_image_wrap(beam_stage_bytes(staged), beam_stage_image_bytes(staged), staged, out);
	if (!err)
		return 0;
	beam_stage_close(&staged);
	return say(request, err, beam_strerror(err));
}

int beam_image_pull_to_file(const struct beam_pull_request *request, const char *path)
{
	struct beam_pull_opts opts = {.target = BEAM_PULL_FILE, .file = path};

	if (!path)
		return say(request, -EINVAL, "path is NULL: give the file's name");
	return run(request, &opts);
}
