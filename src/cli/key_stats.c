/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sums up keys, keeps the largest ones, and prints both as text or JSON.
 */
#include "key_stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

static void add(struct beam_key_sum *sum, const struct beam_item *item, uint64_t bytes)
{
	sum->keys++;
	sum->expires += item->expire_ms != -1;
	sum->bytes += bytes;
}

/* Keys of one database mostly come in sequence, so look at the last one first. */
static struct beam_key_sum *sum_of_db(struct beam_key_stats *stats, uint32_t db)
{
	size_t i = stats->last_db;

	if (i < stats->ndbs && stats->db_numbers[i] == db)
		return &stats->dbs[i];
	for (i = 0; i < stats->ndbs; i++) {
		if (stats->db_numbers[i] == db)
			break;
	}
	if (i == BEAM_KEY_STATS_DBS)
		return &stats->other_dbs;
	if (i == stats->ndbs)
		stats->db_numbers[stats->ndbs++] = db;
	stats->last_db = i;
	return &stats->dbs[i];
}

/* A key may contain any bytes; escape those that could control a terminal or break JSON. */
static void key_text(const struct beam_item *item, char *out)
{
	const char *key = item->key ? (const char *)item->key : item->key_text;
	size_t len = 0;

	for (size_t i = 0; i < item->key_bytes; i++) {
		unsigned char c = (unsigned char)key[i];

		if (len + 8 > BEAM_KEY_TEXT_BYTES) {
			memcpy(out + len, "...", 4);
			return;
		}
		if (c >= ' ' && c < 0x7f && c != '\\')
			out[len++] = (char)c;
		else
			len += (size_t)snprintf(out + len, 5, "\\x%02x", c);
	}
	out[len] = '\0';
}

static void note_large(struct beam_key_stats *stats, const struct beam_item *item, uint64_t bytes)
{
	size_t at = stats->nlargest;

	if (at == BEAM_KEY_STATS_LARGEST && bytes <= stats->largest[at - 1].bytes)
		return;
	if (at < BEAM_KEY_STATS_LARGEST)
		stats->nlargest++;
	else
		at--;
	for (; at && stats->largest[at - 1].bytes < bytes; at--)
		stats->largest[at] = stats->largest[at - 1];
	stats->largest[at] = (struct beam_large_key){
	    .bytes = bytes, .db = item->db, .type = item->type, .expire_ms = item->expire_ms};
	key_text(item, stats->largest[at].text);
}

void beam_key_stats_add(struct beam_key_stats *stats, const struct beam_item *item)
{
	uint64_t bytes = (uint64_t)item->key_bytes + item->value_bytes;

	add(&stats->types[beam_verify_type(item->type)], item, bytes);
	add(sum_of_db(stats, item->db), item, bytes);
	note_large(stats, item, bytes);
}

/* ---- text --------------------------------------------------------------------------------- */

static void print_sum(const char *name, const struct beam_key_sum *sum)
{
	char keys[BEAM_TEXT_CAP], expires[BEAM_TEXT_CAP], bytes[BEAM_TEXT_CAP];

	if (sum->keys)
		printf("  %-10s %14s %14s %12s\n", name, beam_text_count(keys, sum->keys),
		       beam_text_count(expires, sum->expires), beam_text_bytes(bytes, sum->bytes));
}

static void print_head(const char *what)
{
	printf("%-12s %14s %14s %12s\n", what, "keys", "with a TTL", "bytes");
}

void beam_key_stats_print(const struct beam_key_stats *stats)
{
	char text[BEAM_TEXT_CAP];

	print_head("by type");
	for (size_t i = 0; i < BEAM_VERIFY_TYPES; i++)
		print_sum(beam_verify_type_names[i], &stats->types[i]);
	print_head("by database");
	for (size_t i = 0; i < stats->ndbs; i++) {
		snprintf(text, sizeof(text), "%" PRIu32, stats->db_numbers[i]);
		print_sum(text, &stats->dbs[i]);
	}
	print_sum("others", &stats->other_dbs);
	puts("largest keys");
	for (size_t i = 0; i < stats->nlargest; i++) {
		const struct beam_large_key *key = &stats->largest[i];

		printf("  %12s  %-7s db %" PRIu32 "  %s\n", beam_text_bytes(text, key->bytes),
		       beam_verify_type_names[beam_verify_type(key->type)], key->db, key->text);
	}
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void json_sum(cJSON *object, const struct beam_key_sum *sum)
{
	beam_json_u64(object, "keys", sum->keys);
	beam_json_u64(object, "expires", sum->expires);
	beam_json_u64(object, "bytes", sum->bytes);
}

static void json_types(const struct beam_key_stats *stats, cJSON *object)
{
	cJSON *types = cJSON_CreateObject();

	beam_json_add(object, "types", types);
	for (size_t i = 0; i < BEAM_VERIFY_FUNCTIONS; i++) {
		cJSON *type = cJSON_CreateObject();

		json_sum(type, &stats->types[i]);
		beam_json_add(types, beam_verify_type_names[i], type);
	}
}

static void json_dbs(const struct beam_key_stats *stats, cJSON *object)
{
	cJSON *dbs = cJSON_CreateArray();

	beam_json_add(object, "databases", dbs);
	for (size_t i = 0; i < stats->ndbs; i++) {
		cJSON *db = cJSON_CreateObject();

		beam_json_u64(db, "db", stats->db_numbers[i]);
		json_sum(db, &stats->dbs[i]);
		cJSON_AddItemToArray(dbs, db);
	}
}

void beam_key_stats_json(const struct beam_key_stats *stats, cJSON *object)
{
	cJSON *largest = cJSON_CreateArray();

	json_types(stats, object);
	json_dbs(stats, object);
	beam_json_add(object, "largest", largest);
	for (size_t i = 0; i < stats->nlargest; i++) {
		const struct beam_large_key *large = &stats->largest[i];
		cJSON *key = cJSON_CreateObject();

		beam_json_text(key, "key", large->text);
		beam_json_u64(key, "db", large->db);
		beam_json_text(key, "type", beam_verify_type_names[beam_verify_type(large->type)]);
		beam_json_u64(key, "bytes", large->bytes);
		beam_json_i64(key, "expire_ms", large->expire_ms);
		cJSON_AddItemToArray(largest, key);
	}
}
