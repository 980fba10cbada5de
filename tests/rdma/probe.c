/* SPDX-License-Identifier: BSD-3-Clause
 * A reader that does what no honest one does, with a good ticket: rdma-probe HOST:PORT CASE
 *	wrong-key, past-end, before-begin, write, atomic
 *			one forbidden access: must be a remote access error
 *	other-session	reads with the key of another session of the same image
 *	ended-key	reads with the key of a session that is over
 *	fenced-key	reads with the key of a session that a new snapshot's fence has cut
 *	unsealed	(while an image is being copied) reads where the next segment will be
 *	after-end	says DONE, so that the server ends the session, and reads on
 *	hold FILE	reads whole images, over and over, checking every segment's sum, until FILE is
 *			there; a session that the server ends is followed by the next. The images may
 *			go at any moment: what was read must never be mixed.
 *	queues N DEPTH FILE	N sessions at once, each with DEPTH READs under way, which are one segment;
 *			every byte compared with the image in FILE
 * Prints what came; exit 0: as it must be, 1: not, 77: the case could not be made.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probe_session.h"

/* ---- cases ---------------------------------------------------------------------------------- */

static int expect_refusal(int status)
{
	printf("%s\n", ibv_wc_status_str((enum ibv_wc_status)status));
	return status == IBV_WC_REM_ACCESS_ERR ? 0 : 1;
}

static int bad_access(const char *name)
{
	static struct session s;

	if (session_open(&s, 1) || await_places(&s, 0))
		return 1;
	const struct place *last = &s.places[s.nsegments - 1];
	int status;

	/* The same access with the right key and bounds must succeed, or the refusal says nothing. */
	if (try_access(&s, IBV_WR_RDMA_READ, last->address, last->rkey, 64) != IBV_WC_SUCCESS)
		die("first READ", "the honest one was refused");
	if (!strcmp(name, "wrong-key"))
		status = try_access(&s, IBV_WR_RDMA_READ, last->address, last->rkey ^ 0x5a5a00, 64);
	else if (!strcmp(name, "past-end"))
		status = try_access(&s, IBV_WR_RDMA_READ, last->address + last->len_bytes - 32,
				    last->rkey, 64);
	else if (!strcmp(name, "before-begin"))
		status = try_access(&s, IBV_WR_RDMA_READ, s.places[0].address - 4096,
				    s.places[0].rkey, 64);
	else if (!strcmp(name, "write"))
		status = try_access(&s, IBV_WR_RDMA_WRITE, last->address, last->rkey, 64);
	else
		status = try_access(&s, IBV_WR_ATOMIC_FETCH_AND_ADD, last->address, last->rkey, 8);
	int code = expect_refusal(status);

	/* A queue pair that takes none of these at all refuses one before it looks at the key. */
	if ((!strcmp(name, "write") || !strcmp(name, "atomic")) && status == IBV_WC_REM_INV_REQ_ERR)
		code = 0;
	session_close(&s);
	return code;
}

static int other_session(void)
{
	static struct session a, b;

	if (session_open(&a, 1) || await_places(&a, 0) || session_open(&b, 1) ||
	    await_places(&b, 0))
		return 1;
	if (a.places[0].rkey == b.places[0].rkey)
		die("keys", "two sessions were given the same");
	int code = expect_refusal(
	    try_access(&b, IBV_WR_RDMA_READ, a.places[0].address, a.places[0].rkey, 64));

	/* The session that the key belongs to is not the one that did wrong. */
	if (read_segment(&a, 0) || !sum_is_right(&a, 0))
		die("other session", "it was cut too");
	session_close(&b);
	session_close(&a);
	return code;
}

/* A session that is alive has no use for what another's memory was known by. */
static int read_by_old_key(const struct place *old)
{
	static struct session b;

	if (session_open(&b, 1) || await_places(&b, 0))
		return 1;
	int code = expect_refusal(try_access(&b, IBV_WR_RDMA_READ, old->address, old->rkey, 64));

	session_close(&b);
	return code;
}

static int ended_key(void)
{
	static struct session a;

	if (session_open(&a, 1) || await_places(&a, 0) || say_done(&a))
		return 1;
	await_end(&a);
	int code = read_by_old_key(&a.places[0]);

	session_close(&a);
	return code;
}

/* The region is too small for two images, so the new one's fence cuts the session. */
static int fenced_key(void)
{
	static struct session a;

	if (session_open(&a, 1) || await_places(&a, 0))
		return 1;
	make_snapshot();
	await_end(&a);
	int code = read_by_old_key(&a.places[0]);
	int own = try_access(&a, IBV_WR_RDMA_READ, a.places[0].address, a.places[0].rkey, 64);

	printf("by the cut session itself: %s\n", ibv_wc_status_str((enum ibv_wc_status)own));
	session_close(&a);
	return own == IBV_WC_SUCCESS ? 1 : code;
}

static int unsealed(void)
{
	static struct session s;

	if (session_open(&s, 1) || await_places(&s, 1))
		return 1;
	if (s.complete) {
		puts("the image was complete at once");
		session_close(&s);
		return 77;
	}
	uint64_t at = 0;
	uint32_t rkey = 0;

	for (uint32_t i = 0; i < SEGMENTS_MAX; i++)
		if (s.places[i].len_bytes && s.places[i].address + s.places[i].len_bytes > at) {
			at = s.places[i].address + s.places[i].len_bytes;
			rkey = s.places[i].rkey;
		}
	int code = expect_refusal(try_access(&s, IBV_WR_RDMA_READ, at, rkey, 64));

	session_close(&s);
	return code;
}

static int after_end(void)
{
	static struct session s;
	int status = -1;

	if (session_open(&s, 1) || await_places(&s, 0) || say_done(&s))
		return 1;
	/* Reads until the server's end of the connection is gone. */
	for (int tries = 0; tries < 100000; tries++) {
		if (post(&s, IBV_WR_RDMA_READ, s.places[0].address, s.places[0].rkey, 0, 64))
			break;
		do {
			status = next_status(&s);
		} while (status < 0);
		if (status)
			break;
	}
	printf("%s\n", ibv_wc_status_str((enum ibv_wc_status)status));
	session_close(&s);
	return status > 0 ? 0 : 1;
}

static int hold(const char *end_file)
{
	static struct session s;
	unsigned long sessions = 0, segments = 0, cut = 0;

	while (access(end_file, F_OK)) {
		if (session_open(&s, 4)) {
			session_close(&s);
			continue;
		}
		sessions++;
		bool alive = !await_places(&s, 0);

		for (uint32_t turn = 0; alive && access(end_file, F_OK); turn++) {
			uint32_t index = turn % s.nsegments;

			/* The slower for it: the image's memory is wanted while READs fly. */
			alive = !read_segment(&s, index);
			if (alive && !sum_is_right(&s, index)) {
				printf("MIXED: segment %u of generation %llu\n", index,
				       (unsigned long long)s.talk.gen.counter);
				return 1;
			}
			segments += alive;
		}
		cut += !alive;
		session_close(&s);
	}
	printf("sessions %lu, segments %lu, cut %lu, none mixed\n", sessions, segments, cut);
	return 0;
}

static const uint8_t *map_file(const char *path, size_t *len_bytes)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *base = MAP_FAILED;

	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		die(path, strerror(errno));
	*len_bytes = (size_t)st.st_size;
	base = mmap(NULL, *len_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (base == MAP_FAILED)
		die(path, strerror(errno));
	close(fd);
	return base;
}

/* A whole segment at once, in `depth` READs. */
static bool post_segment(struct session *s, uint32_t index)
{
	const struct place *place = &s->places[index];
	uint32_t read_bytes = s->talk.welcome.segment_bytes / s->depth;

	for (uint32_t at = 0; at < place->len_bytes; at += read_bytes) {
		uint32_t len = place->len_bytes - at;

		if (post(s, IBV_WR_RDMA_READ, place->address + at, place->rkey, at,
			 len < read_bytes ? len : read_bytes))
			return false;
	}
	return true;
}

static bool await_segment(struct session *s, uint32_t index)
{
	uint32_t read_bytes = s->talk.welcome.segment_bytes / s->depth;

	for (uint32_t at = 0; at < s->places[index].len_bytes;) {
		int status = next_status(s);

		if (status > 0)
			return expect_refusal(status), false;
		at += status == 0 ? read_bytes : 0;
	}
	return true;
}

static int queues(uint32_t n, uint32_t depth, const char *path)
{
	static struct session s[QUEUES_MAX];
	size_t file_bytes;
	const uint8_t *file = map_file(path, &file_bytes);
	uint64_t bytes = 0;

	if (!n || n > QUEUES_MAX || !depth || depth > DEPTH_MAX)
		die("queues", "1 to 8 sessions, 1 to 128 READs");
	for (uint32_t q = 0; q < n; q++)
		if (session_open(&s[q], depth) || await_places(&s[q], 0))
			return 1;
	uint64_t segment_bytes = s[0].talk.welcome.segment_bytes;

	/* Each queue pair has its own segments in turn, READs of all in flight together. */
	for (uint32_t i = 0; i < s[0].nsegments; i += n) {
		for (uint32_t q = 0; q < n && i + q < s[q].nsegments; q++)
			if (!post_segment(&s[q], i + q))
				return 1;
		for (uint32_t q = 0; q < n && i + q < s[q].nsegments; q++) {
			uint64_t len = s[q].places[i + q].len_bytes;

			if (!await_segment(&s[q], i + q))
				return 1;
			if ((i + q) * segment_bytes + len > file_bytes ||
			    memcmp(s[q].buf, file + (i + q) * segment_bytes, len) != 0)
				die("compare", "a segment differs");
			bytes += len;
		}
	}
	for (uint32_t q = 0; q < n; q++)
		session_close(&s[q]);
	printf("%u queue pairs, depth %u: %llu bytes right of %zu\n", n, depth,
	       (unsigned long long)bytes, file_bytes);
	return bytes == file_bytes ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *name = argc > 2 ? argv[2] : "";

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3 || beam_redis_parse_addr(argv[1], &primary)) {
		fputs("usage: rdma-probe HOST:PORT CASE, see the head of probe.c\n", stderr);
		return 2;
	}
	if (!strcmp(name, "other-session"))
		return other_session();
	if (!strcmp(name, "ended-key"))
		return ended_key();
	if (!strcmp(name, "fenced-key"))
		return fenced_key();
	if (!strcmp(name, "unsealed"))
		return unsealed();
	if (!strcmp(name, "after-end"))
		return after_end();
	if (!strcmp(name, "hold") && argc == 4)
		return hold(argv[3]);
	if (!strcmp(name, "queues") && argc == 6)
		return queues((uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]), argv[5]);
	return bad_access(name);
}
