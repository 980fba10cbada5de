/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads this process's own memory and returns an error where a load would fault. For addresses that
 * come from a private layout which has not been proved yet. Each call is a system call, so proved
 * layouts are read directly. Any thread. Where process_vm_readv is forbidden, all memory appears to
 * be missing.
 */
#ifndef BEAM_OWN_MEMORY_H
#define BEAM_OWN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies memory. False if it cannot be read; then *to is undefined. */
bool beam_read_memory(uintptr_t from, void *to, size_t len_bytes);
/* Whether all len_bytes can be read. */
bool beam_memory_there(const void *from, size_t len_bytes);

/* Pages that could be read, each of which costs only one system call then. For reads in quick
 * succession, between which nothing that they look at is freed. One thread. */
struct beam_memory_seen {
	uintptr_t page[16]; /* addresses + 1; 0: none */
	unsigned next;      /* to be replaced */
};

/* The same as the two above, by way of `seen`. NULL: nothing is remembered. */
bool beam_read_seen(struct beam_memory_seen *seen, uintptr_t from, void *to, size_t len_bytes);
bool beam_seen_there(struct beam_memory_seen *seen, const void *from, size_t len_bytes);

#endif
