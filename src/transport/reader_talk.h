/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every reader does with the server's words, whatever carries them: who the server is, what it
 * may say when, and the line that tells a failure. The server is hostile until its proof was
 * checked, and its numbers are checked after that too.
 */
#ifndef BEAM_READER_TALK_H
#define BEAM_READER_TALK_H

#include <stdbool.h>

#include "reader.h"

struct reader_talk {
	int failed; /* code of the error that ended it */
	char error[BEAM_TEXT_BYTES];
	char peer[BEAM_ADDR_BYTES + 16]; /* "host:port", for texts */
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_gen gen;
	struct beam_wire_hello hello;
	bool waiting, welcomed, complete, checking;
	struct beam_wire_welcome welcome;
	uint64_t image_bytes;
};

/* Makes the HELLO, with its proof. */
void reader_talk_begin(struct reader_talk *talk, const struct beam_reader_opts *opts);

/* Record the failure and return its code. */
int reader_talk_fail(struct reader_talk *talk, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int reader_talk_fail_proto(struct reader_talk *talk, const char *what);

/* One message that any transport has. 1 with *event, or the code of a failure. Those that only one
 * transport knows are refused here: it takes them before. */
int reader_talk_take(struct reader_talk *talk, const struct beam_wire_message *message,
		     struct beam_reader_event *event);

#endif
