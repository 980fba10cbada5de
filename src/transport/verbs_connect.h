/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Establishes the reader's RDMA connection.
 */
#ifndef BEAM_VERBS_CONNECT_H
#define BEAM_VERBS_CONNECT_H

#include "reader.h"
#include "verbs.h"

/* Finds the device by the route to the host (or by RDBEAM_VERBS_SOURCE). Returns 0 with *id on
 * `events`, or -ENODEV with error_text when there is none; nothing was sent then. */
int verbs_resolve(struct rdma_event_channel *events, const struct beam_reader_opts *opts,
		  struct rdma_cm_id **id, char error_text[BEAM_TEXT_BYTES]);

/* Connects, sending the HELLO along. Returns 0; the code with which the server refused; or -errno;
 * with error_text. */
int verbs_connect(struct rdma_cm_id *id, const struct beam_wire_hello *hello,
		  const struct beam_reader_opts *opts, char error_text[BEAM_TEXT_BYTES]);

/* Waits for the next event, acknowledges it, and returns its type; or -ETIMEDOUT or -errno.
 * `reject` (may be NULL) receives the private data of a rejection. */
int verbs_next_event(struct rdma_event_channel *events, int timeout_ms,
		     uint8_t reject[VERBS_REJECT_BYTES]);

#endif
