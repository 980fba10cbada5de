/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command rdbeam bench: its options and help text, and the choice of the benchmark.
 */
#include <string.h>

#include "bench.h"
#include "bench_result.h"
#include "report.h"

static const struct {
	const char *name;
	int (*run)(const struct beam_bench_opts *opts);
} benches[] = {
    {"snapshot", beam_bench_snapshot},
    {"reads", beam_bench_reads},
    {"sync", beam_bench_sync},
};

static const struct beam_option bench_options[] = {
    {.name = "--from",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, from),
     .value = "ADDR",
     .help = "reads: the primary, which runs on this host, by the address of its RDMA device."},
    {.name = "--data",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, data),
     .value = "LIST",
     .help = "Data sets, separated by commas. S: 256 strings of 3.66 MB; M: 1M of 1 KB; T: 5M of "
	     "100 bytes; E: 5M short strings and integers; H: 1M hashes of 10 fields; X: all types "
	     "mixed, about 1 GB. Default S,M,T,E,H,X."},
    {.name = "--scale",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct beam_bench_opts, scale),
     .value = "PERCENT",
     .min = 1,
     .max = 10000,
     .help = "Percent of the keys of each data set. Default 100."},
    {.name = "--runs",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct beam_bench_opts, runs),
     .value = "N",
     .min = 1,
     .max = BEAM_BENCH_RUNS_MAX,
     .help =
	 "How often each method saves or syncs each data set; medians are reported. Default 3."},
    {.name = "--rate",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct beam_bench_opts, rate),
     .value = "N",
     .min = 0,
     .max = 100000,
     .help = "snapshot: requests per second of the client whose latency is measured; 0: without "
	     "it. Default "
	     "2000."},
    {.name = "--writes",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct beam_bench_opts, writes),
     .value = "PERCENT",
     .min = 0,
     .max = 100,
     .help = "snapshot: percent of that client's requests that write. Default 50."},
    {.name = "--tuned",
     .kind = BEAM_OPT_CHOICE,
     .offset = offsetof(struct beam_bench_opts, tuned),
     .choices = "yes|no",
     .help = "snapshot: no: leave stock's tuned saves out, and the second server that they need. "
	     "Default yes."},
    {.name = "--replicas",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, replicas),
     .value = "LIST",
     .help = "sync: numbers of concurrent replicas, in rising order. Default 1,2,3."},
    {.name = "--methods",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, methods),
     .value = "LIST",
     .help =
	 "sync: a selection of stock-disk, stock-diskless, stock-diskless-load, "
	 "stock-dual-channel, each also with -tuned (rdbcompression no), get-set-loop, "
	 "rdbeam-stock-loader, rdbeam-module-loader, rdbeam-retained (from an image that "
	 "exists already), rdbeam-same-host (memory of this host), rdbeam-verbs. Default: all."},
    {.name = "--checksum",
     .kind = BEAM_OPT_CHOICE,
     .offset = offsetof(struct beam_bench_opts, checksum),
     .choices = "yes|no",
     .help = "sync: rdbchecksum of all servers, fixed when they start. Default yes."},
    {.name = "--slow-disk",
     .kind = BEAM_OPT_INT,
     .offset = offsetof(struct beam_bench_opts, slow_disk),
     .value = "MB/S",
     .min = 0,
     .max = 100000,
     .help = "sync: measure one replica also with dumps on disks of this rate (needs root, loop "
	     "devices and cgroup v1); 0: do not. Default 97."},
    {.name = "--plot",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, plot),
     .value = "FILE",
     .help = "Draw the report as SVG, with gnuplot."},
    {.name = "--disk",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, disk),
     .value = "DIR",
     .help = "Directory for dumps on disk. Default: TMPDIR from the environment, or /tmp."},
    {.name = "--server",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, server),
     .value = "PATH",
     .help = "Server to measure. Default: redis-server in PATH."},
    {.name = "--module",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, module),
     .value = "PATH",
     .help = "rdbeam.so, with rdbeamd beside it. Default: the one beside this program, or the "
	     "installed one."},
    {.name = "--config",
     .kind = BEAM_OPT_STRING,
     .offset = offsetof(struct beam_bench_opts, config),
     .value = "FILE",
     .help = "File with more configuration for the servers, as in redis.conf."},
    BEAM_COMMON_OPTIONS(struct beam_bench_opts),
};

static const struct beam_bench_opts bench_defaults = {
    .data = "S,M,T,E,H,X",
    .scale = 100,
    .runs = 3,
    .rate = 2000,
    .writes = 50,
    .server = "redis-server",
    .replicas = "1,2,3",
    .checksum = "yes",
    .tuned = "yes",
    .slow_disk = 97,
};

static int bench_run(void *arg, int nargs, char **args)
{
	const struct beam_bench_opts *opts = arg;

	(void)nargs;
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (strcmp(benches[i].name, args[0]) == 0)
			return benches[i].run(opts);
	}
	return beam_fail_usage(&opts->common, "unknown benchmark: %s: give snapshot, sync or reads",
			       args[0]);
}

const struct beam_command beam_bench_command = {
    .name = "bench",
    .synopsis = "snapshot|sync|reads",
    .summary = "Measure saving and new replicas on this machine, with stock methods and rdbeam",
    .text =
	"Starts its own servers on loopback, fills them, and runs the methods in turn. Everything\n"
	"is in temporary directories and is removed at the end. Progress goes to stderr. The\n"
	"machine should do nothing else meanwhile.\n\n"
	"snapshot: stock BGSAVE as shipped; stock tuned, without compression and checksum, to\n"
	"/dev/shm and to the disk; rdbeam with its checksums to the disk. Stock and rdbeam save "
	"in\n"
	"the same server process. Two servers hold the data at once, since rdbchecksum is fixed "
	"at\n"
	"start: that takes four to five times the size of a data set, and half of that with\n"
	"--tuned no.\n\n"
	"sync: from REPLICAOF, or the start of rdbeam pull, on an empty server until its link is\n"
	"up at the primary's offset; then the digests are compared. Takes the size of a data set\n"
	"three times, and once more for each replica.\n\n"
	"reads: pulls the image of a primary that runs on this host with an RDMA device, by verbs\n"
	"and by tcp, each between runs of ib_read_bw (perftest) on that device. Besides the rates\n"
	"it reports the user CPU of redis-server and rdbeamd over the whole pull, less what both\n"
	"use while nobody pulls. It is exact where both run on nohz_full= processors and this\n"
	"runs as root; else it goes by the kernel's ticks, and needs images that take many\n"
	"seconds.",
    .examples =
	"rdbeam bench snapshot --data S,M --plot snapshot.svg\n"
	"rdbeam bench snapshot --data S,H --scale 5 --runs 1 --json\n"
	"rdbeam bench snapshot --data M --scale 500 --rate 5000 --writes 100 --tuned no --runs 1\n"
	"rdbeam bench sync --data S,M --replicas 1,3 --plot sync.svg",
    .options = bench_options,
    .noptions = BEAM_NOPTIONS(bench_options),
    .opts_bytes = sizeof(struct beam_bench_opts),
    .defaults = &bench_defaults,
    .min_args = 1,
    .max_args = 1,
    .run = bench_run,
};
