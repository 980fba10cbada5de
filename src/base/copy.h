/* SPDX-License-Identifier: BSD-3-Clause
 * Copies payload into the table: one pass over the source for both the bytes and their CRC. */
#ifndef BEAM_COPY_H
#define BEAM_COPY_H

#include <stddef.h>
#include <stdint.h>

/* Copies src[0..len_bytes) to dst and returns beam_crc64(crc, src, len_bytes). Large copies bypass
 * the cache (by non-temporal stores if the machine has them), so the caller must issue a store
 * fence before it publishes dst to another processor or device. Pure; any thread. */
uint64_t beam_copy_crc(void *dst, const void *src, size_t len_bytes, uint64_t crc);

/* Orders non-temporal stores before later stores. */
void beam_copy_fence(void);

#endif
