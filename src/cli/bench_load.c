/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The paced client. Answers arrive in the order of the requests, so the requests without an answer
 * form a queue, and a request's number gives its intended time.
 */
#include "bench_load.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "clock.h"
#include "rdbeam/error.h"

#define NS_PER_S        1000000000ull
#define REPLY_MS        30000
#define LATENCIES_FIRST 65536

struct beam_load {
	struct beam_load_opts opts;
	struct beam_redis *redis;
	pthread_t thread;
	atomic_bool stop;
	_Atomic uint64_t mark_ns; /* 0: none */
	uint64_t began_ns, period_ns;
	uint64_t sent, answered;
	uint64_t random;
	int64_t nkeys;
	struct beam_latencies latencies;
	int code;
	char error[BEAM_REDIS_ERROR_BYTES];
};

/* ---- latencies ---------------------------------------------------------------------------- */

static int latencies_room(struct beam_latencies *latencies, size_t more)
{
	size_t cap = latencies->cap ? latencies->cap : LATENCIES_FIRST;
	uint32_t *us;

	while (cap < latencies->n + more)
		cap *= 2;
	if (cap == latencies->cap)
		return 0;
	us = realloc(latencies->us, cap * sizeof(*us));
	if (!us)
		return -ENOMEM;
	latencies->us = us;
	latencies->cap = cap;
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

double beam_latencies_at(struct beam_latencies *latencies, double fraction)
{
	size_t at;

	if (latencies->n == 0)
		return 0;
	qsort(latencies->us, latencies->n, sizeof(*latencies->us), compare);
	at = (size_t)(fraction * (double)latencies->n);
	return latencies->us[at < latencies->n ? at : latencies->n - 1];
}

void beam_latencies_free(struct beam_latencies *latencies)
{
	free(latencies->us);
	memset(latencies, 0, sizeof(*latencies));
}

/* ---- requests ----------------------------------------------------------------------------- */

static int fail(struct beam_load *load, int code, const char *what)
{
	snprintf(load->error, sizeof(load->error),
		 "client of the benchmark: %s (%.300s): see its log", beam_redis_name(load->redis),
		 what);
	return code;
}

/* xorshift64*: picks a random key, so that writes touch pages all over the heap. */
static uint64_t next_random(struct beam_load *load)
{
	load->random ^= load->random >> 12;
	load->random ^= load->random << 25;
	load->random ^= load->random >> 27;
	return load->random * 0x2545f4914f6cdd1du;
}

static int append(struct beam_load *load)
{
	redisContext *context = beam_redis_context(load->redis);
	const struct beam_bench_data *data = load->opts.data;
	const char *prefix = data->parts[0].prefix;
	uint64_t random = next_random(load);
	long long key = (long long)((random >> 16) % (uint64_t)load->nkeys) * data->touch_step;
	bool write = (int64_t)(random & 0xffff) % 100 < load->opts.writes;
	char value[21];

	snprintf(value, sizeof(value), "%020llx", (unsigned long long)random);
	switch (data->touch) {
	case BEAM_TOUCH_RANGE:
		return write ? redisAppendCommand(context, "SETRANGE %s%lld 0 %b", prefix, key,
						  value + 12, (size_t)8)
			     : redisAppendCommand(context, "GETRANGE %s%lld 0 15", prefix, key);
	case BEAM_TOUCH_VALUE:
		return write ? redisAppendCommand(context, "SET %s%lld %s", prefix, key, value)
			     : redisAppendCommand(context, "GET %s%lld", prefix, key);
	case BEAM_TOUCH_FIELD:
		return write ? redisAppendCommand(context, "HSET %s%lld field:1 %s", prefix, key,
						  value + 10)
			     : redisAppendCommand(context, "HGET %s%lld field:1", prefix, key);
	}
	return REDIS_ERR;
}

static uint64_t due_ns(const struct beam_load *load, uint64_t number)
{
	return load->began_ns + number * load->period_ns;
}

/* Sends all requests that are due now. */
static int send_due(struct beam_load *load)
{
	redisContext *context = beam_redis_context(load->redis);
	uint64_t now = beam_now_ns();
	int done = 1;

	for (; due_ns(load, load->sent) <= now; load->sent++) {
		if (append(load) != REDIS_OK)
			return fail(load, -ENOMEM, "out of memory");
		done = 0;
	}
	while (!done) {
		if (redisBufferWrite(context, &done) != REDIS_OK)
			return fail(load, BEAM_E_GONE, context->errstr);
	}
	return 0;
}

static int take_answers(struct beam_load *load)
{
	redisContext *context = beam_redis_context(load->redis);
	uint64_t now;

	if (redisBufferRead(context) != REDIS_OK)
		return fail(load, BEAM_E_GONE, context->errstr);
	now = beam_now_ns();
	while (true) {
		redisReply *reply = NULL;
		int code = 0;

		if (redisGetReplyFromReader(context, (void **)&reply) != REDIS_OK)
			return fail(load, BEAM_E_PROTO, context->errstr);
		if (!reply)
			return 0;
		if (reply->type == REDIS_REPLY_ERROR)
			code = fail(load, BEAM_E_SERVER, reply->str);
		freeReplyObject(reply);
		if (code == 0 && latencies_room(&load->latencies, 1))
			code = fail(load, -ENOMEM, "out of memory");
		if (code)
			return code;
		load->latencies.us[load->latencies.n++] =
		    (uint32_t)((now - due_ns(load, load->answered++)) / 1000);
	}
}

/* Waits for an answer or, while `sending`, for the time of the next request. */
static int wait_some(struct beam_load *load, bool sending)
{
	struct pollfd wanted = {.fd = beam_redis_context(load->redis)->fd, .events = POLLIN};
	uint64_t now = beam_now_ns(), until = now + REPLY_MS * 1000000ull;
	struct timespec left;
	int n;

	if (sending)
		until = due_ns(load, load->sent);
	left.tv_sec = until > now ? (time_t)((until - now) / NS_PER_S) : 0;
	left.tv_nsec = until > now ? (long)((until - now) % NS_PER_S) : 0;
	n = ppoll(&wanted, 1, &left, NULL);
	if (n < 0 && errno != EINTR)
		return fail(load, -errno, strerror(errno));
	if (n > 0)
		return take_answers(load);
	return n < 0 || sending ? 0 : fail(load, -ETIMEDOUT, "no answer");
}

static void *run(void *arg)
{
	struct beam_load *load = arg;
	bool sending = true;

	prctl(PR_SET_TIMERSLACK, 1ul);
	while (load->code == 0 && (sending || load->answered < load->sent)) {
		sending = sending && !atomic_load(&load->stop);
		if (sending)
			load->code = send_due(load);
		if (load->code == 0 && (sending || load->answered < load->sent))
			load->code = wait_some(load, sending);
	}
	return NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

static void load_free(struct beam_load *load)
{
	beam_redis_close(&load->redis);
	beam_latencies_free(&load->latencies);
	free(load);
}

static int64_t touched_keys(const struct beam_load_opts *opts)
{
	const struct beam_bench_part *part = &opts->data->parts[0];
	int64_t keys = beam_bench_part_keys(part, opts->scale);

	/* only those in the first database */
	keys /= part->dbs ? part->dbs : 1;
	keys /= opts->data->touch_step;
	return keys > 0 ? keys : 1;
}

int beam_load_start(const struct beam_load_opts *opts, char *error, struct beam_load **out)
{
	struct beam_redis_addr addr = {.host = "127.0.0.1", .port = (uint32_t)opts->port};
	struct beam_load *load = calloc(1, sizeof(*load));
	int code;

	if (!load || latencies_room(&load->latencies, 1)) {
		free(load);
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "out of memory: client: free some");
		return -ENOMEM;
	}
	code = beam_redis_open(&addr, REPLY_MS, error, &load->redis);
	if (code) {
		load_free(load);
		return code;
	}
	load->opts = *opts;
	load->nkeys = touched_keys(opts);
	load->period_ns = NS_PER_S / (uint64_t)opts->rate;
	load->random = 88172645463325252u;
	load->began_ns = beam_now_ns();
	code = -pthread_create(&load->thread, NULL, run, load);
	if (code) {
		load_free(load);
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "cannot start: a thread (%s): free some",
			 beam_strerror(code));
		return code;
	}
	*out = load;
	return 0;
}

void beam_load_mark(struct beam_load *load)
{
	if (load)
		atomic_store(&load->mark_ns, beam_now_ns());
}

static int add_latencies(struct beam_latencies *to, const struct beam_latencies *from, size_t n)
{
	if (latencies_room(to, n))
		return -ENOMEM;
	memcpy(to->us + to->n, from->us, n * sizeof(*to->us));
	to->n += n;
	return 0;
}

/* Counts the answers to requests that were due before the mark; they are in the order of the
 * requests. */
static size_t before_mark(const struct beam_load *load)
{
	uint64_t mark_ns = atomic_load(&load->mark_ns), n;

	if (!mark_ns || mark_ns < load->began_ns)
		return load->latencies.n;
	n = (mark_ns - load->began_ns) / load->period_ns + 1;
	return n < load->latencies.n ? (size_t)n : load->latencies.n;
}

int beam_load_stop(struct beam_load **loadp, struct beam_latencies *marked,
		   struct beam_latencies *all, char *error)
{
	struct beam_load *load = *loadp;
	int code;

	if (!load)
		return 0;
	*loadp = NULL;
	atomic_store(&load->stop, true);
	pthread_join(load->thread, NULL);
	code = load->code;
	if (code)
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "%s", load->error);
	else if (add_latencies(all, &load->latencies, load->latencies.n) ||
		 (marked && add_latencies(marked, &load->latencies, before_mark(load)))) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "out of memory: latencies: free some");
		code = -ENOMEM;
	}
	load_free(load);
	return code;
}
