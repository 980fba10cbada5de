/* SPDX-License-Identifier: BSD-3-Clause
 *
 * CRC-64/Jones as in RDB files (reflected, init 0, no final xor; check value of "123456789" is
 * e9c6d914c4b8d9ca), computed by ISA-L. Pure functions, any thread, fork-safe.
 */
#ifndef BEAM_CRC64_H
#define BEAM_CRC64_H

#include <stddef.h>
#include <stdint.h>

/* Continues a CRC: `crc` is that of the bytes so far (0 at the start); returns that of these bytes
 * and buf[0..len_bytes). */
uint64_t beam_crc64(uint64_t crc, const void *buf, size_t len_bytes);

/* A shift by a fixed number of bytes, prepared once for many calls of beam_crc64_append. */
struct beam_crc64_shift {
	uint64_t factor; /* x^(8 len) mod P, reflected */
};

/* Prepares the shift by `len_bytes` bytes; O(log len). */
void beam_crc64_shift_init(struct beam_crc64_shift *shift, uint64_t len_bytes);

/* CRC of the concatenation A|B, from crc(A), crc(B) and the shift by B's length. */
uint64_t beam_crc64_append(uint64_t crc_a, uint64_t crc_b, const struct beam_crc64_shift *len_b);

#endif
