/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The contract of every transport (server.h, reader.h): one suite, run over a table of transports.
 * With RDBEAM_TEST_VERBS=ADDRESS in the environment (the address of an RDMA device of this host) it
 * runs over verbs only.
 */
#include "transport_fixture.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "driver_probe.h"
#include "rdbeam/error.h"
#if RDBEAM_HAVE_VERBS
#include "verbs_server.h"
#endif

static const struct transport {
	const struct beam_server_ops *server;
	const struct beam_reader_ops *reader;
	const char *name;
	bool by_tls;
	/* The reader takes whatever it has keys for: the device refuses, before the server knows
	 * anything, and a session that is cut is not told the reason. */
	bool one_sided;
	bool near; /* the reader copies from the server's memory */
} transports[] = {{&beam_tcp_server, &beam_tcp_reader, "tcp", false, false, false},
		  {&beam_tcp_server, &beam_tcp_reader, "tls", true, false, false},
		  {&beam_tcp_server, &beam_tcp_reader, "near", false, false, true},
		  {&beam_tcp_server, &beam_tcp_reader, "near, tls", true, false, true}};
#if RDBEAM_HAVE_VERBS
static const struct transport verbs = {
    &beam_verbs_server, &beam_verbs_reader, "verbs", false, true, false};
#endif

static const struct transport *transport; /* of this run of the suite */
/* The driver's fault: a session ends only when its reader has gone, not when a READ is refused. */
static bool waits_for_readers;

static struct beam_reader_opts ticket_for(struct fixture *f)
{
	struct beam_reader_opts opts = fixture_ticket(f);

	opts.use_tls = transport->by_tls;
	opts.near = transport->near;
	return opts;
}

/* ---- a small puller ------------------------------------------------------------------------- */

#define READ_BYTES (512u << 10)
#define READS_MAX  512
/* READs of a reader that receives nothing: 64 MiB, more than socket buffers hold. */
#define STUCK_DEPTH 32

struct puller {
	struct fixture *f;
	struct beam_reader *reader;
	uint8_t *image;
	uint32_t todo[READS_MAX][3]; /* index, offset, length; indexed by cookie */
	uint32_t ntodo, nasked, ndone;
	uint32_t nsealed;
	bool complete;
	bool unchecked; /* do not compare the bytes, since time is measured */
	uint64_t bytes;
};

static void puller_open_deep(struct puller *p, struct fixture *f, uint32_t depth)
{
	struct beam_reader_opts opts = ticket_for(f);
	char error_text[BEAM_TEXT_BYTES];

	opts.depth = depth;
	memset(p, 0, sizeof(*p));
	p->f = f;
	p->image = calloc(f->image.nsegments, SEGMENT_BYTES);
	assert_non_null(p->image);
	assert_int_equal(transport->reader->open(&opts, error_text, &p->reader), 0);
}

static void puller_open(struct puller *p, struct fixture *f)
{
	puller_open_deep(p, f, 0);
}

static void puller_close(struct puller *p)
{
	transport->reader->close(&p->reader, p->bytes, 1);
	assert_null(p->reader);
	free(p->image);
}

static void want(struct puller *p, const struct beam_wire_sealed *sealed)
{
	assert_int_equal(sealed->len_bytes, fixture_segment_bytes(p->f, sealed->index));
	assert_int_equal(sealed->crc, sealed->index);
	p->nsealed++;
	for (uint32_t at = 0; at < sealed->len_bytes; at += READ_BYTES) {
		uint32_t left = sealed->len_bytes - at;

		assert_true(p->ntodo < READS_MAX);
		p->todo[p->ntodo][0] = sealed->index;
		p->todo[p->ntodo][1] = at;
		p->todo[p->ntodo++][2] = left < READ_BYTES ? left : READ_BYTES;
	}
}

static void ask(struct puller *p)
{
	while (p->nasked < p->ntodo) {
		const uint32_t *t = p->todo[p->nasked];
		int err = transport->reader->read(p->reader, t[0], t[1],
						  p->image + (size_t)t[0] * SEGMENT_BYTES + t[1],
						  t[2], p->nasked);

		if (err == -EAGAIN)
			return;
		assert_int_equal(err, 0);
		p->nasked++;
	}
}

static void check_bytes(const struct puller *p, uint64_t cookie)
{
	const uint32_t *t = p->todo[cookie];
	uint64_t from = (uint64_t)t[0] * SEGMENT_BYTES + t[1];

	for (uint64_t i = from; i < from + t[2]; i++)
		if (p->image[i] != image_byte(i))
			fail_msg("byte %llu differs", (unsigned long long)i);
}

/* Handles one event. Returns 1, or next's code. Fails the test when there is none for too long. */
static int step(struct puller *p)
{
	struct beam_reader_event event;

	ask(p);
	int n = transport->reader->next(p->reader, &event, PATIENCE_MS);

	assert_int_not_equal(n, 0);
	if (n < 0)
		return n;
	if (event.type == BEAM_READER_SEALED)
		want(p, &event.sealed);
	if (event.type == BEAM_READER_COMPLETE) {
		assert_int_equal(event.complete.nsegments, p->f->image.nsegments);
		assert_int_equal(event.complete.image_bytes, fixture_image_bytes(p->f));
		assert_int_equal(event.complete.file_crc, 77);
		assert_false(p->complete);
		p->complete = true;
	}
	if (event.type == BEAM_READER_DONE) {
		if (!p->unchecked)
			check_bytes(p, event.cookie);
		p->bytes += p->todo[event.cookie][2];
		p->ndone++;
	}
	return 1;
}

static bool is_whole(const struct puller *p)
{
	return p->complete && p->ndone == p->ntodo && p->nsealed == p->f->image.nsegments;
}

static void pull_whole(struct puller *p)
{
	while (!is_whole(p))
		assert_int_equal(step(p), 1);
	assert_int_equal(p->bytes, fixture_image_bytes(p->f));
}

static void expect_event(struct beam_reader *reader, enum beam_reader_event_type type,
			 struct beam_reader_event *event)
{
	assert_int_equal(transport->reader->next(reader, event, PATIENCE_MS), 1);
	assert_int_equal(event->type, type);
}

/* Returns the code that ends a reader, whatever events come before. */
static int last_code(struct beam_reader *reader)
{
	struct beam_reader_event event;
	int n;

	do
		n = transport->reader->next(reader, &event, PATIENCE_MS);
	while (n == 1);
	assert_int_not_equal(n, 0);
	assert_string_not_equal(transport->reader->error(reader), "");
	return n;
}

/* Returns the code of a refusal, by the handshake or by the answer to HELLO, with its text in
 * `text`. */
static int refusal(const struct beam_reader_opts *opts, char text[BEAM_TEXT_BYTES])
{
	struct beam_reader *reader = NULL;
	int code = transport->reader->open(opts, text, &reader);

	if (!code) {
		code = last_code(reader);
		snprintf(text, BEAM_TEXT_BYTES, "%s", transport->reader->error(reader));
	}
	assert_string_not_equal(text, "");
	transport->reader->close(&reader, 0, 0);
	return code;
}

static void expect_denied(const struct beam_reader_opts *opts)
{
	char text[BEAM_TEXT_BYTES] = "";

	assert_int_equal(refusal(opts, text), BEAM_E_DENIED);
}

static struct beam_reader *open_reader(const struct beam_reader_opts *opts)
{
	char error_text[BEAM_TEXT_BYTES];
	struct beam_reader *reader = NULL;

	assert_int_equal(transport->reader->open(opts, error_text, &reader), 0);
	return reader;
}

/* ---- cases ---------------------------------------------------------------------------------- */

static void reads_whole_image(void **state)
{
	struct fixture f;
	struct puller p;
	struct beam_reader_event event;

	(void)state;
	fixture_open(&f, transport->server, 6, NULL);
	fixture_seal_all(&f);
	puller_open(&p, &f);
	pull_whole(&p);
	assert_int_equal(transport->reader->check(p.reader), 0);
	expect_event(p.reader, BEAM_READER_VALID, &event);
	assert_int_equal(p.reader->near_bytes, transport->near ? p.bytes : 0);
	puller_close(&p);
	assert_int_equal(fixture_wait_ended(&f, 1), 0);
	assert_int_equal(f.sent_bytes, fixture_image_bytes(&f));
	fixture_close(&f);
}

static void tells_seals_in_any_order_while_it_reads(void **state)
{
	static const uint32_t order[] = {3, 0, 5, 4, 1, 7, 6, 2};
	struct fixture f;
	struct puller p;

	(void)state;
	fixture_open(&f, transport->server, 8, NULL);
	puller_open(&p, &f);
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		fixture_seal(&f, order[i]);
		while (p.nsealed < i + 1)
			assert_int_equal(step(&p), 1);
		assert_int_equal(p.todo[p.ntodo - 1][0], order[i]);
	}
	assert_false(p.complete);
	fixture_complete(&f);
	pull_whole(&p);
	puller_close(&p);
	fixture_close(&f);
}

/* The cost of announcing segments must depend on what is new: two workers seal 20,000 segments in
 * pairs, backwards. */
static void finds_the_seals_of_a_large_image_cheaply(void **state)
{
	struct fixture f;
	uint32_t n = transport->one_sided ? 1000 : 20000, nsealed = 0;
	struct beam_reader_event event;

	(void)state;
	fixture_open(&f, transport->server, n, NULL);
	struct beam_reader_opts opts = ticket_for(&f);
	struct beam_reader *reader = open_reader(&opts);

	expect_event(reader, BEAM_READER_WELCOME, &event);
	for (uint32_t i = 0; i < n; i += 2) {
		fixture_seal(&f, i + 1);
		fixture_seal(&f, i);
		while (nsealed < i) { /* one pair behind */
			expect_event(reader, BEAM_READER_SEALED, &event);
			nsealed++;
		}
	}
	fixture_complete(&f);
	for (; nsealed < n; nsealed++)
		expect_event(reader, BEAM_READER_SEALED, &event);
	expect_event(reader, BEAM_READER_COMPLETE, &event);
	assert_true(f.image.asked < 5ull * n);
	transport->reader->close(&reader, 0, 0);
	fixture_close(&f);
}

static void refuses_wrong_key(void **state)
{
	struct fixture f;

	(void)state;
	fixture_open(&f, transport->server, 2, NULL);
	struct beam_reader_opts opts = ticket_for(&f);

	opts.key[31] ^= 1;
	expect_denied(&opts);
	fixture_close(&f);
}

static void refuses_replayed_ticket(void **state)
{
	struct fixture f;
	struct beam_reader_event event;

	(void)state;
	fixture_open(&f, transport->server, 2, NULL);
	struct beam_reader_opts opts = ticket_for(&f);
	struct beam_reader *first = open_reader(&opts);

	expect_event(first, BEAM_READER_WELCOME, &event);
	expect_denied(&opts);
	transport->reader->close(&first, 0, 0);
	fixture_close(&f);
}

static void refuses_another_generation(void **state)
{
	struct fixture f;

	(void)state;
	fixture_open(&f, transport->server, 2, NULL);
	struct beam_reader_opts opts = ticket_for(&f);

	opts.gen.counter++;
	struct beam_reader *reader = open_reader(&opts);

	assert_int_equal(last_code(reader), BEAM_E_STALE);
	transport->reader->close(&reader, 0, 0);
	fixture_close(&f);
}

/* A READ with these numbers ends the session on both ends. */
static void expect_bad_read(uint32_t index, uint32_t offset, uint32_t len_bytes)
{
	static uint8_t buf[SEGMENT_BYTES];
	struct fixture f;
	struct beam_reader_event event;

	fixture_open(&f, transport->server, 3, NULL);
	fixture_seal(&f, 0);
	fixture_seal(&f, 2); /* the last one, 1000 bytes */
	struct beam_reader_opts opts = ticket_for(&f);
	struct beam_reader *reader = open_reader(&opts);

	expect_event(reader, BEAM_READER_WELCOME, &event);
	for (int i = 0; transport->one_sided && i < 2; i++)
		expect_event(reader, BEAM_READER_SEALED, &event);
	int err = transport->reader->read(reader, index, offset, buf, len_bytes, 1);

	if (transport->one_sided && index != 0 && index != 2) {
		assert_int_equal(err, -EINVAL); /* there is no key for it */
	} else {
		assert_int_equal(err, 0);
		assert_int_equal(last_code(reader),
				 transport->one_sided ? BEAM_E_GONE : BEAM_E_PROTO);
		if (waits_for_readers)
			transport->reader->close(&reader, 0, 0);
		assert_int_equal(fixture_wait_ended(&f, 1),
				 transport->one_sided ? BEAM_E_DENIED : BEAM_E_PROTO);
	}
	if (reader)
		transport->reader->close(&reader, 0, 0);
	fixture_close(&f);
}

static void ends_session_of_read_past_the_end(void **state)
{
	(void)state;
	expect_bad_read(2, 0, 1001);
	expect_bad_read(2, 1000, 1);
	expect_bad_read(0, UINT32_MAX, 2);
	expect_bad_read(0, SEGMENT_BYTES - 1, 2);
	expect_bad_read(3, 0, 1);
	expect_bad_read(UINT32_MAX, 0, 1);
}

static void ends_session_of_unsealed_read(void **state)
{
	(void)state;
	expect_bad_read(1, 0, 1);
}

static void does_not_send_reads_that_are_too_large(void **state)
{
	static uint8_t buf[1];
	struct fixture f;
	struct beam_reader_event event;

	(void)state;
	fixture_open(&f, transport->server, 2, NULL);
	struct beam_reader_opts opts = ticket_for(&f);
	struct beam_reader *reader = open_reader(&opts);

	expect_event(reader, BEAM_READER_WELCOME, &event);
	assert_int_equal(transport->reader->read(reader, 0, 0, buf, event.welcome.read_max + 1, 1),
			 -EINVAL);
	assert_int_equal(transport->reader->read(reader, 0, 0, buf, 0, 1), -EINVAL);
	transport->reader->close(&reader, 0, 0);
	fixture_close(&f);
}

/* Returns true when the fence came before the first reader had finished. */
static bool fence_in_mid_read(void)
{
	struct fixture f;
	struct puller p, q;

	fixture_open(&f, transport->server, 32, NULL);
	fixture_seal_all(&f);
	/* Keep more in flight than socket buffers hold, so that the fence falls into a payload. */
	puller_open_deep(&p, &f, 64);
	puller_open_deep(&q, &f, 64);
	while (p.ndone < 3)
		assert_int_equal(step(&p), 1);
	while (q.ndone < 1)
		assert_int_equal(step(&q), 1);
	ask(&p);
	ask(&q);
	fixture_fence(&f);
	assert_int_equal(fixture_wait_ended(&f, 2), BEAM_E_STALE);
	int n, expected = transport->one_sided ? BEAM_E_GONE : BEAM_E_STALE;

	while ((n = step(&p)) == 1) /* checks the bytes of each DONE */
		;
	assert_int_equal(n, expected);
	while ((n = step(&q)) == 1)
		;
	assert_int_equal(n, expected);
	bool in_time = p.ndone < p.ntodo;

	puller_close(&p);
	puller_close(&q);
	fixture_close(&f);
	return in_time;
}

/* Bytes read before the fence are correct, none come from after it, and STALE is reported. */
static void revoke_in_mid_read_never_mixes_bytes(void **state)
{
	int tries = 0;

	(void)state;
	while (!fence_in_mid_read()) /* a device may finish while this thread is not scheduled */
		assert_true(++tries < 10);
}

/* A server whose address changes: its sessions end without blocking the loop, and the image is
 * released before the server is gone. */
static void stops_in_mid_read_and_gives_the_image_back(void **state)
{
	struct fixture f;
	struct puller p;

	(void)state;
	fixture_open(&f, transport->server, 16, NULL);
	fixture_seal_all(&f);
	puller_open(&p, &f);
	while (p.ndone < 3)
		assert_int_equal(step(&p), 1);
	ask(&p);
	assert_true(fixture_stop(&f) == transport->one_sided);
	assert_int_equal(fixture_wait_ended(&f, 1), BEAM_E_ABORTED);
	int n;

	while ((n = step(&p)) == 1)
		;
	assert_true(n == BEAM_E_GONE || n == -ECONNRESET);
	puller_close(&p);
	fixture_close(&f);
}

static void serves_two_readers_at_once(void **state)
{
	struct fixture f;
	struct puller p, q;

	(void)state;
	fixture_open(&f, transport->server, 6, NULL);
	fixture_seal_all(&f);
	puller_open(&p, &f);
	puller_open(&q, &f);
	while (!is_whole(&p) || !is_whole(&q)) {
		if (!is_whole(&p))
			assert_int_equal(step(&p), 1);
		if (!is_whole(&q))
			assert_int_equal(step(&q), 1);
	}
	puller_close(&p);
	puller_close(&q);
	assert_int_equal(fixture_wait_ended(&f, 2), 0);
	fixture_close(&f);
}

static void queues_above_max_pulls_and_refuses_above_the_queue(void **state)
{
	struct beam_server_opts limits = {.max_pulls = 1, .stall_timeout_s = 60};
	struct fixture f;
	struct beam_reader *readers[5];
	struct beam_reader_event event;

	(void)state;
	fixture_open(&f, transport->server, 2, &limits);
	for (uint32_t i = 0; i < 5; i++) {
		struct beam_reader_opts opts = ticket_for(&f);

		readers[i] = open_reader(&opts);
		expect_event(readers[i], i ? BEAM_READER_WAITING : BEAM_READER_WELCOME, &event);
		if (i)
			assert_int_equal(event.waiting.position, i);
	}
	struct beam_reader_opts opts = ticket_for(&f);

	char text[BEAM_TEXT_BYTES] = "";

	assert_int_equal(refusal(&opts, text), BEAM_E_BUSY);
	assert_non_null(strstr(text, "max-pulls"));
	assert_int_equal(fixture_counts(&f).active, 1);
	assert_int_equal(fixture_counts(&f).waiting, 4);
	transport->reader->close(&readers[0], 0, 0);
	for (uint32_t length = 2; length < 5; length++) {
		expect_event(readers[1], BEAM_READER_WAITING, &event);
		assert_int_equal(event.waiting.waiting, length);
	}
	expect_event(readers[1], BEAM_READER_WELCOME, &event);
	for (uint32_t i = 2; i < 5; i++) {
		/* Positions sent while more readers arrived are still on their way. */
		do
			expect_event(readers[i], BEAM_READER_WAITING, &event);
		while (event.waiting.position == i || event.waiting.waiting == 4);
		assert_int_equal(event.waiting.position, i - 1);
		assert_int_equal(event.waiting.waiting, 3);
	}
	for (uint32_t i = 1; i < 5; i++)
		transport->reader->close(&readers[i], 0, 0);
	fixture_close(&f);
}

static void ask_too_much(struct beam_reader *reader, uint8_t *buf, uint32_t read_max)
{
	for (uint32_t i = 0; i < STUCK_DEPTH; i++)
		assert_int_equal(transport->reader->read(reader, 0, 0, buf, read_max, i), 0);
}

/* Both kinds of readers, and both channels, in one run, because the last end comes after seconds. */
static void drops_readers_that_take_no_bytes_and_silent_ones(void **state)
{
	struct beam_server_opts limits = {.max_pulls = 4, .stall_timeout_s = 1};
	struct fixture f;
	struct beam_reader *stuck[2], *silent[2];
	struct beam_reader_event event;
	uint8_t *buf;

	(void)state;
	if (transport->one_sided || transport->near)
		skip(); /* the device or the reader itself reads; silence may last longer than a test */
	if (transport->by_tls)
		skip(); /* tested beside plain TCP */
	buf = malloc(SEGMENT_BYTES);
	assert_non_null(buf);
	fixture_open(&f, transport->server, 2, &limits);
	fixture_seal(&f, 0);
	uint64_t from_ms = beam_now_ms();

	for (int tls = 0; tls < 2; tls++) {
		struct beam_reader_opts opts = ticket_for(&f);

		opts.use_tls = tls;
		silent[tls] = open_reader(&opts);
		expect_event(silent[tls], BEAM_READER_WELCOME, &event);
		opts = ticket_for(&f);
		opts.use_tls = tls;
		opts.depth = STUCK_DEPTH;
		stuck[tls] = open_reader(&opts);
		expect_event(stuck[tls], BEAM_READER_WELCOME, &event);
		ask_too_much(stuck[tls], buf, event.welcome.read_max);
	}
	assert_int_equal(fixture_wait_ended(&f, 1), -ETIMEDOUT);
	assert_true(beam_now_ms() - from_ms >= 900);
	assert_int_equal(fixture_wait_ended(&f, 2), -ETIMEDOUT);
	assert_int_equal(fixture_counts(&f).active, 2);
	assert_int_equal(fixture_wait_ended(&f, 3), -ETIMEDOUT);
	assert_true(beam_now_ms() - from_ms >= 4900);
	assert_int_equal(fixture_wait_ended(&f, 4), -ETIMEDOUT);
	assert_int_equal(fixture_counts(&f).active, 0);
	for (int tls = 0; tls < 2; tls++) {
		assert_int_equal(last_code(silent[tls]), BEAM_E_GONE);
		transport->reader->close(&silent[tls], 0, 0);
		transport->reader->close(&stuck[tls], 0, 0);
	}
	fixture_close(&f);
	free(buf);
}

static void rate_limit_holds_and_is_fair(void **state)
{
	uint64_t bytes = 8 * (uint64_t)SEGMENT_BYTES; /* roughly, for each of two readers */
	/* A device is told of a larger part at once. */
	uint64_t expected_ms = transport->one_sided ? 1000 : 500;
	struct beam_server_opts limits = {
	    .max_pulls = 4, .stall_timeout_s = 60, .rate_limit = 2 * bytes * 1000 / expected_ms};
	struct fixture f;
	struct puller p, q;

	(void)state;
	if (transport->near)
		skip(); /* a limit makes it one of the readers before */
	fixture_open(&f, transport->server, 9, &limits);
	fixture_seal_all(&f);
	puller_open(&p, &f);
	puller_open(&q, &f);
	p.unchecked = q.unchecked = true;
	uint64_t from_ms = beam_now_ms();

	while (!is_whole(&p) || !is_whole(&q)) {
		struct puller *behind =
		    is_whole(&q) || (!is_whole(&p) && p.bytes <= q.bytes) ? &p : &q;

		assert_int_equal(step(behind), 1);
	}
	uint64_t ms = beam_now_ms() - from_ms;

	/* It must not be faster than the limit; how much slower depends on the machine. */
	assert_true(ms >= expected_ms * 8 / 10);
	puller_close(&p);
	puller_close(&q);
	fixture_close(&f);
}

static void moves_on_at_the_lowest_rates(void **state)
{
	struct beam_server_opts limits = {.max_pulls = 1, .stall_timeout_s = 60, .rate_limit = 999};
	struct fixture f;
	struct puller p;

	(void)state;
	if (transport->near)
		skip();
	fixture_open(&f, transport->server, 1, &limits);
	f.image.last_bytes = 200; /* of the only segment */
	fixture_seal_all(&f);
	puller_open(&p, &f);
	pull_whole(&p);
	puller_close(&p);
	fixture_close(&f);
}

static void a_reader_that_dies_gives_its_place_back(void **state)
{
	struct fixture f;
	struct puller p;

	(void)state;
	fixture_open(&f, transport->server, 6, NULL);
	fixture_seal_all(&f);
	puller_open(&p, &f);
	while (p.ndone < 1)
		assert_int_equal(step(&p), 1);
	ask(&p);
	puller_close(&p); /* with reads in flight, and no DONE */
	assert_int_equal(fixture_wait_ended(&f, 1), BEAM_E_GONE);
	assert_int_equal(fixture_counts(&f).active, 0);
	fixture_close(&f);
}

static void connect_error_names_host_port_and_remedy(void **state)
{
	struct fixture f;
	char error_text[BEAM_TEXT_BYTES] = "", port[16];
	struct beam_reader *reader = NULL;

	(void)state;
	fixture_open(&f, transport->server, 2, NULL);
	struct beam_reader_opts opts = ticket_for(&f);

	fixture_close(&f);
	assert_int_equal(transport->reader->open(&opts, error_text, &reader), -ECONNREFUSED);
	assert_null(reader);
	snprintf(port, sizeof(port), "%u", opts.port);
	assert_non_null(strstr(error_text, fixture_host));
	assert_non_null(strstr(error_text, port));
	assert_non_null(strstr(error_text, transport->one_sided ? "rdbeam.bind" : "rdbeam.port"));
	transport->reader->close(&reader, 0, 0);
}

static void port_in_use_is_told_with_its_remedy(void **state)
{
	struct fixture f;
	char error_text[BEAM_TEXT_BYTES] = "", port[16];
	struct beam_server *second = NULL;

	(void)state;
	fixture_open(&f, transport->server, 2, NULL);
	assert_int_equal(f.ops->open(&f.opts, error_text, &second), -EADDRINUSE);
	assert_null(second);
	snprintf(port, sizeof(port), "port %u", f.opts.port);
	assert_non_null(strstr(error_text, port));
	assert_non_null(strstr(error_text, "rdbeam.port"));
	fixture_close(&f);
}

static void refuses_clear_where_tls_is_demanded(void **state)
{
	struct beam_server_opts limits = {.max_pulls = 4, .stall_timeout_s = 60, .must_tls = true};
	struct beam_reader_event event;
	struct fixture f;

	(void)state;
	if (transport->one_sided)
		skip(); /* the daemon opens no such listener then */
	fixture_open(&f, transport->server, 2, &limits);
	struct beam_reader_opts opts = ticket_for(&f);

	if (!transport->by_tls) {
		expect_denied(&opts);
		opts.use_tls = true; /* that attempt did not use up the ticket */
	}
	struct beam_reader *reader = open_reader(&opts);

	expect_event(reader, BEAM_READER_WELCOME, &event);
	transport->reader->close(&reader, 0, 0);
	fixture_close(&f);
}

static atomic_int fail_in; /* number of calls until the failing one; 0: none fails */

int __real_SSL_set_ex_data(void *ssl, int number, void *data);
int __wrap_SSL_set_ex_data(void *ssl, int number, void *data);

int __wrap_SSL_set_ex_data(void *ssl, int number, void *data)
{
	return atomic_fetch_sub(&fail_in, 1) == 1 ? 0 : __real_SSL_set_ex_data(ssl, number, data);
}

/* Fails first on the reader's side, then on the server's. */
static void without_memory_for_tls_the_session_ends(void **state)
{
	(void)state;
	if (!transport->by_tls)
		skip();
	for (int nth = 1; nth <= 2; nth++) {
		struct beam_reader_event event;
		struct beam_reader *reader = NULL;
		char text[BEAM_TEXT_BYTES] = "";
		struct fixture f;

		fixture_open(&f, transport->server, 2, NULL);
		struct beam_reader_opts opts = ticket_for(&f);

		atomic_store(&fail_in, nth);
		assert_true(transport->reader->open(&opts, text, &reader) < 0);
		opts = ticket_for(&f);
		reader = open_reader(&opts);
		expect_event(reader, BEAM_READER_WELCOME, &event);
		transport->reader->close(&reader, 0, 0);
		fixture_close(&f);
	}
}

static void hears_nobody_behind_a_closed_door(void **state)
{
	struct fixture f;

	(void)state;
	fixture_open(&f, transport->server, 2, NULL);
	f.closed_door = true;
	struct beam_reader_opts opts = ticket_for(&f);
	char text[BEAM_TEXT_BYTES] = "";
	int code = refusal(&opts, text);

	if (transport->one_sided)
		assert_int_equal(code, -ECONNREFUSED);
	else
		assert_true(code == BEAM_E_GONE || code == -ECONNRESET);
	assert_int_equal(fixture_counts(&f).unauthenticated, 0);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_whole_image),
	    cmocka_unit_test(tells_seals_in_any_order_while_it_reads),
	    cmocka_unit_test(finds_the_seals_of_a_large_image_cheaply),
	    cmocka_unit_test(refuses_wrong_key),
	    cmocka_unit_test(refuses_replayed_ticket),
	    cmocka_unit_test(refuses_another_generation),
	    cmocka_unit_test(ends_session_of_read_past_the_end),
	    cmocka_unit_test(ends_session_of_unsealed_read),
	    cmocka_unit_test(does_not_send_reads_that_are_too_large),
	    cmocka_unit_test(revoke_in_mid_read_never_mixes_bytes),
	    cmocka_unit_test(stops_in_mid_read_and_gives_the_image_back),
	    cmocka_unit_test(serves_two_readers_at_once),
	    cmocka_unit_test(queues_above_max_pulls_and_refuses_above_the_queue),
	    cmocka_unit_test(drops_readers_that_take_no_bytes_and_silent_ones),
	    cmocka_unit_test(rate_limit_holds_and_is_fair),
	    cmocka_unit_test(moves_on_at_the_lowest_rates),
	    cmocka_unit_test(a_reader_that_dies_gives_its_place_back),
	    cmocka_unit_test(connect_error_names_host_port_and_remedy),
	    cmocka_unit_test(port_in_use_is_told_with_its_remedy),
	    cmocka_unit_test(refuses_clear_where_tls_is_demanded),
	    cmocka_unit_test(without_memory_for_tls_the_session_ends),
	    cmocka_unit_test(hears_nobody_behind_a_closed_door),
	};
	int failed = 0;

#if RDBEAM_HAVE_VERBS
	if (getenv("RDBEAM_TEST_VERBS")) {
		fixture_host = getenv("RDBEAM_TEST_VERBS");
		transport = &verbs;
		waits_for_readers = !driver_tells_of_errors();
		if (waits_for_readers)
			print_message("not tested: that a session whose READ was refused ends "
				      "while its reader stays, "
				      "as this driver does not tell of errors\n");
		return cmocka_run_group_tests_name(transport->name, tests, NULL, NULL);
	}
#endif
	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++) {
		transport = &transports[i];
		failed += cmocka_run_group_tests_name(transport->name, tests, NULL, NULL);
	}
	return failed;
}
