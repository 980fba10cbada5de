/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One save of a benchmark's server, by one of the compared methods, and its cost. Single-threaded.
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

/* All members are doubles, so that one function can take their medians. */
struct beam_bench_sample {
	/* From BGSAVE, fork included: the save; for rdbeam: its copy into the table. */
	double ms;
	/* From BGSAVE to the end of the child; the data is on disk then. */
	double durable_ms;
	/* How long pages were copied on write: until the child ended or gave up the memory. */
	double child_ms;
	double fork_ms;      /* the server does not answer meanwhile */
	double cpu_s;        /* of the child and its workers */
	double daemon_cpu_s; /* of rdbeamd */
	/* Copied on write by the server during child_ms. */
	double copied_bytes;
	double cow_bytes; /* rdb_last_cow_size, stock only */
	/* Most private dirty memory of child and workers, if sampled. */
	double private_bytes;
	double flush_mb_per_s; /* rdbeam only */
	double image_bytes;    /* size of the dump */
	double keys;
};

struct beam_bench_place {
	char disk[PATH_MAX]; /* directories for dumps */
	char memory[PATH_MAX];
};

/* What else happens while the server saves. */
struct beam_bench_around {
	/* A paced client from just before BGSAVE until the end of the save, or NULL. */
	const struct beam_load_opts *load;
	struct beam_latencies *latencies; /* receives that client's latencies */
	/* Also receives them, including those until the window's end. */
	struct beam_latencies *window;
	double window_ms; /* from BGSAVE; matters if the save ends sooner */
	/* Sample the child's memory again and again, which slows it down. */
	bool look_inside;
};

/* Runs one save, waits until the server has recorded it, and removes the dump. Returns 0, or a
 * negative code with the line in `error`, also when stock saving took over from rdbeam. */
int beam_bench_save(struct beam_bench_server *server, enum beam_bench_method method,
		    const struct beam_bench_place *place, const struct beam_bench_around *around,
		    char *error, struct beam_bench_sample *out);

#endif
