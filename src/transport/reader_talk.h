/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The part of a reader that does not depend on the transport: it verifies who the server is, checks
 * which message may come when, and keeps the line that describes a failure. The server is
 * considered hostile until its proof was checked, and its numbers are checked even after that.
 */
#ifndef BEAM_READER_TALK_H
#define BEAM_READER_TALK_H

#include <stdbool.h>

#include "reader.h"

struct reader_talk {
	int failed; /* code of the error that ended the session; 0: none */
	char error[BEAM_TEXT_BYTES];
	char peer[BEAM_ADDR_BYTES + 16]; /* "host:port", for messages */
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_gen gen;
	struct beam_wire_hello hello;
	bool waiting, welcomed, complete, checking;
	struct beam_wire_welcome welcome;
	uint64_t image_bytes;
};

/* Makes the HELLO, including its proof. */
void reader_talk_begin(struct reader_talk *talk, const struct beam_reader_opts *opts);

/* Record the failure and return its code. */
int reader_talk_fail(struct reader_talk *talk, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with BEAM_E_PROTO; `what` is what the server sent. */
int reader_talk_fail_proto(struct reader_talk *talk, const char *what);

/* Handles one message that is common to all transports. Returns 1 with *event, or the code of a
 * failure. Messages that only one transport knows are refused here: that transport handles them
 * before. */
int reader_talk_take(struct reader_talk *talk, const struct beam_wire_message *message,
		     struct beam_reader_event *event);

#endif
