/* SPDX-License-Identifier: BSD-3-Clause
 * Tickets, sessions and the fence, by the real daemon and the real TCP reader. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "crc64.h"
#include "daemon_rig.h"
#include "rdbeam/error.h"
#include "reader.h"
#include "sockets.h"

#define KEYS 200

static const struct beam_reader_ops *const tcp = &beam_tcp_reader;
static const struct save memory = {.kind = BEAM_SNAPSHOT_MEMORY,
				   .estimate_bytes = KEYS * 65536ull + 2 * RIG_SEGMENT_BYTES,
				   .nkeys = KEYS};

static uint32_t free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

static void save_memory(struct rig *rig, uint64_t counter)
{
	assert_int_equal(rig_reap(rig_save(rig, &memory)), 0);
	assert_true(rig_wait_state(rig, BEAM_STATE_READY, counter));
}

static void open_served(struct rig *rig, uint32_t segments)
{
	assert_true(rig_open(rig, segments, NULL));
	rig->config.transport = BEAM_TRANSPORT_TCP;
	rig->config.port = free_port();
	rig->config.nbind = 1;
	strcpy(rig->config.bind[0], "127.0.0.1");
	rig_configure(rig);
	while (rig_next(rig, 5000) != BEAM_CTL_READY)
		;
	assert_string_equal(rig->ready.error, "");
	assert_int_equal(rig->ready.port, rig->config.port);
	save_memory(rig, 1);
}

/* A ticket for the servable image, registered with the daemon. */
static struct beam_reader_opts make_ticket(struct rig *rig, const char *addr)
{
	struct beam_ctl_ticket ticket = {.gen = rig->status.servable, .ttl_ms = 5000};
	struct beam_reader_opts opts = {.host = "127.0.0.1",
					.port = rig->config.port,
					.gen = ticket.gen,
					.connect_timeout_ms = 5000};

	beam_random(ticket.id, sizeof(ticket.id));
	beam_random(ticket.key, sizeof(ticket.key));
	snprintf(ticket.addr, sizeof(ticket.addr), "%s", addr);
	memcpy(opts.id, ticket.id, sizeof(opts.id));
	memcpy(opts.key, ticket.key, sizeof(opts.key));
	assert_int_equal(beam_ctl_send(rig->control, BEAM_CTL_TICKET, &ticket, sizeof(ticket), -1),
			 0);
	return opts;
}

/* Connects and waits for WELCOME: 0 or the code of the refusal. */
static int enter(const struct beam_reader_opts *opts, struct beam_reader **reader)
{
	struct beam_reader_event event;
	char text[BEAM_TEXT_BYTES];
	int n = tcp->open(opts, text, reader);

	if (n)
		return n;
	do {
		n = tcp->next(*reader, &event, 5000);
	} while (n == 1 && event.type != BEAM_READER_WELCOME);
	if (n == 1)
		return 0;
	tcp->close(reader, 0, 0);
	return n ? n : -ETIMEDOUT;
}

static void next_is(struct beam_reader *reader, struct beam_reader_event *event,
		    enum beam_reader_event_type type)
{
	do {
		assert_int_equal(tcp->next(reader, event, 5000), 1);
	} while (event->type != type);
}

/* Takes in events until COMPLETE; `crcs` gets the CRC of each segment, `last` the last one's
 * length.
 */
static struct beam_wire_complete learn_image(struct beam_reader *reader, uint64_t *crcs,
					     uint32_t cap, uint32_t *last)
{
	struct beam_reader_event event;
	uint32_t sealed = 0;

	for (;;) {
		assert_int_equal(tcp->next(reader, &event, 5000), 1);
		if (event.type == BEAM_READER_COMPLETE)
			break;
		assert_int_equal(event.type, BEAM_READER_SEALED);
		assert_true(event.sealed.index < cap);
		crcs[event.sealed.index] = event.sealed.crc;
		if (event.sealed.len_bytes < RIG_SEGMENT_BYTES)
			*last = event.sealed.len_bytes;
		sealed++;
	}
	assert_int_equal(sealed, event.complete.nsegments);
	return event.complete;
}

static void pull_gets_the_image(void **state)
{
	static uint8_t buf[RIG_SEGMENT_BYTES];
	struct beam_reader_event event;
	struct beam_reader *reader;
	uint64_t crcs[64], crc = 0, bytes = 0;
	uint32_t last = RIG_SEGMENT_BYTES;
	struct rig rig;

	(void)state;
	open_served(&rig, 64);
	struct beam_reader_opts opts = make_ticket(&rig, "127.0.0.1");

	assert_int_equal(enter(&opts, &reader), 0);
	struct beam_wire_complete whole = learn_image(reader, crcs, 64, &last);

	for (uint32_t i = 0; i < whole.nsegments; i++) {
		uint32_t len = i + 1 < whole.nsegments ? RIG_SEGMENT_BYTES : last;

		assert_int_equal(tcp->read(reader, i, 0, buf, len, i), 0);
		next_is(reader, &event, BEAM_READER_DONE);
		assert_int_equal(event.cookie, i);
		assert_true(beam_crc64(0, buf, len) == crcs[i]);
		crc = beam_crc64(crc, buf, len);
		bytes += len;
	}
	assert_int_equal(bytes, whole.image_bytes);
	assert_int_equal(crc, 0); /* the image ends with the CRC of what stands before */
	assert_int_equal(tcp->check(reader), 0);
	next_is(reader, &event, BEAM_READER_VALID);
	tcp->close(&reader, bytes, 1);
	while (rig.status.pull_bytes_total < bytes || rig.status.pulls_active)
		assert_true(rig_next(&rig, 5000) >= 0);
	assert_int_equal(rig.status.pulls_total, 1);
	assert_true(rig_close(&rig));
}

static void ticket_is_good_once_and_from_one_address(void **state)
{
	struct beam_reader *reader, *second;
	struct rig rig;

	(void)state;
	open_served(&rig, 64);
	struct beam_reader_opts opts = make_ticket(&rig, "127.0.0.1");

	assert_int_equal(enter(&opts, &reader), 0);
	assert_int_equal(enter(&opts, &second), BEAM_E_DENIED);
	tcp->close(&reader, 0, 0);
	opts = make_ticket(&rig, "127.0.0.2");
	assert_int_equal(enter(&opts, &reader), BEAM_E_DENIED);
	opts = make_ticket(&rig, "127.0.0.1");
	opts.key[0] ^= 1;
	assert_int_equal(enter(&opts, &reader), BEAM_E_DENIED);
	while (rig.status.tickets_denied < 3)
		assert_true(rig_next(&rig, 5000) >= 0);
	assert_true(rig_close(&rig));
}

/* Long enough for the daemon's chores, with its messages taken in. */
static void let_chores_run(struct rig *rig)
{
	uint64_t end = beam_now_ms() + 2500;

	while (beam_now_ms() < end)
		rig_next(rig, (int)(end - beam_now_ms()) + 1);
}

static void image_lives_while_it_is_read(void **state)
{
	struct beam_reader_event event;
	struct beam_reader *reader;
	struct rig rig;

	(void)state;
	open_served(&rig, 64);
	struct beam_reader_opts opts = make_ticket(&rig, "127.0.0.1");
	struct beam_gen older = opts.gen;

	assert_int_equal(enter(&opts, &reader), 0);
	/* A newer image; the region has room for both. */
	save_memory(&rig, 2);
	let_chores_run(&rig);
	assert_int_equal(tcp->check(reader), 0);
	next_is(reader, &event, BEAM_READER_VALID);
	tcp->close(&reader, 0, 0);
	let_chores_run(&rig);
	rig.status.servable = older;
	opts = make_ticket(&rig, "127.0.0.1");
	assert_int_equal(enter(&opts, &reader), BEAM_E_STALE);
	assert_true(rig_close(&rig));
}

static void pull_is_ended_when_its_memory_is_needed(void **state)
{
	struct beam_reader_event event;
	struct beam_reader *reader;
	struct rig rig;
	int n;

	(void)state;
	open_served(&rig, 16); /* holds one image, not two */
	struct beam_reader_opts opts = make_ticket(&rig, "127.0.0.1");

	assert_int_equal(enter(&opts, &reader), 0);
	save_memory(&rig, 2);
	do {
		n = tcp->next(reader, &event, 5000);
	} while (n == 1);
	assert_int_equal(n, BEAM_E_STALE);
	tcp->close(&reader, 0, 0);
	assert_int_equal(rig.status.servable.counter, 2);
	/* A ticket for the image that is gone. */
	opts = make_ticket(&rig, "127.0.0.1");
	save_memory(&rig, 3);
	assert_int_equal(enter(&opts, &reader), BEAM_E_STALE);
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pull_gets_the_image),
	    cmocka_unit_test(ticket_is_good_once_and_from_one_address),
	    cmocka_unit_test(image_lives_while_it_is_read),
	    cmocka_unit_test(pull_is_ended_when_its_memory_is_needed),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
