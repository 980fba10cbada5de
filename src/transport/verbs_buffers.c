/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Keeps the registered ranges in an array sorted by address. Ranges may overlap: a range that is
 * found is valid for all of its bytes, whatever else is registered.
 */
#include "verbs_buffers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "log.h"
#include "pages.h"

#define RANGES_MAX      16384
#define PINNED_MAX      (1ull << 30)
#define AREA_PART_BYTES (16ull << 20)

struct range {
	const uint8_t *base;
	uint64_t bytes;
	struct ibv_mr *mr;
};

struct verbs_buffers {
	struct ibv_pd *pd;
	struct range *ranges; /* by base, then by bytes */
	uint32_t nranges, cap;
	uint64_t pinned_bytes;
	uint8_t *area; /* where most reads go */
	uint64_t area_bytes;
	uint32_t nbounces, bounce_bytes;
	uint8_t *bounces;
	uint64_t bounces_bytes;
	struct ibv_mr *bounces_mr;
};

int verbs_buffers_open(struct ibv_pd *pd, uint32_t nbounces, uint32_t bounce_bytes,
		       struct verbs_buffers **out)
{
	struct verbs_buffers *buffers = calloc(1, sizeof(*buffers));

	if (!buffers)
		return -ENOMEM;
	buffers->pd = pd;
	buffers->nbounces = nbounces;
	buffers->bounce_bytes = bounce_bytes;
	*out = buffers;
	return 0;
}

void verbs_buffers_close(struct verbs_buffers **at)
{
	struct verbs_buffers *buffers = *at;

	if (!buffers)
		return;
	for (uint32_t i = 0; i < buffers->nranges; i++)
		ibv_dereg_mr(buffers->ranges[i].mr);
	if (buffers->bounces_mr)
		ibv_dereg_mr(buffers->bounces_mr);
	beam_pages_unmap(buffers->bounces, buffers->bounces_bytes);
	free(buffers->ranges);
	free(buffers);
	*at = NULL;
}

/* Finds the position after the last range that does not start above buf (and, at the same base, is
 * not longer). */
static uint32_t place_of(const struct verbs_buffers *buffers, const uint8_t *buf, uint64_t bytes)
{
	uint32_t low = 0, high = buffers->nranges;

	while (low < high) {
		uint32_t mid = (low + high) / 2;
		const struct range *range = &buffers->ranges[mid];

		if (range->base < buf || (range->base == buf && range->bytes <= bytes))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct ibv_mr *known(const struct verbs_buffers *buffers, const uint8_t *buf, uint32_t bytes)
{
	uint32_t at = place_of(buffers, buf, UINT64_MAX);
	const struct range *range = &buffers->ranges[at ? at - 1 : 0];

	if (!at || (uint64_t)(buf - range->base) + bytes > range->bytes)
		return NULL;
	return range->mr;
}

static struct ibv_mr *add(struct verbs_buffers *buffers, uint8_t *buf, uint64_t bytes)
{
	if (buffers->pinned_bytes + bytes > PINNED_MAX || buffers->nranges == RANGES_MAX)
		return NULL;
	if (buffers->nranges == buffers->cap) {
		uint32_t cap = buffers->cap ? 2 * buffers->cap : 64;
		struct range *grown = realloc(buffers->ranges, cap * sizeof(*grown));

		if (!grown)
			return NULL;
		buffers->ranges = grown;
		buffers->cap = cap;
	}
	struct ibv_mr *mr = ibv_reg_mr(buffers->pd, buf, bytes, IBV_ACCESS_LOCAL_WRITE);
	uint32_t at = place_of(buffers, buf, bytes);

	if (!mr)
		return NULL;
	memmove(buffers->ranges + at + 1, buffers->ranges + at,
		(buffers->nranges - at) * sizeof(*buffers->ranges));
	buffers->ranges[at] = (struct range){.base = buf, .bytes = bytes, .mr = mr};
	buffers->nranges++;
	buffers->pinned_bytes += bytes;
	return mr;
}

void verbs_buffers_area(struct verbs_buffers *buffers, uint8_t *base, uint64_t bytes)
{
	buffers->area = base;
	buffers->area_bytes = bytes;
}

/* Registers a large part of the area around buf, so that registrations are few; memory outside of
 * the area is registered by itself. Not the whole area: it can be much larger than the image. */
static struct ibv_mr *add_around(struct verbs_buffers *buffers, uint8_t *buf, uint32_t bytes)
{
	uintptr_t offset = (uintptr_t)buf - (uintptr_t)buffers->area;
	struct ibv_mr *mr = NULL;

	if (buffers->area && buf >= buffers->area && offset + bytes <= buffers->area_bytes) {
		uint64_t from = offset / AREA_PART_BYTES * AREA_PART_BYTES;
		uint64_t to = from + AREA_PART_BYTES;

		to = to < offset + bytes ? offset + bytes : to;
		to = to < buffers->area_bytes ? to : buffers->area_bytes;
		mr = add(buffers, buffers->area + from, to - from);
	}
	return mr ? mr : add(buffers, buf, bytes);
}

static int open_bounces(struct verbs_buffers *buffers)
{
	uint64_t bytes = (uint64_t)buffers->nbounces * buffers->bounce_bytes;

	if (buffers->bounces_mr)
		return 0;
	void *memory = beam_pages_map(bytes);

	if (!memory)
		return -ENOMEM;
	buffers->bounces_mr = ibv_reg_mr(buffers->pd, memory, bytes, IBV_ACCESS_LOCAL_WRITE);
	if (!buffers->bounces_mr) {
		int err = -errno;

		beam_pages_unmap(memory, bytes);
		return err;
	}
	buffers->bounces = memory;
	buffers->bounces_bytes = bytes;
	beam_log(BEAM_LOG_INFO, "verbs: %u buffers of %u bytes take what cannot be registered",
		 buffers->nbounces, buffers->bounce_bytes);
	return 0;
}

int verbs_buffers_find(struct verbs_buffers *buffers, uint8_t *buf, uint32_t len_bytes,
		       uint32_t number, struct ibv_sge *out)
{
	struct ibv_mr *mr = known(buffers, buf, len_bytes);
	int err = BEAM_FAULT("verbs_pull_register");

	if (err)
		return err;
	if (!mr)
		mr = add_around(buffers, buf, len_bytes);
	if (mr) {
		*out =
		    (struct ibv_sge){.addr = (uintptr_t)buf, .length = len_bytes, .lkey = mr->lkey};
		return 0;
	}
	if (len_bytes > buffers->bounce_bytes || number >= buffers->nbounces)
		return -EMSGSIZE;
	err = open_bounces(buffers);
	if (err)
		return err;
	*out = (struct ibv_sge){.addr = (uintptr_t)buffers->bounces +
					(uint64_t)number * buffers->bounce_bytes,
				.length = len_bytes,
				.lkey = buffers->bounces_mr->lkey};
	return 0;
}
