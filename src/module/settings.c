/* SPDX-License-Identifier: BSD-3-Clause
 * The table of settings: each row gives name, help, kind, default, bounds, and where the value
 * lives. */
#include "settings.h"

#include <limits.h>

#include "config.h"

struct beam_config beam_config;

const char *beam_mode_names[] = {"replace", "mirror", "off"};
static const char *hugepages_names[] = {"try", "require", "no"};
const char *beam_transport_names[] = {"auto", "verbs", "tcp", "off"};
static const char *tls_names[] = {"auto", "yes", "no"};

struct setting beam_settings[] = {
    {.name = "mode",
     .help = "replace: BGSAVE writes rdbeam's image. mirror: the image is made, and stock saving "
	     "goes on too. off: stock saving only.",
     .kind = KIND_ENUM,
     .value = &beam_config.mode,
     .names = beam_mode_names,
     .nnames = 3},
    {.name = "durable",
     .help = "Write the image to dir/dbfilename. no: keep it in memory only, for replicas.",
     .kind = KIND_BOOL,
     .value = &beam_config.durable,
     .preset = 1},
    {.name = "region-size",
     .help = "Maximum bytes of shared memory for images. 0: as needed, up to half of the available "
	     "memory.",
     .kind = KIND_BYTES,
     .value = &beam_config.region_size,
     .max = SETTING_BYTES_MAX},
    {.name = "segment-size",
     .help = "Size of a segment, the unit that is sealed, sent and written.",
     .kind = KIND_BYTES,
     .value = &beam_config.segment_size,
     .preset = BEAM_SEGMENT_DEFAULT,
     .min = BEAM_SEGMENT_ALIGN,
     .max = BEAM_SEGMENT_MAX,
     .multiple = BEAM_SEGMENT_ALIGN},
    {.name = "hugepages",
     .help = "Whether images use the 2 MiB pages of vm.nr_hugepages: if there are any, always, or "
	     "never.",
     .kind = KIND_ENUM,
     .value = &beam_config.hugepages,
     .names = hugepages_names,
     .nnames = 3},
    {.name = "workers",
     .help = "Processes that read the keyspace in parallel. 0: chosen from the CPUs and the memory "
	     "in use.",
     .kind = KIND_NUMBER,
     .value = &beam_config.workers,
     .max = 64},
    {.name = "retain",
     .help = "Seconds an image stays in memory for later replicas.",
     .kind = KIND_NUMBER,
     .value = &beam_config.retain,
     .preset = 300,
     .max = INT_MAX},
    {.name = "transport",
     .help = "How pulls read: auto is verbs (RDMA) where there is a device, and tcp. off: "
	     "no pulls.",
     .kind = KIND_ENUM,
     .value = &beam_config.transport,
     .names = beam_transport_names,
     .nnames = 4},
    {.name = "bind",
     .help = "Addresses to listen on for pulls, separated by spaces. Empty: the server's own.",
     .kind = KIND_TEXT,
     .value = &beam_config.bind},
    {.name = "port",
     .help = "Port to listen on for pulls. 0: the server's plus 20000.",
     .kind = KIND_NUMBER,
     .value = &beam_config.port,
     .max = 65535},
    {.name = "max-pulls",
     .help = "Maximum concurrent pulls; further pulls wait in a queue.",
     .kind = KIND_NUMBER,
     .value = &beam_config.max_pulls,
     .preset = 16,
     .min = 1,
     .max = 1024},
    {.name = "fanout",
     .help = "How often this server sends one image itself while relays can take over.",
     .kind = KIND_NUMBER,
     .value = &beam_config.fanout,
     .preset = 2,
     .min = 1,
     .max = 1024},
    {.name = "rate-limit",
     .help = "Bytes per second for all pulls together. 0: no limit.",
     .kind = KIND_BYTES,
     .value = &beam_config.rate_limit,
     .max = SETTING_BYTES_MAX},
    {.name = "flush-rate-limit",
     .help = "Bytes per second to the disk. 0: no limit.",
     .kind = KIND_BYTES,
     .value = &beam_config.flush_rate_limit,
     .max = SETTING_BYTES_MAX},
    {.name = "stall-timeout",
     .help = "Seconds after which a pull that reads nothing is dropped.",
     .kind = KIND_NUMBER,
     .value = &beam_config.stall_timeout,
     .preset = 60,
     .min = 1,
     .max = 86400},
    {.name = "fast-path",
     .help = "Read values directly from memory where a self-test at load allows it. no: by the "
	     "public module API only.",
     .kind = KIND_BOOL,
     .value = &beam_config.fast_path,
     .preset = 1},
    {.name = "fork-thp",
     .help =
	 "Huge pages for the heap, so that a fork takes about a tenth of the time, after a test "
	 "that this kernel copies 4 KiB of them on a write.",
     .kind = KIND_BOOL,
     .value = &beam_config.fork_thp},
    {.name = "tls",
     .help = "Whether pulls over TCP must use TLS, with a key from the ticket. auto: as the "
	     "server's replication is.",
     .kind = KIND_ENUM,
     .value = &beam_config.tls,
     .names = tls_names,
     .nnames = 3},
    {.name = "auto-pull",
     .help = "On a replica: serve any order to follow a primary (REPLICAOF, Sentinel, redis.conf) "
	     "by a pull. The server's own sync continues wherever that does not work.",
     .kind = KIND_BOOL,
     .value = &beam_config.auto_pull},
    {.name = "daemon",
     .help = "Path of rdbeamd. Empty: beside the module.",
     .kind = KIND_TEXT,
     .value = &beam_config.daemon,
     .fixed = true},
};
const size_t beam_nsettings = sizeof(beam_settings) / sizeof(beam_settings[0]);
