/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The dump as the waiter writes it without the daemon: from the memory it has inherited, and for
 * segments whose memory was reused, from the file that the daemon was writing. The seal and CRC of
 * every segment, and the CRC of the whole, are verified again before the file can get its name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc64.h"
#include "disk.h"
#include "fault.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "table.h"
#include "waiter.h"

#define DIRECT_ALIGN 4096u

struct mapping {
	const uint8_t *base;
	uint64_t bytes;
};

static struct mapping extents[BEAM_EXTENTS_MAX];

/* The daemon's file, and a buffer for one segment of it, aligned for O_DIRECT. */
static int old_file = -1;
static struct mapping from_file;

static int failed(int code, const char *what)
{
	fprintf(stderr, "rdbeamd: waiter: %s: %s\n", what, beam_strerror(code));
	return code;
}

static int map(int fd, struct mapping *out)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_size <= 0)
		return BEAM_E_FORMAT;
	void *base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	out->base = base;
	out->bytes = (uint64_t)st.st_size;
	return 0;
}

static int check_table(const struct beam_table *table, uint64_t bytes)
{
	if (bytes < sizeof(*table) || table->magic != BEAM_TABLE_MAGIC)
		return BEAM_E_FORMAT;
	if (table->version != BEAM_TABLE_VERSION)
		return BEAM_E_VERSION;
	if (!table->segment_bytes || table->segment_bytes % BEAM_SEGMENT_ALIGN ||
	    table->capacity > BEAM_SEGMENTS_MAX || beam_table_bytes(table->capacity) > bytes)
		return BEAM_E_FORMAT;
	if (!table->total || table->total > table->capacity)
		return BEAM_E_TORN;
	return 0;
}

/* Reads a segment whose memory was reused. It was written before that, so it is on disk, or at
 * least in the page cache. */
static int read_back(const struct beam_table *table, uint32_t index, const uint8_t **base)
{
	uint64_t offset = (uint64_t)index * table->segment_bytes;
	uint64_t got = 0;
	int err = BEAM_FAULT("rescue.read");

	if (err)
		return err;
	if (!from_file.base) {
		void *room = mmap(NULL, table->segment_bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (room == MAP_FAILED)
			return -errno;
		from_file = (struct mapping){.base = room, .bytes = table->segment_bytes};
	}
	while (got < table->segment_bytes) {
		ssize_t n = pread(old_file, (uint8_t *)(uintptr_t)from_file.base + got,
				  table->segment_bytes - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : BEAM_E_TORN;
		got += (uint64_t)n;
	}
	*base = from_file.base;
	return 0;
}

static int find_segment(const struct waiter *w, const struct beam_table *table, uint32_t slot,
			const uint8_t **base)
{
	uint32_t extent = BEAM_SLOT_EXTENT(slot);
	uint64_t offset = (uint64_t)BEAM_SLOT_PLACE(slot) * table->segment_bytes;

	if (extent >= w->nextents || w->extents[extent] < 0)
		return BEAM_E_TORN;
	if (!extents[extent].base) {
		int err = BEAM_FAULT("rescue.map");

		err = err ? err : map(w->extents[extent], &extents[extent]);
		if (err)
			return err;
	}
	if (offset + table->segment_bytes > extents[extent].bytes)
		return BEAM_E_FORMAT;
	*base = extents[extent].base + offset;
	return 0;
}

/* Returns the address of a segment after verifying its seal, length and CRC. */
static int open_segment(const struct waiter *w, const struct beam_table *table, uint32_t index,
			const uint8_t **base)
{
	const struct beam_table_entry *entry = &table->entry[index];
	bool last = index + 1 == table->total;

	if (atomic_load_explicit(&entry->seal, memory_order_acquire) != table->gen.counter)
		return BEAM_E_TORN;
	if (!entry->len_bytes || entry->len_bytes > table->segment_bytes ||
	    (!last && entry->len_bytes != table->segment_bytes))
		return BEAM_E_TORN;
	uint32_t slot = atomic_load_explicit(&entry->slot, memory_order_acquire);
	int err = slot ? find_segment(w, table, slot, base) : read_back(table, index, base);

	if (err)
		return err;
	return beam_crc64(0, *base, entry->len_bytes) == entry->crc ? 0 : BEAM_E_CRC;
}

static int write_at(int fd, const uint8_t *from, size_t len_bytes, uint64_t offset)
{
	while (len_bytes) {
		ssize_t n = pwrite(fd, from, len_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		from += n;
		offset += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

static int write_segment(int fd, bool *direct, const uint8_t *base, size_t len_bytes,
			 uint64_t offset)
{
	size_t padded = (len_bytes + DIRECT_ALIGN - 1) / DIRECT_ALIGN * DIRECT_ALIGN;
	int err = BEAM_FAULT("rescue.write");

	if (err)
		return err;
	err = write_at(fd, base, *direct ? padded : len_bytes, offset);
	if (err != -EINVAL || !*direct)
		return err;
	/* Some file systems open files with O_DIRECT but refuse such writes, or those of the last
	 * block. */
	*direct = false;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_DIRECT))
		return -errno;
	return write_at(fd, base, len_bytes, offset);
}

static int write_all(struct waiter *w, const struct beam_table *table, uint64_t *file_bytes)
{
	struct beam_crc64_shift full, last;
	uint32_t total = table->total;
	uint64_t crc = 0;

	*file_bytes =
	    (uint64_t)(total - 1) * table->segment_bytes + table->entry[total - 1].len_bytes;
	beam_crc64_shift_init(&full, table->segment_bytes);
	beam_crc64_shift_init(&last, table->entry[total - 1].len_bytes);
	for (uint32_t i = 0; i < total; i++) {
		const struct beam_table_entry *entry = &table->entry[i];
		const uint8_t *base = NULL;
		int err = open_segment(w, table, i, &base);

		if (!err)
			err = write_segment(w->file, &w->direct, base, entry->len_bytes,
					    (uint64_t)i * table->segment_bytes);
		if (err) {
			fprintf(stderr, "rdbeamd: waiter: segment %u of %u: %s\n", i, total,
				beam_strerror(err));
			return err;
		}
		crc = beam_crc64_append(crc, entry->crc, i + 1 < total ? &full : &last);
	}
	/* The file ends with its CRC, so the CRC of the whole file is 0. */
	return crc ? failed(BEAM_E_CRC, "whole image") : 0;
}

int rescue_write(struct waiter *w)
{
	struct mapping table = {0};
	uint64_t file_bytes;
	int err = BEAM_FAULT("rescue.table");

	err = err ? err : map(w->table, &table);
	if (!err)
		err = check_table((const struct beam_table *)table.base, table.bytes);
	if (err)
		return failed(err, "table");
	/* If the daemon is only stopped, it may still be writing to the old file. Leave it that
	 * inode, without a name. */
	old_file = w->file;
	w->file = -1;
	if (unlinkat(w->dir, w->temp, 0) && errno != ENOENT)
		return failed(-errno, "removing the unfinished file");
	w->named = false;
	if (w->plain) {
		err = beam_file_create_plain(w->dir, w->temp, &w->file);
		w->direct = false;
		w->named = !err;
	} else {
		err = beam_file_create(w->dir, w->temp, &w->file, &w->direct, &w->named);
	}
	if (err)
		return failed(err, "creating the file");
	err = write_all(w, (const struct beam_table *)table.base, &file_bytes);
	if (err)
		return err;
	err = BEAM_FAULT("rescue.trim");
	if (err || (!w->plain && ftruncate(w->file, (off_t)file_bytes)))
		return failed(err ? err : -errno, "setting the file's size");
	err = BEAM_FAULT("rescue.fsync");
	if (err || fsync(w->file))
		return failed(err ? err : -errno, "fsync of the file");
	return 0;
}
