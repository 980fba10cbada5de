/* SPDX-License-Identifier: BSD-3-Clause
 * A child that the server forks for us exits before it runs any of the server's code. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "redis_api.h"
#include "throwaway_child.h"

static int said[2];

/* Forks like a server: its code continues in the child. */
static int fork_of_a_server(RedisModuleForkDoneHandler done, void *data)
{
	int pid = fork();

	(void)done;
	(void)data;
	if (pid == 0)
		_exit(write(said[1], "x", 1) == 1 ? 1 : 2);
	return pid;
}

static int fork_that_fails(RedisModuleForkDoneHandler done, void *data)
{
	(void)done;
	(void)data;
	return -1;
}

static void other_forks_go_on(void)
{
	int status, pid = fork();

	if (pid == 0)
		_exit(7);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
}

static void nothing_of_the_server_runs(void **state)
{
	char byte;

	(void)state;
	assert_int_equal(pipe(said), 0);
	RedisModule_Fork = fork_of_a_server;
	assert_int_equal(beam_throwaway_child(), 0);
	assert_int_equal(beam_throwaway_child(), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	close(said[1]);
	assert_int_equal(read(said[0], &byte, 1), 0);
	close(said[0]);
	other_forks_go_on();
}

static void a_failed_fork_is_told(void **state)
{
	(void)state;
	RedisModule_Fork = fork_that_fails;
	assert_int_equal(beam_throwaway_child(), -EAGAIN);
	other_forks_go_on();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_of_the_server_runs),
	    cmocka_unit_test(a_failed_fork_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
