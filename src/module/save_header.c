/* SPDX-License-Identifier: BSD-3-Clause
 * Composes the AUX fields and the database sizes of an image's header. */
#include "save_header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fault.h"
#include "image_writer.h"
#include "rdbeam/version.h"

#define AUX_MAX        24
#define AUX_TEXT_BYTES 96
#define ROOM_FROM_KEYS (1 << 16) /* smaller tables fit into the processor's caches */

struct aux_list {
	struct beam_image_aux aux[AUX_MAX];
	char text[AUX_MAX][AUX_TEXT_BYTES];
	size_t n;
};

static void aux_add(struct aux_list *list, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void aux_add(struct aux_list *list, const char *key, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(list->text[list->n], AUX_TEXT_BYTES, fmt, args);
	va_end(args);
	list->aux[list->n].key = key;
	list->aux[list->n].value = list->text[list->n];
	list->n++;
}

static void fill_aux(const struct beam_facts *facts, const struct beam_ctl_begin *begin,
		     const struct beam_segment_source *source, struct aux_list *list)
{
	aux_add(list, facts->is_valkey ? "valkey-ver" : "redis-ver", "%s", facts->version);
	aux_add(list, "redis-bits", "%d", (int)sizeof(void *) * 8);
	aux_add(list, "ctime", "%" PRIu64, begin->cut.wall_ms / 1000);
	aux_add(list, "used-mem", "%" PRIu64, facts->used_memory);
	if (facts->tells_stream_db)
		aux_add(list, "repl-stream-db", "%" PRId64, facts->stream_db);
	if (facts->replid[0]) {
		aux_add(list, "repl-id", "%s", facts->replid);
		aux_add(list, "repl-offset", "%" PRId64, facts->offset);
	}
	aux_add(list, "aof-base", "0");
	/* Empty: no slot task is under way (checked before: otherwise there would be no image). */
	if (facts->tells_slot_task)
		aux_add(list, "cluster-asm-task", "%s", "");
	aux_add(list, "rdbeam-version", "%s", RDBEAM_VERSION);
	aux_add(list, "rdbeam-format", "%d", BEAM_IMAGE_VERSION);
	aux_add(list, "rdbeam-segment-size", "%u", source->segment_bytes);
	aux_add(list, "rdbeam-generation", "%016" PRIx64 "-%" PRIu64, source->gen.nonce,
		source->gen.counter);
	aux_add(list, "rdbeam-workers", "%u", begin->nworkers);
}

/* The table size that the image asks the loading server for, before the first key. The server
 * rounds up to a power of two, which n keys could fill to the last bucket: then each insert follows
 * a chain through memory that is in no cache. With half as many again the table is between one
 * third and two thirds full; a table that grows by itself is at least half full (ADR 64). */
static uint64_t table_size(const struct beam_facts *facts, uint64_t keys)
{
	return keys >= ROOM_FROM_KEYS && facts->chained_tables ? keys + keys / 2 : keys;
}

int beam_save_header(const struct beam_facts *facts, const struct beam_save_aux *aux,
		     const struct beam_ctl_begin *begin, const struct beam_segment_source *source)
{
	struct beam_image_db_size *dbs = calloc(facts->ndbs + 1, sizeof(*dbs));
	struct aux_list *list = calloc(1, sizeof(*list));
	int err = -ENOMEM;

	if (dbs && list && !BEAM_FAULT("header")) {
		fill_aux(facts, begin, source, list);
		for (uint32_t i = 0; i < facts->ndbs; i++)
			dbs[i] = (struct beam_image_db_size){
			    .db = facts->dbs[i].db,
			    .keys = table_size(facts, facts->dbs[i].keys),
			    .expires = table_size(facts, facts->dbs[i].expires)};
		struct beam_image_header header = {
		    .rdb_version = facts->rdb_version,
		    .aux = list->aux,
		    .naux = list->n,
		    .module_aux = aux->before,
		    .module_aux_bytes = aux->before_bytes,
		    .functions = facts->functions,
		    .functions_bytes = facts->functions_bytes,
		    .dbs = dbs,
		    .ndbs = facts->ndbs,
		};

		err = beam_image_write_header(source, &header);
	}
	free(list);
	free(dbs);
	return err;
}
