/* SPDX-License-Identifier: BSD-3-Clause
 * What a forked child reports to its server for INFO persistence (progress, and memory copied on
 * write), and on which CPUs it runs. */
#ifndef BEAM_CHILD_INFO_H
#define BEAM_CHILD_INFO_H

#include <stdbool.h>
#include <stdint.h>

/* Reports that `keys` of `expected` keys are done (current_save_keys_processed, current_fork_perc).
 * Call it only in the server's own forked child. Uses the server's exported function if there is
 * one; otherwise the module API, which takes no number of keys. */
void beam_child_info_send(uint64_t keys, uint64_t expected);

/* Reports and logs the private memory of this process (rdb_last_cow_size or, with `module_fork`,
 * module_fork_last_cow_size): what the server has copied on write since the fork, provided that no
 * worker shares the old pages any more, and what this process has written itself. Takes some
 * milliseconds per GB. Does nothing if the server does not export its function for it. */
void beam_child_info_cow(bool module_fork);

/* Moves this process to the CPUs of bgsave_cpulist (`cpulist`; "": does nothing). The server does
 * that only for children that it forks itself. */
void beam_child_take_cpus(const char *cpulist);

#endif
