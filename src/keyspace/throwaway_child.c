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

/* Within the server's fork(). Behind it Valkey 9.1 frees what it freed in this process already, when
 * it was forked: the clients' query buffers. What comes of that may be a crash or a child that hangs. */
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

	if (pid == 0) /* a fork that calls no handlers */
		_exit(0);
	thrown_away = 0;
	if (pid < 0)
		return -EAGAIN;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}
