/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Switches huge pages for the heap on and off, after a self-test; the collapser thread does the
 * work. The allocator need not cooperate: memory that it returns (MADV_DONTNEED) only splits a huge
 * page, and the next pass collapses it again if enough of it is in use.
 */
#include "fork_thp.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collapser.h"
#include "config.h"
#include "fault.h"
#include "heap_map.h"
#include "link.h"
#include "log.h"
#include "program.h"
#include "sockets.h"

#define TEST_MS     5000
#define RANGES_MAX  4096
#define STATE_BYTES 160

static struct {
	RedisModuleCtx *ctx;
	int was_disabled; /* PR_GET_THP_DISABLE before we changed it */
	char state[STATE_BYTES];
	cpu_set_t cpus; /* before the server bound its main thread (server_cpulist) */
	bool has_cpus;
	int refused;                      /* the last errno logged */
	struct beam_collapser *collapser; /* NULL: off */
} thp = {.state = "off"};

/* ---- the self-test -------------------------------------------------------------------------- */

static int run_test(char *path)
{
	static char option[] = "--test-thp";
	char *argv[] = {path, option, NULL};
	int status = 0;
	pid_t pid;
	int err = BEAM_FAULT("fork-thp.test");

	err = err ? -err : posix_spawn(&pid, path, NULL, NULL, argv, beam_program_environment());
	if (err)
		return -err;
	struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

	if (ended.fd < 0 || poll(&ended, 1, TEST_MS) != 1)
		kill(pid, SIGKILL);
	beam_close(&ended.fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

/* Runs the self-test: do huge pages make a fork cheaper on this kernel, and nothing more expensive?
 * If not, thp.state says why. */
static bool passes_test(void)
{
	char path[512];
	const char *why = "";

	beam_config_daemon_path(path, sizeof(path));
	int result = run_test(path);

	switch (result) {
	case 0:
		return true;
	case 3:
		why = "the kernel gives no huge pages: set "
		      "/sys/kernel/mm/transparent_hugepage/enabled to madvise";
		break;
	case 4:
		why = "this kernel copies 2 MiB of a huge page for each write after a fork";
		break;
	default:
		why = result < 0 ? strerror(-result) : "its self-test could not run";
	}
	snprintf(thp.state, sizeof(thp.state), "unavailable: %s", why);
	return false;
}

/* ---- on and off ----------------------------------------------------------------------------- */

static bool has_child(void)
{
	return RedisModule_GetContextFlags(thp.ctx) & REDISMODULE_CTX_FLAGS_ACTIVE_CHILD;
}

/* Logs on behalf of the thread, which must not. */
static void tell_refusal(void)
{
	int refused = beam_collapser_refused(thp.collapser);

	if (refused == thp.refused)
		return;
	thp.refused = refused;
	beam_log(BEAM_LOG_NOTICE,
		 "rdbeam.fork-thp: memory that is there already stays in small pages for now "
		 "(MADV_COLLAPSE: %s)",
		 strerror(refused));
}

void beam_fork_thp_on_cron(void)
{
	if (!thp.collapser)
		return;
	tell_refusal();
	beam_collapser_rest(thp.collapser, has_child());
}

static int start(void)
{
	bool bind = thp.has_cpus && beam_link_may_schedule();
	int err = beam_collapser_open(bind ? &thp.cpus : NULL, has_child(), &thp.collapser);

	thp.refused = 0;
	if (err)
		snprintf(thp.state, sizeof(thp.state), "unavailable: its thread: %s",
			 strerror(-err));
	return err;
}

static void switch_on(void)
{
	thp.was_disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1;
	/* The server's `disable-thp yes` has set the flag; the test's process would inherit it. */
	if (thp.was_disabled && prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)) {
		snprintf(thp.state, sizeof(thp.state), "unavailable: prctl: %s", strerror(errno));
	} else if (passes_test() && !start()) {
		snprintf(thp.state, sizeof(thp.state), "on");
		beam_log(BEAM_LOG_NOTICE, "rdbeam.fork-thp: the heap gets huge pages");
		return;
	}
	if (thp.was_disabled)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	beam_log(BEAM_LOG_WARNING, "rdbeam.fork-thp yes: %s: the heap keeps its pages", thp.state);
}

static void switch_off(void)
{
	struct beam_heap_range *ranges = calloc(RANGES_MAX, sizeof(*ranges));

	beam_collapser_close(&thp.collapser);
	/* Existing huge pages stay until the kernel splits them; no new ones are made. */
	if (thp.was_disabled)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (ranges)
		beam_heap_advise(ranges, beam_heap_find(ranges, RANGES_MAX), MADV_NOHUGEPAGE);
	free(ranges);
	beam_log(BEAM_LOG_NOTICE, "rdbeam.fork-thp: off; what has huge pages keeps them until it "
				  "is freed");
}

void beam_fork_thp_configure(void)
{
	if (!thp.ctx)
		return;
	if (thp.collapser && !beam_config.fork_thp)
		switch_off();
	if (!beam_config.fork_thp)
		snprintf(thp.state, sizeof(thp.state), "off");
	else if (!thp.collapser && !strcmp(thp.state, "off"))
		switch_on();
}

void beam_fork_thp_open(RedisModuleCtx *ctx)
{
	thp.ctx = ctx;
	thp.has_cpus = !sched_getaffinity(0, sizeof(thp.cpus), &thp.cpus);
	beam_fork_thp_configure();
}

void beam_fork_thp_close(void)
{
	if (thp.collapser)
		switch_off();
	memset(&thp, 0, sizeof(thp));
	snprintf(thp.state, sizeof(thp.state), "off");
}

void beam_fork_thp_on_child(bool died)
{
	if (thp.collapser)
		beam_collapser_rest(thp.collapser, !died);
}

const char *beam_fork_thp_state(void)
{
	return thp.state;
}

uint64_t beam_fork_thp_bytes(void)
{
	return thp.collapser ? beam_collapser_bytes(thp.collapser) : 0;
}
