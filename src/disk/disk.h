/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A flush: one file being written from the region, with many writes in flight. There are two
 * engines behind one table: io_uring (registered buffers, O_DIRECT) and posix (a thread that calls
 * pwrite), which is used if io_uring is missing or refused (logged once). All functions must be
 * called on one thread, the loop's. None of them blocks, except close, which waits for what is in
 * flight (the fence).
 *
 * Order of calls: open, add_buffer*, write*, (reap when the fd is readable), finish after the last
 * write, reap until the finish completes, close. A failed write or fsync fails the flush
 * permanently: fsync is never tried twice on one file. The engine submits short writes, EAGAIN and
 * ECANCELED again.
 */
#ifndef BEAM_DISK_H
#define BEAM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct beam_flush;

enum beam_disk_engine { BEAM_DISK_AUTO, BEAM_DISK_URING, BEAM_DISK_POSIX };

struct beam_flush_opts {
	int fd; /* caller's; open until close; O_DIRECT if `direct` */
	/* Writes must be aligned; the engine pads the last one and trims the file. */
	bool direct;
	enum beam_disk_engine engine;
	uint32_t depth;       /* writes in flight; 0: the engine's default */
	uint32_t write_bytes; /* larger writes are split; 0: the engine's default */
	uint64_t rate_limit;  /* bytes per second; 0: no limit */
};

/* Called by beam_flush_reap for each completed write, and once for the finish. `result` is 0 or
 * -errno. */
typedef void beam_flush_done_fn(void *arg, uint64_t cookie, int result);
#define BEAM_FLUSH_FINISHED UINT64_MAX /* cookie of the finish */

/* Finds out whether a system call filter kills processes that use io_uring, by trying it in a
 * forked process. Call it before there are threads, and before memory is registered with a device;
 * processes forked later know the result, too. If it is never called, io_uring is assumed to be
 * allowed. 0, or -errno if no process could be forked. */
int beam_disk_try(void);

/* Opens a flush. 0, or -errno (BEAM_DISK_URING where it is not available: -ENOSYS or the kernel's
 * error). */
int beam_flush_open(const struct beam_flush_opts *opts, struct beam_flush **out);

/* Adds memory from which writes will come (at most 1 GiB per call). It is registered with the
 * engine at the first write from it; if that fails, writes are only slower. `base` must stay mapped
 * until close. */
void beam_flush_add_buffer(struct beam_flush *flush, void *base, uint64_t len_bytes);

/* Becomes readable when beam_flush_reap has work: completions, or the rate limit allows more. */
int beam_flush_fd(const struct beam_flush *flush);

/* Queues buf[0..len_bytes) to be written at file offset `offset`; `buf` must not change until the
 * write completes. With `direct`, buf and offset must be 4096-aligned; if len_bytes is not, the
 * write is padded to a multiple of 4096 (the memory after buf must be readable), and finish trims
 * the file. 0 or -ENOMEM. */
int beam_flush_write(struct beam_flush *flush, const void *buf, size_t len_bytes, uint64_t offset,
		     uint64_t cookie);

/* The same, but leaves out buf[hole..hole_end), which must be zeros, since nothing has been written
 * at that place of the new file yet. 0 < hole < hole_end < len_bytes, multiples of 4096; both 0: no
 * hole. */
int beam_flush_write_around(struct beam_flush *flush, const void *buf, size_t len_bytes,
			    uint64_t offset, size_t hole, size_t hole_end, uint64_t cookie);

/* Call it after the last write was queued. Once all writes are done, the file's size is set and the
 * file is fsynced; that completes with cookie BEAM_FLUSH_FINISHED. 0, or -EBUSY if it was called
 * before. */
int beam_flush_finish(struct beam_flush *flush, uint64_t file_bytes);

/* Submits and completes what is possible without waiting, and calls `done` for what is complete.
 * Returns 0 or the flush's error. */
int beam_flush_reap(struct beam_flush *flush, beam_flush_done_fn *done, void *arg);

uint64_t beam_flush_written(const struct beam_flush *flush);   /* bytes written */
const char *beam_flush_engine(const struct beam_flush *flush); /* "io_uring" or "posix" */

/* Cancels what was not submitted, waits for what was, and frees the flush. After that no engine
 * reads the buffers. Accepts NULL, clears the pointer. */
void beam_flush_close(struct beam_flush **flush);

/* The file's name and its last steps; for the child and the waiter, which do the renaming. */

/* Opens an unnamed file in `dirfd` (O_TMPFILE) or, if that is not supported, a new file called
 * `fallback_name`; then *named is true. Uses O_DIRECT if the file system supports it (*direct). 0
 * and *fd, or -errno. */
int beam_file_create(int dirfd, const char *fallback_name, int *fd, bool *direct, bool *named);

/* Creates a file as stock saving does: called `name` (which must not exist), and buffered. 0 and *fd,
 * or -errno. */
int beam_file_create_plain(int dirfd, const char *name, int *fd);

/* Gives the file its final name: links it as `temp_name` if it has no name, renames that to `name`,
 * and fsyncs the directory. 0 or -errno; then nothing is left under temp_name. */
int beam_file_publish(int dirfd, int fd, bool named, const char *temp_name, const char *name);

#endif
