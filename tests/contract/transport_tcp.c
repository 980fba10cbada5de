/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What only TCP has to cope with: connections that prove nothing, bytes that are not the protocol,
 * and servers that lie to the reader.
 */
#include "transport_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "rdbeam/error.h"
#include "sockets.h"

/* ---- raw clients ---------------------------------------------------------------------------- */

/* Connects from 127.0.0.<host>. */
static int connect_from(const struct fixture *f, uint32_t host)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(0x7f000000u + host)};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)f->opts.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	return poll(&pfd, 1, timeout_ms) == 1;
}

/* Reads until the server closes; returns the last complete message. */
static struct beam_wire_message read_to_end(int fd)
{
	static uint8_t buf[1 << 20];
	struct beam_wire_message last = {0}, message;
	size_t bytes = 0, at = 0;

	for (;;) {
		assert_true(is_readable(fd, PATIENCE_MS));
		ssize_t n = recv(fd, buf + bytes, sizeof(buf) - bytes, 0);

		if (n <= 0)
			break;
		bytes += (size_t)n;
		assert_true(bytes < sizeof(buf));
	}
	int n;

	while ((n = beam_wire_decode(buf + at, bytes - at, &message)) > 0) {
		last = message;
		at += (size_t)n;
	}
	return last;
}

static void send_message(int fd, const struct beam_wire_message *message)
{
	uint8_t out[BEAM_WIRE_MESSAGE_MAX];

	assert_int_equal(beam_write_all(fd, out, beam_wire_encode(message, out)), 0);
}

/* A HELLO with a good ticket. */
static struct beam_wire_message hello_of(const struct beam_reader_opts *opts)
{
	struct beam_wire_message m = {
	    .type = BEAM_WIRE_HELLO,
	    .hello = {.magic = BEAM_WIRE_MAGIC, .version = BEAM_WIRE_VERSION}};

	memcpy(m.hello.id, opts->id, sizeof(opts->id));
	beam_wire_prove_hello(opts->key, &m.hello);
	return m;
}

static int open_served(struct fixture *f)
{
	struct beam_reader_opts opts = fixture_ticket(f);
	struct beam_wire_message hello = hello_of(&opts);
	int fd = connect_from(f, 1);

	send_message(fd, &hello);
	assert_true(is_readable(fd, PATIENCE_MS));
	return fd;
}

static void expect_welcome(struct fixture *f)
{
	struct beam_reader_opts opts = fixture_ticket(f);
	struct beam_reader *reader;
	struct beam_reader_event event;
	char error_text[BEAM_TEXT_BYTES];

	assert_int_equal(beam_tcp_reader.open(&opts, error_text, &reader), 0);
	assert_int_equal(beam_tcp_reader.next(reader, &event, PATIENCE_MS), 1);
	assert_int_equal(event.type, BEAM_READER_WELCOME);
	beam_tcp_reader.close(&reader, 0, 0);
}

enum { SILENCE_MS = 2000 }; /* how long the server waits for a HELLO */

/* Some silent connections still exist, so nobody has waited for their timeout. If the machine was
 * so slow that the timeout has passed, nothing can be concluded. */
static void assert_waiting(struct fixture *f, uint64_t from_ms, uint32_t most)
{
	uint32_t n = fixture_counts(f).unauthenticated;

	assert_true(n <= most);
	assert_true(n > 0 || beam_now_ms() - from_ms >= SILENCE_MS);
}

/* ---- cases against the server --------------------------------------------------------------- */

static void half_open_connections_do_not_block_a_good_one(void **state)
{
	struct fixture f;
	int fds[120];

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	for (uint32_t i = 0; i < 120; i++)
		fds[i] = connect_from(&f, 2 + i / 3);
	uint64_t from_ms = beam_now_ms();

	expect_welcome(&f);
	assert_waiting(&f, from_ms, 64);
	for (uint32_t i = 0; i < 120; i++)
		close(fds[i]);
	fixture_close(&f);
}

static void one_address_has_sixteen_unproved_connections(void **state)
{
	struct fixture f;
	int fds[60];

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	for (uint32_t i = 0; i < 60; i++)
		fds[i] = connect_from(&f, 1);
	uint64_t from_ms = beam_now_ms();

	expect_welcome(&f); /* from the same address, and all of those were accepted before */
	assert_waiting(&f, from_ms, 16);
	for (uint32_t i = 0; i < 60; i++)
		close(fds[i]);
	fixture_close(&f);
}

enum { AT_ONCE = 24 }; /* more than one address may have unproved */

struct crowd {
	struct beam_reader_opts tickets[AT_ONCE];
	struct channel channels[AT_ONCE];
	bool by_tls;
};

/* Runs on the loop's thread, so nobody is accepted meanwhile. */
static void all_come(struct fixture *f, void *arg)
{
	struct crowd *crowd = arg;

	for (uint32_t i = 0; i < AT_ONCE; i++) {
		const struct beam_reader_opts *ticket = &crowd->tickets[i];
		struct channel *channel = &crowd->channels[i];
		struct beam_wire_message hello = hello_of(ticket);

		*channel = (struct channel){.fd = connect_from(f, 1)};
		if (crowd->by_tls)
			assert_int_equal(channel_connect_tls(channel, ticket->id, ticket->key, 0),
					 -ETIMEDOUT);
		else
			send_message(channel->fd, &hello);
	}
}

static void come_at_once(struct fixture *f, struct crowd *crowd)
{
	fixture_open(f, &beam_tcp_server, 2, NULL);
	for (uint32_t i = 0; i < AT_ONCE; i++)
		crowd->tickets[i] = fixture_ticket(f);
	fixture_run(f, all_come, crowd);
}

static void leave(struct fixture *f, struct crowd *crowd)
{
	for (uint32_t i = 0; i < AT_ONCE; i++)
		channel_close(&crowd->channels[i]);
	fixture_close(f);
}

static void who_has_spoken_is_heard_before_he_goes(void **state)
{
	struct crowd crowd = {.by_tls = false};
	struct fixture f;

	(void)state;
	come_at_once(&f, &crowd);
	for (uint32_t i = 0; i < AT_ONCE; i++) {
		int fd = crowd.channels[i].fd;
		uint8_t type = 0;

		assert_true(is_readable(fd, PATIENCE_MS));
		assert_int_equal(recv(fd, &type, 1, MSG_DONTWAIT), 1);
		assert_true(type == BEAM_WIRE_WELCOME || type == BEAM_WIRE_WAITING);
	}
	leave(&f, &crowd);
}

static bool is_closed(int fd)
{
	uint8_t bytes[4096];
	ssize_t n;

	do
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || errno != EAGAIN;
}

static void who_has_a_tickets_key_does_not_make_room(void **state)
{
	struct crowd crowd = {.by_tls = true};
	uint64_t from_ms = beam_now_ms();
	struct fixture f;
	int silent[20];

	(void)state;
	come_at_once(&f, &crowd);
	for (uint32_t i = 0; i < 20; i++)
		silent[i] = connect_from(&f, 1);
	expect_welcome(&f); /* all of those were accepted before */
	for (uint32_t i = 0; i < AT_ONCE; i++)
		assert_true(!is_closed(crowd.channels[i].fd) ||
			    beam_now_ms() - from_ms >= SILENCE_MS);
	for (uint32_t i = 0; i < 20; i++)
		close(silent[i]);
	leave(&f, &crowd);
}

static void hello_must_come_within_two_seconds(void **state)
{
	static const uint8_t slow[] = {BEAM_WIRE_HELLO, 0, 0, 0, 56};
	struct fixture f;

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	uint64_t from_ms = beam_now_ms();
	int fd = connect_from(&f, 1);

	assert_int_equal(beam_write_all(fd, slow, sizeof(slow)), 0);
	assert_int_equal(read_to_end(fd).type, 0);
	assert_in_range(beam_now_ms() - from_ms, 1900, 4000);
	close(fd);
	fixture_close(&f);
}

/* Closed at once, not only when the time for a HELLO is over. */
static void garbage_is_closed_without_an_answer(void **state)
{
	static const uint8_t get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct fixture f;
	uint8_t noise[4096];

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	uint64_t from_ms = beam_now_ms();

	for (uint32_t i = 0; i < 50; i++) {
		int fd = connect_from(&f, 1);

		if (i == 0)
			memset(noise, 0xff, sizeof(noise));
		else
			beam_random(noise, sizeof(noise));
		if (i == 1)
			memcpy(noise, get, sizeof(get));
		/* flags that no message has, so that it is never a message by chance */
		noise[2] |= 1;
		if (noise[0] == CHANNEL_TLS_FIRST_BYTE)
			noise[0]++; /* left to the next test */
		(void)beam_write_all(fd, noise, sizeof(noise));
		assert_int_equal(read_to_end(fd).type, 0);
		close(fd);
	}
	assert_true(beam_now_ms() - from_ms < 25 * SILENCE_MS);
	expect_welcome(&f);
	fixture_close(&f);
}

/* Without a handshake there is no key with which to report what is wrong: the connection just
 * ends. */
static void garbage_that_begins_as_tls_is_closed(void **state)
{
	struct fixture f;
	uint8_t noise[4096];

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	for (uint32_t i = 0; i < 10; i++) {
		int fd = connect_from(&f, 1);

		beam_random(noise, sizeof(noise));
		noise[0] = CHANNEL_TLS_FIRST_BYTE;
		(void)beam_write_all(fd, noise, sizeof(noise));
		assert_int_not_equal(read_to_end(fd).type, BEAM_WIRE_WELCOME);
		close(fd);
	}
	expect_welcome(&f);
	fixture_close(&f);
}

static void another_version_is_refused_by_name(void **state)
{
	struct fixture f;

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	struct beam_reader_opts opts = fixture_ticket(&f);
	struct beam_wire_message hello = hello_of(&opts);
	int fd = connect_from(&f, 1);

	hello.hello.version = 99;
	send_message(fd, &hello);
	struct beam_wire_message last = read_to_end(fd);

	assert_int_equal(last.type, BEAM_WIRE_REFUSED);
	assert_int_equal(last.text.code, BEAM_E_VERSION);
	assert_non_null(strstr(last.text.text, "99"));
	close(fd);
	fixture_close(&f);
}

/* Each of these, sent after WELCOME, ends the session with FAILED. */
static void messages_out_of_place_end_the_session(void **state)
{
	static const enum beam_wire_type types[] = {
	    BEAM_WIRE_HELLO,    BEAM_WIRE_WELCOME, BEAM_WIRE_SEALED, BEAM_WIRE_DATA,
	    BEAM_WIRE_COMPLETE, BEAM_WIRE_STALE,   BEAM_WIRE_LENT,   BEAM_WIRE_PROGRESS};
	struct fixture f;

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		int fd = open_served(&f);
		struct beam_wire_message m = {.type = types[i]};

		if (m.type == BEAM_WIRE_HELLO)
			m.hello.magic = BEAM_WIRE_MAGIC;
		send_message(fd, &m);
		m = read_to_end(fd);
		assert_int_equal(m.type, BEAM_WIRE_FAILED);
		assert_int_equal(m.text.code, BEAM_E_PROTO);
		close(fd);
		assert_int_equal(fixture_wait_ended(&f, (uint32_t)i + 1), BEAM_E_PROTO);
	}
	fixture_close(&f);
}

static void read_before_hello_is_refused(void **state)
{
	struct beam_wire_message read = {.type = BEAM_WIRE_READ, .read = {.len_bytes = 10}};
	struct fixture f;

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	fixture_seal_all(&f);
	int fd = connect_from(&f, 1);

	send_message(fd, &read);
	struct beam_wire_message last = read_to_end(fd);

	assert_int_equal(last.type, BEAM_WIRE_FAILED);
	assert_int_equal(last.text.code, BEAM_E_PROTO);
	assert_int_equal(f.sent_bytes, 0);
	close(fd);
	fixture_close(&f);
}

static void more_than_64_reads_at_once_end_the_session(void **state)
{
	uint8_t out[80 * 24];
	size_t bytes = 0;
	struct fixture f;

	(void)state;
	fixture_open(&f, &beam_tcp_server, 2, NULL);
	fixture_seal_all(&f);
	int fd = open_served(&f);

	/* They are 2 MiB each and nothing is read: socket buffers hold only a few of them. */
	for (uint32_t i = 0; i < 80; i++)
		bytes += beam_wire_encode(
		    &(struct beam_wire_message){.type = BEAM_WIRE_READ,
						.read = {.len_bytes = SEGMENT_BYTES, .tag = i}},
		    out + bytes);
	assert_int_equal(beam_write_all(fd, out, bytes), 0);
	assert_int_equal(fixture_wait_ended(&f, 1), BEAM_E_PROTO);
	close(fd);
	fixture_close(&f);
}

/* The next turn's timer is requested while the session sends because its socket has room again. */
static void without_memory_for_its_turn_a_session_ends_and_the_server_lives(void **state)
{
#ifndef RDBEAM_FAULTS
	(void)state;
	skip(); /* this build cannot inject faults */
#else
	struct beam_server_opts limits = {
	    .max_pulls = 2, .stall_timeout_s = 60, .rate_limit = 1ull << 40};
	enum { READS = 40 };
	uint8_t out[READS * 24];
	size_t bytes = 0;
	uint64_t asked = 0, got = 0;
	struct fixture f;

	(void)state;
	setenv("RDBEAM_FAULT", "tcp_bucket:2:errno=ENOMEM", 1);
	fixture_open(&f, &beam_tcp_server, 2, &limits);
	fixture_seal_all(&f);
	int fd = open_served(&f);

	for (uint32_t i = 0; i < READS; i++)
		bytes += beam_wire_encode(
		    &(struct beam_wire_message){.type = BEAM_WIRE_READ,
						.read = {.len_bytes = SEGMENT_BYTES, .tag = i}},
		    out + bytes);
	for (ssize_t n = 1; n > 0; got += (uint64_t)n) {
		static uint8_t sink[1 << 20];

		/* Ask for more, in case all came through without the socket ever being full. */
		if (got >= asked) {
			assert_int_equal(beam_write_all(fd, out, bytes), 0);
			asked += (uint64_t)READS * SEGMENT_BYTES;
		}
		assert_true(is_readable(fd, PATIENCE_MS));
		n = recv(fd, sink, sizeof(sink), 0);
	}
	assert_int_equal(fixture_wait_ended(&f, 1), -ENOMEM);
	unsetenv("RDBEAM_FAULT");
	expect_welcome(&f);
	close(fd);
	fixture_close(&f);
#endif
}

/* ---- cases against the reader: a server that lies ------------------------------------------- */

struct liar {
	int listener;
	struct beam_reader_opts opts;
	struct beam_wire_welcome welcome; /* what it will send; with a correct proof if key_right */
	bool key_right;
	struct beam_wire_message then[4]; /* sent after the WELCOME */
	uint32_t nthen;
	uint32_t nreads; /* number of READs to wait for before `then` */
};

static void *lie(void *arg)
{
	struct liar *liar = arg;
	uint8_t in[BEAM_WIRE_HEAD_BYTES + 56], read[24], out[8 * BEAM_WIRE_MESSAGE_MAX];
	struct beam_wire_message message;
	int fd = accept(liar->listener, NULL, NULL);
	struct beam_wire_message welcome = {.type = BEAM_WIRE_WELCOME, .welcome = liar->welcome};

	if (fd < 0 || beam_read_all(fd, in, sizeof(in)) ||
	    beam_wire_decode(in, sizeof(in), &message) <= 0)
		return NULL;
	if (liar->key_right)
		beam_wire_prove_welcome(liar->opts.key, &message.hello, &welcome.welcome);
	(void)beam_write_all(fd, out, beam_wire_encode(&welcome, out));
	for (uint32_t i = 0; i < liar->nreads; i++)
		if (beam_read_all(fd, read, sizeof(read)))
			break;
	size_t bytes = 0;

	for (uint32_t i = 0; i < liar->nthen; i++)
		bytes += beam_wire_encode(&liar->then[i], out + bytes);
	(void)beam_write_all(fd, out, bytes);
	while (recv(fd, in, sizeof(in), 0) > 0) /* until the reader closes */
		;
	close(fd);
	return NULL;
}

static struct liar honest_liar(void)
{
	struct liar liar = {.key_right = true,
			    .welcome = {.gen = {.nonce = 5, .counter = 6},
					.segment_bytes = SEGMENT_BYTES,
					.read_max = SEGMENT_BYTES},
			    .opts = {.host = "127.0.0.1",
				     .gen = {.nonce = 5, .counter = 6},
				     .connect_timeout_ms = 5000}};

	return liar;
}

/* Returns the code with which the reader gives up; it first requests liar->nreads READs of 100
 * bytes. */
static int told_by(struct liar *liar, char text[BEAM_TEXT_BYTES])
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	uint8_t buf[4][100];
	struct beam_reader *reader;
	struct beam_reader_event event;
	pthread_t thread;
	int code;

	liar->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(liar->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(liar->listener, 1), 0);
	assert_int_equal(getsockname(liar->listener, (struct sockaddr *)&addr, &len), 0);
	liar->opts.port = ntohs(addr.sin_port);
	assert_int_equal(pthread_create(&thread, NULL, lie, liar), 0);
	assert_int_equal(beam_tcp_reader.open(&liar->opts, text, &reader), 0);
	while ((code = beam_tcp_reader.next(reader, &event, PATIENCE_MS)) == 1)
		for (uint32_t i = 0; event.type == BEAM_READER_WELCOME && i < liar->nreads; i++)
			assert_int_equal(
			    beam_tcp_reader.read(reader, i, 0, buf[i], sizeof(buf[i]), i), 0);
	/* A failed reader stays failed. */
	assert_int_equal(beam_tcp_reader.next(reader, &event, 0), code);
	snprintf(text, BEAM_TEXT_BYTES, "%s", beam_tcp_reader.error(reader));
	beam_tcp_reader.close(&reader, 0, 0);
	pthread_join(thread, NULL);
	close(liar->listener);
	return code;
}

static void reader_wants_the_servers_proof(void **state)
{
	struct liar liar = honest_liar();
	char text[BEAM_TEXT_BYTES];

	(void)state;
	liar.key_right = false;
	assert_int_equal(told_by(&liar, text), BEAM_E_DENIED);
}

static void reader_refuses_impossible_sizes(void **state)
{
	static const uint32_t sizes[][2] = {
	    {0, 1},
	    {SEGMENT_BYTES, 0},
	    {SEGMENT_BYTES, SEGMENT_BYTES + 1},
	    {SEGMENT_BYTES + 4096, 4096},
	    {BEAM_SEGMENT_MAX + SEGMENT_BYTES, 4096},
	    {4 * SEGMENT_BYTES, BEAM_WIRE_READ_MAX + 1},
	};
	char text[BEAM_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct liar liar = honest_liar();

		liar.welcome.segment_bytes = sizes[i][0];
		liar.welcome.read_max = sizes[i][1];
		assert_int_equal(told_by(&liar, text), BEAM_E_PROTO);
	}
}

static void reader_refuses_messages_that_cannot_be(void **state)
{
	static const struct beam_wire_message lies[] = {
	    {.type = BEAM_WIRE_SEALED, .sealed = {.index = BEAM_SEGMENTS_MAX, .len_bytes = 1}},
	    {.type = BEAM_WIRE_SEALED, .sealed = {.index = 0, .len_bytes = SEGMENT_BYTES + 1}},
	    {.type = BEAM_WIRE_SEALED, .sealed = {.index = 0, .len_bytes = 0}},
	    {.type = BEAM_WIRE_COMPLETE, .complete = {.nsegments = 0}},
	    {.type = BEAM_WIRE_COMPLETE,
	     .complete = {.nsegments = 2, .image_bytes = 2 * SEGMENT_BYTES + 1}},
	    {.type = BEAM_WIRE_COMPLETE,
	     .complete = {.nsegments = 2, .image_bytes = SEGMENT_BYTES}},
	    {.type = BEAM_WIRE_COMPLETE,
	     .complete = {.nsegments = UINT32_MAX, .image_bytes = UINT64_MAX}},
	    {.type = BEAM_WIRE_VALID, .valid = {.tag = 0}},
	    {.type = BEAM_WIRE_DATA, .data = {.tag = 0, .len_bytes = 100}},
	    {.type = BEAM_WIRE_WAITING, .waiting = {.position = 1, .waiting = 1}},
	    {.type = BEAM_WIRE_WELCOME},
	    {.type = BEAM_WIRE_READ},
	};
	char text[BEAM_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct liar liar = honest_liar();

		liar.then[liar.nthen++] = lies[i];
		assert_int_equal(told_by(&liar, text), BEAM_E_PROTO);
	}
}

static void reader_refuses_data_out_of_order_or_of_another_length(void **state)
{
	static const struct beam_wire_data lies[] = {{.tag = 1, .len_bytes = 100},
						     {.tag = 0, .len_bytes = 99},
						     {.tag = 0, .len_bytes = 101}};
	char text[BEAM_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct liar liar = honest_liar();

		liar.nreads = 2;
		liar.then[liar.nthen++] =
		    (struct beam_wire_message){.type = BEAM_WIRE_DATA, .data = lies[i]};
		assert_int_equal(told_by(&liar, text), BEAM_E_PROTO);
	}
}

static void what_the_server_says_is_kept_as_plain_text(void **state)
{
	struct liar liar = honest_liar();
	char text[BEAM_TEXT_BYTES];

	(void)state;
	liar.then[liar.nthen++] = (struct beam_wire_message){
	    .type = BEAM_WIRE_FAILED, .text = {.code = BEAM_E_FULL, .text = "a\033[2Jb\xff\n"}};
	assert_int_equal(told_by(&liar, text), BEAM_E_FULL);
	assert_non_null(strstr(text, "a?[2Jb??"));
	/* A code that is not an error must not be returned. */
	liar.then[0].text.code = 0;
	assert_int_equal(told_by(&liar, text), BEAM_E_PROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(half_open_connections_do_not_block_a_good_one),
	    cmocka_unit_test(one_address_has_sixteen_unproved_connections),
	    cmocka_unit_test(who_has_spoken_is_heard_before_he_goes),
	    cmocka_unit_test(who_has_a_tickets_key_does_not_make_room),
	    cmocka_unit_test(hello_must_come_within_two_seconds),
	    cmocka_unit_test(garbage_is_closed_without_an_answer),
	    cmocka_unit_test(garbage_that_begins_as_tls_is_closed),
	    cmocka_unit_test(another_version_is_refused_by_name),
	    cmocka_unit_test(messages_out_of_place_end_the_session),
	    cmocka_unit_test(read_before_hello_is_refused),
	    cmocka_unit_test(more_than_64_reads_at_once_end_the_session),
	    cmocka_unit_test(without_memory_for_its_turn_a_session_ends_and_the_server_lives),
	    cmocka_unit_test(reader_wants_the_servers_proof),
	    cmocka_unit_test(reader_refuses_impossible_sizes),
	    cmocka_unit_test(reader_refuses_messages_that_cannot_be),
	    cmocka_unit_test(reader_refuses_data_out_of_order_or_of_another_length),
	    cmocka_unit_test(what_the_server_says_is_kept_as_plain_text),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
