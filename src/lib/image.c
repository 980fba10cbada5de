/* SPDX-License-Identifier: BSD-3-Clause
 * librdbeam: images in memory or mapped, and the walk over their keys. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "library.h"
#include "log.h"
#include "sockets.h"

static_assert((int)BEAM_TYPE_STRING == BEAM_VERIFY_STRING &&
		  (int)BEAM_TYPE_STREAM == BEAM_VERIFY_STREAM &&
		  (int)BEAM_TYPE_ARRAY == BEAM_VERIFY_ARRAY &&
		  (int)BEAM_TYPE_OTHER == BEAM_VERIFY_OTHER && (int)BEAM_TYPES < BEAM_VERIFY_TYPES,
	      "types of the library are those of verify");

const char *beam_version(void)
{
	return RDBEAM_VERSION;
}

const char *beam_type_name(enum beam_type type)
{
	return (unsigned)type < BEAM_TYPES ? beam_verify_type_names[type] : "other";
}

static void no_sink(enum beam_log_level level, const char *text, void *arg)
{
	(void)level, (void)text, (void)arg;
}

static void set_sink(void)
{
	beam_log_init(no_sink, NULL, BEAM_LOG_WARNING);
}

void beam_library_be_silent(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, set_sink);
}

int beam_image_wrap(const uint8_t *base, size_t len_bytes, struct beam_stage *staged,
		    struct beam_image **out)
{
	struct beam_image *image = calloc(1, sizeof(*image));
	int err;

	if (!image)
		return -ENOMEM;
	err = beam_records_open(base, len_bytes, &image->records);
	if (err) {
		free(image);
		return err;
	}
	image->base = base;
	image->len_bytes = len_bytes;
	image->staged = staged;
	*out = image;
	return 0;
}

static int map_file(const char *path, void **base, size_t *len_bytes)
{
	struct stat st;
	int err = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	else if (!S_ISREG(st.st_mode) || st.st_size == 0)
		err = BEAM_E_FORMAT;
	if (!err) {
		*len_bytes = (size_t)st.st_size;
		*base = mmap(NULL, *len_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
		if (*base == MAP_FAILED)
			err = -errno;
	}
	beam_close(&fd);
	return err;
}

int beam_image_open(const char *path, struct beam_image **out)
{
	size_t len_bytes = 0;
	void *base = NULL;
	int err;

	beam_library_be_silent();
	err = map_file(path, &base, &len_bytes);
	if (err)
		return err;
	madvise(base, len_bytes, MADV_SEQUENTIAL);
	err = beam_image_wrap(base, len_bytes, NULL, out);
	if (err)
		munmap(base, len_bytes);
	return err;
}

void beam_image_close(struct beam_image **image)
{
	struct beam_image *i = image ? *image : NULL;

	if (!i)
		return;
	beam_records_close(&i->records);
	if (i->staged)
		beam_stage_close(&i->staged);
	else
		munmap((void *)(uintptr_t)i->base, i->len_bytes);
	free(i);
	*image = NULL;
}

/* Reads the cut from the AUX fields at the beginning; stops at damage there, which is no error. */
static void read_cut(const struct beam_image *image, struct beam_image_facts *out)
{
	struct beam_rdb_record record = {0};
	size_t pos = 9; /* after REDISvvvv */
	char name[16], text[64];

	while (beam_rdb_next_record(image->base, image->len_bytes, &pos, &record) == 0 &&
	       record.kind == BEAM_RDB_IS_AUX) {
		beam_rdb_string_text(&record.key, name, sizeof(name));
		beam_rdb_string_text(&record.value, text, sizeof(text));
		if (strcmp(name, "repl-id") == 0 && strlen(text) < sizeof(out->repl_id))
			memcpy(out->repl_id, text, strlen(text) + 1);
		else if (strcmp(name, "repl-offset") == 0)
			out->repl_offset = strtoll(text, NULL, 10);
	}
}

void beam_image_facts(const struct beam_image *image, struct beam_image_facts *out)
{
	const struct beam_manifest_footer *m = &image->records.manifest.footer;

	memset(out, 0, sizeof(*out));
	out->repl_offset = -1;
	out->file_bytes = image->len_bytes;
	out->rdb_version = beam_rdb_get_magic(image->base, image->len_bytes);
	read_cut(image, out);
	if (!image->records.is_image)
		return;
	out->is_image = 1;
	out->keys = m->nitems;
	out->expired = m->nexpired;
	out->segments = m->nsegments;
	out->segment_bytes = m->segment_bytes;
	snprintf(out->generation, sizeof(out->generation), "%016" PRIx64 "-%" PRIu64, m->gen.nonce,
		 m->gen.counter);
}

int beam_image_next(struct beam_image *image, struct beam_record *out)
{
	struct beam_item item;
	int got = beam_records_next(&image->records, &item);

	if (got != 1)
		return got;
	*out = (struct beam_record){
	    .db = item.db,
	    .type = (enum beam_type)beam_verify_type(item.type),
	    .rdb_type = item.type,
	    .freq = item.freq,
	    .expire_ms = item.expire_ms,
	    .idle_s = item.idle_s,
	    .key = item.key,
	    .key_bytes = item.key_bytes,
	    .payload = item.value,
	    .payload_bytes = item.value_bytes,
	};
	if (!item.key) { /* a number: its text must outlive this call */
		memcpy(image->number, item.key_text, sizeof(image->number));
		out->key = image->number;
	}
	return 1;
}

void beam_image_rewind(struct beam_image *image)
{
	beam_records_rewind(&image->records);
}

int beam_image_verify(const struct beam_image *image,
		      int (*problem)(void *arg, int code, uint64_t offset, const char *text),
		      void *arg, struct beam_image_check *out)
{
	struct beam_verify_report report;
	int err = beam_verify(image->base, image->len_bytes, problem, arg, &report);

	if (!out)
		return err;
	*out = (struct beam_image_check){.keys = report.keys,
					 .expires = report.expires,
					 .problems = report.problems,
					 .segments_bad = report.segments_bad};
	for (int i = 0; i < BEAM_TYPES; i++)
		out->keys_by_type[i] = report.keys_by_type[i];
	return err;
}
