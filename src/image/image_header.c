/* SPDX-License-Identifier: BSD-3-Clause
 * Composes the header chunk of an image: what an RDB file begins with. */
#include "image_header.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "rdb.h"

struct text {
	uint8_t *bytes;
	size_t len, cap;
	bool failed;
};

static void text_add(struct text *text, const void *bytes, size_t len)
{
	if (text->len + len > text->cap) {
		size_t cap = (text->len + len) * 2;
		uint8_t *grown = realloc(text->bytes, cap);

		if (!grown) {
			text->failed = true;
			return;
		}
		text->bytes = grown;
		text->cap = cap;
	}
	if (len)
		memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
}

static void text_add_len(struct text *text, uint64_t len)
{
	uint8_t encoded[BEAM_RDB_LEN_MAX_BYTES];

	text_add(text, encoded, beam_rdb_put_len(encoded, len));
}

static void text_add_op(struct text *text, uint8_t op)
{
	text_add(text, &op, 1);
}

static void text_add_string(struct text *text, const char *string)
{
	text_add_len(text, strlen(string));
	text_add(text, string, strlen(string));
}

static void build_header(struct text *text, const struct beam_image_header *header)
{
	uint8_t magic[BEAM_RDB_MAGIC_BYTES];

	beam_rdb_put_magic(magic, header->rdb_version);
	text_add(text, magic, sizeof(magic));
	for (size_t i = 0; i < header->naux; i++) {
		text_add_op(text, BEAM_RDB_OP_AUX);
		text_add_string(text, header->aux[i].key);
		text_add_string(text, header->aux[i].value);
	}
	text_add(text, header->module_aux, header->module_aux_bytes);
	text_add(text, header->functions, header->functions_bytes);
	for (size_t i = 0; i < header->ndbs; i++) {
		text_add_op(text, BEAM_RDB_OP_SELECTDB);
		text_add_len(text, header->dbs[i].db);
		text_add_op(text, BEAM_RDB_OP_RESIZEDB);
		text_add_len(text, header->dbs[i].keys);
		text_add_len(text, header->dbs[i].expires);
	}
}

int beam_image_header_build(const struct beam_image_header *header, uint8_t **bytes, size_t *len)
{
	struct text text = {0};

	build_header(&text, header);
	if (text.failed) {
		free(text.bytes);
		return -ENOMEM;
	}
	*bytes = text.bytes;
	*len = text.len;
	return 0;
}
