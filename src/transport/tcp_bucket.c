/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A token bucket shared by all sessions of a server; payload bytes cost tokens. Sessions that find
 * no tokens queue in one line. A timer gives each in turn a fixed share, so a reader with many
 * READs in flight gets no more than one with few.
 */
#include "tcp_session.h"

#include <errno.h>

#include "clock.h"
#include "fault.h"

#define SHARE_BYTES (64u << 10)
/* Tokens that may accumulate: enough for a late timer, too few to defeat the limit. */
#define BURST_MS 50

void tcp_bucket_configure(struct tcp_bucket *bucket, uint64_t rate)
{
	bucket->rate = rate;
	bucket->burst = rate / 1000 * BURST_MS;
	if (bucket->burst < SHARE_BYTES)
		bucket->burst = SHARE_BYTES;
	if (bucket->tokens > bucket->burst)
		bucket->tokens = bucket->burst;
	if (!bucket->refilled_ns)
		bucket->refilled_ns = beam_now_ns();
}

static void refill(struct tcp_bucket *bucket)
{
	uint64_t now = beam_now_ns();
	double earned = (double)bucket->rate * (double)(now - bucket->refilled_ns) / 1e9;

	if (earned < 1)
		return; /* keep the time, so that slow rates add up */
	bucket->refilled_ns = now;
	if (earned >= (double)(bucket->burst - bucket->tokens))
		bucket->tokens = bucket->burst;
	else
		bucket->tokens += (uint64_t)earned;
}

static void deal(void *arg);

void tcp_bucket_settle(struct tcp_server *server)
{
	struct tcp_bucket *bucket = &server->bucket;

	if (!bucket->line_head || bucket->timer)
		return;
	/* Wait until about one share is there, but not longer than a burst lasts. */
	uint64_t ms = bucket->rate ? SHARE_BYTES * 1000ull / bucket->rate : 0;

	if (ms > BURST_MS / 2)
		ms = BURST_MS / 2;
	int err = BEAM_FAULT("tcp_bucket");

	err = err ? err : beam_timer_set(server->loop, ms ? ms : 1, deal, server, &bucket->timer);
	if (err) {
		/* No memory for a timer: the sessions in line would wait for ever. */
		while (bucket->line_head)
			tcp_session_cut(bucket->line_head, -ENOMEM);
	}
}

static void join(struct tcp_session *session)
{
	struct tcp_bucket *bucket = &session->server->bucket;

	if (session->in_line)
		return;
	session->in_line = true;
	session->line_next = NULL;
	if (bucket->line_tail)
		bucket->line_tail->line_next = session;
	else
		bucket->line_head = session;
	bucket->line_tail = session;
	session->grant_bytes = 0;
}

void tcp_bucket_leave(struct tcp_session *session)
{
	struct tcp_bucket *bucket = &session->server->bucket;
	struct tcp_session *before = NULL;

	if (!session->in_line)
		return;
	for (struct tcp_session *s = bucket->line_head; s != session; s = s->line_next)
		before = s;
	if (before)
		before->line_next = session->line_next;
	else
		bucket->line_head = session->line_next;
	if (bucket->line_tail == session)
		bucket->line_tail = before;
	session->in_line = false;
}

/* One round: each session that is in line now gets a share, while tokens last. */
static void deal(void *arg)
{
	struct tcp_server *server = arg;
	struct tcp_bucket *bucket = &server->bucket;

	tcp_server_enter(server);
	refill(bucket);
	while (bucket->line_head && (bucket->tokens || !bucket->rate)) {
		struct tcp_session *session = bucket->line_head;

		tcp_bucket_leave(session);
		session->grant_bytes = SHARE_BYTES;
		tcp_session_send(session);
		session->grant_bytes = 0;
	}
	tcp_server_leave(server);
}

uint32_t tcp_bucket_allow(struct tcp_session *session, uint32_t want)
{
	struct tcp_bucket *bucket = &session->server->bucket;
	uint64_t allowed = session->grant_bytes;

	if (!bucket->rate)
		return want;
	if (allowed > bucket->tokens)
		allowed = bucket->tokens;
	if (allowed > want)
		allowed = want;
	if (!allowed)
		join(session);
	return (uint32_t)allowed;
}

void tcp_bucket_spend(struct tcp_session *session, uint32_t sent)
{
	struct tcp_bucket *bucket = &session->server->bucket;

	if (!bucket->rate)
		return;
	bucket->tokens -= sent < bucket->tokens ? sent : bucket->tokens;
	session->grant_bytes -= sent < session->grant_bytes ? sent : session->grant_bytes;
}
