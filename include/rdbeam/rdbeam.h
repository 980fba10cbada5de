/* SPDX-License-Identifier: BSD-3-Clause
 *
 * librdbeam: reads the images that rdbeam makes, and plain RDB files, and pulls images from a
 * primary.
 *
 * An image is one snapshot of a server's data, as a file or fresh from a pull. It is opened, its
 * keys are walked one after the other, and it is closed. Functions return 0 (or 1 where they say
 * so) or a negative code: -errno for the system's errors, one of enum beam_error for the library's
 * own; beam_strerror gives the text of both. A failed function has changed nothing, and what it was
 * to give back is not written.
 *
 * Threads: an image belongs to one thread at a time; different images may be used by different
 * threads at once. The library prints nothing, starts no threads that outlive a call, and
 * installs no signal handlers.
 *
 * Files: an image file is mapped, not read. It may be renamed, replaced and unlinked while it is
 * open, as servers do with dump.rdb; a file that is cut short in place raises SIGBUS.
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
	const void *key;     /* binary-safe, no 0 at its end */
	size_t key_bytes;
	const void *payload; /* the value as the RDB format has it, without the type byte */
	size_t payload_bytes;
};

/* What an image says of itself. */
struct beam_image_facts {
	int is_image;           /* 1: made by rdbeam; 0: a plain RDB file */
	int rdb_version;        /* as in the file's first nine bytes */
	uint64_t file_bytes;    /* length of the whole image */
	uint64_t keys;          /* 0 for a plain file: count them */
	uint64_t expired;       /* keys left out because they had expired; 0 for a plain file */
	uint32_t segments;      /* 0 for a plain file */
	uint32_t segment_bytes; /* 0 for a plain file */
	char generation[48];    /* "nonce-counter"; "" for a plain file */
	int64_t repl_offset;    /* the cut's place in the replication stream; -1: not known */
	char repl_id[41];       /* the stream's name; "" when it is not known */
};

/* What beam_image_verify found. */
struct beam_image_check {
	uint64_t keys;                     /* that could be read */
	uint64_t expires;                  /* those of them with a TTL */
	uint64_t keys_by_type[BEAM_TYPES]; /* index: enum beam_type */
	uint64_t problems;                 /* 0: the image is whole */
	uint32_t segments_bad;             /* segments whose checksum is wrong */
};

/* How to pull. Zero the struct, set struct_bytes and `from`; everything else has a default. */
struct beam_pull_request {
	size_t struct_bytes;   /* sizeof(struct beam_pull_request): tells the library its version */
	const char *from;      /* the primary: "host:port" or redis://[user:password@]host:port */
	const char *transport; /* "auto" (default), "tcp", "verbs" */
	const char *spill_dir; /* for what memory does not hold; default: TMPDIR, or /tmp */
	uint64_t buffer_bytes; /* most memory for the image; 0: 512 MiB; the rest is spilled */
	int timeout_ms;        /* for a single step: to connect, to answer; 0: 10,000 */
	int fresh;             /* 1: have a new snapshot made even where one is retained */
	/* Told about ten times a second, in the caller's thread; NULL: nobody. bytes_total is 0
	 * while the primary still makes the image. */
	void (*progress)(void *arg, uint64_t bytes, uint64_t bytes_total);
	void *arg;        /* for progress */
	char *error;      /* gets one line with the remedy when the pull fails; may be NULL */
	size_t error_cap; /* bytes of room at `error` */
};

/* Opens the file at `path`, an image or a plain RDB file. Nothing is verified yet but the
 * manifest of an image. 0 and *out, which the caller closes; -errno of open or mmap;
 * BEAM_E_FORMAT when it is neither; BEAM_E_CRC when the manifest is damaged. */
RDBEAM_API int beam_image_open(const char *path, struct beam_image **out);

/* Pulls an image from a primary that has the module loaded, and opens it: it lies in memory and,
 * beyond buffer_bytes, in an unlinked file; every segment's checksum has been compared. Blocks
 * until the image is whole. The primary forks unless it retains an image young enough. 0 and *out,
 * which the caller closes; -EINVAL for a request that makes no sense; or what stopped it, with a
 * line in request->error: BEAM_E_DENIED, BEAM_E_GONE, BEAM_E_STALE, BEAM_E_UNSUPPORTED (no module
 * there), BEAM_E_CRC, -errno and others. */
RDBEAM_API int beam_image_pull(const struct beam_pull_request *request, struct beam_image **out);

/* The same, to a file at `path`: written beside it, synced, and renamed when it is whole, so that
 * `path` is the old file or the new one and nothing else. 0, or what stopped it, as above. */
RDBEAM_API int beam_image_pull_to_file(const struct beam_pull_request *request, const char *path);

/* Closes the image; all pointers from its records are invalid then. NULL and a NULL inside are
 * fine; clears the pointer. */
RDBEAM_API void beam_image_close(struct beam_image **image);

/* Fills in *out. Never fails. */
RDBEAM_API void beam_image_facts(const struct beam_image *image, struct beam_image_facts *out);

/* The next key, in the image's order. 1 and *out, whose pointers are valid until the next call with
 * this image; 0 after the last key; BEAM_E_CRC, BEAM_E_FORMAT or BEAM_E_TORN where the image is
 * damaged, BEAM_E_UNSUPPORTED for a newer server's type in a plain file, -ENOMEM: the walk is over
 * then and each further call says the same. */
RDBEAM_API int beam_image_next(struct beam_image *image, struct beam_record *out);

/* Starts the walk again: the next beam_image_next gives the first key. */
RDBEAM_API void beam_image_rewind(struct beam_image *image);

/* Reads the whole image: all checksums, the shape of all records, the number of keys. `problem` (may
 * be NULL) is called with `arg` for each thing that is wrong, with its code, offset in bytes and a
 * line of text that is valid during the call; it returns 0 to go on and another number to stop.
 * `out` may be NULL. Does not move the walk. 0 when nothing is wrong, else the code of the first
 * problem. */
RDBEAM_API int beam_image_verify(const struct beam_image *image,
				 int (*problem)(void *arg, int code, uint64_t offset,
						const char *text),
				 void *arg, struct beam_image_check *out);

/* "string", "list", "set", "zset", "hash", "stream", "module", "other". Static storage; "other" for
 * a number that is none. Any thread. */
RDBEAM_API const char *beam_type_name(enum beam_type type);

/* The version of the library that runs, as in RDBEAM_VERSION at compile time. Static storage. Any
 * thread. */
RDBEAM_API const char *beam_version(void);

#ifdef __cplusplus
}
#endif

#endif
