/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared by the parts of the verbs server: verbs_server.c has the places and fences, verbs_listen.c
 * decides who may connect, verbs_session.c has one session's life and messages. A session's objects
 * belong to the loop until the session ends, and to the worker from then on. Its image is released
 * only after the worker has destroyed the queue pair and deregistered the memory.
 */
#ifndef BEAM_VERBS_SESSION_H
#define BEAM_VERBS_SESSION_H

#include <stddef.h>

#include "places.h"
#include "untold.h"
#include "verbs.h"
#include "verbs_worker.h"

#define VERBS_BATCH     1024 /* segments in one registration job */
#define VERBS_LISTENERS 16
#define VERBS_DEVICES   8

enum verbs_state {
	VERBS_CONNECTING, /* accepted, not established */
	VERBS_WAITING,    /* all places are taken */
	VERBS_SERVED,
	VERBS_ENDING, /* the worker tears it down */
};

/* A sealed segment that is being registered and announced. */
struct verbs_place {
	const uint8_t *base;
	uint64_t crc;
	uint32_t index, len_bytes;
	uint32_t rkey;
};

struct verbs_session {
	struct verbs_session *next;
	struct verbs_server *server;
	enum verbs_state state;
	struct verbs_link link;
	struct beam_watch *watch;
	char peer[BEAM_ADDR_BYTES];
	uint64_t start_ms, heard_ms;
	/* Since when a SEND has been waiting for its completion; 0: none is. */
	uint64_t unsent_ms;
	struct beam_served *image;
	struct beam_wire_welcome welcome;
	struct place place;
	struct beam_wire_waiting waits, told;
	bool welcomed;
	int code;                  /* why it ended */
	void (*fenced)(void *arg); /* called for a fence that waits for the image's sessions */
	void *fenced_arg;
	uint64_t read_bytes;

	bool discover, whole, told_complete;
	struct beam_wire_message complete;
	struct untold untold;

	/* One batch at a time: found, registered by the worker, announced. */
	struct verbs_place batch[VERBS_BATCH];
	uint32_t nbatch, ntold;
	bool registering;
	int register_err;
	struct verbs_job register_job, end_job;
	struct ibv_mr **mrs; /* the worker's */
	uint32_t nmrs, mrs_cap;
	uint64_t batch_registered, registered_bytes, told_bytes;

	uint32_t checks[VERBS_READER_MAILS * 8]; /* tags of CHECKs to answer */
	uint32_t nchecks;
};

struct verbs_async {
	struct ibv_context *device;
	struct beam_watch *watch;
};

struct verbs_server {
	struct beam_loop *loop;
	const struct beam_serve_images *images;
	struct places places;
	uint64_t stall_ms;
	uint64_t rate; /* announced bytes per second, 0: no limit */
	/* Bytes that may be announced now; negative after a large segment. */
	int64_t allowed;
	uint64_t refilled_ms;
	struct rdma_event_channel *events;
	struct beam_watch *events_watch;
	struct rdma_cm_id *listeners[VERBS_LISTENERS];
	uint32_t nlisteners;
	uint32_t port;
	bool no_names;
	char missing[VERBS_LISTENERS][BEAM_ADDR_BYTES]; /* could not be listened on yet */
	uint32_t nmissing;
	struct beam_timer *listen_timer;
	struct ibv_context **devices; /* rdma_cm's; held so that it does not close them */
	struct verbs_async asyncs[VERBS_DEVICES];
	struct verbs_worker *worker;
	struct verbs_session *sessions; /* oldest first */
	struct beam_timer *tick;
	uint64_t tick_ms; /* when the tick is due */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	void (*lost)(void *arg); /* NULL: not wanted, or called already */
	void *lost_arg;
	struct beam_timer *lost_timer;
	struct beam_server_device device;
};

/* ---- verbs_session.c ------------------------------------------------------------------------ */

/* Builds the objects of an authorized connection and accepts it. Takes over the image and the id;
 * on failure neither. Returns 0 or -errno. */
int verbs_session_start(struct verbs_server *server, struct rdma_cm_id *id,
			const struct rdma_conn_param *asked, struct beam_served *image,
			const struct beam_wire_welcome *welcome, const char *peer);
/* Starts serving a session that was given a place. */
void verbs_session_serve(struct verbs_session *session);
/* Finds, registers and announces segments, and sends whatever is due. */
void verbs_session_pump(struct verbs_session *session);
/* Handles completions, then pumps. */
void verbs_session_poll(struct verbs_session *session);
/* Ends the session. `code` 0: the reader was done. */
void verbs_session_end(struct verbs_session *session, int code);
/* Ends the session, with a line in the log, because it accessed memory that it had no key for. */
void verbs_session_deny(struct verbs_session *session);

/* ---- verbs_register.c: on the worker's thread ------------------------------------------------- */

/* Sorts the batch by address, registers it and fills in the keys. Returns 0 or -errno; memory that
 * was registered stays so until the session's end. */
int verbs_register_batch(struct verbs_session *session);
/* Deregisters all memory of the session. The queue pair must be destroyed before. */
void verbs_deregister(struct verbs_session *session);

/* ---- verbs_server.c ------------------------------------------------------------------------- */

/* Returns 0, or BEAM_E_BUSY with the line in `text` when too many wait already. */
int verbs_server_has_room(const struct verbs_server *server, char text[BEAM_TEXT_BYTES]);
/* To be called after any change: fills free places, reports queue positions, sets the tick. */
void verbs_server_settle(struct verbs_server *server);
/* Called when the session's objects are destroyed: releases its image, completes fences, frees
 * it. */
void verbs_server_gone(struct verbs_session *session);
/* Returns the bytes that the rate limit allows to announce now; <= 0: none before the next tick. */
int64_t verbs_server_allowed(struct verbs_server *server);

/* ---- verbs_async.c -------------------------------------------------------------------------- */

/* Watches all devices that exist now, and holds them open. */
void verbs_server_watch_all(struct verbs_server *server);
/* The same, if `device` has appeared since. */
void verbs_server_watch(struct verbs_server *server, struct ibv_context *device);
/* Stops watching and releases all devices. */
void verbs_server_unwatch(struct verbs_server *server);
/* Handles pending events of a device; a READ that was not granted shows there. */
void verbs_server_async(struct verbs_server *server, struct ibv_context *device);
/* Called when the device (NULL: unknown) is gone or has failed; the server's owner is notified from
 * the loop. */
void verbs_server_lost(struct verbs_server *server, struct ibv_context *device);

/* ---- verbs_listen.c ------------------------------------------------------------------------- */

/* Listens on every address of opts->bind that has a device, and retries the others from time to
 * time. Returns 0 when at least one works, or -errno with error_text. */
int verbs_listen(struct verbs_server *server, const struct beam_server_opts *opts,
		 char error_text[BEAM_TEXT_BYTES]);
/* The event loop's callback for rdma_cm events; `arg` is the server. */
void verbs_on_cm_event(int fd, uint32_t events, void *arg);

#endif
