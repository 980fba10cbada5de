/* SPDX-License-Identifier: BSD-3-Clause
 * Turns keys into records. The head of a record (metadata, type, key) is composed here; long values
 * are passed on in place, without a copy. */
#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command_names.h"
#include "expire.h"
#include "key_metadata.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "record_meta.h"
#include "serializer.h"
#include "throwaway_child.h"
#include "value.h"
#include "value_proof.h"

#define BATCH_KEYS   256
#define PROOFS       8 /* values to compare per layout before it is trusted */
#define DISPROVED    UINT8_MAX
#define INLINE_BYTES 512 /* longer values are not copied here */

struct held_key {
	RedisModuleString *name;
	struct beam_record_meta meta;
};

struct beam_record_reader {
	RedisModuleCtx *ctx;
	struct beam_record_opts opts;
	uint32_t db;
	uint64_t keys, expired;
	struct beam_read_ways ways;
	uint8_t *head;
	size_t head_cap;
	bool lookups_quiet;
	bool disproved;
	uint8_t proofs[256]; /* per layout; DISPROVED: not used any more */
	struct held_key held[BATCH_KEYS];
	RedisModuleString *names[BATCH_KEYS];
	size_t nheld;
	struct beam_serializer *serializer; /* for collections; NULL: none */
	struct beam_key_metadata *metadata; /* NULL: none, or DUMP shows it */
	bool all_by_dump;
};

int beam_record_reader_open(RedisModuleCtx *ctx, const struct beam_record_opts *opts,
			    struct beam_record_reader **out)
{
	struct beam_record_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	reader->ctx = ctx;
	reader->opts = *opts;
	if (opts->fast_path)
		reader->serializer = beam_serializer_open(opts->rdb_version, opts->cluster);
	if (opts->key_metadata && opts->fast_path)
		reader->metadata = beam_key_metadata_open();
	reader->all_by_dump = opts->key_metadata && !reader->metadata;
	*out = reader;
	return 0;
}

void beam_record_reader_close(struct beam_record_reader **reader)
{
	if (!*reader)
		return;
	for (size_t i = 0; i < (*reader)->nheld; i++)
		RedisModule_FreeString(NULL, (*reader)->held[i].name);
	beam_serializer_close(&(*reader)->serializer);
	beam_key_metadata_close(&(*reader)->metadata);
	free((*reader)->head);
	free(*reader);
	*reader = NULL;
}

uint64_t beam_record_keys(const struct beam_record_reader *reader)
{
	return reader->keys;
}

uint64_t beam_record_expired(const struct beam_record_reader *reader)
{
	return reader->expired;
}

struct beam_read_ways beam_record_ways(const struct beam_record_reader *reader)
{
	struct beam_read_ways ways = reader->ways;

	ways.ahead = beam_serializer_ahead(reader->serializer);
	return ways;
}

bool beam_record_fast_path_failed(const struct beam_record_reader *reader)
{
	return reader->disproved;
}

int beam_record_select(struct beam_record_reader *reader, uint32_t db)
{
	int err = beam_record_flush(reader);

	reader->db = db;
	return err;
}

/* Lookups update a key's LRU field, except while the server has a child: so it gets one. Other
 * modules would be told of it, by the server and by fork(). */
static int quiet_lookups(struct beam_record_reader *reader)
{
	if (reader->lookups_quiet)
		return 0;
	int err = reader->opts.other_modules ? 0 : beam_throwaway_child();

	beam_keep_expired(reader->ctx);
	reader->lookups_quiet = !err;
	return err;
}

/* Ensures room in reader->head for `more` bytes after a key of key_bytes. */
static uint8_t *head_reserve(struct beam_record_reader *reader, size_t key_bytes, size_t more)
{
	size_t need = BEAM_RECORD_META_BYTES + BEAM_RDB_LEN_MAX_BYTES + key_bytes + more;

	if (need > reader->head_cap) {
		uint8_t *grown = realloc(reader->head, need * 2);

		if (!grown)
			return NULL;
		reader->head = grown;
		reader->head_cap = need * 2;
	}
	return reader->head;
}

/* Composes metadata, type and key. Returns the position after them, or NULL without memory. */
static uint8_t *head_begin(struct beam_record_reader *reader, const struct beam_record_meta *meta,
			   uint8_t type, const char *name, size_t name_bytes, size_t more)
{
	uint8_t *at = head_reserve(reader, name_bytes, more);

	if (!at)
		return NULL;
	memcpy(at, meta->bytes, meta->len);
	at += meta->len;
	*at++ = type;
	at += beam_rdb_put_len(at, name_bytes);
	memcpy(at, name, name_bytes);
	return at + name_bytes;
}

/* As the server's rdb-key-save-delay: microseconds; -n: one microsecond for one key in n. */
static void save_delay(long delay_us)
{
	if (delay_us < 0)
		delay_us = rand() % -delay_us == 0;
	if (delay_us)
		usleep((useconds_t)delay_us);
}

static void count_key(struct beam_record_reader *reader)
{
	reader->keys++;
	if (reader->opts.save_delay_us)
		save_delay(reader->opts.save_delay_us);
}

static int put(struct beam_record_reader *reader, const uint8_t *head_end, const void *body,
	       size_t body_bytes)
{
	count_key(reader);
	return reader->opts.put(reader->opts.arg, reader->db, reader->head,
				(size_t)(head_end - reader->head), body, body_bytes);
}

/* Writes a string, or `prefix` and the block of a small collection. */
static int put_bytes(struct beam_record_reader *reader, const struct beam_record_meta *meta,
		     const char *name, size_t name_bytes, const struct beam_value *value)
{
	size_t len = value->len_bytes, inlined = len <= INLINE_BYTES ? len : 0;
	uint8_t *at = head_begin(reader, meta, value->rdb_type, name, name_bytes,
				 sizeof(value->prefix) + BEAM_RDB_LEN_MAX_BYTES + INLINE_BYTES);

	if (!at)
		return -ENOMEM;
	memcpy(at, value->prefix, value->prefix_bytes);
	at += value->prefix_bytes;
	at += beam_rdb_put_len(at, len);
	if (inlined)
		memcpy(at, value->bytes, inlined);
	return put(reader, at + inlined, value->bytes + inlined, len - inlined);
}

static int put_number(struct beam_record_reader *reader, const struct beam_record_meta *meta,
		      const char *name, size_t name_bytes, int64_t number)
{
	char text[24];
	uint8_t *at = head_begin(reader, meta, BEAM_RDB_STRING, name, name_bytes, sizeof(text));

	if (!at)
		return -ENOMEM;
	size_t len = beam_rdb_put_int(at, number);

	if (!len) {
		int n = snprintf(text, sizeof(text), "%lld", (long long)number);

		len = beam_rdb_put_len(at, (uint64_t)n);
		memcpy(at + len, text, (size_t)n);
		len += (size_t)n;
	}
	return put(reader, at + len, NULL, 0);
}

/* In a cluster commands may be refused, and no command returns an expired value. */
static bool asks_serializer(const struct beam_record_reader *reader,
			    const struct beam_record_meta *meta)
{
	return reader->serializer && (reader->opts.cluster || beam_record_has_expired(meta));
}

static bool is_proved(const struct beam_record_reader *reader, const struct beam_open_key *key,
		      const struct beam_record_meta *meta, const struct beam_value *value)
{
	bool by_command =
	    value->kind != BEAM_VALUE_BYTES || value->len_bytes <= BEAM_EMBSTR_MAX_BYTES;

	if (by_command && asks_serializer(reader, meta))
		return beam_value_proved_by(reader->serializer, beam_value_object(key->handle),
					    value);
	return beam_value_proved(reader->ctx, key, value);
}

/* Compares one more value of an untrusted layout. False: do not read it by its layout. */
static bool prove(struct beam_record_reader *reader, const struct beam_open_key *key,
		  const struct beam_record_meta *meta, const struct beam_value *value)
{
	uint8_t *proofs = &reader->proofs[value->layout];

	if (beam_record_has_expired(meta) && !asks_serializer(reader, meta))
		return false;
	if (is_proved(reader, key, meta, value)) {
		++*proofs;
		return true;
	}
	*proofs = DISPROVED;
	reader->disproved = true;
	return false;
}

/* 1: written. 0: cannot be read this way. Negative: an error. */
static int read_by_peek(struct beam_record_reader *reader, const struct beam_open_key *key,
			const struct beam_record_meta *meta)
{
	struct beam_value value;
	uint8_t *proofs;
	int err;

	uint8_t layout = reader->opts.fast_path ? beam_value_layout(key->handle) : UINT8_MAX;

	if (!beam_value_readable(layout))
		return 0;
	proofs = &reader->proofs[layout];
	if (*proofs == DISPROVED || (*proofs < PROOFS && !beam_value_is_there(key->handle)) ||
	    !beam_value_peek(key->handle, &value))
		return 0;
	if (*proofs < PROOFS && !prove(reader, key, meta, &value))
		return 0;
	reader->ways.by_layout++;
	if (value.kind == BEAM_VALUE_INT)
		err = put_number(reader, meta, key->name, key->name_bytes, value.number);
	else
		err = put_bytes(reader, meta, key->name, key->name_bytes, &value);
	return err ? err : 1;
}

/* Whether a command that looks this key up would delete it from the table being walked. */
static bool is_late(const struct beam_record_reader *reader, const struct beam_record_meta *meta)
{
	return reader->opts.late && beam_record_has_expired(meta);
}

/* Holds back a short string for the next MGET. */
static int hold(struct beam_record_reader *reader, const struct beam_open_key *key,
		const struct beam_record_meta *meta)
{
	struct held_key *held = &reader->held[reader->nheld];

	held->name = beam_open_key_string(key);
	held->meta = *meta;
	reader->nheld++;
	return reader->nheld == BATCH_KEYS ? beam_record_flush(reader) : 0;
}

static int read_long_string(struct beam_record_reader *reader, const struct beam_open_key *key,
			    const struct beam_record_meta *meta)
{
	struct beam_value value = {.rdb_type = BEAM_RDB_STRING};

	reader->ways.by_api++;
	value.bytes = RedisModule_StringDMA(key->handle, &value.len_bytes, REDISMODULE_READ);
	return put_bytes(reader, meta, key->name, key->name_bytes, &value);
}

static int flush_element(struct beam_record_reader *reader, const struct held_key *held,
			 RedisModuleCallReply *element)
{
	struct beam_value value = {.rdb_type = BEAM_RDB_STRING};
	size_t name_bytes;
	const char *name = RedisModule_StringPtrLen(held->name, &name_bytes);

	if (RedisModule_CallReplyType(element) == REDISMODULE_REPLY_STRING) {
		value.bytes = RedisModule_CallReplyStringPtr(element, &value.len_bytes);
		reader->ways.by_api++;
		return put_bytes(reader, &held->meta, name, name_bytes, &value);
	}
	if (!beam_record_has_expired(&held->meta))
		return BEAM_E_COUNT;
	reader->expired++;
	return 0;
}

/* Reads `n` of the keys that are held back, from index `first` on. */
static int read_held(struct beam_record_reader *reader, size_t first, size_t n)
{
	RedisModuleCallReply *reply =
	    RedisModule_Call(reader->ctx, beam_command("MGET"), "v", reader->names + first, n);
	int err = 0;

	if (!reply || RedisModule_CallReplyType(reply) != REDISMODULE_REPLY_ARRAY ||
	    RedisModule_CallReplyLength(reply) != n)
		err = BEAM_E_SERVER;
	for (size_t i = 0; i < n && !err; i++)
		err = flush_element(reader, &reader->held[first + i],
				    RedisModule_CallReplyArrayElement(reply, i));
	if (reply)
		RedisModule_FreeCallReply(reply);
	return err;
}

int beam_record_flush(struct beam_record_reader *reader)
{
	/* A cluster refuses commands with keys of several slots. */
	size_t step = reader->opts.cluster ? 1 : reader->nheld;
	int err;

	if (!reader->nheld)
		return 0;
	err = quiet_lookups(reader);
	if (err)
		return err;
	for (size_t i = 0; i < reader->nheld; i++)
		reader->names[i] = reader->held[i].name;
	for (size_t i = 0; i < reader->nheld && !err; i += step)
		err = read_held(reader, i, step);
	for (size_t i = 0; i < reader->nheld; i++)
		RedisModule_FreeString(NULL, reader->held[i].name);
	reader->nheld = 0;
	return err;
}

/* `bytes` is an RDB type, then the value. */
static int put_payload(struct beam_record_reader *reader, const struct beam_open_key *key,
		       const struct beam_record_meta *meta, const uint8_t *bytes, size_t len_bytes)
{
	uint8_t *at = head_begin(reader, meta, bytes[0], key->name, key->name_bytes, 0);

	return at ? put(reader, at, bytes + 1, len_bytes - 1) : -ENOMEM;
}

static int put_in_pieces(struct beam_record_reader *reader, const struct beam_open_key *key,
			 const struct beam_record_meta *meta, const struct beam_serialized *value)
{
	uint8_t *at = head_begin(reader, meta, value->bytes[0], key->name, key->name_bytes, 0);

	if (!at)
		return -ENOMEM;
	count_key(reader);
	return reader->opts.put_pieces(reader->opts.arg, reader->db, reader->head,
				       (size_t)(at - reader->head), value->len_bytes - 1,
				       beam_serializer_pieces, reader->serializer);
}

static int read_dump(struct beam_record_reader *reader, const struct beam_open_key *key,
		     const struct beam_record_meta *meta)
{
	struct beam_serialized value;
	size_t len = 0;

	if (reader->serializer && key->object &&
	    beam_serializer_value(reader->serializer, reader->ctx, key,
				  beam_record_has_expired(meta), &value)) {
		reader->ways.by_serializer++;
		return value.in_pieces
			   ? put_in_pieces(reader, key, meta, &value)
			   : put_payload(reader, key, meta, value.bytes, value.len_bytes);
	}
	if (beam_serializer_lacks_memory(reader->serializer))
		return -ENOMEM;
	if (is_late(reader, meta))
		return beam_deferred_add(reader->opts.late, key, meta, reader->db, false);
	int err = quiet_lookups(reader);

	if (err)
		return err;
	RedisModuleString *name = beam_open_key_string(key);
	RedisModuleCallReply *reply =
	    RedisModule_Call(reader->ctx, beam_command("DUMP"), "s", name);
	int type = reply ? RedisModule_CallReplyType(reply) : REDISMODULE_REPLY_ERROR;
	const char *payload =
	    type == REDISMODULE_REPLY_STRING ? RedisModule_CallReplyStringPtr(reply, &len) : NULL;

	if (payload && len > BEAM_DUMP_FOOTER_BYTES &&
	    (uint8_t)payload[0] == BEAM_RDB_OP_KEY_METADATA) {
		err = BEAM_E_METADATA;
	} else if (payload && len > BEAM_DUMP_FOOTER_BYTES) {
		reader->ways.by_api++;
		err = put_payload(reader, key, meta, (const uint8_t *)payload,
				  len - BEAM_DUMP_FOOTER_BYTES);
	} else if (type == REDISMODULE_REPLY_NULL && beam_record_has_expired(meta)) {
		reader->expired++;
	} else {
		err = BEAM_E_SERVER;
	}
	if (reply)
		RedisModule_FreeCallReply(reply);
	RedisModule_FreeString(NULL, name);
	return err;
}

/* Reads a key by looking up its name. */
static int read_by_name(struct beam_record_reader *reader, const struct beam_open_key *key,
			const struct beam_record_meta *meta, bool is_string)
{
	if (!is_string)
		return read_dump(reader, key, meta);
	return is_late(reader, meta)
		   ? beam_deferred_add(reader->opts.late, key, meta, reader->db, true)
		   : hold(reader, key, meta);
}

int beam_record_read_deferred(struct beam_record_reader *reader,
			      const struct beam_deferred_key *key)
{
	struct beam_open_key open = {
	    .name = key->name, .name_bytes = key->name_bytes, .object = key->object};
	struct beam_record_meta meta = {.expire = key->expire_ms, .len = key->meta_bytes};

	memcpy(meta.bytes, key->meta, key->meta_bytes);
	reader->opts.late = NULL; /* no table is being walked any more */
	return read_by_name(reader, &open, &meta, key->is_string);
}

void beam_record_coming(struct beam_record_reader *reader, const void *object)
{
	if (reader->proofs[*(const uint8_t *)object] == PROOFS)
		beam_value_fetch(object);
}

int beam_record_read(struct beam_record_reader *reader, const struct beam_open_key *key)
{
	struct beam_record_meta meta;
	bool by_dump = reader->all_by_dump;
	int done;

	if (reader->metadata) {
		const void *object = beam_value_object(key->handle);

		if (object && beam_key_metadata_has(reader->metadata, key, object, (int)reader->db))
			return BEAM_E_METADATA;
		by_dump |= !object; /* of a type that is not known here: DUMP shows the metadata */
	}
	beam_record_meta_of(key, reader->opts.eviction, &meta);
	done = by_dump ? 0 : read_by_peek(reader, key, &meta);
	if (done)
		return done < 0 ? done : 0;
	if (beam_module_aux_owns(reader->opts.aux_types, key->handle))
		return BEAM_E_OWNED;
	bool is_string = !by_dump && RedisModule_KeyType(key->handle) == REDIS_KEY_STRING;

	if (is_string && RedisModule_ValueLength(key->handle) > BEAM_EMBSTR_MAX_BYTES)
		return read_long_string(reader, key, &meta);
	struct beam_open_key open = *key;

	open.object =
	    is_string || by_dump || !reader->opts.fast_path ? NULL : beam_value_object(key->handle);
	return reader->opts.defer
		   ? beam_deferred_add(reader->opts.defer, &open, &meta, reader->db, is_string)
		   : read_by_name(reader, &open, &meta, is_string);
}
