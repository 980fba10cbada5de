/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The methods to make replicas, and one measurement of one of them. Single-threaded.
 */
#ifndef BEAM_BENCH_SYNC_H
#define BEAM_BENCH_SYNC_H

#include "bench_rig.h"

#define BEAM_SYNC_METHODS      14
#define BEAM_SYNC_REPLICAS_MAX 8
#define BEAM_SYNC_WHY_BYTES    200

enum beam_sync_kind {
	BEAM_SYNC_STOCK, /* REPLICAOF */
	BEAM_SYNC_LOOP,  /* a client reads each key from one server and writes it to the other */
	BEAM_SYNC_PULL,  /* rdbeam pull */
};

struct beam_sync_method {
	const char *name;
	enum beam_sync_kind kind;
	/* For STOCK. */
	bool tuned; /* rdbcompression no */
	bool diskless, diskless_load, dual_channel;
	/* For PULL. */
	const char *loader, *transport;
	bool retained; /* from an image that exists already */
};

extern const struct beam_sync_method beam_sync_methods[BEAM_SYNC_METHODS];

/* Parses "stock-disk,..." into chosen[] (NULL: all). Returns 0, or -EINVAL with the wrong item in
 * `bad`. */
int beam_sync_methods_parse(const char *text, bool chosen[BEAM_SYNC_METHODS], char *bad,
			    size_t cap);

/* All members are doubles, so that one function can take their medians. With several replicas,
 * times are those of the last one to be ready, and the CPU time of a replica is the mean of all. */
struct beam_sync_sample {
	/* From the order until the link is up at the primary's offset. */
	double ready_ms;
	double first_ready_ms; /* of the first one, when there are several */
	double primary_cpu_ms; /* server, its children, rdbeamd */
	/* Server, and the pull or loop that fills it. */
	double replica_cpu_ms;
	double tool_cpu_ms; /* the pull's or loop's share of that */
	/* As reported by the pull; 0 for other methods. */
	double image_bytes, copy_ms, transfer_ms, load_ms, catchup_ms, handover_ms;
};

struct beam_sync_place {
	struct beam_bench_rig *rig;
	struct beam_bench_server *primary;
	const struct beam_bench_data *data;
	char digest[48]; /* of the primary's data */
	/* Directories for dumps; NULL: the servers' own. */
	const char *primary_disk;
	const char *replica_disk;
	/* The first pull makes the backlog, and an image of its own. */
	bool warming_up;
};

/* Returns true when a method cannot be measured here, with the reason in
 * why[BEAM_SYNC_WHY_BYTES]. */
bool beam_sync_impossible(const struct beam_sync_method *method,
			  const struct beam_sync_place *place, char *why);

/* True when `rdbeam pull` has this option with this choice (NULL: any). */
bool beam_sync_pull_has(const char *option, const char *choice);

/* Gets DEBUG DIGEST of a server. Returns 0, or a negative code with the line. */
int beam_sync_digest(struct beam_bench_rig *rig, struct beam_redis *redis, char out[48]);

/* Makes `replicas` new servers replicas at the same time, and compares the digests. Returns 0; a
 * negative code with the line in place->rig->error; or -ECANCELED with the reason in `why` when the
 * method was given up because it takes too long. */
int beam_sync_once(const struct beam_sync_place *place, const struct beam_sync_method *method,
		   int replicas, char *why, struct beam_sync_sample *out);

#endif
