/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Images and tickets are used on the loop's thread only; what tests read from outside is protected
 * by the lock.
 */
#include "transport_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rdbeam/error.h"
#include "sockets.h"

const char *fixture_host = "127.0.0.1";

static int authorize(void *ctx, const struct beam_wire_hello *hello, const char *peer_addr,
		     uint8_t key[BEAM_TICKET_KEY_BYTES], struct beam_served **image)
{
	struct fixture *f = ctx;

	if (strcmp(peer_addr, fixture_host) != 0)
		return BEAM_E_DENIED;
	for (uint32_t i = 0; i < f->ntickets; i++) {
		struct ticket *ticket = &f->tickets[i];

		if (memcmp(ticket->id, hello->id, sizeof(ticket->id)) != 0)
			continue;
		if (ticket->used || beam_wire_check_hello(ticket->key, hello))
			return BEAM_E_DENIED;
		ticket->used = true;
		memcpy(key, ticket->key, sizeof(ticket->key));
		*image = &f->image;
		pthread_mutex_lock(&f->lock);
		f->nrefs++;
		pthread_mutex_unlock(&f->lock);
		return 0;
	}
	return BEAM_E_DENIED;
}

static int ticket_key(void *ctx, const uint8_t id[BEAM_TICKET_ID_BYTES], const char *peer_addr,
		      uint8_t key[BEAM_TICKET_KEY_BYTES])
{
	struct fixture *f = ctx;

	(void)peer_addr;
	for (uint32_t i = 0; i < f->ntickets; i++) {
		if (f->tickets[i].used || memcmp(f->tickets[i].id, id, BEAM_TICKET_ID_BYTES) != 0)
			continue;
		memcpy(key, f->tickets[i].key, BEAM_TICKET_KEY_BYTES);
		return 0;
	}
	return BEAM_E_DENIED;
}

static bool admits(void *ctx, const char *peer_addr)
{
	struct fixture *f = ctx;

	(void)peer_addr;
	return !f->closed_door;
}

static void release(void *ctx, struct beam_served *image)
{
	struct fixture *f = ctx;

	assert_ptr_equal(image, &f->image);
	pthread_mutex_lock(&f->lock);
	f->nrefs--;
	pthread_mutex_unlock(&f->lock);
}

static void describe(void *ctx, struct beam_served *image, struct beam_gen *gen,
		     uint32_t *segment_bytes)
{
	(void)ctx;
	*gen = image->gen;
	*segment_bytes = SEGMENT_BYTES;
}

uint32_t fixture_segment_bytes(const struct fixture *f, uint32_t index)
{
	return index == f->image.nsegments - 1 ? f->image.last_bytes : SEGMENT_BYTES;
}

uint64_t fixture_image_bytes(const struct fixture *f)
{
	return (uint64_t)(f->image.nsegments - 1) * SEGMENT_BYTES + f->image.last_bytes;
}

static int segment(void *ctx, struct beam_served *image, uint32_t index,
		   struct beam_serve_segment *out)
{
	struct fixture *f = ctx;

	image->asked++;
	if (index >= image->nsegments)
		return -ERANGE;
	if (!image->sealed[index])
		return -EAGAIN;
	out->file = image->file;
	out->file_at = image->shared_segment ? 0 : (uint64_t)index * SEGMENT_BYTES;
	out->base = image->bytes + out->file_at;
	out->len_bytes = fixture_segment_bytes(f, index);
	out->crc = index;
	return 0;
}

/* Not a real signature: the digest contains the index. Those of odd segments come only when the
 * fixture allows it. */
static int vouched(void *ctx, struct beam_served *image, uint32_t index,
		   struct beam_wire_vouched *out)
{
	struct fixture *f = ctx;

	(void)image;
	if (index % 2 && index != BEAM_VOUCH_IMAGE && !f->vouches_odd)
		return -EAGAIN;
	memset(out, 0, sizeof(*out));
	out->index = index;
	memset(out->digest, (int)(index & 0xff), sizeof(out->digest));
	return 0;
}

static uint32_t claimed(void *ctx, struct beam_served *image)
{
	(void)ctx;
	return image->claimed;
}

static bool complete(void *ctx, struct beam_served *image, struct beam_wire_complete *out)
{
	struct fixture *f = ctx;

	if (!image->complete)
		return false;
	*out = (struct beam_wire_complete){
	    .nsegments = image->nsegments, .image_bytes = fixture_image_bytes(f), .file_crc = 77};
	return true;
}

static void taken(void *ctx, struct beam_served *image, uint32_t index)
{
	struct fixture *f = ctx;

	assert_ptr_equal(image, &f->image);
	assert_true(index < image->nsegments);
	pthread_mutex_lock(&f->lock);
	f->ntaken++;
	pthread_mutex_unlock(&f->lock);
}

static void moved(void *ctx)
{
	(void)ctx;
}

static void sent(void *ctx, struct beam_served *image, uint64_t bytes)
{
	struct fixture *f = ctx;

	(void)image;
	pthread_mutex_lock(&f->lock);
	f->sent_bytes += bytes;
	pthread_mutex_unlock(&f->lock);
}

static void ended(void *ctx, struct beam_served *image, const char *peer_addr, int code,
		  uint64_t bytes, uint64_t ms)
{
	struct fixture *f = ctx;

	(void)image, (void)peer_addr, (void)bytes, (void)ms;
	pthread_mutex_lock(&f->lock);
	f->nended++;
	f->ended_code = code;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void on_wakeup(int fd, uint32_t events, void *arg)
{
	struct fixture *f = arg;
	uint64_t n;

	(void)events;
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	f->call(f, f->call_arg);
	pthread_mutex_lock(&f->lock);
	f->call = NULL;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

void fixture_run(struct fixture *f, void (*fn)(struct fixture *f, void *arg), void *arg)
{
	uint64_t one = 1;

	pthread_mutex_lock(&f->lock);
	f->call = fn;
	f->call_arg = arg;
	assert_int_equal(write(f->wakeup, &one, sizeof(one)), sizeof(one));
	while (f->call)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static void *run_loop(void *arg)
{
	struct fixture *f = arg;

	beam_loop_run(f->opts.loop);
	return NULL;
}

/* Finds a port that is free at this moment. */
static uint32_t free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

static size_t memory_bytes(const struct beam_served *image)
{
	return (size_t)(image->shared_segment ? 1 : image->nsegments) * SEGMENT_BYTES;
}

static void fill_image(struct beam_served *image, uint32_t nsegments)
{
	image->shared_segment = nsegments > 64;
	image->gen = (struct beam_gen){.nonce = 0x1122334455667788, .counter = 3};
	image->nsegments = nsegments;
	image->last_bytes = 1000;
	size_t bytes = memory_bytes(image);

	image->file = memfd_create("image", MFD_CLOEXEC);
	assert_true(image->file >= 0);
	assert_int_equal(ftruncate(image->file, (off_t)bytes), 0);
	image->bytes = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, image->file, 0);
	image->sealed = calloc(nsegments, sizeof(*image->sealed));
	assert_ptr_not_equal(image->bytes, MAP_FAILED);
	assert_non_null(image->sealed);
	for (size_t i = 0; i < bytes; i++)
		image->bytes[i] = image_byte(i);
}

void fixture_open(struct fixture *f, const struct beam_server_ops *ops, uint32_t nsegments,
		  const struct beam_server_opts *limits)
{
	static const char binds[][BEAM_ADDR_BYTES] = {"*"};
	char error_text[BEAM_TEXT_BYTES];

	memset(f, 0, sizeof(*f));
	f->ops = ops;
	f->images = (struct beam_serve_images){.ctx = f,
					       .authorize = authorize,
					       .ticket_key = ticket_key,
					       .admits = admits,
					       .release = release,
					       .describe = describe,
					       .segment = segment,
					       .vouched = vouched,
					       .claimed = claimed,
					       .complete = complete,
					       .taken = taken,
					       .moved = moved,
					       .sent = sent,
					       .ended = ended};
	fill_image(&f->image, nsegments);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	f->opts = (struct beam_server_opts){.max_pulls = 16, .stall_timeout_s = 60};
	if (limits)
		f->opts = *limits;
	f->opts.lends = true;
	assert_int_equal(beam_loop_open(&f->opts.loop), 0);
	f->opts.images = &f->images;
	f->opts.nbind = 1;
	f->opts.bind = binds;
	f->wakeup = eventfd(0, EFD_CLOEXEC);
	assert_true(f->wakeup >= 0);
	assert_int_equal(beam_watch_add(f->opts.loop, f->wakeup, EPOLLIN, on_wakeup, f, &f->watch),
			 0);
	/* Another program may take the free port before it is used. */
	int code = -EADDRINUSE;

	for (int tries = 0; code == -EADDRINUSE && tries < 10; tries++) {
		f->opts.port = free_port();
		code = ops->open(&f->opts, error_text, &f->server);
	}
	assert_int_equal(code, 0);
	assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f), 0);
}

static void wait_for(struct fixture *f, const bool *flag)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_MS / 1000;
	pthread_mutex_lock(&f->lock);
	while (!*flag && pthread_cond_timedwait(&f->changed, &f->lock, &until) != ETIMEDOUT)
		;
	bool is_set = *flag;

	pthread_mutex_unlock(&f->lock);
	assert_true(is_set);
}

static void set_flag(struct fixture *f, bool *flag)
{
	pthread_mutex_lock(&f->lock);
	*flag = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void on_stopped(void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(f->nrefs, 0);
	f->ops->close(&f->server);
	assert_null(f->server);
	set_flag(f, &f->stopped);
}

static void stop_on_loop(struct fixture *f, void *arg)
{
	bool *waits = arg;

	/* Parentheses, because cmocka 2 has a macro of this name. */
	*waits = (f->ops->stop)(f->server, on_stopped, f) == -EAGAIN;
	if (!*waits)
		on_stopped(f);
}

bool fixture_stop(struct fixture *f)
{
	bool waits;

	fixture_run(f, stop_on_loop, &waits);
	wait_for(f, &f->stopped);
	return waits;
}

static void on_fenced(void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(f->ops->sessions(f->server, &f->image), 0);
	memset(f->image.bytes, 0xee, (size_t)f->image.nsegments * SEGMENT_BYTES);
	set_flag(f, &f->fenced);
}

static void fence_on_loop(struct fixture *f, void *arg)
{
	(void)arg;
	int err = f->ops->revoke(f->server, &f->image, "a newer image", on_fenced, f);

	assert_true(err == 0 || err == -EAGAIN);
	if (!err)
		on_fenced(f);
}

void fixture_fence(struct fixture *f)
{
	fixture_run(f, fence_on_loop, NULL);
	wait_for(f, &f->fenced);
}

static void stop_loop(struct fixture *f, void *arg)
{
	(void)arg;
	beam_loop_stop(f->opts.loop);
}

void fixture_close(struct fixture *f)
{
	if (f->server)
		fixture_stop(f);
	fixture_run(f, stop_loop, NULL);
	pthread_join(f->thread, NULL);
	assert_int_equal(f->nrefs, 0);
	beam_watch_remove(&f->watch);
	beam_loop_close(&f->opts.loop);
	close(f->wakeup);
	munmap(f->image.bytes, memory_bytes(&f->image));
	close(f->image.file);
	free(f->image.sealed);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
}

static void seal_on_loop(struct fixture *f, void *arg)
{
	uint32_t index = *(uint32_t *)arg;

	f->image.sealed[index] = true;
	if (f->image.claimed <= index)
		f->image.claimed = index + 1;
	f->ops->published(f->server, &f->image);
}

void fixture_seal(struct fixture *f, uint32_t index)
{
	fixture_run(f, seal_on_loop, &index);
}

static void complete_on_loop(struct fixture *f, void *arg)
{
	(void)arg;
	f->image.complete = true;
	f->ops->published(f->server, &f->image);
}

void fixture_complete(struct fixture *f)
{
	fixture_run(f, complete_on_loop, NULL);
}

void fixture_seal_all(struct fixture *f)
{
	for (uint32_t i = 0; i < f->image.nsegments; i++)
		fixture_seal(f, i);
	fixture_complete(f);
}

int fixture_wait_ended(struct fixture *f, uint32_t n)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_MS / 1000;
	pthread_mutex_lock(&f->lock);
	while (f->nended < n)
		if (pthread_cond_timedwait(&f->changed, &f->lock, &until) == ETIMEDOUT)
			break;
	uint32_t nended = f->nended;
	int code = f->ended_code;

	pthread_mutex_unlock(&f->lock);
	assert_true(nended >= n);
	return code;
}

static void counts_on_loop(struct fixture *f, void *arg)
{
	f->ops->counts(f->server, arg);
}

struct beam_server_counts fixture_counts(struct fixture *f)
{
	struct beam_server_counts counts;

	fixture_run(f, counts_on_loop, &counts);
	return counts;
}

static void add_ticket(struct fixture *f, void *arg)
{
	struct ticket *ticket = &f->tickets[f->ntickets];

	assert_true(f->ntickets < TICKETS);
	*ticket = *(struct ticket *)arg;
	f->ntickets++;
}

struct beam_reader_opts fixture_ticket(struct fixture *f)
{
	struct beam_reader_opts opts = {.host = fixture_host,
					.port = f->opts.port,
					.gen = f->image.gen,
					.connect_timeout_ms = PATIENCE_MS};
	struct ticket ticket = {0};

	beam_random(ticket.id, sizeof(ticket.id));
	beam_random(ticket.key, sizeof(ticket.key));
	memcpy(opts.id, ticket.id, sizeof(opts.id));
	memcpy(opts.key, ticket.key, sizeof(opts.key));
	fixture_run(f, add_ticket, &ticket);
	return opts;
}
