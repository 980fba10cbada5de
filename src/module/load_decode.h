/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads that create the keys and values of an image's chunks, for the main thread to insert. They
 * receive jobs from the pull's socket and read the pull's memory. Of the server they use only the
 * allocator (RM_CreateString without a context is thread-safe).
 */
#ifndef BEAM_LOAD_DECODE_H
#define BEAM_LOAD_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_api.h"

struct beam_load_item {
	RedisModuleString *key, *value;
	int64_t expire_ms; /* milliseconds since 1970; -1: no TTL */
	int64_t idle_s;    /* seconds since the last access; -1: not known */
	int32_t freq;      /* LFU counter; -1: not known */
	uint32_t db;
};

struct beam_load_batch {
	struct beam_load_batch *next;
	uint32_t number;
	uint32_t nitems;
	struct beam_load_item items[];
};

struct beam_decoder;

/* Starts the threads. `sock` (SEQPACKET, connected to the pull) and `memory_fd` remain the caller's
 * and must stay open until close. The memory of `memory_bytes` must be sealed against shrinking.
 * `ended` is called once, by one of the threads, when no more jobs can come. Returns 0 and *out, or
 * -errno. This and all functions below: main thread. */
int beam_decoder_open(int sock, int memory_fd, uint64_t memory_bytes, void (*ended)(void),
		      struct beam_decoder **out);
/* Ends and joins the threads, and frees the batches that were not taken. Shuts `sock` down but does
 * not close it. *decoder may be NULL and is cleared. */
void beam_decoder_close(struct beam_decoder **decoder);

/* Waits for batch `number`, for `timeout_ms` milliseconds at most. Returns 0 and *out, which the
 * caller frees; -ETIMEDOUT; or the code that ended the decoding: BEAM_E_GONE (the pull died),
 * BEAM_E_FORMAT, BEAM_E_PROTO, -ENOMEM. */
int beam_decoder_take(struct beam_decoder *decoder, uint32_t number, int timeout_ms,
		      struct beam_load_batch **out);

/* Decodes one chunk on this thread, if a job is waiting and the chunk is not too long, and calls
 * `breathe` after each MB of values. Returns false if it did nothing. */
bool beam_decoder_help(struct beam_decoder *decoder, void (*breathe)(void));

/* Frees a batch and the strings still in it. `batch` may be NULL. */
void beam_load_batch_free(struct beam_load_batch *batch);

#endif
