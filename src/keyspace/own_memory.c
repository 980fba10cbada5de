/* SPDX-License-Identifier: BSD-3-Clause */
#include "own_memory.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define STEP_BYTES 4096

bool beam_read_memory(uintptr_t from, void *to, size_t len_bytes)
{
	struct iovec local = {to, len_bytes};
	struct iovec remote = {(void *)from, len_bytes};

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len_bytes;
}

bool beam_memory_there(const void *from, size_t len_bytes)
{
	uintptr_t at = (uintptr_t)from;
	unsigned char scratch[STEP_BYTES];

	while (len_bytes) {
		size_t step = len_bytes < STEP_BYTES ? len_bytes : STEP_BYTES;

		if (!beam_read_memory(at, scratch, step))
			return false;
		at += step;
		len_bytes -= step;
	}
	return true;
}

/* ---- pages that were read before ------------------------------------------------------------ */

static bool is_seen(const struct beam_memory_seen *seen, uintptr_t page)
{
	for (size_t i = 0; i < sizeof(seen->page) / sizeof(seen->page[0]); i++)
		if (seen->page[i] == page + 1)
			return true;
	return false;
}

static bool see_page(struct beam_memory_seen *seen, uintptr_t page)
{
	char byte;

	if (is_seen(seen, page))
		return true;
	if (!beam_read_memory(page, &byte, 1))
		return false;
	seen->page[seen->next] = page + 1;
	seen->next = (seen->next + 1) % (sizeof(seen->page) / sizeof(seen->page[0]));
	return true;
}

bool beam_seen_there(struct beam_memory_seen *seen, const void *from, size_t len_bytes)
{
	uintptr_t at = (uintptr_t)from, end;

	if (!seen)
		return beam_memory_there(from, len_bytes);
	if (__builtin_add_overflow(at, len_bytes, &end))
		return false;
	for (uintptr_t page = at / STEP_BYTES * STEP_BYTES; page < end; page += STEP_BYTES)
		if (!see_page(seen, page))
			return false;
	return true;
}

bool beam_read_seen(struct beam_memory_seen *seen, uintptr_t from, void *to, size_t len_bytes)
{
	if (!seen)
		return beam_read_memory(from, to, len_bytes);
	if (!beam_seen_there(seen, (const void *)from, len_bytes))
		return false;
	memcpy(to, (const void *)from, len_bytes);
	return true;
}
