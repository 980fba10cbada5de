/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeamd's state, and what its files offer each other. One daemon for each server process, one
 * thread (the region and the disk have helpers of their own). Data flow: writers.c hears from the
 * fork child, grants.c gives it slots (reuse.c the same ones again where the region is smaller than
 * the image), generation.c owns the image's life, flushes.c takes it to
 * the disk, serve.c and listeners.c to pullers, status.c tells the module.
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

/* What transports hold a reference on. */
struct beam_served {
	struct generation *gen;
};

/* A connected process of the fork child: the coordinator or a worker. It lives until its socket is
 * closed and its pid, if it was a writer, is gone or forgotten with the generation. */
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
	uint64_t heard; /* the round of writers_hear_strangers that it was in */
	bool waiting;   /* it asked for a slot of `need` */
	uint32_t need;
};

enum generation_state {
	GEN_FILLING,  /* writers at work */
	GEN_FLUSHING, /* whole in memory, on its way to the disk */
	GEN_READY,    /* whole; on disk if it was to be */
	GEN_RETIRING, /* no new grants, no new sessions; the fence is under way */
	GEN_FENCED,   /* slots given back; lives on for references only */
};

/* The daemon's own copy of an entry: what writers do to the table later changes nothing here. */
struct segment {
	uint64_t crc;
	uint32_t len_bytes; /* 0: not sealed yet */
	uint32_t slot;      /* 0: none yet, or none any more */
	uint32_t written_next;
};

/* Segments that are on the disk and still in memory, in the order in which they got there. */
struct written_queue {
	uint32_t first, last; /* index + 1; 0: none */
};

/* What the waiter is to be told; repeated with each heartbeat, as the coordinator may lose a
 * message while it turns itself into the waiter. */
enum outcome { OUTCOME_NONE, OUTCOME_DURABLE, OUTCOME_FAILED };

struct generation {
	struct beam_served served;
	struct generation *next; /* older */
	struct daemon *d;
	enum generation_state state;
	struct beam_ctl_begin begin;
	struct beam_gen id;
	struct writer *coordinator; /* NULL once its connection is closed */
	bool failed;
	bool silent_writers; /* ABORT or COPIED came: nobody writes any more, whatever lives */
	uint64_t begin_ms, ready_ms;

	int table_fd;
	struct beam_table *table;
	uint64_t table_bytes;
	uint32_t capacity;
	uint32_t segment_bytes;
	struct segment *segments;
	uint32_t need_segments;         /* by the estimate */
	uint32_t reach;                 /* no index from here on has a slot */
	uint32_t nslots;                /* held */
	uint32_t total;                 /* 0 until COPIED was checked */
	bool extents[BEAM_EXTENTS_MAX]; /* that its slots lie in */

	/* reuse.c: the image is larger than the region */
	bool on_need;   /* a slot is granted to the index that a writer waits for, and no other */
	uint32_t ngone; /* segments whose slots hold others now: the image cannot be served whole */
	uint32_t nunwritten; /* sealed, and not on the disk yet */
	uint64_t sealed_ms;  /* when the last one was, or the beginning */
	struct written_queue written;
	uint64_t stalled_ms; /* since when a writer waits for nothing but readers; 0: none does */
	struct beam_timer *reuse_soon, *reuse_tick;

	int file_fd;
	struct beam_flush *flush;
	struct beam_watch *flush_watch;
	struct beam_timer *flush_hold; /* set: what is sealed is not written yet */
	uint64_t flush_start_ms, flush_ms, flushed_bytes;
	struct beam_timer *heartbeat;
	enum outcome outcome;
	int failed_code;
	char failed_text[BEAM_TEXT_BYTES];

	/* By index, once somebody asked for it; one whose index does not match is not signed yet. */
	struct beam_wire_vouched *vouched;
	uint32_t vouch_from; /* all below are signed */

	struct beam_ctl_copied copied;
	uint64_t copy_ms, cow_window_ms;
	uint32_t refs;      /* sessions' */
	uint64_t broken_ms; /* when a session ended before its time; 0: none did */
	uint32_t revokes_pending;
};

struct daemon {
	struct beam_loop *loop;
	int control, listen;
	struct beam_watch *control_watch, *listen_watch, *server_watch;
	struct outbox control_box;
	bool greeted; /* HELLO came */
	uint8_t secret[BEAM_SECRET_BYTES];
	int server_pidfd;
	uint64_t nonce, counter;

	bool configured;
	struct beam_ctl_config config;
	struct beam_ctl_config new_config; /* applied from the loop, never from within a session */
	struct beam_timer *config_timer;

	struct beam_region *region;
	struct beam_watch *region_watch;
	uint32_t segment_bytes; /* the region's; config's once the region is empty */
	bool region_full;       /* the last growth fell short */

	struct beam_server *servers[DAEMON_SERVERS_MAX];
	struct leaving {
		struct daemon *d;
		bool yes; /* the server cuts its sessions: it is closed when they are gone */
	} leaving[DAEMON_SERVERS_MAX];
	bool lacking[DAEMON_SERVERS_MAX]; /* the hardware for it, which is looked for */
	struct beam_timer *listen_again;  /* a port was taken, or a device is looked for */
	struct names *names;              /* NULL: no name was there to be looked up */
	struct tickets tickets;
	struct signing *signing;
	uint64_t pulls_total, pull_bytes_total, tickets_denied;
	struct beam_log_limit denied_lines, stranger_lines;

	struct writer *writers;
	uint64_t hearing;        /* rounds of writers_hear_strangers */
	struct generation *gens; /* newest first */
	struct generation *filling;
	struct beam_timer *chores;
	uint64_t chores_at_ms;
	uint64_t trim_at_ms; /* 0: nothing to give back */
	bool
	    memory_near; /* at the last look: an image that nobody asks for may soon be in the way */

	struct beam_ctl_status past; /* of a newest generation that is gone */
	uint64_t last_durable_ms;
	char last_error[BEAM_TEXT_BYTES];
	bool error_of_listeners;       /* it is over when they listen */
	struct beam_status_page *page; /* NULL: the module gave none, everything is sent */
	struct beam_timer *status_timer;
	uint64_t status_made_ms;
	struct beam_ctl_status told; /* to the module, last */
	bool status_owed;            /* a state changed, and the module has not been told yet */
};

/* control.c: the module's side */
int control_open(struct daemon *d);
/* Takes in what the module has sent: tickets at once, the rest from the loop. */
void control_drain(struct daemon *d);
void control_send(struct daemon *d, enum beam_ctl_type type, void *message, uint32_t len_bytes);
void control_ready(struct daemon *d, const char *error);

/* status.c */
void status_changed(struct daemon *d); /* a state changed: at once */
void status_moved(struct daemon *d);   /* something moved: within 100 ms */
/* Something moved that seldom does: at once, unless that would wake the module. */
void status_stepped(struct daemon *d);
void status_remember(struct daemon *d, struct generation *gen); /* before the newest goes */
void status_error(struct daemon *d, const char *text);

/* listeners.c: the transports */
void listeners_configure(struct daemon *d, const struct beam_ctl_config *old);
/* By the same settings, as something else has changed. */
void listeners_again(void *d);
void listeners_published(struct generation *gen);
uint32_t listeners_sessions(struct generation *gen);
/* The fence of one segment: true once nobody reads it any more. */
bool listeners_done(struct generation *gen, uint32_t index);
/* Ends the sessions that are not done with it. How many there were. */
uint32_t listeners_drop(struct generation *gen, uint32_t index, const char *why);
/* Begins the fence of every transport; generation_fence is called as each is done. */
void listeners_revoke(struct generation *gen, const char *why);
void listeners_counts(struct daemon *d, struct beam_server_counts *out);
/* The pulls that are served now, over all transports. Returns how many. */
uint32_t listeners_pulls(struct daemon *d, struct beam_ctl_pull out[BEAM_CTL_PULLS]);
uint32_t listeners_port(const struct daemon *d);
/* Those that listen, with commas between. */
void listeners_names(const struct daemon *d, char *out, size_t cap);

/* names.c */
/* Where to listen, into `opts`. False: names are being looked up, and listeners_again follows. */
bool names_addresses(struct daemon *d, struct beam_server_opts *opts);

/* serve.c */
void serve_init(struct daemon *d, struct beam_serve_images *images);

/* signing.c: the primary's word for segments, for readers that ask for it. Digests are computed by a
 * thread, so that the loop is not held up. */
int signing_open(struct daemon *d);
void signing_public_key(const struct daemon *d, uint8_t out[BEAM_PUBLIC_BYTES]);
/* As beam_serve_images.vouched; begins with the work if that is not done yet. */
int signing_get(struct generation *gen, uint32_t index, struct beam_wire_vouched *out);
/* True while the thread reads the generation's memory; generation_fence is called when it is done. */
bool signing_reads(const struct generation *gen);
bool signing_reads_segment(const struct generation *gen, uint32_t index);

/* writers.c */
int writers_listen(struct daemon *d);
void writers_send(struct writer *writer, enum beam_ctl_type type, void *message, uint32_t len_bytes,
		  int fd);
void writers_send_text(struct writer *writer, enum beam_ctl_type type, int code, const char *text);
void writers_close(struct writer *writer);  /* its socket */
void writers_detach(struct writer *writer); /* from its generation; frees it */
/* Takes in connections and messages of processes not known yet: one may be a worker of a generation
 * that was just told to stop, and every worker that wrote before has said JOIN by then. */
void writers_hear_strangers(struct daemon *d);
/* True while a process may still write into the generation. */
bool writers_alive(const struct generation *gen);

/* generation.c */
/* A child asks for a generation; takes file_fd. */
void generation_begin(struct writer *writer, const struct beam_ctl_begin *begin, int file_fd);
void generation_sealed(struct generation *gen, uint32_t index);
/* Takes in segment `index` if it is sealed. 0; -EAGAIN when it is not; BEAM_E_PROTO. */
int generation_take(struct generation *gen, uint32_t index);
void generation_give_slots(struct generation *gen, uint32_t from);
void generation_free_if_unused(struct generation *gen);
/* The image cannot be finished: its writers are told and stopped, and it is retired. */
void generation_fail(struct generation *gen, int code, const char *text);

/* copied.c: the end of a copy */
void generation_copied(struct writer *writer, const struct beam_ctl_copied *copied);
/* The child has become the waiter: nothing of the server's memory is held any more. */
void generation_waiting(struct generation *gen);
/* All that was promised is done (or failed): the image is whole in memory from here on. */
void generation_finish(struct generation *gen, int code, const char *text);

/* retire.c */
void generation_retire(struct generation *gen, const char *why);
/* Goes on with the fence as far as it can. */
void generation_fence(struct generation *gen);
/* Retires an older image for its slots. False when there is none, or one is on its way already. */
bool retire_for_slots(struct daemon *d);
/* Slots of images under way out; and with them those that could be retired. */
uint64_t retire_pending(const struct daemon *d);
uint64_t retire_could_give(const struct daemon *d);
void retire_superseded(struct daemon *d);
/* Before the memory for a new image is looked for: those that are kept for nobody. */
void retire_out_of_reach(struct daemon *d, const struct beam_ctl_begin *begin);
void chores_schedule(struct daemon *d);

/* grants.c */
int grants_open(struct daemon *d);
void grants_configure(struct daemon *d);
void grants_pump(struct daemon *d);
void grants_send_extents(struct writer *writer, uint32_t known);
void grants_answer(struct writer *writer);
/* Gives a free slot of the region to index `index`, which has none. */
void grants_put(struct generation *gen, uint32_t index, uint32_t slot);
/* Asks the region for up to `want` slots. False when it has no room for any. */
bool grants_grow(struct daemon *d, uint32_t want);

/* Why a writer cannot go on: the memory of an image is all that there is, or can be had. */
void grants_tell_full(const struct generation *gen, const char *what, char text[BEAM_TEXT_BYTES]);

/* reuse.c */
/* From here on slots are granted as writers wait for them, and used again. */
void reuse_begin(struct generation *gen);
/* Fewest slots with which the copy cannot come to a stand by itself. */
uint32_t reuse_least(const struct beam_ctl_begin *begin);
void reuse_written(struct generation *gen, uint32_t index);
/* Serves the writers that wait, as far as there is memory for them. */
void reuse_pump(struct generation *gen);
/* A reader is done with a segment, or with all: pumps from the loop, if anybody waits. */
void reuse_later(struct generation *gen);
void reuse_close(struct generation *gen);

/* flushes.c */
int flushes_open(struct generation *gen, bool direct);
void flushes_write(struct generation *gen, uint32_t index);
void flushes_pump(struct generation *gen);
/* Ends the hold that a flush begins with, if it is still on. */
void flushes_release(struct generation *gen);
void flushes_finish(struct generation *gen);
void flushes_close(struct generation *gen);

#endif
