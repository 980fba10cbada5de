/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The temporary primary against a real server: a stock dump fed in both forms of payload, strangers
 * that connect before the target, and an image that the target must refuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "clock.h"
#include "feed.h"
#include "feed_server.h"
#include "rdbeam/error.h"
#include "target.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define REPLID    "0123456789abcdef0123456789abcdef01234567"
#define OFFSET    4711
#define PIECE     (64u << 10)
#define WITHIN_MS 20000

static struct test_server source, target;
static uint8_t *dump;
static size_t dump_bytes;

struct pieces {
	const uint8_t *bytes;
	size_t len, at;
	/* How many times the second piece is not there yet when waited for. */
	int slow;
};

static int next_piece(void *ctx, const uint8_t **base, uint32_t *len_bytes, int timeout_ms)
{
	struct pieces *p = ctx;
	size_t left = p->len - p->at;

	if (p->at && p->slow > 0) {
		p->slow--;
		poll(NULL, 0, timeout_ms);
		return -ETIMEDOUT;
	}
	*base = p->bytes + p->at;
	*len_bytes = left < PIECE ? (uint32_t)left : PIECE;
	return left ? 1 : 0;
}

static void release_piece(void *ctx)
{
	struct pieces *p = ctx;
	size_t left = p->len - p->at;

	p->at += left < PIECE ? left : PIECE;
}

static void fill_source(void)
{
	test_server_do(&source, "DEBUG POPULATE 20000 key 100");
	test_server_do(&source, "SELECT 5");
	test_server_do(&source, "HSET h a 1 b 2");
	test_server_do(&source, "ZADD z 1.5 m 2 n");
	test_server_do(&source, "SET ttl v EX 10000");
	test_server_do(&source, "XADD s * f v");
	test_server_do(&source, "FUNCTION LOAD %s",
		       "#!lua name=l\nredis.register_function{function_name='f', "
		       "callback=function() return 1 end, flags={'no-writes'}}");
	test_server_do(&source, "SELECT 0");
	test_server_do(&source, "SAVE");
}

static void read_dump(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/dump.rdb", source.dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	dump_bytes = (size_t)st.st_size;
	dump = malloc(dump_bytes);
	assert_non_null(dump);
	assert_int_equal(read(fd, dump, dump_bytes), dump_bytes);
	close(fd);
}

static int open_source(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	test_server_start(&source);
	fill_source();
	read_dump();
	return 0;
}

static int close_source(void **state)
{
	(void)state;
	free(dump);
	test_server_stop(&source);
	return 0;
}

static int open_target(void **state)
{
	(void)state;
	test_server_start(&target);
	return 0;
}

static int close_target(void **state)
{
	(void)state;
	test_server_stop(&target);
	return 0;
}

static struct beam_feed *open_feed(struct pieces *pieces, bool known_length)
{
	struct beam_feed_opts opts = {
	    .target_sock = beam_redis_context(target.redis)->fd,
	    .replid = REPLID,
	    .offset = OFFSET,
	    .image = {.ctx = pieces,
		      .length_bytes = known_length ? pieces->len : 0,
		      .next = next_piece,
		      .release = release_piece},
	    .timeout_ms = WITHIN_MS,
	    .hold_back = pieces->slow > 0,
	};
	char error[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_feed *feed = NULL;

	assert_int_equal(beam_feed_open(&opts, error, &feed), 0);
	return feed;
}

/* Waits until the target has loaded (returns 0) or the feed has ended (returns its code). */
static int wait_feed(struct beam_feed *feed, char *error)
{
	uint64_t deadline = beam_now_ms() + WITHIN_MS;

	while (beam_now_ms() < deadline) {
		struct pollfd pfd = {.fd = beam_feed_fd(feed), .events = POLLIN};
		struct beam_feed_status status;

		assert_true(poll(&pfd, 1, WITHIN_MS) >= 0);
		beam_feed_status(feed, &status);
		if (status.loaded || status.code)
			return beam_feed_error(feed, error);
	}
	fail_msg("the target did not answer in time");
	return 0;
}

static void assert_same_data(void)
{
	char a[41], b[41];

	test_server_digest(&source, a);
	test_server_digest(&target, b);
	assert_string_equal(a, b);
	test_server_do(&target, "FCALL f 0"); /* DEBUG DIGEST does not cover functions */
}

static void feed_pieces(bool known_length, int slow)
{
	struct pieces pieces = {.bytes = dump, .len = dump_bytes, .slow = slow};
	struct beam_feed *feed = open_feed(&pieces, known_length);
	char error[BEAM_REDIS_ERROR_BYTES] = "", replid[64];
	struct beam_feed_status status;
	int64_t offset;

	test_server_do(&target, "REPLICAOF %s %u", beam_feed_host(feed), beam_feed_port(feed));
	assert_int_equal(wait_feed(feed, error), 0);
	beam_feed_status(feed, &status);
	assert_int_equal(status.fed_bytes, dump_bytes);
	assert_int_equal(status.acked_offset, OFFSET);
	assert_same_data();
	assert_int_equal(
	    beam_redis_info(target.redis, "replication", "master_replid", replid, sizeof(replid)),
	    0);
	assert_string_equal(replid, REPLID);
	assert_int_equal(
	    beam_redis_info_int(target.redis, "replication", "slave_repl_offset", &offset), 0);
	assert_int_equal(offset, OFFSET);
	beam_feed_close(&feed);
	assert_null(feed);
}

static void feed_whole(bool known_length)
{
	feed_pieces(known_length, 0);
}

/* The image takes longer than the target's repl-timeout, both when the target loads from the link
 * and when it writes to its disk. */
static void test_a_target_waits_for_a_slow_image(void **state)
{
	(void)state;
	test_server_do(&target, "CONFIG SET repl-timeout 2");
	feed_pieces(false, 4);
	test_server_do(&target, "REPLICAOF NO ONE");
	test_server_do(&target, "CONFIG SET repl-diskless-load disabled");
	feed_pieces(false, 4);
}

static void test_feeds_with_an_end_mark(void **state)
{
	(void)state;
	feed_whole(false);
}

static void test_feeds_with_a_known_length(void **state)
{
	(void)state;
	feed_whole(true);
}

/* The target loads by way of its disk, as when CONFIG SET is denied. */
static void test_feeds_a_target_that_loads_from_its_disk(void **state)
{
	(void)state;
	test_server_do(&target, "CONFIG SET repl-diskless-load disabled");
	feed_whole(false);
}

static int connect_to(const struct beam_feed *feed)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)beam_feed_port(feed))};
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, beam_feed_host(feed), &addr.sin_addr), 1);
	assert_int_equal(connect(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return sock;
}

static void test_nonsense_is_dropped_and_the_target_still_served(void **state)
{
	struct pieces pieces = {.bytes = dump, .len = dump_bytes};
	struct beam_feed *feed = open_feed(&pieces, false);
	char error[BEAM_REDIS_ERROR_BYTES] = "", byte;
	int sock = connect_to(feed);

	(void)state;
	assert_int_equal(send(sock, "GET / HTTP/1.1\r\n", 16, MSG_NOSIGNAL), 16);
	assert_true(recv(sock, &byte, 1, 0) <= 0); /* closed without an answer */
	close(sock);
	test_server_do(&target, "REPLICAOF %s %u", beam_feed_host(feed), beam_feed_port(feed));
	assert_int_equal(wait_feed(feed, error), 0);
	assert_same_data();
	beam_feed_close(&feed);
}

static void test_a_refused_image_is_an_error_and_the_target_is_put_back(void **state)
{
	struct pieces pieces = {.bytes = dump, .len = dump_bytes};
	struct beam_feed *feed = open_feed(&pieces, false);
	struct beam_target_state record = {0};
	char error[BEAM_REDIS_ERROR_BYTES] = "", role[16];

	(void)state;
	/* A newer RDB version is refused; a wrong checksum would even make the server exit. */
	dump[5] = '9';
	assert_int_equal(beam_target_attach(target.redis, beam_feed_host(feed),
					    beam_feed_port(feed), &record, error),
			 0);
	assert_int_equal(wait_feed(feed, error), BEAM_E_GONE);
	assert_non_null(strstr(error, "its log says why"));
	beam_feed_close(&feed);
	dump[5] = '0';
	assert_int_equal(beam_target_restore(target.redis, &record), 0);
	assert_int_equal(beam_redis_info(target.redis, "replication", "role", role, sizeof(role)),
			 0);
	assert_string_equal(role, "master");
}

static void test_closing_early_ends_the_thread(void **state)
{
	struct pieces pieces = {.bytes = dump, .len = dump_bytes};
	struct beam_feed *feed = open_feed(&pieces, false);
	uint64_t began_ms = beam_now_ms();

	(void)state;
	beam_feed_close(&feed);
	assert_true(beam_now_ms() - began_ms < WITHIN_MS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_feeds_with_an_end_mark, open_target, close_target),
	    cmocka_unit_test_setup_teardown(test_a_target_waits_for_a_slow_image, open_target,
					    close_target),
	    cmocka_unit_test_setup_teardown(test_feeds_with_a_known_length, open_target,
					    close_target),
	    cmocka_unit_test_setup_teardown(test_feeds_a_target_that_loads_from_its_disk,
					    open_target, close_target),
	    cmocka_unit_test_setup_teardown(test_nonsense_is_dropped_and_the_target_still_served,
					    open_target, close_target),
	    cmocka_unit_test_setup_teardown(
		test_a_refused_image_is_an_error_and_the_target_is_put_back, open_target,
		close_target),
	    cmocka_unit_test_setup_teardown(test_closing_early_ends_the_thread, open_target,
					    close_target),
	};

	if (!test_server_installed())
		return 77;
	return cmocka_run_group_tests(tests, open_source, close_source);
}
