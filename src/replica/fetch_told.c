/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Handles what the server announces about the image: the segment size, each sealed segment, and the
 * totals, with the primary's signatures where they are required. The server is not trusted:
 * everything is checked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "fetch_state.h"
#include "rdbeam/error.h"
#include "tell.h"
#include "vouch.h"

#define PIECE_BYTES (1u << 20)

int beam_fetch_bad(struct beam_fetch *fetch, const char *what, uint64_t value)
{
	fetch->to_blame = true;
	return beam_tell(fetch->error, BEAM_E_PROTO, "the server of the image sent %s %llu", what,
			 (unsigned long long)value);
}

static void tell_memory(struct beam_fetch *fetch)
{
	uint64_t len_bytes = 0;
	void *base = fetch->sink.memory(fetch->sink.ctx, &len_bytes);

	if (len_bytes)
		fetch->reader->ops->memory(fetch->reader, base, len_bytes);
}

int beam_fetch_on_welcome(struct beam_fetch *fetch, const struct beam_wire_welcome *welcome)
{
	uint32_t bytes = welcome->segment_bytes;

	if (bytes < BEAM_SEGMENT_ALIGN || bytes > BEAM_SEGMENT_MAX || bytes % BEAM_SEGMENT_ALIGN)
		return beam_fetch_bad(fetch, "a wrong segment size", bytes);
	if (!welcome->read_max || welcome->read_max > BEAM_WIRE_READ_MAX)
		return beam_fetch_bad(fetch, "a wrong read size", welcome->read_max);
	fetch->counts.queue_position = 0;
	fetch->piece_bytes = welcome->read_max < PIECE_BYTES ? welcome->read_max : PIECE_BYTES;
	if (fetch->begun && fetch->segment_bytes != bytes)
		return beam_fetch_bad(fetch, "another segment size than before:", bytes);
	fetch->segment_bytes = bytes;
	if (fetch->begun)
		tell_memory(fetch);
	return 0;
}

/* Called for the first segment and not for the welcome, because the segment's signature covers the
 * segment size, too. */
static int begin_sink(struct beam_fetch *fetch)
{
	uint32_t bytes = fetch->segment_bytes;

	if (fetch->begun)
		return 0;
	int rc = fetch->sink.begin(fetch->sink.ctx, bytes);

	if (rc)
		return beam_tell(fetch->error, rc, "no buffer for segments of %u bytes: %s", bytes,
				 beam_strerror(rc));
	fetch->begun = true;
	fetch->counts.segment_bytes = bytes;
	tell_memory(fetch);
	return 0;
}

static int know(struct beam_fetch *fetch, uint32_t index)
{
	if (index >= fetch->cap) {
		uint32_t cap = fetch->cap ? fetch->cap : 256;

		while (cap <= index)
			cap *= 2;
		struct segment *grown = BEAM_FAULT("fetch-know")
					    ? NULL
					    : realloc(fetch->segments, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		memset(grown + fetch->cap, 0, (cap - fetch->cap) * sizeof(*grown));
		fetch->segments = grown;
		fetch->cap = cap;
	}
	if (index >= fetch->nknown)
		fetch->nknown = index + 1;
	return 0;
}

static struct beam_vouch_for vouch_for(const struct beam_fetch *fetch)
{
	return (struct beam_vouch_for){fetch->trust->gen, fetch->segment_bytes};
}

static bool is_right(const struct beam_fetch *fetch, const struct beam_wire_sealed *sealed)
{
	const struct beam_vouch_for what = vouch_for(fetch);

	return fetch->pending.index == sealed->index &&
	       !beam_vouch_check_segment(fetch->trust->public_key, &what, sealed, &fetch->pending);
}

static int keep_vouched(struct beam_fetch *fetch, uint32_t index)
{
	if (index >= fetch->vouched_cap) {
		uint32_t cap = fetch->cap;
		struct beam_wire_vouched *grown = realloc(fetch->vouched, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		for (uint32_t i = fetch->vouched_cap; i < cap; i++)
			grown[i].index = BEAM_VOUCH_IMAGE; /* no segment has this index */
		fetch->vouched = grown;
		fetch->vouched_cap = cap;
	}
	fetch->vouched[index] = fetch->pending;
	return 0;
}

bool beam_fetch_is_vouched(const struct beam_fetch *fetch, uint32_t index)
{
	return index < fetch->vouched_cap && fetch->vouched[index].index == index;
}

int beam_fetch_on_sealed(struct beam_fetch *fetch, const struct beam_wire_sealed *sealed)
{
	if (!fetch->segment_bytes)
		return beam_fetch_bad(fetch, "a segment before its welcome:", sealed->index);
	if (sealed->index >= BEAM_SEGMENTS_MAX)
		return beam_fetch_bad(fetch, "a segment number out of range:", sealed->index);
	if (!sealed->len_bytes || sealed->len_bytes > fetch->segment_bytes)
		return beam_fetch_bad(fetch, "a wrong segment length", sealed->len_bytes);
	/* Check before any state changes: what a lying server announced must not stand in the next
	 * server's way. */
	if (fetch->trust->vouched && !is_right(fetch, sealed))
		return beam_fetch_bad(fetch, "no signature of the primary's for segment",
				      sealed->index);
	int rc = begin_sink(fetch);

	if (rc)
		return rc;
	if (know(fetch, sealed->index) ||
	    (fetch->trust->vouched && keep_vouched(fetch, sealed->index)))
		return beam_tell(fetch->error, -ENOMEM, "out of memory");
	struct segment *segment = &fetch->segments[sealed->index];

	if (segment->state != UNKNOWN) {
		/* Announced again after a reconnection. A generation never changes a segment that
		 * it has sealed. */
		if (segment->crc == sealed->crc && segment->len_bytes == sealed->len_bytes)
			return 0;
		return beam_fetch_bad(fetch, "another checksum for segment", sealed->index);
	}
	segment->crc = sealed->crc;
	segment->len_bytes = sealed->len_bytes;
	segment->state = SEALED;
	return beam_index_heap_push(&fetch->sealed, sealed->index);
}

int beam_fetch_on_complete(struct beam_fetch *fetch, const struct beam_wire_complete *complete)
{
	uint64_t full = (uint64_t)(complete->nsegments - 1) * fetch->segment_bytes;

	if (!complete->nsegments || complete->nsegments > BEAM_SEGMENTS_MAX ||
	    !fetch->segment_bytes)
		return beam_fetch_bad(fetch, "a wrong number of segments:", complete->nsegments);
	if (fetch->nknown > complete->nsegments)
		return beam_fetch_bad(fetch, "more segments than it has:", fetch->nknown);
	if (complete->image_bytes <= full || complete->image_bytes > full + fetch->segment_bytes)
		return beam_fetch_bad(fetch, "a wrong image size", complete->image_bytes);
	const struct beam_vouch_for what = vouch_for(fetch);

	if (fetch->trust->vouched &&
	    (fetch->pending.index != BEAM_VOUCH_IMAGE ||
	     beam_vouch_check_image(fetch->trust->public_key, &what, complete, &fetch->pending)))
		return beam_fetch_bad(
		    fetch,
		    "no signature of the primary's for an image of segments:", complete->nsegments);
	fetch->totals_vouched = fetch->pending;
	fetch->complete = true;
	fetch->totals = *complete;
	fetch->counts.nsegments = complete->nsegments;
	fetch->counts.image_bytes = complete->image_bytes;
	return 0;
}
