/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Every error that rdbeam can return, in one list. Functions return 0 or a negative code: -errno
 * for the system's errors, one of these for our own. Ours are below -4095, so the two never
 * collide.
 */
#ifndef RDBEAM_ERROR_H
#define RDBEAM_ERROR_H

#include "rdbeam/api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What an error affects: only the operation, the snapshot (generation), the connection, or the
 * process. */
enum beam_scope {
	BEAM_SCOPE_SYSTEM, /* an errno: the caller knows what it affects */
	BEAM_SCOPE_OPERATION,
	BEAM_SCOPE_SNAPSHOT,
	BEAM_SCOPE_CONNECTION,
	BEAM_SCOPE_PROCESS,
};

/* X(NAME, value, scope, text) */
#define BEAM_ERRORS(X)                                                                             \
	X(TORN, -5001, SNAPSHOT, "image is truncated or was not completed")                        \
	X(CRC, -5002, SNAPSHOT, "checksum does not match the data")                                \
	X(FORMAT, -5003, SNAPSHOT, "not a valid image or RDB file")                                \
	X(PROTO, -5004, CONNECTION, "peer broke the protocol")                                     \
	X(STALE, -5005, SNAPSHOT, "generation is gone or was replaced")                            \
	X(VERSION, -5006, CONNECTION, "version is not supported")                                  \
	X(DENIED, -5007, CONNECTION, "access was refused")                                         \
	X(FULL, -5008, SNAPSHOT, "region is too small for the image")                              \
	X(GONE, -5009, CONNECTION, "peer closed the connection")                                   \
	X(BUSY, -5010, OPERATION, "another job is in the way")                                     \
	X(ABORTED, -5011, SNAPSHOT, "operation was cancelled")                                     \
	X(UNSUPPORTED, -5012, OPERATION, "not supported here")                                     \
	X(SERVER, -5013, OPERATION, "Redis answered with an error")                                \
	X(COUNT, -5014, SNAPSHOT, "number of keys does not match the server's")                    \
	X(METADATA, -5015, SNAPSHOT, "a module keeps data of a key that only the server can save") \
	X(MOVED, -5016, SNAPSHOT, "the server moved keys in its table while they were read")       \
	X(OWNED, -5017, SNAPSHOT,                                                                  \
	  "a module keeps AUX data and keys, which only the server can save together")

enum beam_error {
#define X(name, value, scope, text) BEAM_E_##name = (value),
	BEAM_ERRORS(X)
#undef X
};

/* Text of a negative code (ours or -errno); "ok" for 0. Static storage, or strerror's; never NULL.
 * Any thread. */
RDBEAM_API const char *beam_strerror(int code);

/* Name of one of our codes ("CRC"), or "ERRNO" for the system's. Static storage. Any thread. */
RDBEAM_API const char *beam_error_name(int code);

/* What the error affects. Any thread. */
RDBEAM_API enum beam_scope beam_error_scope(int code);

#ifdef __cplusplus
}
#endif

#endif
