/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BEAM_DRIVER_PROBE_H
#define BEAM_DRIVER_PROBE_H

#include <stdbool.h>

/* False only if it was seen that the first RDMA device of this host keeps from who has armed its queue for
 * solicited completions that there is an error, which counts as one (ibv_req_notify_cq(3)). Soft-RoCE of
 * Linux 6.12 does: a server hears nothing then of a READ that was refused, until its reader goes. */
bool driver_tells_of_errors(void);

#endif
