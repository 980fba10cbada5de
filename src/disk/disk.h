/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A flush: one file being written from the region, many writes in flight. Two engines behind one
 * table: io_uring (registered buffers, O_DIRECT) and posix (a thread with pwrite), the latter when
 * the former is missing or refused (said once in the log). All functions on one thread, the loop's;
 * nothing here blocks but close, which waits for what is in flight (the fence).
 *
 * Order: open, add_buffer*, write*, (reap on readiness), finish once all segments were handed in,
 * reap until the finish completes, close. A failed write or fsync fails the flush for good: an
 * fsync is never tried twice on one file. Short writes, EAGAIN and ECANCELED are submitted again by
 * the engine.
 */
#ifndef BEAM_DISK_H
#define BEAM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_flush;

enum beam_disk_engine { BEAM_DISK_AUTO, BEAM_DISK_URING, BEAM_DISK_POSIX };

struct beam_flush_opts {
	int fd;      /* the caller's, open until close; O_DIRECT if direct */
	bool direct; /* writes must be aligned: the engine pads the last one and trims the file */
	enum beam_disk_engine engine;
	uint32_t depth;       /* writes in flight; 0: the engine's default */
	uint32_t write_bytes; /* a write is split to at most this; 0: the engine's default */
	uint64_t rate_limit;  /* bytes per second; 0: none */
};

/* Called from beam_flush_reap for each finished write and once for the finish. `result` 0 or
 * -errno. */
typedef void beam_flush_done_fn(void *arg, uint64_t cookie, int result);
#define BEAM_FLUSH_FINISHED UINT64_MAX /* cookie of the finish */

/* Finds out whether a filter of system calls would end this process for io_uring, by a forked one that may be ended.
 * Before there are threads, and before memory is registered with a device; what this process forks then knows it,
 * too. Not called, it is taken to be allowed. 0, or -errno: no process could be had for it. */
int beam_disk_try(void);

/* 0, or -errno (URING asked for and not there: -ENOSYS or what the kernel said). */
int beam_flush_open(const struct beam_flush_opts *opts, struct beam_flush **out);

/* Memory that writes will come from (at most 1 GiB each), to be registered at the first of them;
 * failing to is not an error, only slower. `base` stays mapped until close. */
void beam_flush_add_buffer(struct beam_flush *flush, void *base, uint64_t len_bytes);

/* Becomes readable when beam_flush_reap has work (completions, or the rate limit allows more). */
int beam_flush_fd(const struct beam_flush *flush);

/* Queues buf[0..len_bytes) for file offset `offset`; `buf` is unchanged until its completion.
 * With `direct`, buf and offset are 4096-aligned; a len_bytes that is not is written padded up to
 * 4096 (the memory behind it is readable) and trimmed by finish. 0 or -ENOMEM. */
int beam_flush_write(struct beam_flush *flush, const void *buf, size_t len_bytes, uint64_t offset,
		     uint64_t cookie);

/* The same, but buf[hole..hole_end), which is zeros, is left out: the file is new, and there nothing was written yet.
 * 0 < hole < hole_end < len_bytes, multiples of 4096; both 0: no hole. */
int beam_flush_write_around(struct beam_flush *flush, const void *buf, size_t len_bytes,
			    uint64_t offset, size_t hole, size_t hole_end, uint64_t cookie);

/* After the last write was queued: once all are done, sets the file's size, fsyncs. Completion has
 * cookie BEAM_FLUSH_FINISHED. */
int beam_flush_finish(struct beam_flush *flush, uint64_t file_bytes);

/* Submits and completes what it can without waiting; calls `done`. Returns 0 or the flush's error.
 */
int beam_flush_reap(struct beam_flush *flush, beam_flush_done_fn *done, void *arg);

uint64_t beam_flush_written(const struct beam_flush *flush);   /* bytes done */
const char *beam_flush_engine(const struct beam_flush *flush); /* "io_uring" or "posix" */

/* Cancels what was not submitted, waits for what was, frees. After it no engine reads the buffers.
 * NULL-safe, clears the pointer. */
void beam_flush_close(struct beam_flush **flush);

/* The file's name and its last steps, used by the child and the waiter (they own renames). */

/* Opens an unnamed file in `dirfd` (O_TMPFILE), or where that is not supported a new file called
 * `fallback_name`; O_DIRECT where the file system has it. *named says that it has that name.
 * 0 and *fd, or -errno. */
int beam_file_create(int dirfd, const char *fallback_name, int *fd, bool *direct, bool *named);

/* Gives the file its final name: links it as `temp_name` if it has no name, renames that over
 * `name`, fsyncs the directory. 0 or -errno (nothing is left behind under temp_name). */
int beam_file_publish(int dirfd, int fd, bool named, const char *temp_name, const char *name);

#endif
