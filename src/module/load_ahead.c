/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where new memory comes from is seen by allocating some and freeing it at once, and two such looks
 * show how much the heap grows between them. The thread then has the kernel make as much behind the
 * second place (MADV_POPULATE_WRITE), which changes no byte, whatever is there. What is made in vain
 * is limited by a credit, as in load_heap.c.
 */
#include "load_ahead.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "memory.h"
#include "pages.h"
#include "redis_api.h"

#define PAGE_BYTES   4096u
#define LOOK_BYTES   (40u << 10)  /* more than allocators keep in a thread's cache */
#define PIECE_BYTES  (256u << 10) /* made by one call: mmap of other threads waits for its end */
#define AHEAD_LEAST  (1u << 20)
#define AHEAD_MOST   (16u << 20)
#define CREDIT_FIRST (16u << 20) /* bytes that may be made and not used */
#define CREDIT_MOST  (64u << 20)
#define ROOM_BYTES   (256u << 20) /* to be left by what limits this process's memory */
#define ROOM_EVERY   (32u << 20)  /* bytes asked for between two looks at it */
#define JUMP_BYTES   (64u << 20)  /* farther than the heap grows at one place between two looks */

static struct {
	bool started;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended;
	uintptr_t at;   /* where new memory came from at the last look */
	uintptr_t made; /* end of what was made behind `at` */
	uintptr_t to;   /* how far it is to be made */
	size_t unused;  /* bytes made behind `at`, without pages that were there before */
	size_t growth;  /* bytes from one look to the next */
	size_t credit;
	long faults;    /* main thread only: its own, at the last look */
	size_t trusted; /* the thread's only: bytes until it looks at the room again */
} ahead = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* This thread's, including those for pages that madvise makes. */
static long faults_so_far(void)
{
	struct rusage usage = {0};

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* Makes pages, and returns how many bytes of them were not there before, or -1 if the memory is not
 * mapped or the kernel cannot do this. */
static long make(uintptr_t from, size_t len_bytes)
{
	long before = faults_so_far();

	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	if (beam_pages_populate((void *)from, len_bytes))
		return -1;
	return (faults_so_far() - before) * (long)PAGE_BYTES;
}

/* What is made and not used must not be what is missing in the end. The server would be killed. */
static bool has_room(size_t len_bytes)
{
	struct beam_memory_left left;

	if (ahead.trusted < len_bytes) {
		beam_memory_look(0, &left);
		if (left.bytes < ROOM_BYTES || left.is_short)
			return false;
		ahead.trusted = ROOM_EVERY;
	}
	ahead.trusted -= len_bytes;
	return true;
}

/* Called with the lock, which is released for calls to the kernel. */
static void make_piece(void)
{
	uintptr_t from = ahead.made;
	size_t len = ahead.to - from < PIECE_BYTES ? ahead.to - from : PIECE_BYTES;

	if (len > ahead.credit) {
		ahead.to = from;
		return;
	}
	pthread_mutex_unlock(&ahead.lock);
	bool room = has_room(len);
	long bytes = room ? make(from, len) : -1;

	pthread_mutex_lock(&ahead.lock);
	if (!room)
		ahead.ended = true;
	size_t new_bytes = bytes > 0 ? (size_t)bytes : 0;

	ahead.credit -= new_bytes < ahead.credit ? new_bytes : ahead.credit;
	if (ahead.made != from) /* a look has found another place meanwhile */
		return;
	ahead.unused += new_bytes;
	if (bytes < 0)
		ahead.to = from;
	else
		ahead.made = from + len;
}

static void *ahead_thread(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&ahead.lock);
	while (!ahead.ended) {
		if (ahead.made < ahead.to)
			make_piece();
		else
			pthread_cond_wait(&ahead.changed, &ahead.lock);
	}
	pthread_mutex_unlock(&ahead.lock);
	return NULL;
}

/* ---- the main thread ------------------------------------------------------------------------ */

void beam_load_ahead_begin(void)
{
	sigset_t all, old;

	if (ahead.started)
		return;
	ahead.ended = false;
	ahead.at = ahead.made = ahead.to = 0;
	ahead.unused = ahead.growth = 0;
	ahead.credit = CREDIT_FIRST;
	ahead.trusted = 0;
	ahead.faults = faults_so_far();
	/* Signals are to be delivered to the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ahead.started = !pthread_create(&ahead.thread, NULL, ahead_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Returns the page where the allocator goes on. */
static uintptr_t heap_now(void)
{
	void *memory = RedisModule_Alloc(LOOK_BYTES);
	uintptr_t at = (uintptr_t)memory;

	RedisModule_Free(memory);
	return (at + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
}

/* Called with the lock: the heap goes on at `at`, and the main thread took faults for `taken` bytes
 * since the last look. What it has used of the pages that were made goes back to the credit. Behind
 * a jump that cannot be seen from the addresses, but it then took so much fewer faults. */
static void go_on(uintptr_t at, size_t taken)
{
	bool jump = at < ahead.at || at - ahead.at > JUMP_BYTES;
	size_t used = ahead.growth > taken ? ahead.growth - taken : 0;

	if (!jump) {
		used = (at < ahead.made ? at : ahead.made) - ahead.at;
		ahead.growth = at - ahead.at;
	} else if (ahead.growth < taken) {
		ahead.growth = taken;
	}
	used = used < ahead.unused ? used : ahead.unused;
	ahead.unused = jump ? 0 : ahead.unused - used;
	ahead.credit += used + ahead.growth / 8;
	if (ahead.credit > CREDIT_MOST)
		ahead.credit = CREDIT_MOST;
	ahead.at = at;
	if (jump || ahead.made < at)
		ahead.made = at;
}

static size_t length_ahead(void)
{
	size_t len = ahead.growth + ahead.growth / 16;

	len = len < AHEAD_LEAST ? AHEAD_LEAST : len > AHEAD_MOST ? AHEAD_MOST : len;
	return len / PAGE_BYTES * PAGE_BYTES;
}

void beam_load_ahead_look(void)
{
	if (!ahead.started)
		return;
	uintptr_t at = heap_now();
	long seen = faults_so_far();
	size_t taken = (size_t)(seen - ahead.faults) * PAGE_BYTES;

	ahead.faults = seen;
	pthread_mutex_lock(&ahead.lock);
	if (at != ahead.at) {
		go_on(at, taken);
		ahead.to = at + length_ahead();
		if (ahead.to < ahead.made)
			ahead.to = ahead.made;
		pthread_cond_signal(&ahead.changed);
	}
	pthread_mutex_unlock(&ahead.lock);
}

void beam_load_ahead_end(void)
{
	if (!ahead.started)
		return;
	pthread_mutex_lock(&ahead.lock);
	ahead.ended = true;
	pthread_cond_signal(&ahead.changed);
	pthread_mutex_unlock(&ahead.lock);
	pthread_join(ahead.thread, NULL);
	ahead.started = false;
}
