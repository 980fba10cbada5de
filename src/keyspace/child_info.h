/* SPDX-License-Identifier: BSD-3-Clause
 * A fork child's progress, as INFO persistence of the server shows it while the child runs. */
#ifndef BEAM_CHILD_INFO_H
#define BEAM_CHILD_INFO_H

#include <stdint.h>

/* Sends `keys` done of `expected` (current_save_keys_processed, current_fork_perc). In the server's own
 * fork child only. Through the server's exported function where there is one, else through the API, which
 * cannot tell the keys. */
void beam_child_info_send(uint64_t keys, uint64_t expected);

#endif
