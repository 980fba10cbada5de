/* SPDX-License-Identifier: BSD-3-Clause
 *
 * This process's own memory, read with an error where a load would fault: for what a private layout
 * is only believed to be. A system call each, so not for what has been proved. Any thread. Where
 * process_vm_readv is forbidden all memory is as if it were not there.
 */
#ifndef BEAM_OWN_MEMORY_H
#define BEAM_OWN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False where there is no memory: then *to is not to be used. */
bool beam_read_memory(uintptr_t from, void *to, size_t len_bytes);
/* Whether all of it can be read. */
bool beam_memory_there(const void *from, size_t len_bytes);

#endif
