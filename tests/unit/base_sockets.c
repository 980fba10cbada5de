/* SPDX-License-Identifier: BSD-3-Clause
 * Packets and the file descriptors that they carry. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "rdbeam/error.h"
#include "sockets.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct pair {
	int listener, client, server;
};

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int setup(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	uint8_t name[6];
	size_t name_len;

	pair->listener = beam_packet_listen(name, &name_len);
	assert_true(pair->listener >= 0);
	assert_true(name_len > 0 && name[0] == 0); /* abstract */
	pair->client = beam_packet_connect(name, name_len);
	assert_true(pair->client >= 0);
	pair->server = accept4(pair->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(pair->server >= 0);
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	beam_close(&pair->listener);
	beam_close(&pair->client);
	beam_close(&pair->server);
	assert_int_equal(pair->server, -1);
	free(pair);
	return 0;
}

static void test_packets_keep_their_bounds(void **state)
{
	struct pair *pair = *state;
	char buf[16];
	int nfds = 9;

	assert_int_equal(beam_packet_send(pair->client, "one", 3, NULL, 0), 0);
	assert_int_equal(beam_packet_send(pair->client, "second", 6, NULL, 0), 0);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, &nfds, -1), 3);
	assert_memory_equal(buf, "one", 3);
	assert_int_equal(nfds, 0);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 1000), 6);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 0), -EAGAIN);
}

static void test_fds_arrive_and_are_cloexec(void **state)
{
	struct pair *pair = *state;
	int sent[BEAM_PACKET_FDS_MAX], got[BEAM_PACKET_FDS_MAX], nfds = 0;
	char buf[4];

	for (int i = 0; i < BEAM_PACKET_FDS_MAX; i++) {
		sent[i] = memfd_create("test", MFD_CLOEXEC);
		assert_true(sent[i] >= 0);
		assert_int_equal(ftruncate(sent[i], 100 + i), 0);
	}
	assert_int_equal(beam_packet_send(pair->client, "f", 1, sent, BEAM_PACKET_FDS_MAX), 0);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), got, &nfds, 1000), 1);
	assert_int_equal(nfds, BEAM_PACKET_FDS_MAX);
	for (int i = 0; i < nfds; i++) {
		struct stat st;

		assert_int_equal(fstat(got[i], &st), 0);
		assert_int_equal(st.st_size, 100 + i);
		assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
		assert_int_not_equal(fcntl(sent[i], F_GETFD), -1); /* still open here */
		beam_close(&sent[i]);
		beam_close(&got[i]);
	}
	assert_int_equal(beam_packet_send(pair->client, "f", 1, sent, BEAM_PACKET_FDS_MAX + 1),
			 -EINVAL);
}

static void test_unwanted_fds_are_closed(void **state)
{
	struct pair *pair = *state;
	char buf[4];
	int before = count_fds();
	int fds[2] = {pair->listener, pair->client};
	int got[BEAM_PACKET_FDS_MAX], nfds = 0;

	assert_int_equal(beam_packet_send(pair->client, "f", 1, fds, 2), 0);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 1000), 1);
	assert_int_equal(count_fds(), before);
	/* A packet that is too large is refused, and its fds are closed. */
	assert_int_equal(beam_packet_send(pair->client, "toolarge", 8, fds, 2), 0);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), got, &nfds, 1000),
			 BEAM_E_PROTO);
	assert_int_equal(nfds, 0);
	assert_int_equal(count_fds(), before);
	/* An empty packet looks like the end; its fds are closed, too. */
	assert_int_equal(beam_packet_send(pair->client, "", 0, fds, 2), 0);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), got, &nfds, 1000),
			 BEAM_E_GONE);
	assert_int_equal(nfds, 0);
	assert_int_equal(count_fds(), before);
}

static void test_timeout_and_close(void **state)
{
	struct pair *pair = *state;
	uint64_t start = beam_now_ms();
	char buf[4];

	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 30),
			 -ETIMEDOUT);
	assert_true(beam_now_ms() - start >= 29);
	beam_close(&pair->client);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 1000),
			 BEAM_E_GONE);
	/* No SIGPIPE: this process is still alive. */
	assert_int_equal(beam_packet_send(pair->server, "x", 1, NULL, 0), BEAM_E_GONE);
}

/* A saving child may end before it has read everything: what it said last must not be lost. */
static void test_last_words_of_a_peer_that_did_not_listen(void **state)
{
	struct pair *pair = *state;
	char buf[16];

	assert_int_equal(beam_packet_send(pair->server, "unread", 6, NULL, 0), 0);
	assert_int_equal(beam_packet_send(pair->client, "one", 3, NULL, 0), 0);
	assert_int_equal(beam_packet_send(pair->client, "last", 4, NULL, 0), 0);
	beam_close(&pair->client);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 0), 3);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 0), 4);
	assert_memory_equal(buf, "last", 4);
	assert_int_equal(beam_packet_recv(pair->server, buf, sizeof(buf), NULL, NULL, 0),
			 BEAM_E_GONE);
}

static void test_peer_is_known(void **state)
{
	struct pair *pair = *state;
	pid_t pid;
	uid_t uid;

	assert_int_equal(beam_packet_peer(pair->server, &pid, &uid), 0);
	assert_int_equal(pid, getpid());
	assert_int_equal(uid, getuid());
	assert_int_equal(beam_packet_peer(-1, &pid, &uid), -EBADF);
}

static void test_whole_transfers_through_a_pipe(void **state)
{
	enum { BYTES = 300000 }; /* more than a pipe holds: both sides see short transfers */
	uint8_t *sent = malloc(BYTES), *got = malloc(BYTES);
	int fds[2];

	(void)state;
	beam_random(sent, BYTES);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t child = fork();

	if (child == 0)
		_exit(beam_write_all(fds[1], sent, BYTES) != 0);
	close(fds[1]);
	assert_int_equal(beam_read_all(fds[0], got, BYTES), 0);
	assert_memory_equal(sent, got, BYTES);
	assert_int_equal(beam_read_all(fds[0], got, 1), BEAM_E_GONE);
	close(fds[0]);
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(beam_write_all(-1, sent, 1), -EBADF);
	free(sent);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_packets_keep_their_bounds, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_fds_arrive_and_are_cloexec, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unwanted_fds_are_closed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_timeout_and_close, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_last_words_of_a_peer_that_did_not_listen, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(test_peer_is_known, setup, teardown),
	    cmocka_unit_test(test_whole_transfers_through_a_pipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
