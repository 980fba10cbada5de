/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A generation's life from BEGIN to its last seal: the table, the memory policy, the seals. Its end
 * is in copied.c and retire.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "text.h"

#define CAPACITY_MIN 1024

static uint32_t segments_for(const struct daemon *d, uint64_t bytes)
{
	uint64_t n = bytes / d->segment_bytes + (bytes % d->segment_bytes != 0);

	return n < 1 ? 1 : n > BEAM_SEGMENTS_MAX ? BEAM_SEGMENTS_MAX + 1 : (uint32_t)n;
}

static uint64_t held_slots(const struct daemon *d)
{
	uint64_t held = 0;

	for (const struct generation *gen = d->gens; gen; gen = gen->next)
		held += gen->state == GEN_FENCED ? 0 : gen->nslots;
	return held;
}

/* An image for the disk may grow larger than the region. */
static uint32_t capacity_for(const struct daemon *d, enum beam_snapshot_kind kind, uint32_t need)
{
	uint64_t capacity = 4ull * need + 64;

	if (capacity < CAPACITY_MIN)
		capacity = CAPACITY_MIN;
	if (kind == BEAM_SNAPSHOT_MEMORY) {
		uint64_t limit = beam_region_could_hold(d->region, capacity) + held_slots(d);

		capacity = capacity < limit ? capacity : limit;
	}
	return capacity > BEAM_SEGMENTS_MAX ? BEAM_SEGMENTS_MAX : (uint32_t)capacity;
}

static int open_table(struct generation *gen)
{
	int err = BEAM_FAULT("daemon.table");

	if (err)
		return err;
	gen->table_bytes = beam_table_bytes(gen->capacity);
	gen->table_fd = memfd_create("rdbeam-table", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (gen->table_fd < 0)
		return -errno;
	/* A lack of memory must show now, and not as SIGBUS in a writer. */
	do {
		err = -posix_fallocate(gen->table_fd, 0, (off_t)gen->table_bytes);
	} while (err == -EINTR); /* a stop signal or the cgroup freezer */
	if (err)
		return err;
	if (fcntl(gen->table_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		return -errno;
	struct beam_table *table =
	    mmap(NULL, gen->table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, gen->table_fd, 0);

	if (table == MAP_FAILED)
		return -errno;
	table->magic = BEAM_TABLE_MAGIC;
	table->version = BEAM_TABLE_VERSION;
	table->segment_bytes = gen->segment_bytes;
	table->gen = gen->id;
	table->capacity = gen->capacity;
	table->nworkers = gen->begin.nworkers;
	table->keys_expected = gen->begin.keys_expected;
	gen->table = table;
	gen->segments = calloc(gen->capacity, sizeof(*gen->segments));
	return gen->segments ? 0 : -ENOMEM;
}

static void destroy(struct generation *gen)
{
	struct daemon *d = gen->d;

	for (struct generation **at = &d->gens; *at; at = &(*at)->next) {
		if (*at == gen) {
			status_remember(d, gen);
			*at = gen->next;
			break;
		}
	}
	if (d->filling == gen)
		d->filling = NULL;
	beam_timer_cancel(&gen->heartbeat);
	reuse_close(gen);
	flushes_close(gen);
	beam_close(&gen->file_fd);
	if (gen->table)
		munmap(gen->table, gen->table_bytes);
	beam_close(&gen->table_fd);
	free(gen->segments);
	free(gen->vouched);
	free(gen);
}

void generation_free_if_unused(struct generation *gen)
{
	if (gen->state == GEN_FENCED && !gen->refs)
		destroy(gen);
}

static void refuse(struct writer *writer, int code, const char *text)
{
	beam_log(BEAM_LOG_WARNING, "snapshot refused: %s", text);
	status_error(writer->d, text);
	writers_send_text(writer, BEAM_CTL_REFUSED, code, text);
	status_changed(writer->d);
}

/* Says which setting is in the way, and the remedy. */
static void tell_full(const struct daemon *d, uint64_t estimate_bytes, uint32_t need,
		      uint64_t could, char text[BEAM_TEXT_BYTES])
{
	if (d->config.hugepages == BEAM_HUGEPAGES_REQUIRE)
		snprintf(text, BEAM_TEXT_BYTES,
			 "rdbeam.hugepages require: hugepages hold %llu segments and the image "
			 "needs %u (%llu bytes): raise vm.nr_hugepages (and rdbeam.region-size, "
			 "now %llu) or set rdbeam.hugepages try",
			 (unsigned long long)could, need, (unsigned long long)estimate_bytes,
			 (unsigned long long)d->config.region_bytes);
	else
		snprintf(text, BEAM_TEXT_BYTES,
			 "rdbeam.region-size %llu%s holds %llu segments and the image needs %u "
			 "(%llu bytes): raise rdbeam.region-size%s",
			 (unsigned long long)d->config.region_bytes,
			 d->config.region_bytes ? "" : " (half of the memory available)",
			 (unsigned long long)could, need, (unsigned long long)estimate_bytes,
			 d->config.region_bytes ? "" : " or free memory");
}

/* Makes room by retiring older images. Returns 0; 1 if there is no room for the whole image, but
 * enough to reuse slots as its segments reach the disk; or BEAM_E_FULL with `text`. */
static int make_room(struct daemon *d, const struct beam_ctl_begin *begin, uint32_t need,
		     char text[BEAM_TEXT_BYTES])
{
	uint64_t had = beam_region_could_hold(d->region, need);
	uint64_t could = had + retire_could_give(d);
	bool whole = need <= could;

	if (need > BEAM_SEGMENTS_MAX ||
	    (!whole && (begin->kind == BEAM_SNAPSHOT_MEMORY || could < reuse_least(begin)))) {
		tell_full(d, begin->estimate_bytes, need, could, text);
		return BEAM_E_FULL;
	}
	/* Slots being retired count as room: they become free when the fence completes. */
	while (beam_region_could_hold(d->region, need) + retire_pending(d) < need &&
	       retire_for_slots(d))
		;
	return whole ? 0 : 1;
}

static struct generation *create(struct writer *writer, const struct beam_ctl_begin *begin,
				 int file_fd, uint32_t need, int *err)
{
	struct daemon *d = writer->d;
	struct generation *gen = BEAM_FAULT("daemon.create") ? NULL : calloc(1, sizeof(*gen));

	if (!gen) {
		beam_close(&file_fd);
		*err = -ENOMEM;
		return NULL;
	}
	gen->d = d;
	gen->served.gen = gen;
	gen->begin = *begin;
	explicit_bzero(gen->begin.secret, sizeof(gen->begin.secret));
	gen->begin.cut.replid[BEAM_REPLID_BYTES - 1] = '\0';
	gen->begin_ms = gen->sealed_ms = beam_now_ms();
	gen->file_fd = file_fd;
	gen->table_fd = -1;
	/* Drawn only now, after the fork, so that nobody could write it into a value of the image
	 * (ADR 97). */
	beam_random(&gen->id.nonce, sizeof(gen->id.nonce));
	gen->id.counter = d->counter + 1;
	gen->segment_bytes = d->segment_bytes;
	gen->capacity = capacity_for(d, begin->kind, need);
	gen->need_segments = need;
	*err = open_table(gen);
	if (!*err && begin->kind == BEAM_SNAPSHOT_DISK)
		*err = flushes_open(gen, begin->direct_io != 0);
	if (*err) {
		destroy(gen);
		return NULL;
	}
	return gen;
}

static void announce(struct generation *gen, struct writer *writer)
{
	struct beam_ctl_generation message = {
	    .gen = gen->id, .table_bytes = gen->table_bytes, .segment_bytes = gen->segment_bytes};
	struct beam_ctl_opened opened = {
	    .gen = gen->id, .pid = writer->pid, .kind = gen->begin.kind, .cut = gen->begin.cut};

	(void)BEAM_FAULT("daemon.announce");
	writers_send(writer, BEAM_CTL_GENERATION, &message, sizeof(message), gen->table_fd);
	control_send(gen->d, BEAM_CTL_OPENED, &opened, sizeof(opened));
}

static int check_begin(struct writer *writer, const struct beam_ctl_begin *begin, int file_fd,
		       char text[BEAM_TEXT_BYTES])
{
	struct daemon *d = writer->d;
	bool disk = begin->kind == BEAM_SNAPSHOT_DISK;

	/* There may have been no thread for the region when the daemon started, because of a limit
	 * that is not reached any more. */
	if (!d->region)
		grants_configure(d);
	if (!d->region) {
		snprintf(text, BEAM_TEXT_BYTES, "%s",
			 d->configured
			     ? "rdbeamd could not open its region: the server's log says why"
			     : "the daemon has no configuration yet");
		return BEAM_E_BUSY;
	}
	if ((!disk && begin->kind != BEAM_SNAPSHOT_MEMORY) || (disk && file_fd < 0)) {
		snprintf(text, BEAM_TEXT_BYTES, "snapshot of kind %u with%s a file", begin->kind,
			 file_fd < 0 ? "out" : "");
		return BEAM_E_PROTO;
	}
	if (d->filling) {
		snprintf(text, BEAM_TEXT_BYTES, "generation %llu is still being copied",
			 (unsigned long long)d->filling->id.counter);
		return BEAM_E_BUSY;
	}
	return BEAM_FAULT("daemon.begin");
}

void generation_begin(struct writer *writer, const struct beam_ctl_begin *begin, int file_fd)
{
	struct daemon *d = writer->d;
	char text[BEAM_TEXT_BYTES] = "";
	int err = check_begin(writer, begin, file_fd, text);
	uint32_t need = 0;

	if (!err) {
		grants_configure(d);
		need = segments_for(d, begin->estimate_bytes);
		retire_out_of_reach(d, begin);
		err = make_room(d, begin, need, text);
	}
	bool reuse = err == 1;

	if (err < 0) {
		refuse(writer, err, text[0] ? text : beam_strerror(err));
		beam_close(&file_fd);
		return;
	}
	struct generation *gen = create(writer, begin, file_fd, need, &err);

	if (!gen) {
		snprintf(text, sizeof(text), "generation of %u segments: %s%s", need,
			 beam_strerror(err), err == -EAGAIN ? ": " BEAM_RAISE_TASKS : "");
		refuse(writer, err, text);
		return;
	}
	d->counter++;
	gen->next = d->gens;
	d->gens = gen;
	d->filling = gen;
	gen->coordinator = writer;
	writer->gen = gen;
	d->trim_at_ms = 0;
	d->region_full = false;
	beam_region_hurry(d->region);
	d->last_error[0] = '\0';
	announce(gen, writer);
	if (reuse)
		reuse_begin(gen);
	grants_pump(d);
	status_changed(d);
}

int generation_take(struct generation *gen, uint32_t index)
{
	if (index >= gen->capacity)
		return BEAM_E_PROTO;
	struct beam_table_entry *entry = &gen->table->entry[index];
	struct segment *segment = &gen->segments[index];

	if (segment->len_bytes)
		return 0;
	if (!segment->slot)
		return BEAM_E_PROTO;
	if (atomic_load_explicit(&entry->seal, memory_order_acquire) != gen->id.counter)
		return -EAGAIN;
	uint32_t len_bytes = entry->len_bytes;

	if (!len_bytes || len_bytes > gen->segment_bytes)
		return BEAM_E_PROTO;
	segment->crc = entry->crc;
	segment->len_bytes = len_bytes;
	gen->sealed_ms = beam_now_ms();
	flushes_write(gen, index);
	return 0;
}

void generation_sealed(struct generation *gen, uint32_t index)
{
	struct daemon *d = gen->d;

	if (gen->state != GEN_FILLING)
		return;
	int err = BEAM_FAULT("daemon.sealed");

	if (!err)
		err = generation_take(gen, index);
	if (err) {
		char text[BEAM_TEXT_BYTES];

		snprintf(text, sizeof(text), "segment %u of generation %llu, said to be sealed: %s",
			 index, (unsigned long long)gen->id.counter, beam_strerror(err));
		generation_fail(gen, BEAM_E_PROTO, text);
		return;
	}
	listeners_published(gen);
	flushes_pump(gen);
	grants_pump(d);
	status_moved(d);
}

void generation_fail(struct generation *gen, int code, const char *text)
{
	struct daemon *d = gen->d;

	beam_log(BEAM_LOG_WARNING, "generation %llu failed: %s",
		 (unsigned long long)gen->id.counter, text);
	status_error(d, text);
	gen->failed = true;
	/* Send the text first: a writer that sees `aborted` may look for the reason. */
	for (struct writer *w = d->writers; w; w = w->next)
		if (w->gen == gen)
			writers_send_text(w, BEAM_CTL_FAILED, code, text);
	generation_retire(gen, text);
}

void generation_give_slots(struct generation *gen, uint32_t from)
{
	for (uint32_t i = from; i < gen->reach; i++) {
		if (!gen->segments[i].slot)
			continue;
		beam_region_give(gen->d->region, gen->segments[i].slot);
		gen->segments[i].slot = 0;
		gen->nslots--;
		gen->d->region_full = false;
	}
	if (gen->reach > from)
		gen->reach = from;
}
