/* SPDX-License-Identifier: BSD-3-Clause */
#include "throwaway_child.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "redis_api.h"

static volatile sig_atomic_t thrown_away;

/* Runs in the child, inside the server's fork(). If the child returned from it, Valkey 9.1 would
 * free the clients' query buffers, which it has already freed in this process when that was forked:
 * the child might crash or hang. */
static void end_at_once(void)
{
	if (thrown_away)
		_exit(0);
}

int beam_throwaway_child(void)
{
	static bool registered;

	if (!registered && pthread_atfork(NULL, NULL, end_at_once))
		return -ENOMEM;
	registered = true;
	thrown_away = 1;
	int pid = RedisModule_Fork(NULL, NULL);

	if (pid == 0) /* if fork() has not called the handler */
		_exit(0);
	thrown_away = 0;
	if (pid < 0)
		return -EAGAIN;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}
