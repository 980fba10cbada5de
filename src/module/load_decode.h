/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads that make the keys and values of an image's chunks for the main thread to insert. They
 * read jobs from the pull's socket, touch the pull's memory and the server's allocator, and nothing
 * else of the server (RM_CreateString without a context is thread-safe).
 */
#ifndef BEAM_LOAD_DECODE_H
#define BEAM_LOAD_DECODE_H

#include <stdint.h>

#include "redis_api.h"

struct beam_load_item {
	RedisModuleString *key, *value;
	int64_t expire_ms; /* absolute, -1: none */
	int64_t idle_s;    /* -1: none */
	int32_t freq;      /* -1: none */
	uint32_t db;
};

struct beam_load_batch {
	struct beam_load_batch *next;
	uint32_t number;
	uint32_t nitems;
	struct beam_load_item items[];
};

struct beam_decoder;

/* Starts the threads. `sock` (SEQPACKET, to the pull) and `memory_fd` stay the caller's and open
 * until close; the memory must be sealed against shrinking. `ended` is called once, by a thread,
 * when no more jobs can come. 0 or -errno. Main thread, as all below. */
int beam_decoder_open(int sock, int memory_fd, uint64_t memory_bytes, void (*ended)(void),
		      struct beam_decoder **out);
/* Ends the threads, frees what was not taken. NULL-safe, clears the pointer. */
void beam_decoder_close(struct beam_decoder **decoder);

/* Waits for batch `number`. 0 and *out, the caller's to free; -ETIMEDOUT; or the code that ended
 * the decoding: BEAM_E_GONE (the pull died), BEAM_E_FORMAT, BEAM_E_PROTO, -ENOMEM. */
int beam_decoder_take(struct beam_decoder *decoder, uint32_t number, int timeout_ms,
		      struct beam_load_batch **out);

/* Frees a batch and the strings that are still in it. NULL-safe. */
void beam_load_batch_free(struct beam_load_batch *batch);

#endif
