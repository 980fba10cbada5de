/* SPDX-License-Identifier: BSD-3-Clause
 * The server's stream object (rio.h) with a write of ours in it. Its layout is proved by what the server
 * puts into one: its own functions in front, the string that it was given behind, zeros between. */
#include "serializer.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "ahead.h"
#include "rdb.h"

#define FIRST_BYTES       ((size_t)64 << 10)
#define PROOFS            4
#define PROOF_BYTES       ((size_t)1 << 20) /* longer ones are not compared: that takes a DUMP */
#define DUMP_FOOTER_BYTES 10

struct stream {
	size_t (*read)(struct stream *, void *, size_t);
	size_t (*write)(struct stream *, const void *, size_t);
	off_t (*tell)(struct stream *);
	int (*flush)(struct stream *);
	void (*update_cksum)(struct stream *, const void *, size_t);
	uint64_t cksum, flags;
	size_t processed_bytes, max_chunk;
	char *buffer;
	uint8_t room[4096]; /* more than any version needs */
	struct beam_serializer *owner;
};

struct beam_serializer {
	struct stream fresh, stream;
	union { /* by `typed` */
		ssize_t (*save)(struct stream *, const void *object, void *key, int db);
		ssize_t (*save_as)(struct stream *, const void *object, void *key, int db,
				   unsigned char type);
	};
	union {
		int (*save_type)(struct stream *, const void *object);
		int (*type_of)(const void *object, int rdb_version);
	};
	bool typed; /* Valkey 9: who saves says as what */
	int rdb_version;
	struct beam_ahead ahead;
	uint8_t *bytes;
	size_t len, cap;
	unsigned proofs[2]; /* of values that are counted whole, and of others */
	bool disproved;
};

static size_t take(struct stream *stream, const void *from, size_t len_bytes)
{
	struct beam_serializer *s = stream->owner;

	beam_ahead_wrote(&s->ahead, from, len_bytes);
	if (s->len + len_bytes > s->cap) {
		size_t cap = s->cap ? s->cap : FIRST_BYTES;

		while (cap < s->len + len_bytes)
			cap *= 2;
		uint8_t *grown = realloc(s->bytes, cap);

		if (!grown)
			return 0;
		s->bytes = grown;
		s->cap = cap;
	}
	memcpy(s->bytes + s->len, from, len_bytes);
	s->len += len_bytes;
	return 1;
}

static off_t told(struct stream *stream)
{
	return (off_t)stream->owner->len;
}

static int flushed(struct stream *stream)
{
	(void)stream;
	return 1;
}

/* The types that a value is saved as depend on the RDB version since Valkey 9, so there are other functions
 * for it: which of them there is tells the arguments of the other. */
static bool find_savers(struct beam_serializer *s)
{
	*(void **)&s->save = dlsym(RTLD_DEFAULT, "rdbSaveObject");
	*(void **)&s->save_type = dlsym(RTLD_DEFAULT, "rdbSaveObjectType");
	s->typed = !s->save_type;
	if (s->typed)
		*(void **)&s->type_of = dlsym(RTLD_DEFAULT, "rdbGetObjectType");
	return s->save && s->save_type;
}

static bool find_functions(struct beam_serializer *s)
{
	void (*init_with_buffer)(struct stream *, char *);
	char *(*empty)(void);
	void (*release)(char *);

	*(void **)&init_with_buffer = dlsym(RTLD_DEFAULT, "rioInitWithBuffer");
	*(void **)&empty = dlsym(RTLD_DEFAULT, "sdsempty");
	*(void **)&release = dlsym(RTLD_DEFAULT, "sdsfree");
	if (!find_savers(s) || !init_with_buffer || !empty || !release)
		return false;
	char *string = empty();

	memset(&s->fresh, 0xff, sizeof(s->fresh));
	init_with_buffer(&s->fresh, string);
	bool known = s->fresh.read && s->fresh.write && s->fresh.tell && s->fresh.flush &&
		     !s->fresh.update_cksum && !s->fresh.cksum && !s->fresh.flags &&
		     !s->fresh.processed_bytes && !s->fresh.max_chunk && s->fresh.buffer == string;

	release(string);
	s->fresh.buffer = NULL;
	s->fresh.write = take;
	s->fresh.tell = told;
	s->fresh.flush = flushed;
	s->fresh.owner = s;
	s->stream = s->fresh;
	return known;
}

struct beam_serializer *beam_serializer_open(unsigned rdb_version)
{
	struct beam_serializer *s = calloc(1, sizeof(*s));

	if (s && !find_functions(s))
		beam_serializer_close(&s);
	if (s)
		s->rdb_version = (int)rdb_version;
	return s;
}

void beam_serializer_close(struct beam_serializer **serializer)
{
	if (!*serializer)
		return;
	beam_ahead_close(&(*serializer)->ahead);
	free((*serializer)->bytes);
	free(*serializer);
	*serializer = NULL;
}

uint64_t beam_serializer_ahead(const struct beam_serializer *serializer)
{
	return serializer ? beam_ahead_elements(&serializer->ahead) : 0;
}

/* The object's own type must be what the server says of the key, and one that needs no key's name. */
static bool is_plain(const void *object)
{
	static const uint8_t list = 1, hash = 4, stream = 6; /* server.h */
	uint8_t type = *(const uint8_t *)object & 15;

	return (type >= list && type <= hash) || type == stream;
}

static bool same_as_dump(const struct beam_serializer *s, RedisModuleCtx *ctx,
			 const struct beam_open_key *key)
{
	RedisModuleString *name = RedisModule_CreateString(NULL, key->name, key->name_bytes);
	RedisModuleCallReply *reply = RedisModule_Call(ctx, "DUMP", "s", name);
	bool same = false;
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

/* Type and value. Returns the bytes that the server says the value took; negative: it would not. */
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

/* Redis 7.4 and 8 leave the time in front of a hash whose fields have ends out of their count. */
static size_t not_counted(const struct beam_serializer *s)
{
	uint8_t type = s->len ? s->bytes[0] : 0;

	return type == BEAM_RDB_HASH_METADATA || type == BEAM_RDB_HASH_LISTPACK_EX ? 8 : 0;
}

bool beam_serializer_value(struct beam_serializer *s, RedisModuleCtx *ctx,
			   const struct beam_open_key *key, bool expired, const uint8_t **bytes,
			   size_t *len_bytes)
{
	if (s->disproved || !is_plain(key->object))
		return false;
	memcpy(&s->stream, &s->fresh, offsetof(struct stream, room));
	s->len = 0;
	beam_ahead_open(&s->ahead, key->object);
	ssize_t body = serialize(s, key->object);
	size_t more = not_counted(s);
	unsigned *proofs = &s->proofs[more != 0];

	/* Its own count of bytes tells that it is the function that is meant. */
	if (body < 0 || ((size_t)body + 1 != s->len && (size_t)body + 1 + more != s->len)) {
		s->disproved = true;
		return false;
	}
	if (expired && *proofs < PROOFS)
		return false;
	if (*proofs < PROOFS && s->len <= PROOF_BYTES) {
		s->disproved = !same_as_dump(s, ctx, key);
		++*proofs;
	}
	*bytes = s->bytes;
	*len_bytes = s->len;
	return !s->disproved;
}
