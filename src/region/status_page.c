/* SPDX-License-Identifier: BSD-3-Clause
 * The page is a memfd that cannot shrink, so that reading it never raises SIGBUS, whatever the
 * daemon does. */
#include "status_page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "sockets.h"
#include "text.h"

#define SEALS     (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define LOOKS_MAX 3

struct beam_status_page {
	_Atomic uint64_t count; /* number of publications; the slot of count % 2 is valid */
	struct beam_ctl_status slots[2];
};

static int map(int fd, int protection, struct beam_status_page **out)
{
	void *base = mmap(NULL, sizeof(**out), protection, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*out = base;
	return 0;
}

int beam_status_page_create(int *fd, struct beam_status_page **out)
{
	int err = BEAM_FAULT("link.page");
	int made = err ? -1 : memfd_create("rdbeam-status", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (err)
		return err;
	if (made < 0)
		return -errno;
	if (ftruncate(made, sizeof(**out)) || fcntl(made, F_ADD_SEALS, SEALS))
		err = -errno;
	if (!err)
		err = map(made, PROT_READ, out);
	if (err)
		beam_close(&made);
	else
		*fd = made;
	return err;
}

int beam_status_page_open(int fd, struct beam_status_page **out)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &st))
		return -errno;
	if (st.st_size != (off_t)sizeof(**out) || !(seals & F_SEAL_SHRINK))
		return -EINVAL;
	return map(fd, PROT_READ | PROT_WRITE, out);
}

void beam_status_page_close(struct beam_status_page **page)
{
	if (*page)
		munmap(*page, sizeof(**page));
	*page = NULL;
}

/* The fence makes the current count visible to readers before anything is written to the other
 * slot. */
struct beam_ctl_status *beam_status_page_next(struct beam_status_page *page)
{
	uint64_t count = atomic_load_explicit(&page->count, memory_order_relaxed);

	atomic_thread_fence(memory_order_release);
	return &page->slots[(count + 1) % 2];
}

void beam_status_page_publish(struct beam_status_page *page)
{
	uint64_t count = atomic_load_explicit(&page->count, memory_order_relaxed);

	atomic_store_explicit(&page->count, count + 1, memory_order_release);
}

/* The daemon writes ten times a second: a reader that was overtaken twice gains nothing from
 * further attempts. */
bool beam_status_page_read(const struct beam_status_page *page, uint64_t *seen,
			   struct beam_ctl_status *out)
{
	for (int look = 0; look < LOOKS_MAX; look++) {
		uint64_t count = atomic_load_explicit(&page->count, memory_order_acquire);

		if (count == *seen)
			return false;
		*out = page->slots[count % 2];
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&page->count, memory_order_relaxed) == count) {
			*seen = count;
			return true;
		}
	}
	return false;
}

bool beam_status_same_news(const struct beam_ctl_status *a, const struct beam_ctl_status *b)
{
	return a->state == b->state && beam_gen_same(&a->gen, &b->gen) &&
	       beam_gen_same(&a->servable, &b->servable);
}
