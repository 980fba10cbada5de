/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The heap is found in /proc/self/maps: anonymous private memory that can be written. Each pass asks
 * for huge pages there (madvise), and then goes through it by 2 MiB: what is mostly in use and in
 * small pages is put together by MADV_COLLAPSE, for at most STEP_US at a time. It rests while a
 * child lives, since memory that is shared with a child would have to be copied for that, and
 * PAUSE_MS between passes. Nothing in here needs the allocator's cooperation, and what it gives back
 * (MADV_DONTNEED) merely splits a huge page, which the next pass mends if enough of it is in use.
 */
#include "fork_thp.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "fault.h"
#include "log.h"
#include "sockets.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define HUGE_BYTES   (2ull << 20)
#define HUGE_PAGES   512
#define ENOUGH_PAGES 448 /* of 512 in use: a huge page may cost an eighth more memory, not more */
#define STEP_MS      20
#define STEP_US      1000
#define PAUSE_MS     5000
#define TEST_MS      5000
#define RANGES_MAX   4096
#define STATE_BYTES  160

extern char **environ;

struct range {
	uint64_t from, to; /* multiples of HUGE_BYTES */
};

static struct {
	RedisModuleCtx *ctx;
	RedisModuleTimerID timer;
	bool on, has_timer;
	int was_disabled; /* PR_GET_THP_DISABLE before us */
	char state[STATE_BYTES];
	struct range *ranges; /* RANGES_MAX of them */
	uint32_t nranges, at;
	uint64_t next;            /* address within ranges[at]; 0: its beginning */
	uint64_t huge, last_huge; /* of this pass, of the last one */
	int collapse_errno;       /* said already */
} thp = {.state = "off"};

/* ---- the self-test -------------------------------------------------------------------------- */

static int run_test(char *path)
{
	static char option[] = "--test-thp";
	char *argv[] = {path, option, NULL};
	int status = 0;
	pid_t pid;
	int err = BEAM_FAULT("fork-thp.test");

	err = err ? -err : posix_spawn(&pid, path, NULL, NULL, argv, environ);
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

/* Whether huge pages make a fork cheaper here and nothing dearer; else thp.state says why not. */
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

/* ---- where the heap is ---------------------------------------------------------------------- */

/* One line of /proc/self/maps. True with *out if it is heap and holds a whole huge page. */
static bool parse_map(const char *line, struct range *out)
{
	uint64_t from, to, offset, inode;
	char perms[8], device[16], name[64] = "";
	int n = sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %15s %" SCNu64 " %63s", &from,
		       &to, perms, &offset, device, &inode, name);

	if (n < 6 || inode || strcmp(perms, "rw-p") != 0 ||
	    (name[0] && strcmp(name, "[heap]") != 0))
		return false;
	out->from = (from + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	out->to = to / HUGE_BYTES * HUGE_BYTES;
	return out->from < out->to;
}

static void find_heap(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	thp.nranges = 0;
	while (maps && thp.nranges < RANGES_MAX && fgets(line, sizeof(line), maps))
		thp.nranges += (uint32_t)parse_map(line, &thp.ranges[thp.nranges]);
	if (maps)
		fclose(maps);
}

static void advise_heap(int advice)
{
	find_heap();
	for (uint32_t i = 0; i < thp.nranges; i++) {
		const struct range *range = &thp.ranges[i];

		/* A mapping may be gone by now: that is no harm. */
		(void)madvise((void *)(uintptr_t)range->from, range->to - range->from, advice);
	}
}

/* ---- passes --------------------------------------------------------------------------------- */

static bool mostly_used(void *at)
{
	unsigned char in_core[HUGE_PAGES];
	uint32_t used = 0;

	if (mincore(at, HUGE_BYTES, in_core))
		return false;
	for (uint32_t i = 0; i < HUGE_PAGES; i++)
		used += in_core[i] & 1;
	return used >= ENOUGH_PAGES;
}

static void mend(void *at)
{
	if (!mostly_used(at))
		return;
	if (!madvise(at, HUGE_BYTES, MADV_COLLAPSE)) {
		thp.huge += HUGE_BYTES;
		return;
	}
	/* EAGAIN, EBUSY: a page is in use elsewhere; the next pass tries again. */
	if (errno == EAGAIN || errno == EBUSY || errno == thp.collapse_errno)
		return;
	thp.collapse_errno = errno;
	beam_log(BEAM_LOG_NOTICE,
		 "rdbeam.fork-thp: memory that is there already stays in small pages for now "
		 "(MADV_COLLAPSE: %s)",
		 strerror(errno));
}

/* True when the pass is over. */
static bool step(void)
{
	uint64_t end_ns = beam_now_ns() + STEP_US * 1000ull;

	while (thp.at < thp.nranges) {
		const struct range *range = &thp.ranges[thp.at];
		uint64_t at = thp.next ? thp.next : range->from;

		for (; at < range->to; at += HUGE_BYTES) {
			thp.next = at;
			if (beam_now_ns() >= end_ns)
				return false;
			mend((void *)(uintptr_t)at);
		}
		thp.next = 0;
		thp.at++;
	}
	return true;
}

static void on_timer(RedisModuleCtx *ctx, void *arg);

static void wake_in(uint64_t ms)
{
	thp.timer = RedisModule_CreateTimer(thp.ctx, (mstime_t)ms, on_timer, NULL);
	thp.has_timer = true;
}

static void begin_pass(void)
{
	thp.last_huge = thp.huge;
	thp.huge = 0;
	thp.at = 0;
	thp.next = 0;
}

static void on_timer(RedisModuleCtx *ctx, void *arg)
{
	(void)arg;
	thp.has_timer = false;
	if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_ACTIVE_CHILD) {
		wake_in(STEP_MS);
		return;
	}
	if (thp.at == 0 && thp.next == 0)
		advise_heap(MADV_HUGEPAGE);
	if (!step()) {
		wake_in(STEP_MS);
		return;
	}
	begin_pass();
	wake_in(PAUSE_MS);
}

/* ---- on and off ----------------------------------------------------------------------------- */

static void switch_on(void)
{
	thp.was_disabled = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1;
	/* Redis's own `disable-thp yes` has set it; the test's process inherits it. */
	if (thp.was_disabled && prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)) {
		snprintf(thp.state, sizeof(thp.state), "unavailable: prctl: %s", strerror(errno));
	} else if (!thp.ranges && !(thp.ranges = calloc(RANGES_MAX, sizeof(*thp.ranges)))) {
		snprintf(thp.state, sizeof(thp.state), "unavailable: no memory");
	} else if (passes_test()) {
		thp.on = true;
		snprintf(thp.state, sizeof(thp.state), "on");
		beam_log(BEAM_LOG_NOTICE, "rdbeam.fork-thp: the heap gets huge pages");
		begin_pass();
		wake_in(STEP_MS);
		return;
	}
	if (thp.was_disabled)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	beam_log(BEAM_LOG_WARNING, "rdbeam.fork-thp yes: %s: the heap keeps its pages", thp.state);
}

static void switch_off(void)
{
	if (thp.has_timer)
		RedisModule_StopTimer(thp.ctx, thp.timer, NULL);
	thp.has_timer = false;
	/* What is huge stays so until the kernel splits it; nothing new becomes it. */
	if (thp.was_disabled)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	advise_heap(MADV_NOHUGEPAGE);
	begin_pass();
	thp.last_huge = 0;
	thp.on = false;
	beam_log(BEAM_LOG_NOTICE, "rdbeam.fork-thp: off; what has huge pages keeps them until it "
				  "is freed");
}

void beam_fork_thp_configure(void)
{
	if (!thp.ctx)
		return;
	if (thp.on && !beam_config.fork_thp)
		switch_off();
	if (!beam_config.fork_thp)
		snprintf(thp.state, sizeof(thp.state), "off");
	else if (!thp.on && !strcmp(thp.state, "off"))
		switch_on();
}

void beam_fork_thp_open(RedisModuleCtx *ctx)
{
	thp.ctx = ctx;
	beam_fork_thp_configure();
}

void beam_fork_thp_close(void)
{
	if (thp.on)
		switch_off();
	free(thp.ranges);
	memset(&thp, 0, sizeof(thp));
	snprintf(thp.state, sizeof(thp.state), "off");
}

const char *beam_fork_thp_state(void)
{
	return thp.state;
}

uint64_t beam_fork_thp_bytes(void)
{
	return thp.huge > thp.last_huge ? thp.huge : thp.last_huge;
}
