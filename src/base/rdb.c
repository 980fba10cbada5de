/* SPDX-License-Identifier: BSD-3-Clause
 * Encodes and decodes RDB lengths and integers, little-endian fields and varints. */
#include "rdb.h"

#include <string.h>

#include <endian.h>

#include "rdbeam/error.h"

void beam_rdb_put_magic(uint8_t out[BEAM_RDB_MAGIC_BYTES], unsigned version)
{
	/* Bytes, not a C string. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(out, version < BEAM_RDB_VALKEY_FIRST ? "REDIS0000" : "VALKEY000",
	       BEAM_RDB_MAGIC_BYTES);
	for (size_t i = BEAM_RDB_MAGIC_BYTES; version && i-- > BEAM_RDB_MAGIC_BYTES - 3;
	     version /= 10)
		out[i] = (uint8_t)('0' + version % 10);
}

int beam_rdb_get_magic(const uint8_t *bytes, size_t len_bytes)
{
	size_t i = 0;
	int version = 0;

	if (len_bytes >= BEAM_RDB_MAGIC_BYTES && memcmp(bytes, "REDIS", 5) == 0)
		i = 5;
	else if (len_bytes >= BEAM_RDB_MAGIC_BYTES && memcmp(bytes, "VALKEY", 6) == 0)
		i = 6;
	else
		return BEAM_E_FORMAT;
	for (; i < BEAM_RDB_MAGIC_BYTES; i++) {
		if (bytes[i] < '0' || bytes[i] > '9')
			return BEAM_E_FORMAT;
		version = version * 10 + bytes[i] - '0';
	}
	return version;
}

size_t beam_rdb_put_len(uint8_t *out, uint64_t len)
{
	if (len < 1u << 6) {
		out[0] = (uint8_t)len;
		return 1;
	}
	if (len < 1u << 14) {
		out[0] = (uint8_t)(0x40 | len >> 8);
		out[1] = (uint8_t)len;
		return 2;
	}
	if (len <= UINT32_MAX) {
		uint32_t be = htobe32((uint32_t)len);

		out[0] = 0x80;
		memcpy(out + 1, &be, 4);
		return 5;
	}
	uint64_t be = htobe64(len);

	out[0] = 0x81;
	memcpy(out + 1, &be, 8);
	return 9;
}

size_t beam_rdb_put_int(uint8_t *out, int64_t value)
{
	if (value >= INT8_MIN && value <= INT8_MAX) {
		out[0] = 0xc0 | BEAM_RDB_ENC_INT8;
		out[1] = (uint8_t)value;
		return 2;
	}
	if (value >= INT16_MIN && value <= INT16_MAX) {
		out[0] = 0xc0 | BEAM_RDB_ENC_INT16;
		beam_put_le16(out + 1, (uint16_t)value);
		return 3;
	}
	if (value >= INT32_MIN && value <= INT32_MAX) {
		out[0] = 0xc0 | BEAM_RDB_ENC_INT32;
		beam_put_le32(out + 1, (uint32_t)value);
		return 5;
	}
	return 0;
}

int beam_rdb_get_len(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *len, int *enc)
{
	size_t p = *pos;

	if (p >= len_bytes)
		return BEAM_E_TORN;
	uint8_t first = buf[p++];
	size_t left = len_bytes - p;

	*enc = -1;
	switch (first >> 6) {
	case 0:
		*len = first & 0x3f;
		break;
	case 1:
		if (left < 1)
			return BEAM_E_TORN;
		*len = (uint64_t)(first & 0x3f) << 8 | buf[p];
		p += 1;
		break;
	case 2:
		if (first == 0x80) {
			uint32_t be;

			if (left < 4)
				return BEAM_E_TORN;
			memcpy(&be, buf + p, 4);
			*len = be32toh(be);
			p += 4;
		} else if (first == 0x81) {
			uint64_t be;

			if (left < 8)
				return BEAM_E_TORN;
			memcpy(&be, buf + p, 8);
			*len = be64toh(be);
			p += 8;
		} else {
			return BEAM_E_FORMAT;
		}
		break;
	default:
		*len = 0;
		*enc = first & 0x3f;
		break;
	}
	*pos = p;
	return 0;
}

void beam_put_le16(uint8_t *out, uint16_t v)
{
	v = htole16(v);
	memcpy(out, &v, sizeof(v));
}

void beam_put_le32(uint8_t *out, uint32_t v)
{
	v = htole32(v);
	memcpy(out, &v, sizeof(v));
}

void beam_put_le64(uint8_t *out, uint64_t v)
{
	v = htole64(v);
	memcpy(out, &v, sizeof(v));
}

uint16_t beam_get_le16(const uint8_t *in)
{
	uint16_t v;

	memcpy(&v, in, sizeof(v));
	return le16toh(v);
}

uint32_t beam_get_le32(const uint8_t *in)
{
	uint32_t v;

	memcpy(&v, in, sizeof(v));
	return le32toh(v);
}

uint64_t beam_get_le64(const uint8_t *in)
{
	uint64_t v;

	memcpy(&v, in, sizeof(v));
	return le64toh(v);
}

size_t beam_put_varint(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	while (v >= 0x80) {
		out[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	out[n++] = (uint8_t)v;
	return n;
}

int beam_get_varint(const uint8_t *buf, size_t len_bytes, size_t *pos, uint64_t *v)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (*pos >= len_bytes)
			return BEAM_E_TORN;
		uint8_t byte = buf[(*pos)++];

		if (shift == 63 && byte > 1)
			return BEAM_E_FORMAT;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*v = value;
			return 0;
		}
	}
	return BEAM_E_FORMAT;
}
