/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Answers the transport's callbacks from the store.
 */
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "vouch.h"

/* Images looked at in one round; there are two, for a moment three. */
#define IMAGES_MAX 16

static void lock(struct relay_store *store)
{
	pthread_mutex_lock(&store->lock);
}

static void unlock(struct relay_store *store)
{
	pthread_mutex_unlock(&store->lock);
}

/* Lists the present images. Only this thread frees images. */
static size_t list(struct relay_store *store, struct beam_served *out[IMAGES_MAX])
{
	size_t n = 0;

	lock(store);
	for (struct beam_served *image = store->images; image && n < IMAGES_MAX;
	     image = image->next)
		out[n++] = image;
	unlock(store);
	return n;
}

static int authorize(void *ctx, const struct beam_wire_hello *hello, const char *peer_addr,
		     uint8_t key[BEAM_TICKET_KEY_BYTES], struct beam_served **image)
{
	struct relay_server *server = ctx;
	const char *why = "for no image that is held here";
	int rc = BEAM_E_DENIED;

	lock(server->store);
	for (struct beam_served *at = server->store->images; at; at = at->next) {
		if (at->failed || !at->segment_bytes)
			continue;
		rc = admission_check(server->admission, hello, at->gen, peer_addr, beam_now_ms(),
				     key, &why);
		*image = at;
		if (rc != -ENOENT)
			break;
	}
	unlock(server->store);
	if (rc == 0)
		(*image)->refs++;
	else
		beam_log(BEAM_LOG_WARNING, "pull from %s refused: its ticket is %s", peer_addr,
			 why);
	return rc == -ENOENT ? BEAM_E_DENIED : rc;
}

/* Finds the key by the id alone, which contains part of the generation's counter for this
 * purpose. */
static int ticket_key(void *ctx, const uint8_t id[BEAM_TICKET_ID_BYTES], const char *peer_addr,
		      uint8_t key[BEAM_TICKET_KEY_BYTES])
{
	struct relay_server *server = ctx;
	int rc = BEAM_E_DENIED;

	lock(server->store);
	for (struct beam_served *at = server->store->images; rc && at; at = at->next)
		if (!at->failed && (at->gen.counter & 0xffff) == beam_get_le16(id + 4))
			rc = beam_vouch_ticket_key(server->admission->key, id, at->gen, peer_addr,
						   key);
	unlock(server->store);
	if (rc)
		beam_log(BEAM_LOG_WARNING, "pull from %s refused: its ticket is for no image here",
			 peer_addr);
	return rc ? BEAM_E_DENIED : 0;
}

static bool admits(void *ctx, const char *peer_addr)
{
	(void)ctx, (void)peer_addr;
	return true;
}

/* When an image that is over may be freed, if nobody reads it. */
static uint64_t free_at_ms(const struct beam_served *image)
{
	return image->failed || image->store->short_of_room ? 0 : image->tickets_ms;
}

/* Frees images that are over and not read, and sets a timer for the others. */
static void sweep(void *arg)
{
	struct relay_server *server = arg;
	struct beam_served *images[IMAGES_MAX];
	uint64_t now = beam_now_ms(), next = UINT64_MAX;
	size_t n = list(server->store, images);

	for (size_t i = 0; i < n; i++) {
		lock(server->store);
		bool unread = images[i]->over && !images[i]->refs;
		uint64_t at = free_at_ms(images[i]);

		unlock(server->store);
		if (unread && at <= now)
			relay_image_free(images[i]);
		else if (unread && at < next)
			next = at;
	}
	beam_timer_cancel(&server->sweep);
	if (next != UINT64_MAX)
		beam_timer_set(server->loop, next - now, sweep, server, &server->sweep);
}

static void release(void *ctx, struct beam_served *image)
{
	if (--image->refs == 0)
		sweep(ctx);
}

static void describe(void *ctx, struct beam_served *image, struct beam_gen *gen,
		     uint32_t *segment_bytes)
{
	(void)ctx;
	*gen = image->gen;
	*segment_bytes = image->segment_bytes;
}

static int segment(void *ctx, struct beam_served *image, uint32_t index,
		   struct beam_serve_segment *out)
{
	struct relay_segment found;
	int rc = relay_image_segment(image, index, &found);

	(void)ctx;
	if (!rc)
		*out = (struct beam_serve_segment){
		    .base = found.base, .len_bytes = found.len_bytes, .crc = found.crc, .file = -1};
	return rc;
}

static int vouched(void *ctx, struct beam_served *image, uint32_t index,
		   struct beam_wire_vouched *out)
{
	struct relay_segment found;
	int rc = 0;

	(void)ctx;
	if (index != BEAM_VOUCH_IMAGE) {
		rc = relay_image_segment(image, index, &found);
		if (!rc)
			*out = found.vouched;
		return rc;
	}
	lock(image->store);
	*out = image->totals_vouched;
	rc = image->complete ? 0 : -EAGAIN;
	unlock(image->store);
	return rc;
}

static uint32_t claimed(void *ctx, struct beam_served *image)
{
	(void)ctx;
	lock(image->store);
	uint32_t n = image->nknown;

	unlock(image->store);
	return n;
}

static bool complete(void *ctx, struct beam_served *image, struct beam_wire_complete *out)
{
	(void)ctx;
	lock(image->store);
	bool whole = image->complete && !image->failed;

	*out = image->totals;
	unlock(image->store);
	return whole;
}

/* Nobody watches a relay's counts as they change. */
static void moved(void *ctx)
{
	(void)ctx;
}

static void sent(void *ctx, struct beam_served *image, uint64_t bytes)
{
	(void)ctx, (void)image, (void)bytes;
}

static void ended(void *ctx, struct beam_served *image, const char *peer_addr, int code,
		  uint64_t bytes, uint64_t ms)
{
	(void)ctx;
	beam_log(code ? BEAM_LOG_WARNING : BEAM_LOG_NOTICE,
		 "pull of generation %llu by %s %s: %llu bytes in %llu ms%s%s",
		 (unsigned long long)image->gen.counter, peer_addr, code ? "failed" : "done",
		 (unsigned long long)bytes, (unsigned long long)ms, code ? ", " : "",
		 code ? beam_strerror(code) : "");
}

/* ---- news of the puller's ------------------------------------------------------------------- */

static void tell_of(struct relay_server *server, struct beam_served *image)
{
	lock(server->store);
	bool failed = image->failed;

	unlock(server->store);
	if (failed)
		beam_tcp_server.revoke(server->tcp, image, "the relay does not have all of it",
				       NULL, NULL);
	else
		beam_tcp_server.published(server->tcp, image);
}

static void on_news(int fd, uint32_t events, void *arg)
{
	struct relay_server *server = arg;
	struct beam_served *images[IMAGES_MAX];
	uint64_t count;
	size_t n;

	(void)events;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	n = list(server->store, images);
	/* Hold references meanwhile: a session that ends would free its image while we use it. */
	for (size_t i = 0; i < n; i++)
		images[i]->refs++;
	for (size_t i = 0; i < n; i++)
		tell_of(server, images[i]);
	for (size_t i = 0; i < n; i++)
		images[i]->refs--;
	sweep(server);
}

int relay_server_open(struct relay_server *server, const struct beam_server_opts *opts,
		      char error_text[BEAM_TEXT_BYTES])
{
	struct beam_server_opts own = *opts;

	server->images = (struct beam_serve_images){.ctx = server,
						    .authorize = authorize,
						    .ticket_key = ticket_key,
						    .admits = admits,
						    .release = release,
						    .describe = describe,
						    .segment = segment,
						    .vouched = vouched,
						    .claimed = claimed,
						    .complete = complete,
						    .moved = moved,
						    .sent = sent,
						    .ended = ended};
	own.images = &server->images;
	server->loop = opts->loop;
	int err = beam_tcp_server.open(&own, error_text, &server->tcp);

	if (err)
		return err;
	err = beam_watch_add(opts->loop, server->store->wake, EPOLLIN, on_news, server,
			     &server->watch);
	if (err) {
		beam_tcp_server.close(&server->tcp);
		snprintf(error_text, BEAM_TEXT_BYTES, "cannot watch the store of images");
	}
	return err;
}

void relay_server_close(struct relay_server *server)
{
	beam_watch_remove(&server->watch);
	beam_tcp_server.close(&server->tcp);
	beam_timer_cancel(&server->sweep);
}
