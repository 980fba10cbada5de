/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A real rdbeamd between a module (played by this process) and children (forked from it).
 */
#ifndef DAEMON_RIG_H
#define DAEMON_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl.h"
#include "lane.h"
#include "status_page.h"

#define RIG_SEGMENT_BYTES (2u << 20)

struct rig {
	int control, listen;
	uint8_t name[6];
	size_t name_len;
	uint8_t secret[BEAM_SECRET_BYTES];
	pid_t daemon;
	int daemon_pidfd;
	char dir[256];
	int dirfd;
	bool quiet; /* do not print its log */
	struct beam_ctl_config config;
	struct beam_ctl_status status; /* the newest one */
	struct beam_status_page *page; /* NULL: everything comes by message */
	struct beam_ctl_ready ready;
	struct beam_ctl_opened opened;
};

/* Starts a daemon with a region of `segments` segments. `fault` (may be NULL) is its RDBEAM_FAULT.
 * Returns false after a line on stderr if the daemon does not start. */
bool rig_open(struct rig *rig, uint32_t segments, const char *fault);
/* The same, with a page for the daemon's numbers, as the module has one. */
bool rig_open_paged(struct rig *rig, uint32_t segments);
/* Closes the control socket, as a server does when it ends. Returns true if the daemon is gone
 * within 5 s. */
bool rig_close(struct rig *rig);

void rig_configure(struct rig *rig);
/* Processes messages until a STATUS with this state and generation arrives. Returns false after 10
 * s. */
bool rig_wait_state(struct rig *rig, enum beam_state state, uint64_t counter);
/* Waits until image `counter` has been given up and the region has no memory left. */
bool rig_wait_given_back(struct rig *rig, uint64_t counter);
/* Processes one message within timeout_ms. Returns its type, or a negative code. */
int rig_next(struct rig *rig, int timeout_ms);

/* What a child does. */
struct save {
	enum beam_snapshot_kind kind;
	uint64_t estimate_bytes;
	uint32_t nkeys; /* of 64 KiB each */
	bool worker;    /* a second process writes half of them */
	const char *name;
	const char *replid;       /* of its position in the stream; NULL: the same one for all */
	int64_t backlog_first;    /* that offset is 4711 */
	const char *waiter_fault; /* the waiter's RDBEAM_FAULT; NULL: none */
};

/* Like BGSAVE: forks a child that writes the image, becomes the waiter and so on. Returns its pid.
 * It exits with 0 or 1, like the waiter; with 40 if the daemon refused, with 41 if the copy
 * failed. */
pid_t rig_save(struct rig *rig, const struct save *save);
#define RIG_EXIT_REFUSED 40
#define RIG_EXIT_COPY    41

/* In a forked child: opens a coordinator's lane. Returns NULL with the code in *err on failure. */
struct beam_lane *rig_begin(struct rig *rig, const struct save *save, int file_fd, bool direct,
			    int *err, char reason[BEAM_TEXT_BYTES]);

/* Waits for a child. Returns its wait status, or -1 after 20 s. */
int rig_reap(pid_t pid);

/* True if dir/name holds a complete image of nkeys keys. */
bool rig_verify(const struct rig *rig, const char *name, uint32_t nkeys);
/* Number of files in the directory. */
int rig_files(const struct rig *rig);
/* Writes a dump.rdb "from before"; tells whether it is still there, byte by byte. */
bool rig_write_old_dump(const struct rig *rig);
bool rig_old_dump_is_there(const struct rig *rig);
/* Lists the fault points that the daemon (or, if false, its waiters) has passed so far, each once.
 * Returns their number, at most RIG_POINTS_MAX; 0 without RDBEAM_FAULTS. */
#define RIG_POINTS_MAX  128
#define RIG_POINT_BYTES 48
int rig_points_passed(const struct rig *rig, bool of_daemon,
		      char names[RIG_POINTS_MAX][RIG_POINT_BYTES]);

#endif
