/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One key as an RDB record, by the cheapest safe way for its value, in a forked child:
 *	strings, small collections	straight from the value's memory, where that layout has
 *					proved itself against the server's answers (value.h)
 *	else, strings > 44 bytes	StringDMA (on shorter ones it would write to the keyspace)
 *	else, shorter strings		MGET in batches
 *	the rest			DUMP without compression, whose payload is the RDB value
 *
 * Lookups by name (MGET, DUMP) would write to each object's LRU field: before the first one the
 * process makes the server believe that a child is running, which is what keeps it from that.
 * One thread, one reader for each process.
 */
#ifndef BEAM_RECORD_H
#define BEAM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "deferred.h"
#include "module_aux.h"
#include "open_key.h"
#include "read_ways.h"
#include "redis_api.h"

/* Takes one record. `head` and `body` are valid during the call. 0 or a negative code, which ends
 * the walk. */
typedef int beam_record_fn(void *arg, uint32_t db, const void *head, size_t head_bytes,
			   const void *body, size_t body_bytes);

/* The same for a record whose body comes in pieces: `pieces` gives it to `add`, with `to`, body_bytes in all; 0 or a
 * negative code, as `add`. */
typedef int beam_record_add_fn(void *to, const void *bytes, size_t len_bytes);
typedef int beam_record_pieces_fn(void *arg, beam_record_add_fn *add, void *to);
typedef int beam_record_in_pieces_fn(void *arg, uint32_t db, const void *head, size_t head_bytes,
				     uint64_t body_bytes, beam_record_pieces_fn *pieces,
				     void *pieces_arg);

enum beam_eviction { BEAM_EVICTION_NONE, BEAM_EVICTION_LRU, BEAM_EVICTION_LFU };

struct beam_record_opts {
	enum beam_eviction eviction; /* IDLE or FREQ goes with each key */
	bool fast_path;              /* rdbeam.fast-path */
	bool cluster;      /* commands may be refused: the key's slot may be another node's */
	bool key_metadata; /* some other module may keep it (key_metadata.h) */
	bool other_modules;
	const struct beam_aux_types *aux_types; /* of modules whose keys are not read; not NULL */
	long save_delay_us;                     /* rdb-key-save-delay */
	unsigned rdb_version;                   /* that the server writes */
	/* Not NULL: keys that need a lookup by name are put there, and what is passed to `put` as a
	 * body is memory of the keyspace, which stays. */
	struct beam_deferred *defer;
	/* Not NULL: keys that have expired, and that only a command could read, go here, for
	 * beam_record_read_deferred after the walk. */
	struct beam_deferred *late;
	beam_record_fn *put;
	beam_record_in_pieces_fn *put_pieces;
	void *arg;
};

struct beam_record_reader;

/* `ctx` is used for all calls. 0 or -ENOMEM. */
int beam_record_reader_open(RedisModuleCtx *ctx, const struct beam_record_opts *opts,
			    struct beam_record_reader **out);
void beam_record_reader_close(struct beam_record_reader **reader);

/* Database of the keys to come (the caller selects it in ctx). Flushes the open batch first. */
int beam_record_select(struct beam_record_reader *reader, uint32_t db);

/* Reads one key that a walk has found. May hold it back in a batch. 0 or a negative code. */
int beam_record_read(struct beam_record_reader *reader, const struct beam_open_key *key);

/* Asks for the memory of a value object that will be read soon, as far as its layout is known. */
void beam_record_coming(struct beam_record_reader *reader, const void *object);

/* Reads a key that another reader has deferred, or this one; then no other is put off. As beam_record_read. */
int beam_record_read_deferred(struct beam_record_reader *reader,
			      const struct beam_deferred_key *key);

/* Writes out what is held back. */
int beam_record_flush(struct beam_record_reader *reader);

uint64_t beam_record_keys(const struct beam_record_reader *reader);    /* put so far */
uint64_t beam_record_expired(const struct beam_record_reader *reader); /* left out so far */
/* By which ways these keys were read. */
struct beam_read_ways beam_record_ways(const struct beam_record_reader *reader);
/* Some layout of values did not prove itself: said once to the log by whoever asks. */
bool beam_record_fast_path_failed(const struct beam_record_reader *reader);

#endif
