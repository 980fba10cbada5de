/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A real rdbeamd that serves pulls, with this process as the puller. The functions fail the test if
 * the daemon does not answer.
 */
#ifndef DAEMON_SERVED_H
#define DAEMON_SERVED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon_rig.h"
#include "reader.h"

/* rig_open with a TCP listener on 127.0.0.1. */
void served_open(struct rig *rig, uint32_t segments);
/* Only opens the listener. */
void served_listen(struct rig *rig);
/* A ticket for the servable image, registered with the daemon. */
struct beam_reader_opts served_ticket(struct rig *rig, const char *addr);
/* Connects and waits for WELCOME. Returns 0 or the code of the refusal. */
int served_enter(const struct beam_reader_opts *opts, struct beam_reader **reader);
/* Processes events up to the next one of this type. */
void served_next(struct beam_reader *reader, struct beam_reader_event *event,
		 enum beam_reader_event_type type);

#endif
