/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the parts of the verbs server share: verbs_server.c owns who has a place and the fences,
 * verbs_listen.c who may connect, verbs_session.c one session's life and words. A session's objects
 * belong to the loop until it ends, to the worker from then on; its image is given back when the
 * worker has destroyed its queue pair and deregistered its memory, not before.
 */
#ifndef BEAM_VERBS_SESSION_H
#define BEAM_VERBS_SESSION_H

#include <stddef.h>

#include "places.h"
#include "untold.h"
#include "verbs.h"
#include "verbs_worker.h"

#define VERBS_BATCH     1024 /* segments in one registration job */
#define VERBS_LISTENERS 8
#define VERBS_DEVICES   8

enum verbs_state {
	VERBS_CONNECTING, /* accepted, not established */
	VERBS_WAITING,    /* all places are taken */
	VERBS_SERVED,
	VERBS_ENDING, /* the worker takes it down */
};

/* A sealed segment on its way to the reader. */
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
	uint64_t unsent_ms; /* since when a SEND waits for its completion; 0: none does */
	struct beam_served *image;
	struct beam_wire_welcome welcome;
	struct place place;
	struct beam_wire_waiting waits, told;
	bool welcomed;
	int code;                  /* why it ended */
	void (*fenced)(void *arg); /* a fence waits for the image's sessions */
	void *fenced_arg;
	uint64_t read_bytes;

	bool discover, whole, told_complete;
	struct beam_wire_message complete;
	struct untold untold;

	/* One batch at a time: found, registered by the worker, told. */
	struct verbs_place batch[VERBS_BATCH];
	uint32_t nbatch, ntold;
	bool registering;
	int register_err;
	struct verbs_job register_job, end_job;
	struct ibv_mr **mrs; /* the worker's */
	uint32_t nmrs, mrs_cap;
	uint64_t batch_registered, registered_bytes, told_bytes;

	uint32_t checks[VERBS_READER_MAILS * 8]; /* tags to answer */
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
	uint64_t rate;   /* bytes per second that are announced, 0: no limit */
	int64_t allowed; /* bytes that may be announced now; below 0 after a large one */
	uint64_t refilled_ms;
	struct rdma_event_channel *events;
	struct beam_watch *events_watch;
	struct rdma_cm_id *listeners[VERBS_LISTENERS];
	uint32_t nlisteners;
	uint32_t port;
	bool no_names;
	char missing[VERBS_LISTENERS][BEAM_ADDR_BYTES]; /* to be listened at, if they can be */
	uint32_t nmissing;
	struct beam_timer *listen_timer;
	struct ibv_context **devices; /* rdma_cm's, held so that it does not close them */
	struct verbs_async asyncs[VERBS_DEVICES];
	struct verbs_worker *worker;
	struct verbs_session *sessions; /* oldest first */
	struct beam_timer *tick;
	uint64_t tick_ms; /* when it is set for */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	void (*lost)(void *arg); /* NULL: nobody is to be told, or was */
	void *lost_arg;
	struct beam_timer *lost_timer;
	struct beam_server_device device;
};

/* ---- verbs_session.c ------------------------------------------------------------------------ */

/* Builds an authorized connection's objects and accepts it. Takes the image and the id; on failure
 * neither. 0 or -errno. */
int verbs_session_start(struct verbs_server *server, struct rdma_cm_id *id,
			const struct rdma_conn_param *asked, struct beam_served *image,
			const struct beam_wire_welcome *welcome, const char *peer);
void verbs_session_serve(struct verbs_session *session);
/* Finds, registers, tells what there is; sends what is owed. */
void verbs_session_pump(struct verbs_session *session);
/* Takes what has been completed, then pumps. */
void verbs_session_poll(struct verbs_session *session);
/* Ends it. `code` 0: the reader was done. */
void verbs_session_end(struct verbs_session *session, int code);
/* Ends it, with a line in the log, for an access that it had no key for. */
void verbs_session_deny(struct verbs_session *session);

/* ---- verbs_register.c: on the worker's thread ------------------------------------------------- */

/* Sorts the batch by address, registers it and fills in its keys. 0 or -errno; what was registered
 * stays so until the session's end. */
int verbs_register_batch(struct verbs_session *session);
/* All of it. The queue pair must be gone. */
void verbs_deregister(struct verbs_session *session);

/* ---- verbs_server.c ------------------------------------------------------------------------- */

/* BEAM_E_BUSY, with the line in `text`, when too many wait already. */
int verbs_server_has_room(const struct verbs_server *server, char text[BEAM_TEXT_BYTES]);
/* Places, positions, the tick: after anything has changed. */
void verbs_server_settle(struct verbs_server *server);
/* The session's objects are gone: gives its image back, completes fences, frees it. */
void verbs_server_gone(struct verbs_session *session);
/* Bytes that the rate allows to be announced now; <= 0: none before the next tick. */
int64_t verbs_server_allowed(struct verbs_server *server);

/* ---- verbs_async.c -------------------------------------------------------------------------- */

/* Listens to all devices that there are now, and holds them. */
void verbs_server_watch_all(struct verbs_server *server);
/* The same, if this one has come since. */
void verbs_server_watch(struct verbs_server *server, struct ibv_context *device);
void verbs_server_unwatch(struct verbs_server *server);
/* What a device has to say of its queue pairs: a READ that was not granted shows here. */
void verbs_server_async(struct verbs_server *server, struct ibv_context *device);
/* The device (NULL: not known) is gone, or failed: the server's owner is told, from the loop. */
void verbs_server_lost(struct verbs_server *server, struct ibv_context *device);

/* ---- verbs_listen.c ------------------------------------------------------------------------- */

int verbs_listen(struct verbs_server *server, const struct beam_server_opts *opts,
		 char error_text[BEAM_TEXT_BYTES]);
void verbs_on_cm_event(int fd, uint32_t events, void *arg);

#endif
