/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes a key as an RDB record, by the cheapest safe way for its value, in a forked child:
 *	strings, small collections	straight from the value's memory, if that layout has been
 *					proved against the server's answers (value.h)
 *	else, strings > 128 bytes	StringDMA (for shorter ones it may write to the keyspace)
 *	else, shorter strings		MGET in batches
 *	the rest			DUMP without compression, whose payload is the RDB value;
 *					collections by the server's serializer (serializer.h) if
 *					it can be called directly
 *
 * Lookups by name (MGET, DUMP) would write to each object's LRU field. Before the first one the
 * process makes the server believe that it has a running child, since it does not update LRU fields
 * then. One thread; one reader per process.
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

/* Receives a record. `head` and `body` are valid during the call only. 0, or a negative code, which
 * ends the walk. */
typedef int beam_record_fn(void *arg, uint32_t db, const void *head, size_t head_bytes,
			   const void *body, size_t body_bytes);

/* The same for a record whose body comes in pieces: `pieces`, called with pieces_arg, passes
 * body_bytes in all to `add`, with `to`. It returns 0 or the negative code of `add`. */
typedef int beam_record_add_fn(void *to, const void *bytes, size_t len_bytes);
typedef int beam_record_pieces_fn(void *arg, beam_record_add_fn *add, void *to);
typedef int beam_record_in_pieces_fn(void *arg, uint32_t db, const void *head, size_t head_bytes,
				     uint64_t body_bytes, beam_record_pieces_fn *pieces,
				     void *pieces_arg);

enum beam_eviction { BEAM_EVICTION_NONE, BEAM_EVICTION_LRU, BEAM_EVICTION_LFU };

struct beam_record_opts {
	enum beam_eviction eviction; /* adds IDLE or FREQ to each key */
	bool fast_path;              /* rdbeam.fast-path */
	bool cluster;      /* commands may be refused: the key's slot may be another node's */
	bool key_metadata; /* some other module may keep it (key_metadata.h) */
	bool other_modules;
	const struct beam_aux_types *aux_types; /* their modules' keys are not read; not NULL */
	long save_delay_us;                     /* rdb-key-save-delay */
	unsigned rdb_version;                   /* the version that the server writes */
	/* Not NULL: keys that need a lookup by name are added to this list instead. Then any `body`
	 * passed to `put` lies in the keyspace and stays valid. */
	struct beam_deferred *defer;
	/* Not NULL: expired keys that only a command can read are added to this list, for
	 * beam_record_read_deferred after the walk. */
	struct beam_deferred *late;
	beam_record_fn *put;
	beam_record_in_pieces_fn *put_pieces;
	void *arg;
};

struct beam_record_reader;

/* Creates a reader, which makes all its calls through `ctx` and copies *opts. 0 or -ENOMEM. */
int beam_record_reader_open(RedisModuleCtx *ctx, const struct beam_record_opts *opts,
			    struct beam_record_reader **out);
/* Drops what is held back. Accepts NULL, clears the pointer. */
void beam_record_reader_close(struct beam_record_reader **reader);

/* Sets the database of the keys to come, which the caller selects in ctx. Flushes the open batch
 * first. 0 or a negative code of that flush. */
int beam_record_select(struct beam_record_reader *reader, uint32_t db);

/* Reads a key that a walk has found. May hold it back in a batch, or defer it. 0, BEAM_E_METADATA
 * or BEAM_E_OWNED for a key that an image cannot hold, or another negative code. */
int beam_record_read(struct beam_record_reader *reader, const struct beam_open_key *key);

/* Prefetches the memory of a value object that will be read soon, if its layout has been proved. */
void beam_record_coming(struct beam_record_reader *reader, const void *object);

/* Reads a key that this or another reader has deferred. From then on this reader does not put off
 * expired keys. Returns as beam_record_read. */
int beam_record_read_deferred(struct beam_record_reader *reader,
			      const struct beam_deferred_key *key);

/* Writes the keys that are held back. 0 or a negative code. */
int beam_record_flush(struct beam_record_reader *reader);

uint64_t beam_record_keys(const struct beam_record_reader *reader);    /* written so far */
uint64_t beam_record_expired(const struct beam_record_reader *reader); /* left out as expired */
/* The ways by which these keys were read. */
struct beam_read_ways beam_record_ways(const struct beam_record_reader *reader);
/* Whether the layout of some kind of value was disproved. The caller logs it once. */
bool beam_record_fast_path_failed(const struct beam_record_reader *reader);

#endif
