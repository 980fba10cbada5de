/* SPDX-License-Identifier: BSD-3-Clause
 * Length of one of the server's strings, from the header in front of its bytes (source: sds.h of
 * Redis 7.0.15 to 7.4.1 and Valkey 8.0.1). */
#ifndef BEAM_SDS_LENGTH_H
#define BEAM_SDS_LENGTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BEAM_SDS_HEAD_MAX 17

/* Size of the header that ends in `kind`, the byte in front of the string; 0 for an unknown
 * kind. */
static inline size_t beam_sds_head_bytes(unsigned char kind)
{
	static const uint8_t bytes[8] = {1, 3, 5, 9, BEAM_SDS_HEAD_MAX};

	return bytes[kind & 7];
}

/* Gets the length. False for an unknown kind of header. */
static inline bool beam_sds_length(const unsigned char *bytes, size_t *len)
{
	uint16_t len16;
	uint32_t len32;
	uint64_t len64;

	switch (bytes[-1] & 7) {
	case 0:
		*len = bytes[-1] >> 3;
		return true;
	case 1:
		*len = bytes[-3];
		return true;
	case 2:
		memcpy(&len16, bytes - 5, sizeof(len16));
		*len = len16;
		return true;
	case 3:
		memcpy(&len32, bytes - 9, sizeof(len32));
		*len = len32;
		return true;
	case 4:
		memcpy(&len64, bytes - 17, sizeof(len64));
		*len = len64;
		return true;
	default:
		return false;
	}
}

#endif
