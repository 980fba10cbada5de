/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The methods that make replicas, and one measurement of one of them. One thread.
 */
#ifndef BEAM_BENCH_SYNC_H
#define BEAM_BENCH_SYNC_H

#include "bench_rig.h"

#define BEAM_SYNC_METHODS      13
#define BEAM_SYNC_REPLICAS_MAX 8
#define BEAM_SYNC_WHY_BYTES    200

enum beam_sync_kind {
	BEAM_SYNC_STOCK, /* REPLICAOF */
	BEAM_SYNC_LOOP,  /* a client reads each key here and writes it there */
	BEAM_SYNC_PULL,  /* rdbeam pull */
};

struct beam_sync_method {
	const char *name;
	enum beam_sync_kind kind;
	/* STOCK */
	bool tuned; /* rdbcompression no */
	bool diskless, diskless_load, dual_channel;
	/* PULL */
	const char *loader, *transport;
	bool retained; /* from an image that was there before */
};

extern const struct beam_sync_method beam_sync_methods[BEAM_SYNC_METHODS];

/* Reads "stock-disk,..." into chosen[] (NULL: all). 0, or -EINVAL with the item in `bad`. */
int beam_sync_methods_parse(const char *text, bool chosen[BEAM_SYNC_METHODS], char *bad,
			    size_t cap);

/* All are doubles, so that their medians are taken by one function. Times of several replicas are
 * of the last one that was ready; CPU of a replica is the mean of all. */
struct beam_sync_sample {
	double ready_ms;       /* from the order to the link up at the primary's offset */
	double first_ready_ms; /* of the first of several replicas */
	double primary_cpu_ms; /* server, its children, rdbeamd */
	double replica_cpu_ms; /* server, and the pull or loop that fills it */
	double tool_cpu_ms;    /* of that the pull or loop */
	/* As the pull reports them; 0 for others. */
	double image_bytes, copy_ms, transfer_ms, load_ms, catchup_ms, handover_ms;
};

struct beam_sync_place {
	struct beam_bench_rig *rig;
	struct beam_bench_server *primary;
	const struct beam_bench_data *data;
	char digest[48];          /* of the primary's data */
	const char *primary_disk; /* the directories of dumps; NULL: the servers' own */
	const char *replica_disk;
	bool warming_up; /* the first pull makes the backlog, and an image of its own */
};

/* Why a method cannot be measured here, into why[BEAM_SYNC_WHY_BYTES]; false when it can. */
bool beam_sync_impossible(const struct beam_sync_method *method,
			  const struct beam_sync_place *place, char *why);

/* Whether `rdbeam pull` has this option with this choice (NULL: any). */
bool beam_sync_pull_has(const char *option, const char *choice);

/* DEBUG DIGEST of a server. 0, or a negative code with the line. */
int beam_sync_digest(struct beam_bench_rig *rig, struct beam_redis *redis, char out[48]);

/* Makes `replicas` new servers replicas at the same time, and compares the digests. 0; a negative
 * code with the line in place->rig->error; or -ECANCELED with the reason in `why` for a method that
 * was given up since it takes too long. */
int beam_sync_once(const struct beam_sync_place *place, const struct beam_sync_method *method,
		   int replicas, char *why, struct beam_sync_sample *out);

#endif
