/* SPDX-License-Identifier: BSD-3-Clause
 * What a fork child tells its server for INFO persistence: progress, memory copied on write, and where it
 * may run. */
#ifndef BEAM_CHILD_INFO_H
#define BEAM_CHILD_INFO_H

#include <stdbool.h>
#include <stdint.h>

/* Sends `keys` done of `expected` (current_save_keys_processed, current_fork_perc). In the server's own
 * fork child only. Through the server's exported function where there is one, else through the API, which
 * cannot tell the keys. */
void beam_child_info_send(uint64_t keys, uint64_t expected);

/* Sends and logs the private memory of this process (rdb_last_cow_size, or module_fork_last_cow_size): what
 * the server has copied on write since the fork, once no worker shares the old pages any more, and what
 * this process wrote itself. It takes some milliseconds per GB. Nothing where the server exports no
 * function for it. */
void beam_child_info_cow(bool module_fork);

/* Takes the CPUs of bgsave_cpulist (`cpulist`), which the server does in children of its own only. */
void beam_child_take_cpus(const char *cpulist);

#endif
