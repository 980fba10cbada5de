/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A lane belongs to one process and may block, because that is a forked child with nothing else to
 * do. The daemon's messages stay in the socket until a slot is needed. Every EXTENT is sent before
 * a slot of it is granted, so once a slot is seen in the table it is enough to drain the socket to
 * know its extent. This holds even if an extent's number now means other memory than before.
 */
#include "lane.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "copy.h"
#include "extent.h"
#include "fault.h"
#include "lane_inbox.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

/* Sends a message, and waits while the socket is full. If the daemon has closed the connection, its
 * last message may still be in the socket and is the better reason to report. */
static int tell(struct beam_lane *lane, enum beam_ctl_type type, void *message, uint32_t len_bytes)
{
	int err = beam_ctl_send(lane->sock, type, message, len_bytes, -1);

	if (err == BEAM_E_GONE && beam_lane_drain(lane))
		return lane->failure;
	return err;
}

/* 0, or why writers must stop. */
static int check_alive(const struct beam_lane *lane)
{
	if (lane->failure)
		return lane->failure;
	return atomic_load_explicit(&lane->table->aborted, memory_order_acquire) ? BEAM_E_ABORTED
										 : 0;
}

/* --- the segment source ------------------------------------------------------------------- */

static int lane_claim(void *ctx, uint32_t count, uint32_t *first)
{
	struct beam_lane *lane = ctx;
	struct beam_table *table = lane->table;
	int err = check_alive(lane);

	err = err ? err : BEAM_FAULT("lane.claim");
	if (err)
		return err;
	uint32_t next = atomic_load_explicit(&table->next_index, memory_order_relaxed);

	/* A plain fetch_add would not do: a claim beyond the table would have to be undone, and by
	 * then others could have claimed more. */
	do {
		if (next > table->capacity || count > table->capacity - next) {
			beam_log(BEAM_LOG_WARNING,
				 "lane: image is larger than the table: %" PRIu32 "+%" PRIu32
				 " of %" PRIu32 " segments",
				 next, count, table->capacity);
			return BEAM_E_FULL;
		}
	} while (!atomic_compare_exchange_weak_explicit(
	    &table->next_index, &next, next + count, memory_order_relaxed, memory_order_relaxed));
	*first = next;
	return 0;
}

static int lane_unclaim(void *ctx, uint32_t first, uint32_t count)
{
	struct beam_lane *lane = ctx;
	uint32_t expected = first + count;

	return atomic_compare_exchange_strong_explicit(&lane->table->next_index, &expected, first,
						       memory_order_relaxed, memory_order_relaxed)
		   ? 0
		   : -EBUSY;
}

static bool lane_has_slot(void *ctx, uint32_t index)
{
	const struct beam_lane *lane = ctx;

	return index < lane->table->capacity &&
	       atomic_load_explicit(&lane->table->entry[index].slot, memory_order_acquire) != 0;
}

/* Waits until entry `index` has a slot. It is enough to wait for messages: the daemon answers NEED
 * with GRANTED once it has granted the index, or with FAILED. */
static int wait_granted(struct beam_lane *lane, uint32_t index)
{
	struct beam_ctl_index need = {.index = index};
	int err = BEAM_FAULT("lane.need");

	if (lane_has_slot(lane, index))
		return err;
	err = err ? err : tell(lane, BEAM_CTL_NEED, &need, sizeof(need));
	while (!err) {
		err = check_alive(lane);
		if (!err && lane_has_slot(lane, index))
			return 0;
		err = err ? err : beam_lane_handle(lane, BEAM_LANE_SILENCE_MS);
	}
	return err;
}

/* Gets the address of a slot. Waits for the extent if it is not known yet. */
static int find_slot(struct beam_lane *lane, uint32_t slot, uint8_t **base)
{
	uint32_t number = BEAM_SLOT_EXTENT(slot);
	uint64_t segment_bytes = lane->source.segment_bytes;
	uint64_t offset = BEAM_SLOT_PLACE(slot) * segment_bytes;

	if (number >= BEAM_EXTENTS_MAX)
		return beam_lane_break("a slot of no extent");
	while (lane->extents[number].fd < 0) {
		int err = beam_lane_handle(lane, BEAM_LANE_SILENCE_MS);

		if (err)
			return err;
	}
	if (segment_bytes > lane->extents[number].bytes ||
	    offset > lane->extents[number].bytes - segment_bytes)
		return beam_lane_break("a slot behind its extent's end");
	*base = lane->extents[number].base + offset;
	return 0;
}

static int lane_slot(void *ctx, uint32_t index, uint8_t **base)
{
	struct beam_lane *lane = ctx;
	int err = check_alive(lane);

	err = err ? err : BEAM_FAULT("lane.slot");
	if (err)
		return err;
	if (index >= lane->table->capacity)
		return -EINVAL;
	err = wait_granted(lane, index);
	err = err ? err : beam_lane_drain(lane);
	err = err ? err : find_slot(lane, lane->table->entry[index].slot, base);
	if (err)
		return err;
	/* Filling the page tables at once is cheaper than a fault per page during the copy. The
	 * pages exist already; kernels that cannot do this take the faults. */
	err = beam_extent_map_pages(*base, lane->source.segment_bytes);
	if (err && err != -EINVAL) {
		beam_log(BEAM_LOG_WARNING, "lane: memory of segment %" PRIu32 ": %s", index,
			 beam_strerror(err));
		return err;
	}
	return 0;
}

static int lane_seal(void *ctx, uint32_t index, uint32_t len_bytes, uint64_t crc)
{
	struct beam_lane *lane = ctx;
	struct beam_ctl_index sealed = {.index = index};
	int err = check_alive(lane);

	if (!err && (index >= lane->table->capacity || len_bytes > lane->source.segment_bytes))
		err = -EINVAL;
	err = err ? err : BEAM_FAULT("lane.seal");
	if (err && err != BEAM_FAULT_FLIP)
		return err;
	struct beam_table_entry *entry = &lane->table->entry[index];
	uint8_t *base = NULL;

	if (err == BEAM_FAULT_FLIP && !find_slot(lane, entry->slot, &base))
		base[len_bytes / 2] ^= 1;
	/* Without a fence, non-temporal stores may become visible after the release store. */
	beam_copy_fence();
	entry->crc = crc;
	entry->len_bytes = len_bytes;
	atomic_store_explicit(&entry->seal, lane->source.gen.counter, memory_order_release);
	err = BEAM_FAULT("lane.sealed");
	return err ? err : tell(lane, BEAM_CTL_SEALED, &sealed, sizeof(sealed));
}

static int lane_crcs(void *ctx, uint32_t count, uint64_t *crcs)
{
	struct beam_lane *lane = ctx;
	int err = check_alive(lane);

	err = err ? err : BEAM_FAULT("lane.crcs");
	if (err)
		return err;
	if (count > lane->table->capacity)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		struct beam_table_entry *entry = &lane->table->entry[i];

		if (atomic_load_explicit(&entry->seal, memory_order_acquire) !=
		    lane->source.gen.counter) {
			beam_log(BEAM_LOG_WARNING,
				 "lane: segment %" PRIu32 " of %" PRIu32 " was never sealed", i,
				 count);
			return BEAM_E_TORN;
		}
		crcs[i] = entry->crc;
	}
	return 0;
}

/* --- begin, join, end --------------------------------------------------------------------- */

/* Maps the table from `fd` (kept), and checks that it is the one announced. */
static int open_table(struct beam_lane *lane, const struct beam_ctl_generation *told, int fd)
{
	struct stat st;
	int err = BEAM_FAULT("lane.table");

	if (err)
		return err;
	if (fd < 0 || fstat(fd, &st) || told->table_bytes < sizeof(struct beam_table) ||
	    (uint64_t)st.st_size < told->table_bytes)
		return beam_lane_break("a table of another size than its file");
	struct beam_table *table =
	    mmap(NULL, told->table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (table == MAP_FAILED)
		return -errno;
	lane->table = table;
	lane->table_bytes = told->table_bytes;
	if (table->magic != BEAM_TABLE_MAGIC || table->version != BEAM_TABLE_VERSION)
		return BEAM_E_VERSION;
	if (table->capacity == 0 || table->capacity > BEAM_SEGMENTS_MAX ||
	    beam_table_bytes(table->capacity) > told->table_bytes || told->gen.counter == 0 ||
	    told->gen.nonce != table->gen.nonce || told->gen.counter != table->gen.counter ||
	    told->segment_bytes != table->segment_bytes || told->segment_bytes == 0 ||
	    told->segment_bytes % BEAM_SEGMENT_ALIGN || told->segment_bytes > BEAM_SEGMENT_MAX)
		return beam_lane_break("a table that is not the generation's");
	lane->source = (struct beam_segment_source){
	    .ctx = lane,
	    .segment_bytes = told->segment_bytes,
	    .gen = told->gen,
	    .claim = lane_claim,
	    .unclaim = lane_unclaim,
	    .has_slot = lane_has_slot,
	    .slot = lane_slot,
	    .seal = lane_seal,
	    .crcs = lane_crcs,
	};
	return 0;
}

static int connect_daemon(struct beam_lane *lane)
{
	const struct timeval silence = {.tv_sec = BEAM_LANE_SILENCE_MS / 1000};
	int err = BEAM_FAULT("lane.connect");
	int sock = err ? err : beam_packet_connect(lane->daemon_name, lane->daemon_name_len);

	if (sock < 0) {
		beam_log(BEAM_LOG_NOTICE, "lane: cannot reach the daemon: %s", beam_strerror(sock));
		return sock;
	}
	lane->sock = sock;
	/* A stopped daemon must not block a save forever, so sends time out like waits. */
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence));
	return 0;
}

/* Waits for the answer to BEGIN. */
static int take_generation(struct beam_lane *lane, char *reason, int timeout_ms)
{
	union beam_lane_message m;
	int err = beam_lane_receive(lane, &m, &lane->table_fd, timeout_ms);

	if (err) {
		snprintf(reason, BEAM_TEXT_BYTES, "no answer from the daemon: %s",
			 beam_strerror(err));
		return err;
	}
	if (m.head.type == BEAM_CTL_GENERATION)
		return open_table(lane, &m.generation, lane->table_fd);
	if (m.head.type != BEAM_CTL_REFUSED && m.head.type != BEAM_CTL_FAILED)
		return beam_lane_break("something else than an answer to BEGIN");
	err = beam_lane_code(&m.text);
	memcpy(reason, m.text.text, BEAM_TEXT_BYTES);
	return err;
}

int beam_lane_begin(const struct beam_lane_begin *opts, char *reason, struct beam_lane **out)
{
	struct beam_ctl_begin begin = *opts->begin;

	reason[0] = 0;
	if (opts->daemon_name_len > DAEMON_NAME_BYTES)
		return -EINVAL;
	struct beam_lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return -ENOMEM;
	lane->sock = lane->table_fd = -1;
	for (uint32_t i = 0; i < BEAM_EXTENTS_MAX; i++)
		lane->extents[i].fd = -1;
	memcpy(lane->secret, begin.secret, sizeof(lane->secret));
	memcpy(lane->daemon_name, opts->daemon_name, opts->daemon_name_len);
	lane->daemon_name_len = opts->daemon_name_len;
	int err = connect_daemon(lane);

	err = err ? err
		  : beam_ctl_send(lane->sock, BEAM_CTL_BEGIN, &begin, sizeof(begin), opts->file_fd);
	err = err ? err : BEAM_FAULT("lane.begun");
	err = err ? err : take_generation(lane, reason, opts->timeout_ms);
	if (err) {
		if (!reason[0])
			snprintf(reason, BEAM_TEXT_BYTES, "asking the daemon for a generation: %s",
				 beam_strerror(err));
		beam_lane_close(&lane);
		return err;
	}
	*out = lane;
	return 0;
}

/* Number n such that extents 0..n-1 are all known. */
static uint32_t known_prefix(const struct beam_lane *lane)
{
	uint32_t n = 0;

	while (n < lane->nextents && lane->extents[n].fd >= 0)
		n++;
	return n;
}

int beam_lane_join(struct beam_lane **parent, uint32_t worker, struct beam_lane **out)
{
	struct beam_lane *lane = *parent;
	struct beam_ctl_join join = {
	    .gen = lane->source.gen, .worker = worker, .extents_known = known_prefix(lane)};

	*parent = NULL;
	memcpy(join.secret, lane->secret, sizeof(join.secret));
	/* Do this first: while this process holds the coordinator's socket, the daemon does not
	 * notice the coordinator's death. */
	beam_close(&lane->sock);
	int err = connect_daemon(lane);

	err = err ? err : beam_ctl_send(lane->sock, BEAM_CTL_JOIN, &join, sizeof(join), -1);
	err = err ? err : BEAM_FAULT("lane.joined");
	if (err) {
		beam_lane_close(&lane);
		return err;
	}
	*out = lane;
	return 0;
}

const struct beam_segment_source *beam_lane_source(struct beam_lane *lane)
{
	return &lane->source;
}

struct beam_table *beam_lane_table(struct beam_lane *lane)
{
	return lane->table;
}

int beam_lane_copied(struct beam_lane *lane, const struct beam_ctl_copied *copied)
{
	struct beam_ctl_copied message = *copied;
	int err = check_alive(lane);

	err = err ? err : BEAM_FAULT("lane.copied");
	return err ? err : tell(lane, BEAM_CTL_COPIED, &message, sizeof(message));
}

const char *beam_lane_failure(struct beam_lane *lane)
{
	if (!lane->failure)
		beam_lane_drain(lane);
	return lane->failure_text;
}

void beam_lane_abort(struct beam_lane *lane, int code, const char *why)
{
	int err = BEAM_FAULT("lane.abort");

	err = err ? err : beam_ctl_send_text(lane->sock, BEAM_CTL_ABORT, code, why);
	if (err)
		beam_log(BEAM_LOG_NOTICE, "lane: abort did not reach the daemon: %s",
			 beam_strerror(err));
}

/* Waits for the extents of all segments that are still in memory. */
static int complete_extents(struct beam_lane *lane)
{
	uint32_t total = atomic_load_explicit(&lane->table->total, memory_order_acquire);
	uint8_t *base;
	int err = 0;

	if (total > lane->table->capacity)
		return beam_lane_break("a total beyond the table");
	for (uint32_t i = 0; i < total && !err; i++) {
		uint32_t slot = lane->table->entry[i].slot;

		err = slot ? find_slot(lane, slot, &base) : 0;
	}
	return err;
}

int beam_lane_inherit(struct beam_lane *lane, int *sock, int *fds, int cap, int *nfds)
{
	int err = BEAM_FAULT("lane.inherit");

	err = err ? err : complete_extents(lane);
	if (err)
		return err;
	if (cap < 1 || lane->nextents > (uint32_t)cap - 1) {
		beam_log(BEAM_LOG_WARNING, "lane: %" PRIu32 " extents, the waiter takes %d",
			 lane->nextents, cap - 1);
		return -E2BIG;
	}
	fds[0] = lane->table_fd;
	for (uint32_t i = 0; i < lane->nextents; i++)
		fds[1 + i] = lane->extents[i].fd;
	*nfds = (int)lane->nextents + 1;
	*sock = lane->sock;
	return 0;
}

void beam_lane_close(struct beam_lane **lane)
{
	struct beam_lane *l = *lane;

	if (!l)
		return;
	for (uint32_t i = 0; i < l->nextents; i++)
		beam_lane_forget(&l->extents[i]);
	if (l->table)
		munmap(l->table, l->table_bytes);
	beam_close(&l->table_fd);
	beam_close(&l->sock);
	free(l);
	*lane = NULL;
}
