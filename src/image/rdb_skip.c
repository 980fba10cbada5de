/* SPDX-License-Identifier: BSD-3-Clause
 * Walks RDB values and records by their shape (source: rdbLoadObject and rdbLoadRioWithLoadingCtx
 * in rdb.c of Redis 7.0.15, 7.4.1, 8.6.3 and 8.8, and Valkey 8.0.1). Shapes are data: a value is a
 * head and then a count of items, each of which is a row of fields:
 *	s string	l length	8 eight bytes	6 sixteen bytes	d double as text
 * Every item takes at least one byte, so a hostile count cannot loop past the end of the bytes. */
#include "rdb_walk.h"

#include <string.h>

#include "rdbeam/error.h"

struct walk {
	const uint8_t *buf;
	size_t len_bytes;
	size_t pos;
};

/* How an array says what an element is. */
enum array_kind {
	ARRAY_STRING,
	ARRAY_INT,
	ARRAY_DOUBLE,
	ARRAY_SHORT_STRING,
};

enum module_opcode {
	MODULE_EOF,
	MODULE_SINT,
	MODULE_UINT,
	MODULE_FLOAT,
	MODULE_DOUBLE,
	MODULE_STRING,
};

struct shape {
	const char *head;
	const char *items; /* NULL: the value is only the head */
};

/* Streams and modules have functions of their own. */
static const struct shape shapes[] = {
    [BEAM_RDB_STRING] = {"s", NULL},
    [BEAM_RDB_LIST] = {"", "s"},
    [BEAM_RDB_SET] = {"", "s"},
    [BEAM_RDB_ZSET] = {"", "sd"},
    [BEAM_RDB_HASH] = {"", "ss"},
    [BEAM_RDB_ZSET_2] = {"", "s8"},
    [BEAM_RDB_HASH_ZIPMAP] = {"s", NULL},
    [BEAM_RDB_LIST_ZIPLIST] = {"s", NULL},
    [BEAM_RDB_SET_INTSET] = {"s", NULL},
    [BEAM_RDB_ZSET_ZIPLIST] = {"s", NULL},
    [BEAM_RDB_HASH_ZIPLIST] = {"s", NULL},
    [BEAM_RDB_LIST_QUICKLIST] = {"", "s"},
    [BEAM_RDB_HASH_LISTPACK] = {"s", NULL},
    [BEAM_RDB_ZSET_LISTPACK] = {"s", NULL},
    [BEAM_RDB_LIST_QUICKLIST_2] = {"", "ls"},
    [BEAM_RDB_SET_LISTPACK] = {"s", NULL},
    [BEAM_RDB_HASH_2] = {"", "ss8"},
    [BEAM_RDB_HASH_LISTPACK_EX_PRE_GA] = {"s", NULL},
    [BEAM_RDB_HASH_METADATA] = {"8", "lss"},
    [BEAM_RDB_HASH_LISTPACK_EX] = {"8s", NULL},
};

static int skip_bytes(struct walk *w, size_t n)
{
	if (n > w->len_bytes - w->pos)
		return BEAM_E_TORN;
	w->pos += n;
	return 0;
}

static int skip_string(struct walk *w)
{
	struct beam_rdb_string string;

	return beam_rdb_get_string(w->buf, w->len_bytes, &w->pos, &string);
}

static int get_number(struct walk *w, uint64_t *number)
{
	return beam_rdb_get_number(w->buf, w->len_bytes, &w->pos, number);
}

/* A double as text: one byte of length; 253 and above mean nan, +inf, -inf. */
static int skip_text_double(struct walk *w)
{
	if (w->pos >= w->len_bytes)
		return BEAM_E_TORN;
	uint8_t len = w->buf[w->pos++];

	return len >= 253 ? 0 : skip_bytes(w, len);
}

static int skip_fields(struct walk *w, const char *fields)
{
	uint64_t number;
	int err = 0;

	for (; *fields && !err; fields++) {
		if (*fields == 's')
			err = skip_string(w);
		else if (*fields == 'l')
			err = get_number(w, &number);
		else if (*fields == 'd')
			err = skip_text_double(w);
		else
			err = skip_bytes(w, *fields == '8' ? 8 : 16);
	}
	return err;
}

/* A count, then that many items. */
static int skip_items(struct walk *w, const char *fields)
{
	uint64_t count;
	int err = get_number(w, &count);

	for (; !err && count; count--)
		err = skip_fields(w, fields);
	return err;
}

/* Name, last ID, [entries read]; pending entries; consumers with the IDs of their pending
 * entries; [IDs of the entries that were given back]. */
static int skip_stream_group(struct walk *w, uint8_t type)
{
	uint64_t nconsumers;
	int err = skip_fields(w, type == BEAM_RDB_STREAM_LISTPACKS ? "sll" : "slll");

	if (!err)
		err = skip_items(w, "68l");
	if (!err)
		err = get_number(w, &nconsumers);
	for (; !err && nconsumers; nconsumers--) {
		err = skip_fields(w, type >= BEAM_RDB_STREAM_LISTPACKS_3 ? "s88" : "s8");
		if (!err)
			err = skip_items(w, "6");
	}
	return err || type < BEAM_RDB_STREAM_LISTPACKS_5 ? err : skip_items(w, "6");
}

/* Duration and maximum; producers, each with the IDs of its messages and of their entries; then two
 * totals: messages with an ID, and duplicates. */
static int skip_stream_producers(struct walk *w)
{
	uint64_t nproducers;
	int err = skip_fields(w, "ll");

	if (!err)
		err = get_number(w, &nproducers);
	for (; !err && nproducers; nproducers--) {
		err = skip_string(w);
		if (!err)
			err = skip_items(w, "sll");
	}
	return err ? err : skip_fields(w, "ll");
}

static int skip_stream(struct walk *w, uint8_t type)
{
	uint64_t ngroups;
	int err = skip_items(w, "ss");

	/* Length and last ID; from version 2 also first ID, greatest deleted ID, entries added. */
	if (!err)
		err = skip_fields(w, type == BEAM_RDB_STREAM_LISTPACKS ? "lll" : "llllllll");
	if (!err)
		err = get_number(w, &ngroups);
	for (; !err && ngroups; ngroups--)
		err = skip_stream_group(w, type);
	return err || type < BEAM_RDB_STREAM_LISTPACKS_4 ? err : skip_stream_producers(w);
}

/* Number of elements, position of the last insertion if there is one, and the elements: position,
 * kind, and a string or 8 bytes. */
static int skip_array(struct walk *w)
{
	uint64_t count, has_position, kind;
	int err = get_number(w, &count);

	if (!err)
		err = get_number(w, &has_position);
	if (!err && has_position)
		err = has_position == 1 ? skip_fields(w, "l") : BEAM_E_FORMAT;
	for (; !err && count; count--) {
		err = skip_fields(w, "l");
		if (!err)
			err = get_number(w, &kind);
		if (err)
			return err;
		if (kind > ARRAY_SHORT_STRING)
			return BEAM_E_FORMAT;
		err = skip_fields(w, kind == ARRAY_INT || kind == ARRAY_DOUBLE ? "8" : "s");
	}
	return err;
}

/* What a module has written: opcodes with their values, up to the EOF opcode. */
static int skip_module_fields(struct walk *w)
{
	uint64_t opcode;
	int err;

	for (;;) {
		err = get_number(w, &opcode);
		if (err || opcode == MODULE_EOF)
			return err;
		if (opcode == MODULE_SINT || opcode == MODULE_UINT)
			err = skip_fields(w, "l");
		else if (opcode == MODULE_FLOAT)
			err = skip_bytes(w, 4);
		else if (opcode == MODULE_DOUBLE)
			err = skip_bytes(w, 8);
		else if (opcode == MODULE_STRING)
			err = skip_string(w);
		else
			err = BEAM_E_FORMAT;
		if (err)
			return err;
	}
}

static int skip_value(struct walk *w, uint8_t type)
{
	uint64_t module_id;
	int err;

	switch (type) {
	case BEAM_RDB_STREAM_LISTPACKS:
	case BEAM_RDB_STREAM_LISTPACKS_2:
	case BEAM_RDB_STREAM_LISTPACKS_3:
	case BEAM_RDB_STREAM_LISTPACKS_4:
	case BEAM_RDB_STREAM_LISTPACKS_5:
		return skip_stream(w, type);
	case BEAM_RDB_ARRAY:
		return skip_array(w);
	case BEAM_RDB_MODULE_2:
		err = get_number(w, &module_id);
		return err ? err : skip_module_fields(w);
	default:
		if (type >= sizeof(shapes) / sizeof(shapes[0]) || !shapes[type].head)
			return BEAM_E_UNSUPPORTED;
		err = skip_fields(w, shapes[type].head);
		return err || !shapes[type].items ? err : skip_items(w, shapes[type].items);
	}
}

int beam_rdb_skip_value(const uint8_t *buf, size_t len_bytes, size_t *pos, uint8_t type)
{
	struct walk w = {.buf = buf, .len_bytes = len_bytes, .pos = *pos};
	int err = skip_value(&w, type);

	if (!err)
		*pos = w.pos;
	return err;
}

static int read_selectdb(struct walk *w, struct beam_rdb_record *record)
{
	uint64_t db;
	int err = get_number(w, &db);

	if (err)
		return err;
	if (db > INT32_MAX)
		return BEAM_E_FORMAT;
	record->db = (uint32_t)db;
	return 0;
}

/* Module ID, "when" as an unsigned integer, and the module's fields. */
static int skip_module_aux(struct walk *w, uint64_t *type_id)
{
	uint64_t opcode, when;
	int err = get_number(w, type_id);

	if (!err)
		err = get_number(w, &opcode);
	if (!err && opcode != MODULE_UINT)
		err = BEAM_E_FORMAT;
	if (!err)
		err = get_number(w, &when);
	return err ? err : skip_module_fields(w);
}

int beam_rdb_skip_module_aux(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *type_id)
{
	struct walk w = {.buf = buf, .len_bytes = len_bytes, .pos = *pos + 1};

	if (*pos >= len_bytes || buf[*pos] != BEAM_RDB_OP_MODULE_AUX)
		return BEAM_E_FORMAT;
	int err = skip_module_aux(&w, type_id);

	if (!err)
		*pos = w.pos;
	return err;
}

static int skip_slot_import(struct walk *w)
{
	int err = skip_string(w);

	return err ? err : skip_items(w, "ll");
}

/* For each class its name and version in four bytes, then what its module has written. */
static int skip_key_metadata(struct walk *w)
{
	uint64_t nclasses;
	int err = get_number(w, &nclasses);

	for (; !err && nclasses; nclasses--) {
		err = skip_bytes(w, 4);
		if (!err)
			err = skip_module_fields(w);
	}
	return err;
}

/* Redis and Valkey use the same opcode; the beginning of the file tells which of them wrote it. */
static int skip_slot_import_or_metadata(struct walk *w)
{
	return beam_rdb_get_magic(w->buf, w->len_bytes) >= BEAM_RDB_VALKEY_FIRST
		   ? skip_slot_import(w)
		   : skip_key_metadata(w);
}

static int read_key(struct walk *w, struct beam_rdb_record *record)
{
	int err = beam_rdb_get_string(w->buf, w->len_bytes, &w->pos, &record->key);

	record->kind = BEAM_RDB_IS_KEY;
	record->value_at = w->pos;
	return err ? err : skip_value(w, record->code);
}

static int read_aux(struct walk *w, struct beam_rdb_record *record)
{
	int err = beam_rdb_get_string(w->buf, w->len_bytes, &w->pos, &record->key);

	record->kind = BEAM_RDB_IS_AUX;
	return err ? err : beam_rdb_get_string(w->buf, w->len_bytes, &w->pos, &record->value);
}

static int read_expire(struct walk *w, struct beam_rdb_record *record, size_t n)
{
	size_t at = w->pos;
	int err = skip_bytes(w, n);

	record->has_expire = true;
	if (!err && n == 8)
		record->expire_ms = (int64_t)beam_get_le64(w->buf + at);
	else if (!err)
		record->expire_ms = (int64_t)(int32_t)beam_get_le32(w->buf + at) * 1000;
	return err;
}

static int read_idle(struct walk *w, struct beam_rdb_record *record)
{
	uint64_t number;
	int err = get_number(w, &number);

	if (!err)
		record->idle_s = number > INT64_MAX ? INT64_MAX : (int64_t)number;
	return err;
}

static int read_freq(struct walk *w, struct beam_rdb_record *record)
{
	int err = skip_bytes(w, 1);

	if (!err)
		record->freq = w->buf[w->pos - 1];
	return err;
}

static int read_record(struct walk *w, struct beam_rdb_record *record)
{
	uint64_t type_id;

	switch (record->code) {
	case BEAM_RDB_OP_KEY_METADATA:
		return skip_slot_import_or_metadata(w);
	case BEAM_RDB_OP_SLOT_INFO:
		return skip_fields(w, "lll");
	case BEAM_RDB_OP_FUNCTION2:
		record->kind = BEAM_RDB_IS_FUNCTION;
		return skip_string(w);
	case BEAM_RDB_OP_FUNCTION_PRE_GA:
		return BEAM_E_UNSUPPORTED;
	case BEAM_RDB_OP_MODULE_AUX:
		return skip_module_aux(w, &type_id);
	case BEAM_RDB_OP_IDLE:
		return read_idle(w, record);
	case BEAM_RDB_OP_FREQ:
		return read_freq(w, record);
	case BEAM_RDB_OP_AUX:
		return read_aux(w, record);
	case BEAM_RDB_OP_RESIZEDB:
		return skip_fields(w, "ll");
	case BEAM_RDB_OP_EXPIRETIME_MS:
		return read_expire(w, record, 8);
	case BEAM_RDB_OP_EXPIRETIME:
		return read_expire(w, record, 4);
	case BEAM_RDB_OP_SELECTDB:
		return read_selectdb(w, record);
	case BEAM_RDB_OP_EOF:
		record->kind = BEAM_RDB_IS_END;
		return 0;
	default:
		return read_key(w, record);
	}
}

int beam_rdb_next_record(const uint8_t *buf, size_t len_bytes, size_t *pos,
			 struct beam_rdb_record *record)
{
	struct walk w = {.buf = buf, .len_bytes = len_bytes, .pos = *pos};

	if (record->kind == BEAM_RDB_IS_KEY || !record->begun) {
		record->has_expire = false; /* these were the last key's */
		record->expire_ms = record->idle_s = record->freq = -1;
		record->begun = true;
	}
	record->kind = BEAM_RDB_IS_OTHER;
	if (w.pos >= len_bytes)
		return BEAM_E_TORN;
	record->code = buf[w.pos++];
	int err = read_record(&w, record);

	if (!err)
		*pos = w.pos;
	return err;
}

int beam_rdb_record_item(const uint8_t *buf, size_t end, const struct beam_rdb_record *record,
			 struct beam_rdb_buffer *buffer, struct beam_item *item)
{
	*item = (struct beam_item){
	    .db = record->db,
	    .expire_ms = record->expire_ms,
	    .idle_s = record->idle_s,
	    .freq = record->freq,
	    .type = record->code,
	    .value = buf + record->value_at,
	    .value_bytes = end - record->value_at,
	};
	if (!buffer && record->key.enc == BEAM_RDB_ENC_LZF)
		return 0;
	return beam_rdb_item_key(&record->key, buffer, item);
}
