/* SPDX-License-Identifier: BSD-3-Clause
 * Runs the server's serializer on a stream of ours. Its output is checked against the count of
 * bytes that it returns, and the first few values against DUMP. */
#include "serializer.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "command_names.h"
#include "pages.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "stream.h"

#define FIRST_BYTES       ((size_t)64 << 10)
#define HUGE_BYTES        ((size_t)4 << 20) /* larger buffers use huge pages if possible */
#define PIECE_BYTES       256 /* average piece; shorter ones are too slow to produce twice */
#define PROOFS            4
#define PROOF_BYTES       ((size_t)1 << 20) /* longer values are not compared */
#define UNSEEN            64 /* expired values left to commands; then counts are proof enough */
#define DUMP_FOOTER_BYTES 10

struct beam_serializer {
	struct beam_stream fresh, stream;
	/* Which of these is used depends on `typed`. */
	union {
		ssize_t (*save)(struct beam_stream *, const void *object, void *key, int db);
		ssize_t (*save_as)(struct beam_stream *, const void *object, void *key, int db,
				   unsigned char type);
	};
	union {
		int (*save_type)(struct beam_stream *, const void *object);
		int (*type_of)(const void *object, int rdb_version);
	};
	bool typed; /* Valkey 9: the caller passes the type to save as */
	int rdb_version;
	struct beam_ahead ahead;
	uint8_t *bytes;
	size_t len, cap;
	bool huge; /* `bytes` comes from pages.h */
	/* A long list is not buffered: its bytes are only counted, and are produced once more for
	 * the image (`add`). */
	bool may_count, counts;
	const void *object; /* the last one */
	size_t pieces;
	int (*add)(void *to, const void *bytes, size_t len_bytes);
	void *to;
	int error;          /* of `add` */
	unsigned proofs[2]; /* values that the server counts whole, and other values */
	unsigned unseen;    /* expired values left to commands, which do not show them */
	bool in_cluster;
	bool disproved;
	bool lacks_memory;
};

static void free_bytes(struct beam_serializer *s)
{
	if (s->huge)
		beam_pages_unmap(s->bytes, s->cap);
	else
		free(s->bytes);
}

/* In large collections of long elements most of the time went to page faults on this buffer: one
 * per 4 KiB took longer than the copy. */
static bool grow_huge(struct beam_serializer *s, size_t cap)
{
	uint8_t *grown =
	    s->huge ? beam_pages_grow(s->bytes, s->cap, cap) : beam_pages_map_growing(cap);

	if (!grown)
		return false;
	if (!s->huge) {
		memcpy(grown, s->bytes, s->len);
		free(s->bytes);
	}
	s->bytes = grown;
	s->huge = true;
	return true;
}

/* Ensures room for len_bytes more. */
static bool reserve(struct beam_serializer *s, size_t len_bytes)
{
	size_t cap = s->cap ? s->cap : FIRST_BYTES;

	if (s->len + len_bytes <= s->cap)
		return true;
	while (cap < s->len + len_bytes)
		cap *= 2;
	if (cap < HUGE_BYTES || !grow_huge(s, cap)) {
		uint8_t *grown = s->huge ? NULL : realloc(s->bytes, cap);

		if (!grown)
			return false;
		s->bytes = grown;
	}
	s->cap = cap;
	return true;
}

/* Skips the first byte, the type: it is in front of the key in a record. */
static size_t pass_on(struct beam_serializer *s, const uint8_t *from, size_t len_bytes)
{
	size_t skip = s->len == 0 && len_bytes;

	s->len += len_bytes;
	s->error = s->add(s->to, from + skip, len_bytes - skip);
	return s->error ? 0 : 1;
}

static size_t take(struct beam_stream *stream, const void *from, size_t len_bytes)
{
	struct beam_serializer *s = stream->owner;

	if (s->add)
		return pass_on(s, from, len_bytes);
	beam_ahead_wrote(&s->ahead, from, len_bytes);
	s->pieces++;
	if (s->may_count && s->len + len_bytes > HUGE_BYTES)
		s->counts |= s->len / s->pieces >= PIECE_BYTES;
	if (!s->counts) {
		s->lacks_memory = !reserve(s, len_bytes);
		if (s->lacks_memory)
			return 0;
		memcpy(s->bytes + s->len, from, len_bytes);
	}
	s->len += len_bytes;
	return 1;
}

static off_t told(struct beam_stream *stream)
{
	return (off_t)((struct beam_serializer *)stream->owner)->len;
}

/* Since Valkey 9 the type that a value is saved as depends on the RDB version, and other functions
 * are used for it. Which of these a server has tells what arguments rdbSaveObject takes. */
static bool find_savers(struct beam_serializer *s)
{
	*(void **)&s->save = dlsym(RTLD_DEFAULT, "rdbSaveObject");
	*(void **)&s->save_type = dlsym(RTLD_DEFAULT, "rdbSaveObjectType");
	s->typed = !s->save_type;
	if (s->typed)
		*(void **)&s->type_of = dlsym(RTLD_DEFAULT, "rdbGetObjectType");
	return s->save && s->save_type;
}

struct beam_serializer *beam_serializer_open(unsigned rdb_version, bool in_cluster)
{
	struct beam_serializer *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->rdb_version = (int)rdb_version;
	s->in_cluster = in_cluster;
	if (!find_savers(s) || !beam_stream_open(&s->fresh, take, told, s))
		beam_serializer_close(&s);
	else
		s->stream = s->fresh;
	return s;
}

void beam_serializer_close(struct beam_serializer **serializer)
{
	if (!*serializer)
		return;
	beam_ahead_close(&(*serializer)->ahead);
	free_bytes(*serializer);
	free(*serializer);
	*serializer = NULL;
}

uint64_t beam_serializer_ahead(const struct beam_serializer *serializer)
{
	return serializer ? beam_ahead_elements(&serializer->ahead) : 0;
}

/* Whether the object is of a type whose serialization does not need the key's name. */
static bool is_plain(const void *object)
{
	static const uint8_t list = 1, hash = 4, stream = 6, array = 7; /* server.h */
	uint8_t type = *(const uint8_t *)object & 15;

	return (type >= list && type <= hash) || type == stream || type == array;
}

/* If DUMP does not answer, nothing was proved; only a cluster may refuse it. */
static bool same_as_dump(const struct beam_serializer *s, RedisModuleCtx *ctx,
			 const struct beam_open_key *key)
{
	RedisModuleString *name = RedisModule_CreateString(NULL, key->name, key->name_bytes);
	RedisModuleCallReply *reply = RedisModule_Call(ctx, beam_command("DUMP"), "s", name);
	bool same = s->in_cluster;
	size_t len;

	if (reply && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_STRING) {
		const char *payload = RedisModule_CallReplyStringPtr(reply, &len);

		same = len == s->len + DUMP_FOOTER_BYTES && memcmp(payload, s->bytes, s->len) == 0;
	}
	if (reply)
		RedisModule_FreeCallReply(reply);
	RedisModule_FreeString(NULL, name);
	return same;
}

/* Writes type and value. Returns the number of bytes that the server says the value took, or a
 * negative number if it failed. */
static ssize_t serialize(struct beam_serializer *s, const void *object)
{
	uint8_t byte;
	int type;

	if (!s->typed)
		return s->save_type(&s->stream, object) == 1 ? s->save(&s->stream, object, NULL, 0)
							     : -1;
	type = s->type_of(object, s->rdb_version);
	byte = (uint8_t)type;
	if (type != byte || !take(&s->stream, &byte, 1))
		return -1;
	return s->save_as(&s->stream, object, NULL, 0, byte);
}

/* For hashes whose fields have TTLs, Redis 7.4 and 8 do not count the time in front of them, and
 * Valkey 9.0 not that of each field. */
static size_t not_counted(const struct beam_serializer *s)
{
	uint8_t type = s->len ? s->bytes[0] : 0;
	size_t pos = 1;
	uint64_t fields;
	int enc;

	if (type == BEAM_RDB_HASH_2)
		return beam_rdb_get_len(s->bytes, s->len, &pos, &fields, &enc) ? 0 : 8 * fields;
	return type == BEAM_RDB_HASH_METADATA || type == BEAM_RDB_HASH_LISTPACK_EX ? 8 : 0;
}

/* That the server's count of bytes matches shows that this is the function we take it for. */
static bool run(struct beam_serializer *s, const void *object)
{
	beam_stream_renew(&s->stream, &s->fresh);
	s->len = s->pieces = 0;
	s->counts = s->lacks_memory = false;
	beam_ahead_open(&s->ahead, object);
	ssize_t body = serialize(s, object);

	if (s->lacks_memory)
		return false;
	s->disproved =
	    body < 0 || ((size_t)body + 1 != s->len && (size_t)body + 1 + not_counted(s) != s->len);
	return !s->disproved;
}

static bool is_list(const void *object)
{
	return (*(const uint8_t *)object & 15) == 1; /* server.h */
}

bool beam_serializer_value(struct beam_serializer *s, RedisModuleCtx *ctx,
			   const struct beam_open_key *key, bool expired,
			   struct beam_serialized *value)
{
	if (s->disproved || !is_plain(key->object))
		return false;
	s->may_count = is_list(key->object);
	s->object = key->object;
	if (!run(s, key->object))
		return false;
	unsigned *proofs = &s->proofs[not_counted(s) != 0];

	if (expired && *proofs < PROOFS && !s->in_cluster && s->unseen++ < UNSEEN)
		return false;
	if (!expired && *proofs < PROOFS && s->len <= PROOF_BYTES) {
		s->disproved = !same_as_dump(s, ctx, key);
		++*proofs;
	}
	*value = (struct beam_serialized){s->bytes, s->len, s->counts};
	return !s->disproved;
}

bool beam_serializer_lacks_memory(const struct beam_serializer *s)
{
	return s && s->lacks_memory;
}

int beam_serializer_pieces(void *serializer,
			   int (*add)(void *to, const void *bytes, size_t len_bytes), void *to)
{
	struct beam_serializer *s = serializer;

	beam_stream_renew(&s->stream, &s->fresh);
	s->len = 0;
	s->error = 0;
	s->add = add;
	s->to = to;
	ssize_t body = serialize(s, s->object);

	s->add = NULL;
	return s->error ? s->error : body < 0 ? BEAM_E_SERVER : 0;
}

bool beam_serializer_says(struct beam_serializer *s, const void *object, const uint8_t **bytes,
			  size_t *len_bytes)
{
	static const uint8_t string = 0; /* server.h */

	s->may_count = false;
	if (s->disproved || (!is_plain(object) && (*(const uint8_t *)object & 15) != string) ||
	    !run(s, object))
		return false;
	*bytes = s->bytes;
	*len_bytes = s->len;
	return true;
}
