/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Two threads. The loop's thread serves readers. The puller's thread keeps one connection to the
 * primary, by which it registers as a relay: it waits there for a new generation, requests a
 * ticket, pulls, and reports what it holds. When the connection breaks it joins again and keeps the
 * images it has.
 */
#include "relay.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "rdbeam/error.h"
#include "serve.h"
#include "sockets.h"
#include "tell.h"
#include "text.h"

#define NEWS_WAIT_MS   20000 /* after twice this time the primary considers it gone */
#define SPEAK_EVERY_MS 500   /* the shortest `timeout` of a server is one second */
#define AGAIN_FIRST_MS 1000
#define AGAIN_LAST_MS  600000 /* each attempt makes the primary send the whole image */
#define RETRY_FIRST_MS 1000
#define RETRY_LAST_MS  30000

struct relay {
	struct beam_relay_opts opts;
	beam_relay_report_fn *report;
	void *report_arg;
	struct relay_store store;
	struct admission admission; /* protected by store.lock */
	struct relay_server server;
	struct beam_loop *loop;
	struct beam_watch *signals;
	pthread_t thread;
	atomic_bool stop;
	struct beam_redis *redis; /* the puller's; set and cleared under store.lock */
	/* Used by the puller only. */
	struct beam_served *held; /* NULL: no complete image yet */
	struct beam_relay_news news;
	uint64_t spoke_ms;
};

int beam_relay_wait(struct beam_redis *redis, const struct beam_relay_news *news, int timeout_ms,
		    struct beam_gen *gen)
{
	char name[BEAM_GEN_TEXT_BYTES] = "-";
	redisReply *reply = NULL;
	uint64_t now = beam_now_ms(), at = news->again_at_ms;
	int wait_ms = !at || at >= now + NEWS_WAIT_MS ? NEWS_WAIT_MS
		      : at > now                      ? (int)(at - now)
						      : 1;

	if (news->seen.counter)
		beam_gen_to_text(&news->seen, name);
	beam_redis_set_timeout(redis, wait_ms + timeout_ms);
	int rc = beam_redis_command(redis, &reply, "RDBEAM.RELAY WAIT %s %d", name, wait_ms);

	if (rc)
		return rc; /* the error has its line, and the connection is not used any more */
	beam_redis_set_timeout(redis, timeout_ms);
	*gen = news->seen;
	if (reply->type == REDIS_REPLY_NIL)
		rc = at && beam_now_ms() >= at ? 0 : -EAGAIN;
	else if (reply->type != REDIS_REPLY_STRING || beam_gen_from_text(reply->str, gen))
		rc = BEAM_E_PROTO;
	freeReplyObject(reply);
	return rc;
}

void beam_relay_pulled(struct beam_relay_news *news, const struct beam_gen *gen, int code)
{
	bool again = news->again_at_ms && news->seen.nonce == gen->nonce &&
		     news->seen.counter == gen->counter;
	uint64_t pause_ms = again ? 2 * news->pause_ms : AGAIN_FIRST_MS;
	bool is_over = !code || code == BEAM_E_STALE; /* pulled, or gone from the primary */

	news->seen = *gen;
	news->pause_ms = pause_ms < AGAIN_LAST_MS ? pause_ms : AGAIN_LAST_MS;
	news->again_at_ms = is_over ? 0 : beam_now_ms() + news->pause_ms;
}

/* ---- the puller ----------------------------------------------------------------------------- */

static int say(struct relay *relay, const char *verb, const struct beam_gen *gen)
{
	char name[BEAM_GEN_TEXT_BYTES];

	beam_gen_to_text(gen, name);
	return beam_redis_command(relay->redis, NULL, "RDBEAM.RELAY %s %s", verb, name);
}

static int take_key(struct relay *relay, const redisReply *reply)
{
	uint8_t bytes[BEAM_TICKET_KEY_BYTES];

	if (beam_reply_hex(reply, "key", bytes, sizeof(bytes)))
		return BEAM_E_PROTO;
	pthread_mutex_lock(&relay->store.lock);
	admission_join(&relay->admission, bytes, beam_now_ms());
	pthread_mutex_unlock(&relay->store.lock);
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

static void set_redis(struct relay *relay, struct beam_redis *redis)
{
	pthread_mutex_lock(&relay->store.lock);
	struct beam_redis *old = relay->redis;

	relay->redis = redis;
	pthread_mutex_unlock(&relay->store.lock);
	beam_redis_close(&old);
}

int beam_relay_refused(const struct beam_redis *redis, int rc, char error[BEAM_REDIS_ERROR_BYTES])
{
	const char *name = beam_redis_name(redis), *text = beam_redis_error(redis);

	if (rc == BEAM_E_SERVER && beam_is_unknown_command(text))
		return beam_tell(error, BEAM_E_UNSUPPORTED,
				 "%s: the rdbeam module is not loaded there (put \"loadmodule "
				 "/path/to/rdbeam.so\" into its configuration)",
				 name);
	if (rc == BEAM_E_DENIED)
		return beam_tell(error, rc,
				 "%s: %s (grant it: ACL SETUSER <user> " BEAM_RELAY_RIGHTS ")",
				 name, text);
	return beam_tell(error, rc, "%s: RDBEAM.RELAY: %s", name, text);
}

/* Connects and registers as a relay. Returns 0, or a code with the line in `error`. */
static int join(struct relay *relay, char *error)
{
	const struct beam_relay_opts *opts = &relay->opts;
	struct beam_redis *redis = NULL;
	redisReply *reply = NULL;
	char text[BEAM_REDIS_ERROR_BYTES];
	int rc = beam_redis_open(&opts->from, opts->timeout_ms, text, &redis);

	if (rc)
		return beam_tell(error, rc, "%s", text);
	beam_redis_watch_host(redis, beam_redis_gone_ms(opts->timeout_ms));
	set_redis(relay, redis);
	uint32_t port = opts->announce_port ? opts->announce_port : opts->port;

	rc = opts->announce[0] ? beam_redis_command(redis, &reply, "RDBEAM.RELAY JOIN %u %s", port,
						    opts->announce)
			       : beam_redis_command(redis, &reply, "RDBEAM.RELAY JOIN %u", port);
	if (rc) {
		rc = beam_relay_refused(redis, rc, error);
	} else {
		rc = take_key(relay, reply);
		freeReplyObject(reply);
		if (rc)
			beam_tell(error, rc, "%s: unexpected answer to RDBEAM.RELAY JOIN",
				  beam_redis_name(redis));
	}
	memset(&relay->news, 0, sizeof(relay->news));
	if (!rc && relay->held) {
		relay->news.seen = relay->held->gen;
		rc = say(relay, "HOLD", &relay->news.seen);
	}
	if (rc)
		set_redis(relay, NULL);
	return rc;
}

/* Called when the image's first segment is on its way. From now on readers may be sent here,
 * because they are told of segments as they arrive. */
static int begin_image(void *ctx, uint32_t segment_bytes)
{
	struct beam_served *image = ctx;
	struct relay *relay =
	    (struct relay *)((char *)image->store - offsetof(struct relay, store));
	struct beam_segment_sink sink;

	relay_image_sink(image, &sink);
	int rc = sink.begin(ctx, segment_bytes);

	return rc ? rc : say(relay, "HOLD", &image->gen);
}

/* A server with `timeout` closes connections that are idle for that long. If it closed this one,
 * the primary would forget the relay and all tickets for it in the middle of a pull. So send
 * something: dropping a generation that we do not hold has no effect, and the relay's user may do
 * it. A failure shows when the pull is over. */
static void keep_awake(void *arg, const struct beam_pull_progress *now)
{
	static const struct beam_gen none = {.counter = 1};
	struct relay *relay = arg;

	(void)now;
	if (beam_now_ms() - relay->spoke_ms < SPEAK_EVERY_MS)
		return;
	(void)say(relay, "DROP", &none);
	relay->spoke_ms = beam_now_ms();
}

static int pull_image(struct relay *relay, const struct beam_gen *gen)
{
	struct beam_pull_relay into = {.redis = relay->redis};
	struct beam_pull_opts opts = {.from = relay->opts.from,
				      .target = BEAM_PULL_RELAY,
				      .relay = &into,
				      .gen = *gen,
				      .stop = &relay->stop,
				      .transport = "auto",
				      .timeout_ms = relay->opts.timeout_ms};
	struct beam_pull_result result = {0};
	struct beam_served *image, *old = relay->held;
	int rc = relay_store_begin(&relay->store, *gen, &image);

	if (rc)
		return rc;
	relay_image_sink(image, &into.sink);
	into.sink.begin = begin_image;
	rc = beam_pull_run(&opts, keep_awake, relay, &result);
	result.gen = *gen;
	beam_relay_pulled(&relay->news, gen, rc);
	if (!rc) {
		relay_image_whole(image, &into.totals, &into.vouched);
		relay->held = image;
	}
	if (!atomic_load(&relay->stop))
		relay->report(relay->report_arg, rc, &result, NULL);
	if (rc) {
		rc = say(relay, "DROP", gen);
		relay_image_failed(image);
	} else if (old) {
		rc = say(relay, "DROP", &old->gen);
		relay_image_over(old);
	}
	return rc;
}

/* Pulls images until the connection breaks. `served` becomes true once the primary has let us
 * wait. */
static int pull_images(struct relay *relay, bool *served)
{
	int rc = 0;

	while (!rc && !atomic_load(&relay->stop)) {
		struct beam_gen gen;

		rc = beam_relay_wait(relay->redis, &relay->news, relay->opts.timeout_ms, &gen);
		*served |= !rc || rc == -EAGAIN;
		if (rc == -EAGAIN)
			rc = 0;
		/* If the wait for room took time, there may be a newer generation by now, and the
		 * primary must hear from us; so wait for news again. */
		else if (!rc && !relay_store_wait_for_room(&relay->store, &relay->stop))
			rc = pull_image(relay, &gen);
	}
	return rc;
}

/* Returns early when the relay is stopped. */
static void rest(struct relay *relay, uint64_t ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)(ms / 1000);
	pthread_mutex_lock(&relay->store.lock);
	while (!atomic_load(&relay->stop) &&
	       pthread_cond_timedwait(&relay->store.changed, &relay->store.lock, &at) == 0)
		;
	pthread_mutex_unlock(&relay->store.lock);
}

static void *run_puller(void *arg)
{
	struct relay *relay = arg;
	uint64_t retry_ms = RETRY_FIRST_MS;

	while (!atomic_load(&relay->stop)) {
		char error[BEAM_REDIS_ERROR_BYTES] = "";
		int rc = relay->redis ? 0 : join(relay, error);
		bool served = false;

		if (!rc) {
			rc = pull_images(relay, &served);
			snprintf(error, sizeof(error), "%s", beam_redis_error(relay->redis));
			set_redis(relay, NULL);
		}
		if (atomic_load(&relay->stop))
			break;
		if (served)
			retry_ms = RETRY_FIRST_MS;
		beam_log(BEAM_LOG_WARNING, "trying the primary again in %llu s: %s",
			 (unsigned long long)retry_ms / 1000, error[0] ? error : beam_strerror(rc));
		rest(relay, retry_ms);
		retry_ms = 2 * retry_ms < RETRY_LAST_MS ? 2 * retry_ms : RETRY_LAST_MS;
	}
	return NULL;
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void on_signal(int fd, uint32_t events, void *arg)
{
	struct relay *relay = arg;
	struct signalfd_siginfo info;

	(void)events;
	/* Consume the signal, or it would end the process once signals are unblocked. */
	if (read(fd, &info, sizeof(info)) == sizeof(info))
		beam_loop_stop(relay->loop);
}

/* The puller may be waiting for an answer, so its connection is shut down under it. */
static void stop_puller(struct relay *relay)
{
	pthread_mutex_lock(&relay->store.lock);
	atomic_store(&relay->stop, true);
	if (relay->redis)
		shutdown(beam_redis_socket(relay->redis), SHUT_RDWR);
	pthread_cond_signal(&relay->store.changed);
	pthread_mutex_unlock(&relay->store.lock);
	pthread_join(relay->thread, NULL);
	set_redis(relay, NULL);
}

static int serve(struct relay *relay, int signals, char *error)
{
	int rc = beam_watch_add(relay->loop, signals, EPOLLIN, on_signal, relay, &relay->signals);

	if (!rc)
		rc = -pthread_create(&relay->thread, NULL, run_puller, relay);
	if (rc)
		return beam_tell(error, rc, "cannot start: %s", beam_strerror(rc));
	rc = beam_loop_run(relay->loop);
	stop_puller(relay);
	return rc;
}

static int open_and_serve(struct relay *relay, int signals, char *error)
{
	struct beam_server_opts opts = {.loop = relay->loop,
					.port = relay->opts.port,
					.nbind = 1,
					.bind =
					    (const char(*)[BEAM_ADDR_BYTES]) & relay->opts.listen,
					.max_pulls = relay->opts.max_pulls,
					.rate_limit = relay->opts.rate_limit,
					.stall_timeout_s = 60};
	char text[BEAM_TEXT_BYTES] = "";

	relay->server.store = &relay->store;
	relay->server.admission = &relay->admission;
	int rc = relay_server_open(&relay->server, &opts, text);

	if (rc)
		return beam_tell(error, rc, "%s", text);
	rc = join(relay, error);
	if (!rc)
		rc = serve(relay, signals, error);
	set_redis(relay, NULL);
	relay_server_close(&relay->server);
	return rc;
}

int beam_relay_run(const struct beam_relay_opts *opts, beam_relay_report_fn *report, void *arg,
		   char *error)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	sigset_t ends, old;
	int signals = -1;

	if (!relay)
		return beam_tell(error, -ENOMEM, "out of memory");
	relay->opts = *opts;
	relay->report = report;
	relay->report_arg = arg;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &ends, &old);
	int rc = relay_store_open(&relay->store);

	if (!rc) {
		signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
		rc = signals < 0 ? -errno : beam_loop_open(&relay->loop);
		if (!rc)
			rc = open_and_serve(relay, signals, error);
		beam_watch_remove(&relay->signals);
		beam_loop_close(&relay->loop);
		beam_close(&signals);
		relay_store_close(&relay->store);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	explicit_bzero(&relay->opts.from, sizeof(relay->opts.from));
	explicit_bzero(&relay->admission, sizeof(relay->admission));
	free(relay);
	return rc ? beam_tell(error, rc, "%s", beam_strerror(rc)) : 0;
}
