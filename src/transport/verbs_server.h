/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transport by one-sided RDMA READ (libibverbs, librdmacm); only in builds that have these
 * libraries.
 */
#ifndef BEAM_VERBS_SERVER_H
#define BEAM_VERBS_SERVER_H

#include "reader.h"
#include "server.h"

extern const struct beam_server_ops beam_verbs_server;

/* Its open returns -ENODEV when nothing was sent (no device here, or no route to the host through
 * one), so that the ticket can still be used with another transport. Settings in the environment:
 * RDBEAM_VERBS_DEPTH (READs queued), RDBEAM_VERBS_TIMEOUT (4.096 us * 2^n for each try),
 * RDBEAM_VERBS_RETRIES, RDBEAM_VERBS_SOURCE (use the device of this address). */
extern const struct beam_reader_ops beam_verbs_reader;

#endif
