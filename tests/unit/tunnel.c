/* SPDX-License-Identifier: BSD-3-Clause
 *
 * TLS to a peer that does not speak it. Working connections are tested with real servers in
 * test_tls.py.
 */
#include "tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "rdbeam/error.h"
#include "sockets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int listen_here(uint32_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

static int open_tunnel(uint32_t port, char *error, size_t cap)
{
	struct beam_tunnel *tunnel = NULL;
	struct beam_tls_opts opts = {.insecure = true};
	int code = beam_tunnel_open("127.0.0.1", NULL, port, &opts, 100, 100, error, cap, &tunnel);

	assert_null(tunnel);
	return code;
}

static void silence_is_a_timeout_that_names_the_port(void **state)
{
	char error[256];
	uint32_t port;
	int fd = listen_here(&port);

	(void)state;
	assert_int_equal(open_tunnel(port, error, sizeof(error)), -ETIMEDOUT);
	assert_non_null(strstr(error, "tls-port"));
	beam_close(&fd);
}

static void nobody_there_is_refused(void **state)
{
	char error[256];
	uint32_t port;
	int fd = listen_here(&port);

	(void)state;
	beam_close(&fd);
	assert_int_equal(open_tunnel(port, error, sizeof(error)), -ECONNREFUSED);
	assert_string_equal(error, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(silence_is_a_timeout_that_names_the_port),
	    cmocka_unit_test(nobody_there_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
