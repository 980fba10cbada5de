/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Turns each item of the image into a RESTORE command and pipelines them.
 *
 * RESTORE takes a DUMP payload: type | value | RDB version (2 bytes) | CRC64 (8 bytes), little
 * endian (source: Redis 7.0.15 cluster.c, createDumpPayload). Type and value are copied from the
 * image as they are; the version is the one in the image's own header.
 */
#include "copy.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc64.h"
#include "fault.h"
#include "image_reader.h"
#include "rdbeam/error.h"
#include "tell.h"

#define FOOTER_BYTES     10
#define INFLIGHT_BYTES   (4u << 20)
#define INFLIGHT_REPLIES 512

struct copier {
	struct beam_copy *copy;
	redisContext *context;
	char *error;
	uint16_t rdb_version;
	uint32_t db; /* database last selected in the pipeline */
	uint8_t *payload;
	size_t payload_cap;
	unsigned replies;
	size_t inflight_bytes;
};

static int lost(struct copier *c)
{
	return beam_tell(c->error, BEAM_E_GONE,
			 "%s: connection lost while copying: %s (its log says why; "
			 "proto-max-bulk-len or client-query-buffer-limit?)",
			 beam_redis_name(c->copy->to), c->context->errstr);
}

/* The remedy for a refusal, chosen by its text; "" where the text says enough. */
static const char *remedy_for(const char *refusal)
{
	static const struct {
		const char *words, *remedy;
	} known[] = {
	    {"OOM ", " (raise its maxmemory)"},
	    {"invalid bulk length", " (raise its proto-max-bulk-len)"},
	    {"NOPERM", " (grant it: ACL SETUSER <user> +select +restore +function|restore ~*)"},
	    {"unknown command", " (rename-command in that server's configuration hides it)"},
	    {"Bad data format",
	     " (an older server cannot read a newer one's values, nor any server "
	     "those of a module that it lacks)"},
	    {"payload version", " (an older server cannot read a newer one's values)"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(refusal, known[i].words))
			return known[i].remedy;
	return "";
}

/* Reads every outstanding reply. Returns the first error. */
static int drain(struct copier *c)
{
	int rc = 0;

	for (; c->replies; c->replies--) {
		redisReply *reply = NULL;

		if (redisGetReply(c->context, (void **)&reply) != REDIS_OK)
			return lost(c);
		if (reply->type == REDIS_REPLY_ERROR && !rc)
			rc = beam_tell(c->error, BEAM_E_SERVER, "%s refused a key: %.300s%s",
				       beam_redis_name(c->copy->to), reply->str,
				       remedy_for(reply->str));
		freeReplyObject(reply);
	}
	c->inflight_bytes = 0;
	return rc;
}

static int append(struct copier *c, int argc, const char **argv, const size_t *lens)
{
	int rc = BEAM_FAULT("copy-restore");

	if (rc)
		return beam_tell(c->error, rc, "copying a key: %s", beam_strerror(rc));
	if (redisAppendCommandArgv(c->context, argc, argv, lens) != REDIS_OK)
		return lost(c);
	c->replies++;
	for (int i = 0; i < argc; i++)
		c->inflight_bytes += lens[i];
	if (c->replies < INFLIGHT_REPLIES && c->inflight_bytes < INFLIGHT_BYTES)
		return 0;
	rc = drain(c);
	return rc ? rc : c->copy->tick(c->copy->tick_arg);
}

static int reserve(struct copier *c, size_t bytes)
{
	if (c->payload && bytes <= c->payload_cap)
		return 0;
	uint8_t *grown = realloc(c->payload, bytes + bytes / 4);

	if (!grown) {
		beam_tell(c->error, -ENOMEM, "no memory for a value of %zu bytes", bytes);
		return -ENOMEM;
	}
	c->payload = grown;
	c->payload_cap = bytes + bytes / 4;
	return 0;
}

static size_t seal_payload(struct copier *c, size_t bytes)
{
	beam_put_le16(c->payload + bytes, c->rdb_version);
	beam_put_le64(c->payload + bytes + 2, beam_crc64(0, c->payload, bytes + 2));
	return bytes + FOOTER_BYTES;
}

static int select_db(struct copier *c, uint32_t db)
{
	char text[16];
	const char *argv[2] = {"SELECT", text};

	if (db == c->db)
		return 0;
	size_t lens[2] = {6, (size_t)snprintf(text, sizeof(text), "%u", db)};

	c->db = db;
	return append(c, 2, argv, lens);
}

static int restore(struct copier *c, const struct beam_item *item)
{
	const char *argv[8];
	size_t lens[8];
	char ttl[24], age[24];
	int n = 0;
	int rc = select_db(c, item->db);

	if (!rc)
		rc = reserve(c, 1 + item->value_bytes + FOOTER_BYTES);
	if (rc)
		return rc;
	c->payload[0] = item->type;
	memcpy(c->payload + 1, item->value, item->value_bytes);
	size_t payload_bytes = seal_payload(c, 1 + item->value_bytes);

#define ARG(text, len) (argv[n] = (const char *)(text), lens[n] = (len), n++)
	ARG("RESTORE", 7);
	ARG(item->key ? (const char *)item->key : item->key_text,
	    item->key ? item->key_bytes : strlen(item->key_text));
	ARG(ttl, (size_t)snprintf(ttl, sizeof(ttl), "%lld",
				  (long long)(item->expire_ms < 0 ? 0 : item->expire_ms)));
	ARG(c->payload, payload_bytes);
	if (item->expire_ms >= 0)
		ARG("ABSTTL", 6);
	if (item->idle_s >= 0 || item->freq >= 0) {
		ARG(item->idle_s >= 0 ? "IDLETIME" : "FREQ", item->idle_s >= 0 ? 8u : 4u);
		ARG(age,
		    (size_t)snprintf(age, sizeof(age), "%lld",
				     (long long)(item->idle_s >= 0 ? item->idle_s : item->freq)));
	}
	if (c->copy->replace && n < 8)
		ARG("REPLACE", 7);
#undef ARG
	c->copy->keys++;
	return append(c, n, argv, lens);
}

static int copy_chunk(struct copier *c, const struct beam_chunk *chunk)
{
	struct beam_chunk_cursor cursor = {0};
	struct beam_item item;
	int rc;

	while ((rc = beam_chunk_next(chunk, &cursor, &item)) == 1) {
		rc = restore(c, &item);
		if (rc)
			return rc;
	}
	if (rc)
		return beam_tell(c->error, rc, "the image is damaged in segment %u: %s",
				 chunk->footer.first_index, beam_strerror(rc));
	return 0;
}

/* Advances *pos past one string of an AUX or function record. */
static int skip_string(const uint8_t *buf, size_t len, size_t *pos)
{
	return beam_rdb_skip_value(buf, len, pos, BEAM_RDB_STRING);
}

/* Skips module data: no command restores it, a server takes it only as part of a whole RDB file. */
static int skip_module_aux(const uint8_t *buf, size_t len, size_t at, size_t *pos)
{
	uint64_t type_id;
	int rc = beam_rdb_skip_module_aux(buf, len, &at, &type_id);

	*pos = at;
	return rc;
}

static int restore_functions(struct copier *c, size_t bytes)
{
	static const char *const policy[] = {"APPEND", "REPLACE"};
	const char *how = policy[c->copy->replace];
	const char *argv[4] = {"FUNCTION", "RESTORE", (const char *)c->payload, how};
	size_t lens[4] = {8, 7, seal_payload(c, bytes), strlen(how)};

	return append(c, 4, argv, lens);
}

/* Collects the function records from the header chunk, which also holds AUX, SELECTDB and
 * RESIZEDB. */
static int copy_functions(struct copier *c, const struct beam_chunk *chunk)
{
	const uint8_t *body = chunk->base;
	size_t len = chunk->footer.body_bytes, pos = BEAM_RDB_MAGIC_BYTES, used = 0;
	int rc = reserve(c, len + FOOTER_BYTES);

	while (!rc && pos < len) {
		size_t at = pos;
		uint8_t opcode = body[pos++];
		int nlens = opcode == BEAM_RDB_OP_SELECTDB   ? 1
			    : opcode == BEAM_RDB_OP_RESIZEDB ? 2
							     : 0;
		uint64_t value;
		int enc;

		if (opcode == BEAM_RDB_OP_AUX || opcode == BEAM_RDB_OP_FUNCTION2)
			rc = skip_string(body, len, &pos);
		else if (opcode == BEAM_RDB_OP_MODULE_AUX)
			rc = skip_module_aux(body, len, at, &pos);
		else if (!nlens)
			rc = BEAM_E_FORMAT;
		if (!rc && opcode == BEAM_RDB_OP_AUX)
			rc = skip_string(body, len, &pos);
		while (!rc && nlens-- > 0)
			rc = beam_rdb_get_len(body, len, &pos, &value, &enc);
		if (!rc && opcode == BEAM_RDB_OP_FUNCTION2) {
			memcpy(c->payload + used, body + at, pos - at);
			used += pos - at;
		}
	}
	if (rc)
		return beam_tell(c->error, rc, "the image's header is damaged: %s",
				 beam_strerror(rc));
	return used ? restore_functions(c, used) : 0;
}

static int read_version(struct copier *c)
{
	int version = beam_rdb_get_magic(c->copy->bytes, c->copy->image_bytes);

	if (version < 0)
		return beam_tell(c->error, BEAM_E_FORMAT, "the image does not begin as an RDB");
	c->rdb_version = (uint16_t)version;
	return 0;
}

int beam_copy_run(struct beam_copy *copy, char *error)
{
	struct copier c = {.copy = copy, .context = beam_redis_context(copy->to), .error = error};
	int rc = read_version(&c);

	for (uint32_t index = 0; !rc && index + 1 < copy->nsegments;) {
		struct beam_chunk chunk;

		rc = beam_chunk_find(&copy->gen, copy->bytes, copy->nsegments - 1,
				     copy->segment_bytes, index, &chunk);
		if (rc)
			beam_tell(error, rc, "the image is damaged in segment %u: %s", index,
				  beam_strerror(rc));
		else
			rc = index ? copy_chunk(&c, &chunk) : copy_functions(&c, &chunk);
		if (rc)
			break;
		index += chunk.footer.nsegments;
		copy->done_bytes = (uint64_t)index * copy->segment_bytes;
	}
	if (!rc)
		rc = drain(&c);
	free(c.payload);
	return rc;
}
