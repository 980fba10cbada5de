/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of rdbeamd, and the functions that its files offer each other. There is one daemon per
 * server process, and it has one thread (the region and the disk have helpers of their own).
 *
 * Data flow: writers.c receives from the forked child and its workers. grants.c gives them slots
 * (reuse.c: the same ones again, if the region is smaller than the image). generation.c owns the
 * image's life. flushes.c writes it to disk, serve.c and listeners.c serve it to pulls, and
 * status.c informs the module.
 */
#ifndef DAEMON_H
#define DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl.h"
#include "disk.h"
#include "log.h"
#include "loop.h"
#include "outbox.h"
#include "region.h"
#include "server.h"
#include "status_page.h"
#include "table.h"
#include "tickets.h"
#include "vouch.h"

#define DAEMON_SERVERS_MAX 2

struct generation;
struct names;
struct signing;

/* The object that transports hold references to. */
struct beam_served {
	struct generation *gen;
};

/* A connected process of the forked child: the coordinator or a worker. It exists until its socket
 * is closed and its process, if it was a writer, has ended or was forgotten with the generation. */
struct writer {
	struct writer *next;
	struct daemon *d;
	struct generation *gen; /* NULL before BEGIN or JOIN */
	int fd;                 /* -1: closed */
	struct beam_watch *watch;
	struct outbox box;
	pid_t pid;
	int pidfd; /* -1: the process is gone */
	struct beam_watch *pid_watch;
	uint64_t heard; /* number of the last writers_hear_strangers() round that included it */
	bool waiting;   /* it has asked for a slot for index `need` */
	uint32_t need;
};

enum generation_state {
	GEN_FILLING,  /* writers are at work */
	GEN_FLUSHING, /* complete in memory, being written to disk */
	GEN_READY,    /* complete; on disk if it was to be */
	GEN_RETIRING, /* no new grants or sessions; the fence is in progress */
	GEN_FENCED,   /* slots given back; exists only for its references */
};

/* The daemon's copy of a table entry: later writes to the table do not affect it. */
struct segment {
	uint64_t crc;
	uint32_t len_bytes; /* 0: not sealed yet */
	uint32_t slot;      /* 0: none yet, or taken away */
	uint32_t written_next;
};

/* Segments that are on disk and still in memory, in the order of their writes' completion. */
struct written_queue {
	uint32_t first, last; /* index + 1; 0: none */
};

/* What the waiter is to be told. It is repeated with each heartbeat, because the coordinator may
 * lose a message while it becomes the waiter. */
enum outcome { OUTCOME_NONE, OUTCOME_DURABLE, OUTCOME_FAILED };

struct generation {
	struct beam_served served;
	struct generation *next; /* the next older one */
	struct daemon *d;
	enum generation_state state;
	struct beam_ctl_begin begin;
	struct beam_gen id;
	struct writer *coordinator; /* NULL once its connection is closed */
	bool failed;
	bool silent_writers; /* no more writes: ABORT or COPIED has come */
	uint64_t begin_ms, ready_ms;

	int table_fd;
	struct beam_table *table;
	uint64_t table_bytes;
	uint32_t capacity;
	uint32_t segment_bytes;
	struct segment *segments;
	uint32_t need_segments;         /* from the estimate */
	uint32_t reach;                 /* first index above all that have a slot */
	uint32_t nslots;                /* slots held */
	uint32_t total;                 /* 0 until COPIED was verified */
	bool extents[BEAM_EXTENTS_MAX]; /* those its slots lie in */

	/* reuse.c: if the image is larger than the region */
	bool on_need;        /* grant slots only to indexes that writers wait for */
	uint32_t ngone;      /* segments whose slots hold others now: new pulls are refused */
	uint32_t nunwritten; /* sealed, but not on disk yet */
	uint64_t sealed_ms;  /* time of the last seal, or of the beginning */
	struct written_queue written;
	uint64_t stalled_ms; /* since when a writer waits only for readers; 0: none does */
	struct beam_timer *reuse_soon, *reuse_tick;

	int file_fd;
	struct beam_flush *flush;
	struct beam_watch *flush_watch;
	struct beam_timer *flush_hold; /* set: sealed segments are not written yet */
	uint64_t flush_start_ms, flush_ms, flushed_bytes;
	struct beam_timer *heartbeat;
	enum outcome outcome;
	uint64_t durable_before_ms; /* the daemon's last_durable_ms before this one */
	int failed_code;
	char failed_text[BEAM_TEXT_BYTES];

	/* Signatures by index, allocated at the first request. An entry with another index is
	 * unsigned. */
	struct beam_wire_vouched *vouched;
	uint32_t vouch_from; /* all below are signed */

	struct beam_ctl_copied copied;
	uint64_t copy_ms, cow_window_ms;
	uint32_t refs;      /* held by sessions */
	uint64_t broken_ms; /* when a session last broke off; 0: never */
	uint32_t revokes_pending;
};

struct daemon {
	struct beam_loop *loop;
	int control, listen;
	struct beam_watch *control_watch, *listen_watch, *server_watch;
	struct outbox control_box;
	bool greeted; /* HELLO has come */
	uint8_t secret[BEAM_SECRET_BYTES];
	int server_pidfd;
	uint64_t counter; /* of generations */

	bool configured;
	struct beam_ctl_config config;
	struct beam_ctl_config new_config; /* to be applied from the loop, never within a session */
	struct beam_timer *config_timer;

	struct beam_region *region;
	struct beam_watch *region_watch;
	uint32_t segment_bytes; /* the region's; takes config's value once the region is empty */
	bool region_full;       /* the last attempt to grow fell short */

	struct beam_server *servers[DAEMON_SERVERS_MAX];
	struct leaving {
		struct daemon *d;
		bool yes; /* stopping: closed when its sessions have ended */
	} leaving[DAEMON_SERVERS_MAX];
	bool lacking[DAEMON_SERVERS_MAX]; /* no hardware for it yet; looked for again */
	struct beam_timer *listen_again;  /* a port was taken, or hardware is looked for */
	struct names *names;              /* NULL: there was no name to look up */
	struct tickets tickets;
	struct signing *signing;
	uint64_t pulls_total, pull_bytes_total, tickets_denied;
	struct beam_log_limit denied_lines, stranger_lines;

	struct writer *writers;
	uint64_t hearing;        /* counts the rounds of writers_hear_strangers() */
	struct generation *gens; /* newest first */
	struct generation *filling;
	struct beam_timer *chores;
	uint64_t chores_at_ms;
	uint64_t trim_at_ms; /* 0: no memory to give back */
	/* At the last look memory was getting short: an image that nobody asks for may soon have
	 * to go. */
	bool memory_near;

	struct beam_ctl_status past; /* of the last generation, if that is gone */
	uint64_t last_durable_ms;
	char last_error[BEAM_TEXT_BYTES];
	bool error_of_listeners;       /* cleared when they listen */
	struct beam_status_page *page; /* NULL: the module gave none, so everything is sent */
	struct beam_timer *status_timer;
	uint64_t status_made_ms;
	struct beam_ctl_status told; /* last STATUS sent to the module */
	bool status_owed;            /* a state has changed since that */
};

/* All functions below run in the loop's thread. An int is 0 or a negative code. */

/* control.c: the connection to the module */

/* Watches the control socket and sends log lines over it. 0 or -errno. */
int control_open(struct daemon *d);
/* Processes all messages that the module has sent so far. New settings are applied later, from the
 * loop. */
void control_drain(struct daemon *d);
/* Fills in the message's head and sends or queues it. A failure ends the daemon. */
void control_send(struct daemon *d, enum beam_ctl_type type, void *message, uint32_t len_bytes);
/* Sends READY: what listens, and `error`, "" for none. */
void control_ready(struct daemon *d, const char *error);

/* status.c: the figures behind INFO */

void status_changed(struct daemon *d); /* a state changed: sends at once */
void status_moved(struct daemon *d);   /* a number changed: sends within 100 ms */
/* A number changed that seldom does: updates the page at once, but does not wake the module for
 * it. */
void status_stepped(struct daemon *d);
/* Keeps the figures of the newest generation, which is about to be freed. */
void status_remember(struct daemon *d, struct generation *gen);
/* Sets the last error, "" to clear it. Does not send it. */
void status_error(struct daemon *d, const char *text);

/* listeners.c: the transports */

/* Opens, configures or stops each transport as d->config says, and sends READY. `old` holds the
 * previous settings: one whose address has changed is opened anew. */
void listeners_configure(struct daemon *d, const struct beam_ctl_config *old);
/* Applies the same settings again, after something else has changed. */
void listeners_again(void *d);
/* Tells the image's sessions to look for new segments or signatures. */
void listeners_published(struct generation *gen);
/* Number of sessions that pull the image. */
uint32_t listeners_sessions(struct generation *gen);
/* The fence of a single segment: true if no session reads it any more. */
bool listeners_done(struct generation *gen, uint32_t index);
/* Ends the sessions that still need the segment, telling them `why`. Returns their number. */
uint32_t listeners_drop(struct generation *gen, uint32_t index, const char *why);
/* Starts the fence of every transport, telling the sessions `why`. generation_fence() is called as
 * each one completes, possibly from within this call. */
void listeners_revoke(struct generation *gen, const char *why);
void listeners_counts(struct daemon *d, struct beam_server_counts *out);
/* Lists the pulls being served, over all transports. Returns how many. */
uint32_t listeners_pulls(struct daemon *d, struct beam_ctl_pull out[BEAM_CTL_PULLS]);
/* The port that transports listen on; 0 if none does. */
uint32_t listeners_port(const struct daemon *d);
/* Names of the transports that listen, separated by commas. */
void listeners_names(const struct daemon *d, char *out, size_t cap);

/* names.c: host names among the addresses to listen on */

/* Sets the addresses to listen on in `opts`. Returns false while names are being looked up;
 * listeners_again() is called after that. */
bool names_addresses(struct daemon *d, struct beam_server_opts *opts);

/* serve.c: images as the transports see them */

void serve_init(struct daemon *d, struct beam_serve_images *images);

/* signing.c: signs segments for readers that ask for it (relays). A thread computes the digests, so
 * that the loop is not blocked. */

/* Makes the daemon's key. The thread is started when it is first needed. 0, -ENOMEM or -errno. */
int signing_open(struct daemon *d);
void signing_public_key(const struct daemon *d, uint8_t out[BEAM_PUBLIC_BYTES]);
/* As beam_serve_images.vouched. Starts the work if that has not been done yet. */
int signing_get(struct generation *gen, uint32_t index, struct beam_wire_vouched *out);
/* True while the thread reads the generation's memory; generation_fence() is called when it has
 * finished. */
bool signing_reads(const struct generation *gen);
bool signing_reads_segment(const struct generation *gen, uint32_t index);

/* writers.c: the forked child and its workers */

/* Watches the socket that they connect to. 0 or -errno. */
int writers_listen(struct daemon *d);
/* Sends or queues a message. `fd` may be -1, and remains the caller's. Does nothing if the
 * connection is closed, and shuts it down on an error: the loop then sees its end. */
void writers_send(struct writer *writer, enum beam_ctl_type type, void *message, uint32_t len_bytes,
		  int fd);
void writers_send_text(struct writer *writer, enum beam_ctl_type type, int code, const char *text);
void writers_close(struct writer *writer);  /* closes its socket */
void writers_detach(struct writer *writer); /* removes it from its generation and frees it */
/* Processes connections and messages of processes that are not known yet. One of them may be a
 * worker of a generation that was just told to stop; any worker that has written has sent JOIN by
 * then. */
void writers_hear_strangers(struct daemon *d);
/* True while a process may still write into the generation. */
bool writers_alive(const struct generation *gen);

/* generation.c: from BEGIN to the last seal */

/* Handles a child's request for a generation, and replies to it. Takes ownership of file_fd. */
void generation_begin(struct writer *writer, const struct beam_ctl_begin *begin, int file_fd);
/* Handles a writer's message that segment `index` is sealed. If it is not, the image fails. */
void generation_sealed(struct generation *gen, uint32_t index);
/* Takes in segment `index` if it is sealed, and writes it to disk. Returns 0; -EAGAIN if it is not
 * sealed; BEAM_E_PROTO. */
int generation_take(struct generation *gen, uint32_t index);
/* Gives the slots of all indexes from `from` on back to the region. */
void generation_give_slots(struct generation *gen, uint32_t from);
/* Frees a generation that is fenced and has no references left. */
void generation_free_if_unused(struct generation *gen);
/* Gives up an image that cannot be completed: its writers are told and stopped, and it is
 * retired. */
void generation_fail(struct generation *gen, int code, const char *text);

/* copied.c: the end of a copy */

/* Handles the waiter's UNSAVED: the durable file could not be made the dump. */
void generation_unsaved(struct generation *gen, int code, const char *text);

/* Handles the coordinator's COPIED: verifies the image, and completes its file if it has one. */
void generation_copied(struct writer *writer, const struct beam_ctl_copied *copied);
/* The child has become the waiter, and no longer holds any of the server's memory. */
void generation_waiting(struct generation *gen);
/* Ends a save: everything promised is done (code 0), or has failed. The image is complete in memory
 * from now on. */
void generation_finish(struct generation *gen, int code, const char *text);

/* retire.c: the end of a generation, and chores */

/* Takes an image out of service and starts its fence; sessions are told `why`. The generation may
 * be freed in this call, and others with it. Does nothing if it is being retired already. */
void generation_retire(struct generation *gen, const char *why);
/* Completes the fence if nothing stands in its way any more. May free the generation. */
void generation_fence(struct generation *gen);
/* Retires an older image to get its slots. Returns false if there is none. */
bool retire_for_slots(struct daemon *d);
/* Slots of images being retired; and those plus the slots of images that could be retired. */
uint64_t retire_pending(const struct daemon *d);
uint64_t retire_could_give(const struct daemon *d);
/* Retires images that nobody uses, if there is a newer complete one. */
void retire_superseded(struct daemon *d);
/* Before memory for a new image is sought: retires images that no replica can continue from. */
void retire_out_of_reach(struct daemon *d, const struct beam_ctl_begin *begin);
/* Sets the timer for the next chores, if there may be any, or moves it forward. */
void chores_schedule(struct daemon *d);

/* grants.c: slots for writers */

/* Opens the region, or applies new settings to it. Errors are logged and shown in INFO. */
void grants_configure(struct daemon *d);
/* Grants slots to the image being copied, as far as there is memory, and asks for more memory. May
 * fail the image. */
void grants_pump(struct daemon *d);
/* Sends a writer the extents that its image uses, from number `known` on. */
void grants_send_extents(struct writer *writer, uint32_t known);
/* If the slot that a writer waits for has been granted, tells it so. */
void grants_answer(struct writer *writer);
/* Gives a free slot of the region to index `index`, which has none. */
void grants_put(struct generation *gen, uint32_t index, uint32_t slot);
/* Asks the region's thread for up to `want` slots. Returns false if it has no room for any. */
bool grants_grow(struct daemon *d, uint32_t want);
/* Explains why a writer cannot continue: the image already holds all memory that can be had. */
void grants_tell_full(const struct generation *gen, const char *what, char text[BEAM_TEXT_BYTES]);

/* reuse.c: an image larger than the region */

/* From now on slots are granted only as writers wait for them, and are reused. */
void reuse_begin(struct generation *gen);
/* The smallest number of slots with which the copy cannot deadlock. */
uint32_t reuse_least(const struct beam_ctl_begin *begin);
/* Segment `index` has been written to disk: its slot may be reused once nobody reads it. */
void reuse_written(struct generation *gen, uint32_t index);
/* Serves the waiting writers as far as there is memory. May fail the image. */
void reuse_pump(struct generation *gen);
/* A reader is done with one segment, or all: serves waiting writers from the loop. */
void reuse_later(struct generation *gen);
/* Cancels the timers. */
void reuse_close(struct generation *gen);

/* flushes.c: the way to the disk */

/* Opens the flush of gen->file_fd; `direct`: the file was opened with O_DIRECT. */
int flushes_open(struct generation *gen, bool direct);
/* Queues the write of a sealed segment, unless the image does not go to disk or the flush is on
 * hold. An error shows in the next flushes_pump(). */
void flushes_write(struct generation *gen, uint32_t index);
/* Reaps completed writes. Fails or finishes the save if that is due. */
void flushes_pump(struct generation *gen);
/* Ends the initial hold of a flush, if it is still on. */
void flushes_release(struct generation *gen);
/* After the last segment: sets the file's size and syncs it. generation_finish() follows. */
void flushes_finish(struct generation *gen);
/* Closes the flush and the file. No write is in progress afterwards. */
void flushes_close(struct generation *gen);

#endif
