/* SPDX-License-Identifier: BSD-3-Clause
 *
 * librdbeam: reads the images that rdbeam makes, and plain RDB files, and pulls images from a
 * primary.
 *
 * An image is one snapshot of a server's data, as a file or fresh from a pull. Open it, walk its
 * keys one after the other, and close it. Functions return 0 (or 1 where they say so) or a negative
 * code: -errno for the system's errors, one of enum beam_error for the library's own; beam_strerror
 * returns the text of both. A function that fails changes nothing and does not write its output
 * arguments.
 *
 * Threads: an image belongs to one thread at a time; different images may be used by different
 * threads at once. The library prints nothing, starts no threads that outlive a call, and
 * installs no signal handlers.
 *
 * Files: an image file is mapped, not read. It may be renamed, replaced and unlinked while it is
 * open, as servers do with dump.rdb. Truncating the file in place raises SIGBUS.
 *
 * Link with pkg-config --cflags --libs librdbeam.
 */
#ifndef RDBEAM_RDBEAM_H
#define RDBEAM_RDBEAM_H

#include <stddef.h>
#include <stdint.h>

#include "rdbeam/api.h"
#include "rdbeam/error.h"
#include "rdbeam/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An open image. */
struct beam_image;

/* The data types of keys. */
enum beam_type {
	BEAM_TYPE_STRING,
	BEAM_TYPE_LIST,
	BEAM_TYPE_SET,
	BEAM_TYPE_ZSET,
	BEAM_TYPE_HASH,
	BEAM_TYPE_STREAM,
	BEAM_TYPE_MODULE,
	BEAM_TYPE_ARRAY, /* Redis 8.8 */
	BEAM_TYPE_OTHER, /* a value type of a newer server */
	BEAM_TYPES,
};

/* One key of an image. Pointers go into the image or its buffers, see beam_image_next. */
struct beam_record {
	uint32_t db;         /* number of the database */
	enum beam_type type; /* what the value is */
	uint8_t rdb_type;    /* how it is encoded: the RDB format's type byte */
	int freq;            /* LFU counter, 0 to 255; -1: not in the image */
	int64_t expire_ms;   /* absolute, milliseconds since 1970; -1: no TTL */
	int64_t idle_s;      /* seconds since the last access; -1: not in the image */
	const void *key;     /* binary-safe, not terminated by 0 */
	size_t key_bytes;
	const void *payload; /* the value as the RDB format has it, without the type byte */
	size_t payload_bytes;
};

/* What an image says about itself. */
struct beam_image_facts {
	int is_image;           /* 1: made by rdbeam; 0: a plain RDB file */
	int rdb_version;        /* as in the file's first nine bytes */
	uint64_t file_bytes;    /* length of the whole image */
	uint64_t keys;          /* 0 for a plain file: count them */
	uint64_t expired;       /* keys left out because they had expired; 0 for a plain file */
	uint32_t segments;      /* 0 for a plain file */
	uint32_t segment_bytes; /* 0 for a plain file */
	char generation[48];    /* "nonce-counter"; "" for a plain file */
	int64_t repl_offset;    /* the cut's place in the replication stream; -1: unknown */
	char repl_id[41];       /* the replication id of the stream; "": unknown */
};

/* What beam_image_verify found. */
struct beam_image_check {
	uint64_t keys;                     /* keys that could be read */
	uint64_t expires;                  /* those of them with a TTL */
	uint64_t keys_by_type[BEAM_TYPES]; /* index: enum beam_type */
	uint64_t problems;                 /* 0: the image is intact */
	uint32_t segments_bad;             /* segments whose checksum is wrong */
};

/* How to pull. Zero the struct, set struct_bytes and `from`; everything else has a default. */
struct beam_pull_request {
	size_t struct_bytes;   /* sizeof(struct beam_pull_request): tells versions apart */
	const char *from;      /* the primary: "host:port" or redis://[user:password@]host:port */
	const char *transport; /* "auto" (default), "tcp", "verbs" */
	const char *spill_dir; /* for what memory does not hold; default: TMPDIR, or /tmp */
	uint64_t buffer_bytes; /* maximum memory for the image; 0: 512 MiB; the rest is spilled */
	int timeout_ms;        /* for each step, such as to connect or to answer; 0: 10,000 */
	int fresh;             /* 1: have a new snapshot made even if one is retained */
	/* Called about ten times a second, in the caller's thread; may be NULL. bytes_total is 0
	 * while the primary is still making the image. */
	void (*progress)(void *arg, uint64_t bytes, uint64_t bytes_total);
	void *arg;        /* for progress */
	char *error;      /* receives one line with the remedy if the pull fails; may be NULL */
	size_t error_cap; /* bytes of room at `error` */
};

/* Opens the file at `path`, an image or a plain RDB file. Only the manifest of an image is
 * verified. Returns 0 and *out, which the caller closes; -errno of open or mmap; BEAM_E_FORMAT if
 * the file is neither; BEAM_E_CRC if the manifest is damaged. */
RDBEAM_API int beam_image_open(const char *path, struct beam_image **out);

/* Pulls an image from a primary that has the module loaded, and opens it. The image is in memory
 * and, beyond buffer_bytes, in an unlinked file; every segment's checksum has been verified.
 * Blocks until the image is complete. The primary forks unless it retains a recent enough image.
 * Returns 0 and *out, which the caller closes; -EINVAL for an invalid request; or the error that
 * stopped it, with a line in request->error: BEAM_E_DENIED, BEAM_E_GONE, BEAM_E_STALE,
 * BEAM_E_UNSUPPORTED (no module there), BEAM_E_CRC, -errno and others. */
RDBEAM_API int beam_image_pull(const struct beam_pull_request *request, struct beam_image **out);

/* The same, to a file at `path`. The file is written beside it, synced, and renamed when it is
 * complete, so that `path` is always either the old file or the new one. Returns 0, or the error
 * that stopped it, as above. */
RDBEAM_API int beam_image_pull_to_file(const struct beam_pull_request *request, const char *path);

/* Closes the image and clears the pointer. All pointers from its records become invalid. `image`
 * and *image may be NULL. */
RDBEAM_API void beam_image_close(struct beam_image **image);

/* Fills in *out. Never fails. */
RDBEAM_API void beam_image_facts(const struct beam_image *image, struct beam_image_facts *out);

/* The next key, in the image's order. Returns 1 and *out, whose pointers are valid until the next
 * call with this image; 0 after the last key; BEAM_E_CRC, BEAM_E_FORMAT or BEAM_E_TORN if the
 * image is damaged, BEAM_E_UNSUPPORTED for a newer server's type in a plain file, or -ENOMEM.
 * After an error the walk is over, and each further call returns the same error. */
RDBEAM_API int beam_image_next(struct beam_image *image, struct beam_record *out);

/* Restarts the walk: the next beam_image_next returns the first key. */
RDBEAM_API void beam_image_rewind(struct beam_image *image);

/* Reads the whole image and checks all checksums, the structure of all records, and the number of
 * keys. `problem` (may be NULL) is called with `arg` for each problem, with its code, its offset in
 * bytes, and a line of text that is valid during the call. It returns 0 to continue, and any other
 * number to stop. `out` may be NULL. Does not affect the walk. Returns 0 if there is no problem,
 * otherwise the code of the first one. */
RDBEAM_API int beam_image_verify(const struct beam_image *image,
				 int (*problem)(void *arg, int code, uint64_t offset,
						const char *text),
				 void *arg, struct beam_image_check *out);

/* "string", "list", "set", "zset", "hash", "stream", "module", "array", "other"; "other" also for an
 * invalid number. Static storage. Any thread. */
RDBEAM_API const char *beam_type_name(enum beam_type type);

/* The version of the library at run time; RDBEAM_VERSION is that at compile time. Static storage.
 * Any thread. */
RDBEAM_API const char *beam_version(void);

#ifdef __cplusplus
}
#endif

#endif
