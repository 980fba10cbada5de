/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory lent to a reader on the same host: who gets it, what can be done with it, and that the
 * rest comes by TCP. The contract of all transports is tested in transport.c, near readers
 * included.
 */
#include "transport_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "near.h"
#include "rdbeam/error.h"
#include "sockets.h"

/* ---- whole images --------------------------------------------------------------------------- */

static struct beam_reader *begin(const struct beam_reader_opts *opts)
{
	struct beam_reader *reader;
	struct beam_reader_event event;
	char error_text[BEAM_TEXT_BYTES];

	assert_int_equal(beam_tcp_reader.open(opts, error_text, &reader), 0);
	assert_int_equal(beam_tcp_reader.next(reader, &event, PATIENCE_MS), 1);
	assert_int_equal(event.type, BEAM_READER_WELCOME);
	return reader;
}

/* Reads the segment that is announced next and compares it. Returns its length. */
static uint32_t read_segment(struct beam_reader *reader)
{
	static uint8_t buf[SEGMENT_BYTES];
	struct beam_reader_event event;

	assert_int_equal(beam_tcp_reader.next(reader, &event, PATIENCE_MS), 1);
	assert_int_equal(event.type, BEAM_READER_SEALED);
	uint32_t index = event.sealed.index, len = event.sealed.len_bytes;

	assert_int_equal(beam_tcp_reader.read(reader, index, 0, buf, len, index), 0);
	do
		assert_int_equal(beam_tcp_reader.next(reader, &event, PATIENCE_MS), 1);
	while (event.type == BEAM_READER_COMPLETE);
	assert_int_equal(event.type, BEAM_READER_DONE);
	for (uint32_t i = 0; i < len; i++)
		if (buf[i] != image_byte((uint64_t)index * SEGMENT_BYTES + i))
			fail_msg("byte %u of segment %u differs", i, index);
	return len;
}

static struct beam_reader_opts near_ticket(struct fixture *f)
{
	struct beam_reader_opts opts = fixture_ticket(f);

	opts.near = true;
	return opts;
}

/* Reads an image of one segment. Returns how many of its bytes came from lent memory. */
static uint64_t pull(const struct beam_reader_opts *opts)
{
	struct beam_reader *reader = begin(opts);
	uint32_t bytes = read_segment(reader);
	uint64_t near_bytes = reader->near_bytes;

	beam_tcp_reader.close(&reader, bytes, 1);
	return near_bytes;
}

static void one_segment(struct fixture *f)
{
	fixture_open(f, &beam_tcp_server, 1, NULL);
	fixture_seal_all(f);
}

static void the_bytes_are_counted_where_they_are_copied(void **state)
{
	struct fixture f;

	(void)state;
	one_segment(&f);
	struct beam_reader_opts opts = near_ticket(&f);

	assert_int_equal(pull(&opts), fixture_image_bytes(&f));
	assert_int_equal(fixture_wait_ended(&f, 1), 0);
	assert_int_equal(f.sent_bytes, fixture_image_bytes(&f));
	fixture_close(&f);
}

static void lend_nothing(struct fixture *f, void *arg)
{
	(void)arg;
	f->opts.lends = false;
	f->ops->configure(f->server, &f->opts);
}

static void limit_rate(struct fixture *f, void *arg)
{
	(void)arg;
	f->opts.rate_limit = 1 << 30;
	f->ops->configure(f->server, &f->opts);
}

static void a_server_that_does_not_lend_sends(void **state)
{
	static void (*const ways[])(struct fixture *, void *) = {lend_nothing, limit_rate};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixture f;

		one_segment(&f);
		fixture_run(&f, ways[i], NULL);
		struct beam_reader_opts opts = near_ticket(&f);

		assert_int_equal(pull(&opts), 0);
		fixture_close(&f);
	}
}

/* Asks the server something, so that all that it sent before has arrived. */
static void catch_up(struct beam_reader *reader)
{
	struct beam_reader_event event;

	assert_int_equal(beam_tcp_reader.check(reader), 0);
	do
		assert_int_equal(beam_tcp_reader.next(reader, &event, PATIENCE_MS), 1);
	while (event.type != BEAM_READER_VALID);
}

static void a_limit_that_comes_later_takes_back_what_was_lent(void **state)
{
	static void (*const ways[])(struct fixture *, void *) = {lend_nothing, limit_rate};
	static uint8_t buf[SEGMENT_BYTES];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixture f;
		struct beam_reader_event event;

		fixture_open(&f, &beam_tcp_server, 2, NULL);
		fixture_seal_all(&f);
		struct beam_reader_opts opts = near_ticket(&f);
		struct beam_reader *reader = begin(&opts);

		catch_up(reader);
		assert_int_equal(beam_tcp_reader.read(reader, 0, 0, buf, 1000, 1), 0);
		assert_int_equal(reader->near_bytes, 1000);
		assert_int_equal(beam_tcp_reader.next(reader, &event, PATIENCE_MS), 1);
		fixture_run(&f, ways[i], NULL);
		catch_up(reader);
		assert_int_equal(beam_tcp_reader.read(reader, 0, 1000, buf, 1000, 2), 0);
		assert_int_equal(beam_tcp_reader.next(reader, &event, PATIENCE_MS), 1);
		assert_int_equal(event.type, BEAM_READER_DONE);
		assert_int_equal(buf[0], image_byte(1000));
		assert_int_equal(reader->near_bytes, 1000);
		beam_tcp_reader.close(&reader, 0, 0);
		fixture_close(&f);
	}
}

/* Its end is all that the server sees of a reader that is killed. */
static void the_bytes_of_a_reader_that_dies_are_known(void **state)
{
	struct fixture f;

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	fixture_seal(&f, 0);
	struct beam_reader_opts opts = near_ticket(&f);
	struct beam_reader *reader = begin(&opts);

	assert_int_equal(read_segment(reader), SEGMENT_BYTES);
	beam_tcp_reader.taken(reader, 0);
	beam_tcp_reader.close(&reader, 0, 0);
	assert_int_equal(fixture_wait_ended(&f, 1), BEAM_E_GONE);
	assert_int_equal(f.sent_bytes, SEGMENT_BYTES);
	fixture_close(&f);
}

/* A socket cannot be opened a second time, so it cannot be sent for reading. */
static void use_socket(struct fixture *f, void *arg)
{
	f->image.file = *(int *)arg;
}

/* What the reader has copied counts also when the rest cannot be lent. */
static void the_rest_is_sent_when_lending_fails(void **state)
{
	struct fixture f;
	int file, sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_true(sock >= 0);
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	fixture_seal(&f, 0);
	file = f.image.file;
	struct beam_reader_opts opts = near_ticket(&f);
	struct beam_reader *reader = begin(&opts);

	assert_int_equal(read_segment(reader), SEGMENT_BYTES);
	fixture_run(&f, use_socket, &sock);
	fixture_seal(&f, 1);
	fixture_complete(&f);
	assert_int_equal(read_segment(reader), f.image.last_bytes);
	assert_int_equal(reader->near_bytes, SEGMENT_BYTES);
	beam_tcp_reader.close(&reader, fixture_image_bytes(&f), 1);
	assert_int_equal(fixture_wait_ended(&f, 1), 0);
	assert_int_equal(f.sent_bytes, fixture_image_bytes(&f));
	f.image.file = file;
	fixture_close(&f);
	close(sock);
}

/* The files hold other images as well. Who may look at them is decided by the user. */
static void another_user_gets_the_bytes_only(void **state)
{
	struct fixture f;

	(void)state;
	if (geteuid() != 0)
		skip(); /* cannot become another user */
	one_segment(&f);
	struct beam_reader_opts opts = near_ticket(&f);
	pid_t pid = fork();

	if (pid == 0) {
		bool ours = !setresuid(65534, 65534, 65534) && pull(&opts) == 0;

		_exit(ours ? 0 : 1);
	}
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(fixture_wait_ended(&f, 1), 0);
	fixture_close(&f);
}

static int connect_to_reader(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path + 1, name, strlen(name));
	assert_int_equal(
	    connect(sock, (struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))),
	    0);
	return sock;
}

/* ---- lender and borrower alone --------------------------------------------------------------- */

static const uint8_t proof[BEAM_PROOF_BYTES] = {7};

struct pair {
	int tcp[2]; /* both ends of a connection within this host */
	uint8_t nonce[BEAM_NONCE_BYTES];
	struct near_lender lender;
	struct near_borrower borrower;
};

/* Connects from `from` to 127.0.0.1. */
static void connect_tcp(int tcp[2], const char *from)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in own = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, from, &own.sin_addr), 1);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	tcp[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(tcp[0], (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(connect(tcp[0], (struct sockaddr *)&addr, sizeof(addr)), 0);
	tcp[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(tcp[1] >= 0);
	close(listener);
}

static void pair_open(struct pair *pair)
{
	*pair = (struct pair){.lender.sock = -1};
	connect_tcp(pair->tcp, "127.0.0.1");
	beam_random(pair->nonce, sizeof(pair->nonce));
	assert_true(near_borrower_open(&pair->borrower, pair->nonce));
	near_lender_open(&pair->lender, pair->tcp[1], pair->nonce, proof);
	assert_true(pair->lender.sock >= 0);
}

static void pair_close(struct pair *pair)
{
	near_lender_close(&pair->lender);
	near_borrower_close(&pair->borrower);
	close(pair->tcp[0]);
	close(pair->tcp[1]);
}

static int memory_file(const char *text)
{
	int file = memfd_create("segment", MFD_CLOEXEC);

	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	return file;
}

static bool lend(struct pair *pair, uint32_t index, int file, uint64_t at, uint32_t len_bytes)
{
	struct beam_serve_segment segment = {
	    .base = "", .len_bytes = len_bytes, .file = file, .file_at = at};
	struct beam_wire_lent lent;

	if (!near_lend(&pair->lender, index, &segment, &lent))
		return false;
	near_borrow(&pair->borrower, &lent, proof);
	return true;
}

static void segments_are_where_lent_says(void **state)
{
	struct pair pair;
	char buf[8] = "";

	(void)state;
	pair_open(&pair);
	int first = memory_file("abcdefgh"), second = memory_file("ABCDEFGH");

	assert_true(lend(&pair, 7, first, 2, 4));
	assert_true(lend(&pair, 3, second, 0, 8));
	assert_true(lend(&pair, 4, first, 6, 2));
	assert_int_equal(pair.lender.nfiles, 2);
	assert_true(near_read(&pair.borrower, 7, 1, buf, 3));
	assert_memory_equal(buf, "def", 3);
	assert_true(near_read(&pair.borrower, 3, 0, buf, 8));
	assert_memory_equal(buf, "ABCDEFGH", 8);
	assert_true(near_read(&pair.borrower, 4, 0, buf, 2));
	assert_memory_equal(buf, "gh", 2);
	assert_int_equal(pair.borrower.bytes, 13);
	/* outside of the segment, and never lent: by TCP, where the server refuses them */
	assert_false(near_read(&pair.borrower, 7, 2, buf, 3));
	assert_false(near_read(&pair.borrower, 7, UINT32_MAX, buf, 2));
	assert_false(near_read(&pair.borrower, 5, 0, buf, 1));
	assert_false(near_read(&pair.borrower, UINT32_MAX, 0, buf, 1));
	close(first);
	close(second);
	pair_close(&pair);
}

static void lent_memory_cannot_be_written(void **state)
{
	struct pair pair;

	(void)state;
	pair_open(&pair);
	int file = memory_file("abcdefgh");

	assert_true(lend(&pair, 0, file, 0, 8));
	int fd = pair.borrower.files[0].fd;

	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EBADF);
	assert_ptr_equal(mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, EACCES);
	close(file);
	pair_close(&pair);
}

static void what_is_gone_from_the_file_comes_by_tcp(void **state)
{
	struct pair pair;
	char buf[8];

	(void)state;
	pair_open(&pair);
	int file = memory_file("abcdefgh");

	assert_true(lend(&pair, 0, file, 0, 8));
	assert_int_equal(ftruncate(file, 4), 0);
	assert_false(near_read(&pair.borrower, 0, 0, buf, 8));
	assert_false(near_read(&pair.borrower, 0, 0, buf, 1)); /* nothing of it any more */
	close(file);
	pair_close(&pair);
}

static void a_host_is_known_by_equal_addresses(void **state)
{
	int tcp[2];

	(void)state;
	connect_tcp(tcp, "127.0.0.1");
	assert_true(near_is_host(tcp[0]) && near_is_host(tcp[1]));
	close(tcp[0]);
	close(tcp[1]);
	connect_tcp(tcp, "127.0.0.2");
	assert_false(near_is_host(tcp[0]) || near_is_host(tcp[1]));
	struct near_lender lender = {.sock = -1};
	struct near_borrower borrower;
	uint8_t nonce[BEAM_NONCE_BYTES] = {1};

	assert_true(near_borrower_open(&borrower, nonce));
	near_lender_open(&lender, tcp[1], nonce, proof);
	assert_int_equal(lender.sock, -1);
	near_borrower_close(&borrower);
	close(tcp[0]);
	close(tcp[1]);
}

/* What goes with a file. */
struct packet {
	uint64_t dev, ino;
	uint8_t proof[BEAM_PROOF_BYTES];
};

static struct packet packet_of(int file)
{
	struct stat st;

	assert_int_equal(fstat(file, &st), 0);
	return (struct packet){.dev = st.st_dev, .ino = st.st_ino};
}

/* Other processes find the reader's address and come first. They do not keep the server away, and
 * a file with the numbers of the server's is not read either. */
static void files_of_a_stranger_are_not_read(void **state)
{
	static const char name[] = "rdbeam-pull-0200000000000000";
	struct near_borrower borrower;
	struct near_lender lender = {.sock = -1};
	uint8_t nonce[BEAM_NONCE_BYTES] = {2};
	char buf[8];
	int tcp[2], memory = memory_file("abcdefgh"), own = memory_file("ABCDEFGH");

	(void)state;
	connect_tcp(tcp, "127.0.0.1");
	assert_true(near_borrower_open(&borrower, nonce));
	int silent = connect_to_reader(name), brief = connect_to_reader(name);
	int forger = connect_to_reader(name);
	struct packet forged = packet_of(own);

	assert_int_equal(beam_packet_send(brief, "short", 5, &own, 1), 0);
	assert_int_equal(beam_packet_send(forger, &forged, sizeof(forged), &own, 1), 0);
	struct beam_wire_lent lent = {.len_bytes = 8, .dev = forged.dev, .ino = forged.ino};

	near_borrow(&borrower, &lent, proof);
	assert_false(near_read(&borrower, 0, 0, buf, 1));
	/* as before, and the server after them */
	close(silent);
	silent = connect_to_reader(name);
	near_lender_open(&lender, tcp[1], nonce, proof);
	struct beam_serve_segment segment = {.base = "", .len_bytes = 8, .file = memory};

	assert_true(near_lend(&lender, 1, &segment, &lent));
	near_borrow(&borrower, &lent, proof);
	assert_true(near_read(&borrower, 1, 0, buf, 8));
	assert_memory_equal(buf, "abcdefgh", 8);
	close(silent);
	close(brief);
	close(forger);
	close(own);
	near_lender_close(&lender);
	near_borrower_close(&borrower);
	close(memory);
	close(tcp[0]);
	close(tcp[1]);
}

/* Nor what is not memory, or another file than it is said to be, whoever sends it. */
static void files_that_are_not_as_told_are_not_read(void **state)
{
	struct near_borrower borrower;
	uint8_t nonce[BEAM_NONCE_BYTES] = {3};
	char buf[8], path[] = "/tmp/rdbeam-near-XXXXXX";
	int memory = memory_file("abcdefgh"), disk = mkstemp(path);

	(void)state;
	assert_true(disk >= 0 && !unlink(path));
	assert_true(near_borrower_open(&borrower, nonce));
	int server = connect_to_reader("rdbeam-pull-0300000000000000");
	struct packet packet = packet_of(disk);
	struct beam_wire_lent lent = {.len_bytes = 8, .dev = packet.dev, .ino = packet.ino};

	memcpy(packet.proof, proof, sizeof(proof));
	assert_int_equal(beam_packet_send(server, &packet, sizeof(packet), &memory, 1), 0);
	assert_int_equal(beam_packet_send(server, &packet, sizeof(packet), &disk, 1), 0);
	near_borrow(&borrower, &lent, proof);
	assert_int_equal(borrower.nfiles, 0);
	assert_false(near_read(&borrower, 0, 0, buf, 1));
	close(server);
	close(memory);
	close(disk);
	near_borrower_close(&borrower);
}

static void more_files_than_it_can_keep_are_sent(void **state)
{
	struct pair pair;
	char buf[1];

	(void)state;
	pair_open(&pair);
	for (uint32_t i = 0; i <= NEAR_FILES_MAX; i++) {
		int file = memory_file("a");

		assert_true(lend(&pair, i, file, 0, 1) == (i < NEAR_FILES_MAX));
		close(file);
	}
	assert_true(near_read(&pair.borrower, NEAR_FILES_MAX - 1, 0, buf, 1));
	assert_false(near_read(&pair.borrower, NEAR_FILES_MAX, 0, buf, 1));
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_bytes_are_counted_where_they_are_copied),
	    cmocka_unit_test(a_server_that_does_not_lend_sends),
	    cmocka_unit_test(a_limit_that_comes_later_takes_back_what_was_lent),
	    cmocka_unit_test(the_bytes_of_a_reader_that_dies_are_known),
	    cmocka_unit_test(the_rest_is_sent_when_lending_fails),
	    cmocka_unit_test(another_user_gets_the_bytes_only),
	    cmocka_unit_test(segments_are_where_lent_says),
	    cmocka_unit_test(lent_memory_cannot_be_written),
	    cmocka_unit_test(what_is_gone_from_the_file_comes_by_tcp),
	    cmocka_unit_test(a_host_is_known_by_equal_addresses),
	    cmocka_unit_test(files_of_a_stranger_are_not_read),
	    cmocka_unit_test(files_that_are_not_as_told_are_not_read),
	    cmocka_unit_test(more_files_than_it_can_keep_are_sent),
	};

	return cmocka_run_group_tests_name("near", tests, NULL, NULL);
}
