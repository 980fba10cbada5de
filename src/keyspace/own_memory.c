/* SPDX-License-Identifier: BSD-3-Clause */
#include "own_memory.h"

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
