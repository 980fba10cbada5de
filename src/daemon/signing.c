/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Signs segments. A thread gets one segment at a time, computes its digest and signs it. The loop
 * knows what the thread reads, and the fence waits for that. Only images for which signatures are
 * requested cost this, which are those that relays pull.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define PUBLISH_EVERY 16 /* signatures per announcement, which makes all sessions look */
#define TRIES         3

struct signing {
	struct beam_voucher *voucher;
	bool started; /* the thread is created when first needed */
	pthread_t thread;
	int wake; /* eventfd: the thread is done */
	struct beam_watch *watch;
	uint32_t unpublished;
	uint32_t failures; /* in succession */

	struct generation *gen; /* used by the loop: whose segment the thread has; NULL: none */
	/* Used by the thread while it works. */
	const void *base;
	struct beam_vouch_for what;
	struct beam_wire_sealed sealed;
	struct beam_wire_vouched vouched;
	int err;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool given; /* under the lock */
};

static void *run(void *arg)
{
	struct signing *s = arg;
	uint64_t one = 1;

	for (;;) {
		pthread_mutex_lock(&s->lock);
		while (!s->given)
			pthread_cond_wait(&s->changed, &s->lock);
		s->given = false;
		pthread_mutex_unlock(&s->lock);
		s->err = beam_vouch_digest(s->base, s->sealed.len_bytes, s->vouched.digest);
		if (!s->err)
			s->err =
			    beam_vouch_sign_segment(s->voucher, &s->what, &s->sealed, &s->vouched);
		if (write(s->wake, &one, sizeof(one)) < 0)
			abort(); /* the counter cannot be full: it is read after each one */
	}
	return NULL;
}

int signing_open(struct daemon *d)
{
	struct signing *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = s->wake < 0 ? -errno : beam_voucher_open(&s->voucher);

	if (err) {
		beam_close(&s->wake);
		free(s);
		return err;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	d->signing = s;
	return 0;
}

void signing_public_key(const struct daemon *d, uint8_t out[BEAM_PUBLIC_BYTES])
{
	beam_voucher_public(d->signing->voucher, out);
}

bool signing_reads(const struct generation *gen)
{
	return gen->d->signing->gen == gen;
}

bool signing_reads_segment(const struct generation *gen, uint32_t index)
{
	return signing_reads(gen) && gen->d->signing->sealed.index == index;
}

static bool is_signed(const struct generation *gen, uint32_t index)
{
	return gen->vouched[index].index == index;
}

/* Finds the first segment that is sealed but not signed. Returns false if there is none. */
static bool next_segment(struct generation *gen, uint32_t *index)
{
	uint32_t end = gen->total ? gen->total : gen->reach;

	if (!gen->vouched || gen->state == GEN_RETIRING || gen->state == GEN_FENCED)
		return false;
	while (gen->vouch_from < end && is_signed(gen, gen->vouch_from))
		gen->vouch_from++;
	for (*index = gen->vouch_from; *index < end; ++*index)
		if (gen->segments[*index].len_bytes && gen->segments[*index].slot &&
		    !is_signed(gen, *index))
			return true;
	return false;
}

/* Gives the thread its next segment if it is free. */
static void give(struct daemon *d)
{
	struct signing *s = d->signing;
	uint32_t index = 0;
	struct generation *gen = d->gens;

	if (s->gen)
		return;
	while (gen && !next_segment(gen, &index))
		gen = gen->next;
	if (!gen)
		return;
	s->gen = gen;
	s->base = beam_region_at(d->region, gen->segments[index].slot);
	s->what = (struct beam_vouch_for){gen->id, gen->segment_bytes};
	s->sealed = (struct beam_wire_sealed){index, gen->segments[index].len_bytes,
					      gen->segments[index].crc};
	pthread_mutex_lock(&s->lock);
	s->given = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void on_signed(int fd, uint32_t events, void *arg)
{
	struct daemon *d = arg;
	struct signing *s = d->signing;
	struct generation *gen = s->gen;
	uint64_t count;

	(void)events;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	s->gen = NULL;
	if (gen->state == GEN_RETIRING) {
		generation_fence(gen);
		give(d);
		return;
	}
	int err = s->err ? s->err : BEAM_FAULT("daemon.sign");

	if (err) {
		/* Out of memory. If that persists, the readers get no signature and time out. */
		beam_log(BEAM_LOG_WARNING, "signing segment %u of generation %llu: %s",
			 s->sealed.index, (unsigned long long)gen->id.counter, beam_strerror(err));
		if (++s->failures < TRIES)
			give(d);
		return;
	}
	s->failures = 0;
	gen->vouched[s->sealed.index] = s->vouched;
	reuse_later(gen);
	give(d);
	if (++s->unpublished == PUBLISH_EVERY || s->gen != gen) {
		s->unpublished = 0;
		listeners_published(gen);
	}
}

static int start(struct daemon *d)
{
	struct signing *s = d->signing;
	sigset_t all, old;
	int err;

	if (s->started)
		return 0;
	err = beam_watch_add(d->loop, s->wake, EPOLLIN, on_signed, d, &s->watch);
	if (err)
		return err;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = BEAM_FAULT("daemon.signer");
	err = err ? err : -pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	s->started = !err;
	if (!err)
		return 0;
	beam_watch_remove(&s->watch);
	beam_log(BEAM_LOG_WARNING,
		 "no thread to sign segments for relays: %s: raise TasksMax of the unit",
		 beam_strerror(err));
	/* Not EAGAIN, which would mean that the signature is being made. */
	return BEAM_E_BUSY;
}

static int want(struct generation *gen)
{
	int err = start(gen->d);

	if (err || gen->vouched)
		return err;
	gen->vouched = calloc(gen->capacity, sizeof(*gen->vouched));
	if (!gen->vouched)
		return -ENOMEM;
	for (uint32_t i = 0; i < gen->capacity; i++)
		gen->vouched[i].index = BEAM_VOUCH_IMAGE; /* no segment has this number */
	return 0;
}

int signing_get(struct generation *gen, uint32_t index, struct beam_wire_vouched *out)
{
	if (index == BEAM_VOUCH_IMAGE) {
		const struct beam_vouch_for what = {gen->id, gen->segment_bytes};
		const struct beam_wire_complete totals = {.nsegments = gen->total,
							  .image_bytes = gen->copied.image_bytes,
							  .file_crc = gen->copied.file_crc};

		return gen->total
			   ? beam_vouch_sign_image(gen->d->signing->voucher, &what, &totals, out)
			   : -EAGAIN;
	}
	if (index >= gen->capacity)
		return -ERANGE;
	int err = want(gen);

	if (err)
		return err;
	if (is_signed(gen, index)) {
		*out = gen->vouched[index];
		return 0;
	}
	give(gen->d);
	return -EAGAIN;
}
