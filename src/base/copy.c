/* SPDX-License-Identifier: BSD-3-Clause
 * Copy and CRC in blocks that stay in the first-level cache. The copy comes first: it asks for the
 * next page while it reads this one, which hardware does not do across pages, and so hides most of
 * what the memory and the page tables take; the CRC then reads from the cache. Streaming stores keep
 * the destination from pushing the source out. */
#include "copy.h"

#include <string.h>

#include "crc64.h"

#define BLOCK_BYTES  ((size_t)8 << 10)
#define AHEAD_BYTES  4096
#define STREAM_BYTES ((size_t)64 << 10) /* below, the destination is better left in the cache */

#ifdef __SSE2__
#include <emmintrin.h>

static void stream_block(void *dst, const void *src, size_t len_bytes)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	for (; len_bytes >= 64; len_bytes -= 64, d += 64, s += 64) {
		/* Behind the source's end too: a fetch that finds no memory is dropped. */
		_mm_prefetch((const char *)(uintptr_t)((uintptr_t)s + AHEAD_BYTES), _MM_HINT_T0);
		__m128i a = _mm_loadu_si128((const __m128i *)(const void *)s);
		__m128i b = _mm_loadu_si128((const __m128i *)(const void *)(s + 16));
		__m128i c = _mm_loadu_si128((const __m128i *)(const void *)(s + 32));
		__m128i e = _mm_loadu_si128((const __m128i *)(const void *)(s + 48));

		_mm_stream_si128((__m128i *)(void *)d, a);
		_mm_stream_si128((__m128i *)(void *)(d + 16), b);
		_mm_stream_si128((__m128i *)(void *)(d + 32), c);
		_mm_stream_si128((__m128i *)(void *)(d + 48), e);
	}
	memcpy(d, s, len_bytes);
}

void beam_copy_fence(void)
{
	_mm_sfence();
}
#else
static void stream_block(void *dst, const void *src, size_t len_bytes)
{
	memcpy(dst, src, len_bytes);
}

void beam_copy_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#endif

uint64_t beam_copy_crc(void *dst, const void *src, size_t len_bytes, uint64_t crc)
{
	uint8_t *d = dst;
	const uint8_t *s = src;
	size_t head = (64 - ((uintptr_t)d & 63)) & 63;

	if (len_bytes < STREAM_BYTES) {
		crc = beam_crc64(crc, s, len_bytes);
		memcpy(d, s, len_bytes);
		return crc;
	}
	crc = beam_crc64(crc, s, head);
	memcpy(d, s, head);
	d += head;
	s += head;
	len_bytes -= head;
	while (len_bytes) {
		size_t n = len_bytes < BLOCK_BYTES ? len_bytes : BLOCK_BYTES;

		stream_block(d, s, n);
		crc = beam_crc64(crc, s, n);
		d += n;
		s += n;
		len_bytes -= n;
	}
	return crc;
}
