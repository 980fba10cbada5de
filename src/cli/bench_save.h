/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One save of a benchmark's server, by one of the methods that are compared, and what it took. One
 * thread.
 */
#ifndef BEAM_BENCH_SAVE_H
#define BEAM_BENCH_SAVE_H

#include "bench_load.h"
#include "bench_server.h"

enum beam_bench_method {
	BEAM_BENCH_STOCK,      /* BGSAVE as shipped: compression, checksum, to the disk */
	BEAM_BENCH_TUNED,      /* neither of the two, to /dev/shm */
	BEAM_BENCH_TUNED_DISK, /* neither of the two, to the disk */
	BEAM_BENCH_RDBEAM,     /* with checksums, to the disk */
};

#define BEAM_BENCH_METHODS 4

const char *beam_bench_method_name(enum beam_bench_method method);

/* All are doubles, so that their medians are taken by one function. */
struct beam_bench_sample {
	double ms; /* from BGSAVE, fork included: the save; of rdbeam: its copy into the table */
	double durable_ms;     /* from BGSAVE to the end of the child, which then is on disk */
	double child_ms;       /* how long memory was copied on write: the child's life, or until it
				* gave the memory up */
	double fork_ms;        /* the server stands still */
	double cpu_s;          /* of the child and its workers */
	double daemon_cpu_s;   /* of rdbeamd */
	double copied_bytes;   /* copied on write by the server while child_ms lasted */
	double cow_bytes;      /* rdb_last_cow_size, stock only */
	double private_bytes;  /* most private dirty memory of child and workers, if sampled */
	double flush_mb_per_s; /* rdbeam only */
	double image_bytes;    /* of the dump */
	double keys;
};

struct beam_bench_place {
	char disk[PATH_MAX]; /* directories for dumps */
	char memory[PATH_MAX];
};

/* What else goes on while the server saves. */
struct beam_bench_around {
	const struct beam_load_opts *load; /* a paced client from just before BGSAVE until the
					    * save's end, or NULL */
	struct beam_latencies *latencies;  /* what that client saw is added here */
	struct beam_latencies *window;     /* and here, with what it saw until the window's end */
	double window_ms;                  /* from BGSAVE, if the save ends sooner */
	bool look_inside; /* at the child's memory, again and again, which slows it down */
};

/* Runs one save and waits until the server has booked it; the dump is removed. 0, or a negative
 * code with the line in `error`: also when stock saving took over from rdbeam. */
int beam_bench_save(struct beam_bench_server *server, enum beam_bench_method method,
		    const struct beam_bench_place *place, const struct beam_bench_around *around,
		    char *error, struct beam_bench_sample *out);

#endif
