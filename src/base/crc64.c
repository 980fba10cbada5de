/* SPDX-License-Identifier: BSD-3-Clause
 * CRC64 by ISA-L, and the arithmetic to combine the CRCs of parts: in GF(2)[x] mod P, appending n
 * bytes multiplies the CRC by x^(8n). Numbers are bit-reflected: bit 63 is x^0. */
#include "crc64.h"

#include <isa-l/crc64.h>

#define JONES_REFLECTED 0x95ac9329ac4bc9b5ull
#define ONE_REFLECTED   0x8000000000000000ull /* x^0 */

uint64_t beam_crc64(uint64_t crc, const void *buf, size_t len_bytes)
{
	/* ISA-L inverts before and after; Redis does not. */
	return ~crc64_jones_refl(~crc, buf, len_bytes);
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t product = 0;

	for (; a; a <<= 1) {
		if (a & ONE_REFLECTED)
			product ^= b;
		b = b >> 1 ^ (JONES_REFLECTED & (0 - (b & 1)));
	}
	return product;
}

void beam_crc64_shift_init(struct beam_crc64_shift *shift, uint64_t len_bytes)
{
	uint64_t square = ONE_REFLECTED >> 8; /* x^8 */
	uint64_t factor = ONE_REFLECTED;

	for (; len_bytes; len_bytes >>= 1) {
		if (len_bytes & 1)
			factor = multiply(factor, square);
		square = multiply(square, square);
	}
	shift->factor = factor;
}

uint64_t beam_crc64_append(uint64_t crc_a, uint64_t crc_b, const struct beam_crc64_shift *len_b)
{
	return multiply(crc_a, len_b->factor) ^ crc_b;
}
