/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Verifies segments that have been read: a segment with the right checksum goes to the sink, one
 * with a wrong checksum is read again.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "clock.h"
#include "crc64.h"
#include "fault.h"
#include "fetch_state.h"
#include "image_reader.h"
#include "rdb.h"
#include "rdbeam/error.h"
#include "tell.h"

int beam_fetch_give_check(struct beam_fetch *fetch, uint32_t index)
{
	struct segment *segment = &fetch->segments[index];

	/* not in the middle, where there may be filler */
	if (BEAM_FAULT("pull-segment") == BEAM_FAULT_FLIP)
		segment->buf[segment->len_bytes - 1] ^= 1;
	segment->state = CHECKING;
	int rc = beam_checker_give(fetch->checker, &(struct beam_check){
						       .index = index,
						       .len_bytes = segment->len_bytes,
						       .zeros = segment->filler,
						       .zeros_end = segment->filler_end,
						       .buf = segment->buf,
						       .digested = fetch->trust->vouched,
						   });

	if (rc)
		segment->state = READING;
	else
		fetch->nchecking++;
	return rc;
}

static int read_again(struct beam_fetch *fetch, uint32_t index)
{
	struct segment *segment = &fetch->segments[index];

	fetch->to_blame = true;
	fetch->sink.back(fetch->sink.ctx, index, segment->buf);
	segment->buf = NULL;
	segment->state = SEALED;
	int rc = beam_index_heap_push(&fetch->sealed, index);

	/* The segment stays queued to be read even when the run fails: another server may have it
	 * right. */
	if (segment->rereads++ == BEAM_FETCH_REREADS)
		return beam_tell(fetch->error, BEAM_E_CRC,
				 "segment %u: wrong checksum in %d readings; nothing of it "
				 "was used (memory or network damage: see the primary's "
				 "kernel log)",
				 index, BEAM_FETCH_REREADS + 1);
	fetch->counts.rereads++;
	return rc;
}

static void remember_last(struct beam_fetch *fetch, const struct beam_check *checked)
{
	struct beam_manifest manifest;
	uint32_t tail = checked->len_bytes < 8 ? checked->len_bytes : 8;
	uint8_t last[8] = {0};

	memcpy(last, checked->buf + checked->len_bytes - tail, tail);
	if (beam_manifest_open(checked->buf, checked->len_bytes, &manifest) == 0)
		fetch->counts.keys = manifest.footer.nitems;
	fetch->last_index = checked->index;
	fetch->last_prefix_crc = checked->prefix_crc;
	fetch->last_tail = beam_get_le64(last);
}

/* Compares with the digest that the primary signed: a CRC does not protect against deliberate
 * forgery. */
static bool right_digest(const struct beam_fetch *fetch, const struct beam_check *checked)
{
	return !checked->digested || memcmp(checked->digest, fetch->vouched[checked->index].digest,
					    BEAM_DIGEST_BYTES) == 0;
}

static bool is_right_sum(const struct beam_fetch *fetch, const struct beam_check *checked)
{
	return checked->crc == fetch->segments[checked->index].crc && right_digest(fetch, checked);
}

/* Hands a correct segment to the sink. Returns 0 or the sink's code. */
static int keep(struct beam_fetch *fetch, const struct beam_check *checked)
{
	uint32_t index = checked->index;
	struct segment *segment = &fetch->segments[index];
	const struct beam_segment_proof proof = {
	    .crc = segment->crc, .vouched = fetch->trust->vouched ? &fetch->vouched[index] : NULL};

	if (index >= fetch->last_index)
		remember_last(fetch, checked);
	int rc = fetch->sink.take(fetch->sink.ctx, index, segment->buf, segment->len_bytes, &proof);

	if (rc)
		return rc;
	segment->state = DONE;
	segment->buf = NULL;
	fetch->ndone++;
	fetch->counts.bytes += segment->len_bytes;
	fetch->counts.last_crc_ms = beam_now_ms();
	return 0;
}

int beam_fetch_tell_sink(struct beam_fetch *fetch, int code, const char *what, uint32_t index)
{
	const char *place = fetch->sink.place;
	bool full = place && (code == -ENOSPC || code == -EDQUOT);

	return beam_tell(fetch->error, code, "%s segment %u of the image%s%s: %s%s%s", what, index,
			 place ? " in " : "", place ? place : "", beam_strerror(code),
			 full ? ": " : "", full ? fetch->sink.when_full : "");
}

static int on_checked(struct beam_fetch *fetch, const struct beam_check *checked)
{
	if (!is_right_sum(fetch, checked))
		return read_again(fetch, checked->index);
	int rc = keep(fetch, checked);

	if (rc)
		return beam_fetch_tell_sink(fetch, rc, "cannot keep", checked->index);
	fetch->reader->ops->taken(fetch->reader, checked->index);
	return 0;
}

int beam_fetch_take_checked(struct beam_fetch *fetch)
{
	struct beam_check checked;
	int rc = 0;

	while (!rc && beam_checker_take(fetch->checker, &checked)) {
		fetch->nchecking--;
		/* So that detach gives the buffer back if this fails. */
		fetch->segments[checked.index].state = READING;
		rc = on_checked(fetch, &checked);
	}
	return rc;
}

/* The buffers being checked came from a reader that is gone. Settle them before the next reader
 * starts, which must not be blamed for them: correct segments are kept, the others are read again.
 */
void beam_fetch_settle_checks(struct beam_fetch *fetch)
{
	struct pollfd pfd = {.fd = beam_checker_fd(fetch->checker), .events = POLLIN};
	struct beam_check checked;

	while (fetch->nchecking) {
		if (!beam_checker_take(fetch->checker, &checked)) {
			poll(&pfd, 1, -1);
			continue;
		}
		fetch->nchecking--;
		/* If it stays so, detach gives the buffer back. */
		fetch->segments[checked.index].state = READING;
		/* A sink that fails here fails again in the next run. */
		if (is_right_sum(fetch, &checked))
			(void)keep(fetch, &checked);
	}
}

/* Combines the CRCs of all segments and compares the result with the file's checksum, which the
 * last segment also carries. */
int beam_fetch_check_file(struct beam_fetch *fetch)
{
	struct beam_crc64_shift shift;
	uint32_t last = fetch->totals.nsegments - 1;
	uint64_t crc = BEAM_FAULT("pull-verify") == BEAM_FAULT_FLIP;

	beam_crc64_shift_init(&shift, fetch->segment_bytes);
	for (uint32_t i = 0; i < last; i++) {
		if (fetch->segments[i].len_bytes != fetch->segment_bytes)
			return beam_fetch_bad(fetch, "a short segment in the middle:", i);
		crc = beam_crc64_append(crc, fetch->segments[i].crc, &shift);
	}
	uint32_t len = fetch->segments[last].len_bytes;

	if (len < BEAM_LAST_TAIL_BYTES || fetch->counts.bytes != fetch->totals.image_bytes)
		return beam_fetch_bad(fetch, "a wrong image size", fetch->totals.image_bytes);
	beam_crc64_shift_init(&shift, len - 8);
	crc = beam_crc64_append(crc, fetch->last_prefix_crc, &shift);
	if (crc != fetch->last_tail || crc != fetch->totals.file_crc)
		return beam_tell(fetch->error, BEAM_E_CRC,
				 "the image's checksum is wrong though each segment's is right: "
				 "make a new snapshot (--fresh)");
	return 0;
}
