/* SPDX-License-Identifier: BSD-3-Clause
 * Decoder threads. All of them receive from the pull's SEQPACKET socket, and the kernel gives each
 * packet to one of them, so the socket is the job queue. The main thread, too, takes jobs while it
 * would wait. Finished batches wait in a list until the main thread asks for them by number. */
#include "load_decode.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "fault.h"
#include "load_heap.h"
#include "load_share.h"
#include "pages.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define THREADS_MAX 4
#define AHEAD_MAX   16 /* batches decoded but not inserted: bounds the memory they take */
/* Bytes of a chunk that the main thread decodes, and after how many it serves its clients. */
#define HELP_MAX  (64u << 20)
#define HELP_STEP (1u << 20)

/* What each thread that decodes has for itself. */
struct decoding {
	struct beam_load_heap heap;
	void (*breathe)(void); /* NULL on a thread that nobody waits for */
};

struct beam_decoder {
	int sock;
	const uint8_t *memory;
	uint64_t memory_bytes;
	void (*ended)(void);
	pthread_t threads[THREADS_MAX];
	int nthreads;
	struct decoding main; /* of the main thread */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct beam_load_batch *batches;
	uint32_t nbatches;
	int code; /* 0 while jobs may still come, then the reason for the end */
};

void beam_load_batch_free(struct beam_load_batch *batch)
{
	if (!batch)
		return;
	for (uint32_t i = 0; i < batch->nitems; i++) {
		if (batch->items[i].key)
			RedisModule_FreeString(NULL, batch->items[i].key);
		if (batch->items[i].value)
			RedisModule_FreeString(NULL, batch->items[i].value);
	}
	free(batch);
}

/* ---- threads -------------------------------------------------------------------------------- */

static int fill(const struct beam_item *item, struct beam_load_heap *heap,
		struct beam_load_item *out)
{
	size_t pos = 0, value_bytes;
	uint64_t len;
	int enc;
	int rc = beam_rdb_get_len(item->value, item->value_bytes, &pos, &len, &enc);

	if (rc)
		return rc;
	/* The pull can write to this memory at any time, so check again here. */
	if (enc >= 0 || len != item->value_bytes - pos)
		return BEAM_E_FORMAT;
	out->expire_ms = item->expire_ms;
	out->idle_s = item->idle_s;
	out->freq = item->freq;
	out->db = item->db;
	out->key = RedisModule_CreateString(
	    NULL, item->key ? (const char *)item->key : item->key_text, item->key_bytes);
	out->value = RedisModule_CreateString(NULL, (const char *)item->value + pos, (size_t)len);
	if (!out->key || !out->value)
		return -ENOMEM;
	const char *value = RedisModule_StringPtrLen(out->value, &value_bytes);

	beam_load_heap_used(heap, value, value_bytes);
	return 0;
}

static int decode(const struct beam_chunk *chunk, struct decoding *own,
		  struct beam_load_batch *batch)
{
	struct beam_chunk_cursor cursor = {0};
	struct beam_item item;
	size_t bytes = 0;
	int rc;

	while ((rc = beam_chunk_next(chunk, &cursor, &item)) == 1) {
		if (!beam_load_takes(&item))
			continue;
		bytes += item.value_bytes;
		if (own->breathe && bytes >= HELP_STEP) {
			bytes = 0;
			own->breathe();
		}
		struct beam_load_item *out = &batch->items[batch->nitems++];

		memset(out, 0, sizeof(*out));
		rc = fill(&item, &own->heap, out);
		if (rc)
			return rc;
	}
	return rc;
}

static int make_batch(const struct beam_decoder *d, const struct beam_load_job *job,
		      struct decoding *own, struct beam_load_batch **out)
{
	struct beam_load_batch *batch;
	struct beam_chunk chunk;

	/* The ring is mapped twice in a row: a chunk that wraps around is contiguous, too. */
	if (job->len_bytes > d->memory_bytes || job->offset >= d->memory_bytes)
		return BEAM_E_PROTO;
	/* No CRC: the pull has verified each segment. */
	int rc = beam_chunk_open(d->memory + job->offset, (size_t)job->len_bytes, false, &chunk);

	if (rc)
		return rc;
	/* The chunk bounds this: each item takes at least one byte of its index. */
	batch = malloc(sizeof(*batch) + chunk.footer.nitems * sizeof(batch->items[0]));
	if (!batch)
		return -ENOMEM;
	batch->next = NULL;
	batch->number = job->number;
	batch->nitems = 0;
	rc = decode(&chunk, own, batch);
	if (rc) {
		beam_load_batch_free(batch);
		return rc;
	}
	*out = batch;
	return 0;
}

static void give(struct beam_decoder *d, struct beam_load_batch *batch)
{
	pthread_mutex_lock(&d->lock);
	batch->next = d->batches;
	d->batches = batch;
	d->nbatches++;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

/* Blocks while the main thread is more than AHEAD_MAX batches behind. This cannot deadlock: the main
 * thread asks for batches in the order of the jobs, threads take jobs in that order, and each gives
 * its batch away before it waits. */
static void wait_for_main(struct beam_decoder *d)
{
	pthread_mutex_lock(&d->lock);
	while (d->nbatches > AHEAD_MAX && !d->code)
		pthread_cond_wait(&d->changed, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

/* Runs the next job. Returns 0, -EAGAIN if there was none within timeout_ms (-1: waits for one), or
 * the reason why no more can come. */
static int run_job(struct beam_decoder *d, int timeout_ms, struct decoding *own)
{
	struct beam_load_batch *batch = NULL;
	struct beam_load_job job;
	ssize_t n = beam_packet_recv(d->sock, &job, sizeof(job), NULL, NULL, timeout_ms);

	if (n < 0)
		return (int)n;
	if (n != sizeof(job))
		return BEAM_E_PROTO;
	int rc = BEAM_FAULT("load-decode");

	if (!rc)
		rc = make_batch(d, &job, own, &batch);
	if (rc)
		return rc;
	struct beam_load_news news = {
	    .word = BEAM_LOAD_DECODED, .first = job.first, .len_bytes = job.len_bytes};

	give(d, batch);
	return beam_packet_send(d->sock, &news, sizeof(news), NULL, 0);
}

static void end(struct beam_decoder *d, int code)
{
	pthread_mutex_lock(&d->lock);
	bool first = !d->code;

	if (first)
		d->code = code;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	if (first)
		d->ended();
}

static void *decoder_thread(void *arg)
{
	struct beam_decoder *d = arg;
	struct decoding own = {.breathe = NULL};
	int rc;

	beam_load_heap_begin(&own.heap);
	while (!(rc = run_job(d, -1, &own)))
		wait_for_main(d);
	end(d, rc);
	return NULL;
}

/* ---- the main thread ------------------------------------------------------------------------ */

static int nthreads_wanted(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN) - 1; /* one is for the main thread */

	return cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (int)cpus;
}

static int start_threads(struct beam_decoder *d)
{
	sigset_t all, old;
	int err = 0;

	/* Signals are to be delivered to the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!err && d->nthreads < nthreads_wanted()) {
		err = pthread_create(&d->threads[d->nthreads], NULL, decoder_thread, d);
		if (!err)
			d->nthreads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return d->nthreads ? 0 : -err; /* one thread is enough */
}

int beam_decoder_open(int sock, int memory_fd, uint64_t memory_bytes, void (*ended)(void),
		      struct beam_decoder **out)
{
	struct beam_decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	void *memory = beam_ring_map(memory_fd, memory_bytes, false);

	if (!memory) {
		int err = -errno;

		free(d);
		return err;
	}
	/* Neither a forked child nor a core dump needs the pull's memory. */
	madvise(memory, 2 * memory_bytes, MADV_DONTFORK);
	madvise(memory, 2 * memory_bytes, MADV_DONTDUMP);
	d->sock = sock;
	beam_load_heap_begin(&d->main.heap);
	d->memory = memory;
	d->memory_bytes = memory_bytes;
	d->ended = ended;
	pthread_mutex_init(&d->lock, NULL);
	beam_cond_init(&d->changed);
	int rc = start_threads(d);

	if (rc) {
		beam_decoder_close(&d);
		return rc;
	}
	*out = d;
	return 0;
}

void beam_decoder_close(struct beam_decoder **decoder)
{
	struct beam_decoder *d = *decoder;

	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	if (!d->code)
		d->code = BEAM_E_ABORTED;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	shutdown(d->sock, SHUT_RDWR);
	for (int i = 0; i < d->nthreads; i++)
		pthread_join(d->threads[i], NULL);
	while (d->batches) {
		struct beam_load_batch *next = d->batches->next;

		beam_load_batch_free(d->batches);
		d->batches = next;
	}
	beam_ring_unmap((void *)(uintptr_t)d->memory, d->memory_bytes);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d);
	*decoder = NULL;
}

static struct beam_load_batch *unlink_batch(struct beam_decoder *d, uint32_t number)
{
	for (struct beam_load_batch **at = &d->batches; *at; at = &(*at)->next) {
		struct beam_load_batch *batch = *at;

		if (batch->number != number)
			continue;
		*at = batch->next;
		d->nbatches--;
		pthread_cond_broadcast(&d->changed);
		return batch;
	}
	return NULL;
}

/* Another thread may take the job between the look and the receipt, and then the next one is run. */
bool beam_decoder_help(struct beam_decoder *d, void (*breathe)(void))
{
	struct beam_load_job job;

	if (recv(d->sock, &job, sizeof(job), MSG_DONTWAIT | MSG_PEEK) != sizeof(job) ||
	    job.len_bytes > HELP_MAX)
		return false;
	d->main.breathe = breathe;
	int rc = run_job(d, 0, &d->main);

	if (rc && rc != -EAGAIN)
		end(d, rc);
	return !rc;
}

int beam_decoder_take(struct beam_decoder *d, uint32_t number, int timeout_ms,
		      struct beam_load_batch **out)
{
	struct timespec until;
	int rc = 0;

	beam_deadline_in(&until, timeout_ms);
	pthread_mutex_lock(&d->lock);
	while (!(*out = unlink_batch(d, number)) && !rc) {
		if (d->code)
			rc = d->code;
		else if (pthread_cond_timedwait(&d->changed, &d->lock, &until) == ETIMEDOUT)
			rc = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&d->lock);
	return *out ? 0 : rc;
}
