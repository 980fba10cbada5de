/* SPDX-License-Identifier: BSD-3-Clause
 * Reads strings and lengths of an RDB file. A key can be stored in three forms: as it is, as a
 * number, or compressed by LZF. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdb_walk.h"
#include "rdbeam/error.h"

int beam_rdb_get_number(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *number)
{
	size_t at = *pos;
	int enc;
	int err = beam_rdb_get_len(buf, len_bytes, &at, number, &enc);

	if (err)
		return err;
	if (enc >= 0)
		return BEAM_E_FORMAT;
	*pos = at;
	return 0;
}

static int get_encoded(const uint8_t *buf, size_t len_bytes, size_t *pos,
		       struct beam_rdb_string *out)
{
	const uint8_t *at = buf + *pos;
	uint64_t compressed = 0;
	size_t left = len_bytes - *pos;
	int err;

	switch (out->enc) {
	case BEAM_RDB_ENC_INT8:
	case BEAM_RDB_ENC_INT16:
	case BEAM_RDB_ENC_INT32:
		out->stored_bytes = (size_t)1 << out->enc;
		if (left < out->stored_bytes)
			return BEAM_E_TORN;
		if (out->enc == BEAM_RDB_ENC_INT8)
			out->number = (int8_t)at[0];
		else if (out->enc == BEAM_RDB_ENC_INT16)
			out->number = (int16_t)beam_get_le16(at);
		else
			out->number = (int32_t)beam_get_le32(at);
		break;
	case BEAM_RDB_ENC_LZF:
		err = beam_rdb_get_number(buf, len_bytes, pos, &compressed);
		if (!err)
			err = beam_rdb_get_number(buf, len_bytes, pos, &out->len_bytes);
		if (err)
			return err;
		if (compressed > len_bytes - *pos)
			return BEAM_E_TORN;
		out->stored_bytes = (size_t)compressed;
		break;
	default:
		return BEAM_E_FORMAT;
	}
	out->bytes = buf + *pos;
	*pos += out->stored_bytes;
	return 0;
}

int beam_rdb_get_string(const uint8_t *buf, size_t len_bytes, size_t *pos,
			struct beam_rdb_string *out)
{
	size_t at = *pos;
	int err = beam_rdb_get_len(buf, len_bytes, &at, &out->len_bytes, &out->enc);

	if (err)
		return err;
	if (out->enc >= 0) {
		err = get_encoded(buf, len_bytes, &at, out);
		if (err)
			return err;
	} else {
		if (out->len_bytes > len_bytes - at)
			return BEAM_E_TORN;
		out->bytes = buf + at;
		out->stored_bytes = (size_t)out->len_bytes;
		at += out->stored_bytes;
	}
	*pos = at;
	return 0;
}

/* LZF: a control byte below 32 starts a run of literals; others refer to earlier output, at
 * least 3 bytes long and at most 8 KiB back. False if the data is damaged or does not fill `out`
 * exactly. */
static bool lzf_expand(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
	size_t i = 0, o = 0;

	while (i < in_bytes) {
		size_t control = in[i++];
		size_t n = control < 32 ? control + 1 : control >> 5;

		if (control < 32) {
			if (n > in_bytes - i || n > out_bytes - o)
				return false;
			memcpy(out + o, in + i, n);
			i += n;
			o += n;
			continue;
		}
		if (n == 7) {
			if (i >= in_bytes)
				return false;
			n += in[i++];
		}
		n += 2;
		if (i >= in_bytes)
			return false;
		size_t back = ((control & 31) << 8 | in[i++]) + 1;

		if (back > o || n > out_bytes - o)
			return false;
		/* Byte by byte, since the source may overlap the bytes being written. */
		for (; n; n--, o++)
			out[o] = out[o - back];
	}
	return o == out_bytes;
}

void beam_rdb_string_text(const struct beam_rdb_string *string, char *out, size_t cap)
{
	out[0] = 0;
	if (string->enc >= 0 && string->enc != BEAM_RDB_ENC_LZF) {
		snprintf(out, cap, "%" PRId32, string->number);
		return;
	}
	if (string->len_bytes >= cap)
		return;
	size_t len = (size_t)string->len_bytes;

	if (string->enc < 0)
		memcpy(out, string->bytes, len);
	else if (!lzf_expand(string->bytes, string->stored_bytes, (uint8_t *)out, len))
		len = 0;
	out[len] = 0;
}

/* Three bytes of LZF expand to 264 at most, so a longer claim is false; no memory is allocated for
 * it. */
#define LZF_EXPANDS 128

int beam_rdb_item_key(const struct beam_rdb_string *key, struct beam_rdb_buffer *buffer,
		      struct beam_item *item)
{
	item->key = NULL;
	if (key->enc < 0) {
		item->key = key->bytes;
		item->key_bytes = key->stored_bytes;
		return 0;
	}
	if (key->enc != BEAM_RDB_ENC_LZF) {
		item->key_bytes = (size_t)snprintf(item->key_text, sizeof(item->key_text),
						   "%" PRId32, key->number);
		return 0;
	}
	if (!buffer || key->len_bytes / LZF_EXPANDS > key->stored_bytes)
		return BEAM_E_FORMAT;
	size_t len = (size_t)key->len_bytes;

	if (len > buffer->cap) {
		uint8_t *grown = realloc(buffer->bytes, len);

		if (!grown)
			return -ENOMEM;
		buffer->bytes = grown;
		buffer->cap = len;
	}
	if (len && !lzf_expand(key->bytes, key->stored_bytes, buffer->bytes, len))
		return BEAM_E_FORMAT;
	item->key = len ? buffer->bytes : key->bytes;
	item->key_bytes = len;
	return 0;
}
