/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A serving daemon in a thread, with images in this process's memory, for the transport suites.
 */
#ifndef BEAM_TRANSPORT_FIXTURE_H
#define BEAM_TRANSPORT_FIXTURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs these before it */
#include <setjmp.h>

#include <cmocka.h>
#include <pthread.h>

#include "reader.h"
#include "server.h"

#define SEGMENT_BYTES BEAM_SEGMENT_ALIGN
#define TICKETS       256
#define PATIENCE_MS   60000 /* how long a test waits for an event that must come */

struct beam_served {
	struct beam_gen gen;
	uint32_t nsegments;
	uint32_t last_bytes; /* of the last segment */
	uint8_t *bytes;      /* of `file` */
	int file;
	bool shared_segment; /* all segments share one buffer, for images with many */
	bool *sealed;
	uint32_t claimed;
	bool complete;
	uint64_t asked; /* number of calls of segment() */
};

struct ticket {
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	bool used;
};

struct fixture {
	const struct beam_server_ops *ops;
	struct beam_server *server;
	struct beam_server_opts opts;
	struct beam_serve_images images;
	struct beam_served image;
	bool vouches_odd;
	struct ticket tickets[TICKETS];
	uint32_t ntickets;
	bool closed_door; /* nobody is admitted */
	pthread_t thread;
	int wakeup; /* eventfd */
	struct beam_watch *watch;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	void (*call)(struct fixture *f, void *arg); /* to be run on the loop's thread */
	void *call_arg;
	/* Protected by the lock. */
	uint32_t nended, nrefs;
	int ended_code;
	uint64_t sent_bytes;
	uint32_t ntaken;
	bool fenced, stopped;
};

/* The address at which the server is reached; set it before fixture_open for a device that has
 * another one. */
extern const char *fixture_host;

/* Serves an image of `nsegments` segments, none of them sealed. */
void fixture_open(struct fixture *f, const struct beam_server_ops *ops, uint32_t nsegments,
		  const struct beam_server_opts *limits);
void fixture_close(struct fixture *f);
/* Stops and closes the server, as when its address changes. Returns true when that took time during
 * which the loop went on. */
bool fixture_stop(struct fixture *f);
/* Fences the image: ends its sessions, waits until nothing reads its memory, and overwrites it as
 * the next generation would. */
void fixture_fence(struct fixture *f);
/* Runs fn on the loop's thread and waits until it has run. */
void fixture_run(struct fixture *f, void (*fn)(struct fixture *f, void *arg), void *arg);
/* Seals segment `index` and publishes it. */
void fixture_seal(struct fixture *f, uint32_t index);
void fixture_seal_all(struct fixture *f);
void fixture_complete(struct fixture *f);
/* Waits until n sessions have ended; returns the last one's code. */
int fixture_wait_ended(struct fixture *f, uint32_t n);
struct beam_server_counts fixture_counts(struct fixture *f);
/* Options for a reader with a new ticket. */
struct beam_reader_opts fixture_ticket(struct fixture *f);
uint32_t fixture_segment_bytes(const struct fixture *f, uint32_t index);
uint64_t fixture_image_bytes(const struct fixture *f);

/* The byte at `offset` of the image. */
static inline uint8_t image_byte(uint64_t offset)
{
	return (uint8_t)((offset * 0x9e3779b97f4a7c15ull) >> 56);
}

#endif
