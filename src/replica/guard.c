/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The guard blocks on a pipe whose write end only the pull holds. A byte from the pipe means that
 * all is well; end of file without a byte means that the pull has died.
 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "log.h"
#include "sockets.h"

#define TARGET_TIMEOUT_MS 60000

struct beam_guard {
	struct beam_target_state *state; /* shared with the guard process */
	int pipe;
	pid_t pid;
};

/* The terminal's signals end the pull, and the guard exists to clean up after just that. */
static void detach(int pipe_fd)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE};

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	setsid();
	/* A reader of the pull's output must not be kept waiting by the guard; stderr stays open
	 * for the log. */
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (pipe_fd > 3)
		close_range(3, (unsigned)pipe_fd - 1, 0);
	close_range((unsigned)pipe_fd + 1, ~0u, 0);
}

static void put_back(const struct beam_redis_addr *target, const struct beam_target_state *state)
{
	(void)BEAM_FAULT("guard-put-back");
	beam_log(BEAM_LOG_WARNING, "the pull was killed: restoring the target");
	beam_target_put_back(target, TARGET_TIMEOUT_MS, TARGET_TIMEOUT_MS, state);
}

_Noreturn static void guard_main(int pipe_fd, const struct beam_redis_addr *target,
				 const struct beam_target_state *state)
{
	char word;

	detach(pipe_fd);
	if (beam_read_all(pipe_fd, &word, 1) && beam_target_changed(state))
		put_back(target, state);
	_exit(0);
}

int beam_guard_open(const struct beam_redis_addr *target, struct beam_guard **out)
{
	struct beam_guard *guard = calloc(1, sizeof(*guard));
	int fds[2] = {-1, -1};
	int rc;

	if (!guard)
		return -ENOMEM;
	guard->state = mmap(NULL, sizeof(*guard->state), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (guard->state == MAP_FAILED) {
		rc = -errno;
		goto free_guard;
	}
	if (pipe2(fds, O_CLOEXEC)) {
		rc = -errno;
		goto unmap;
	}
	rc = BEAM_FAULT("pull-guard");
	guard->pid = rc ? -1 : fork();
	if (guard->pid < 0) {
		rc = rc ? rc : -errno;
		goto close_pipe;
	}
	if (guard->pid == 0) {
		close(fds[1]);
		guard_main(fds[0], target, guard->state);
	}
	close(fds[0]);
	guard->pipe = fds[1];
	*out = guard;
	return 0;
close_pipe:
	close(fds[0]);
	close(fds[1]);
unmap:
	munmap(guard->state, sizeof(*guard->state));
free_guard:
	free(guard);
	return rc;
}

struct beam_target_state *beam_guard_state(struct beam_guard *guard)
{
	return guard->state;
}

void beam_guard_close(struct beam_guard **guard)
{
	struct beam_guard *g = *guard;
	int status;

	if (!g)
		return;
	/* If the guard is gone there is nobody to notify. */
	(void)beam_write_all(g->pipe, "w", 1);
	beam_close(&g->pipe);
	while (waitpid(g->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	munmap(g->state, sizeof(*g->state));
	free(g);
	*guard = NULL;
}
