/* SPDX-License-Identifier: BSD-3-Clause
 * The probe's sessions: an honest reader's beginning, and accesses of the caller's choice. */
#ifndef BEAM_PROBE_SESSION_H
#define BEAM_PROBE_SESSION_H

#include "reader_talk.h"
#include "redis.h"
#include "verbs.h"

#define PATIENCE_MS  30000
#define SEGMENTS_MAX 4096
#define READ_BYTES   65536u
#define QUEUES_MAX   8
#define DEPTH_MAX    128

struct place {
	uint64_t address, crc;
	uint32_t rkey, len_bytes;
};

struct session {
	struct reader_talk talk;
	struct rdma_event_channel *events;
	struct verbs_link link;
	struct ibv_mr *mr;
	uint8_t *buf; /* one segment */
	struct place places[SEGMENTS_MAX];
	uint32_t nplaces; /* told, from 0 on */
	bool complete;
	uint32_t nsegments;
	uint32_t depth;
};

extern struct beam_redis_addr primary;

/* Says so and ends the program. */
void die(const char *what, const char *why);

/* 0, or a code: the server may end sessions at any moment. */
int session_open(struct session *s, uint32_t depth);
void session_close(struct session *s);
/* Until the image is complete, or at least `nplaces` are told. 0, or the connection's failure. */
int await_places(struct session *s, uint32_t nplaces);
int say_done(struct session *s);
/* Until the server's end of the connection is told to be gone. */
void await_end(struct session *s);

/* 0 or verbs' errno. */
int post(struct session *s, enum ibv_wr_opcode opcode, uint64_t address, uint32_t rkey,
	 uint32_t offset, uint32_t len_bytes);
/* The next completion of a READ or of something that failed; mails are taken on the way. Status, or
 * -1 when only a mail came, or none in time. */
int next_status(struct session *s);
/* One access to its end; a mail in between does not count. */
int try_access(struct session *s, enum ibv_wr_opcode opcode, uint64_t address, uint32_t rkey,
	       uint32_t len_bytes);
/* Reads segment `index`, `depth` READs at once. 0 or the first bad status. */
int read_segment(struct session *s, uint32_t index);
bool sum_is_right(const struct session *s, uint32_t index);

/* Has the primary make a new image, and waits for it. */
void make_snapshot(void);

#endif
