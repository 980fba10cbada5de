/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Converts bytes and generations to and from text, as in replies and options; makes text safe to
 * print; copies text. No state.
 */
#ifndef BEAM_TEXT_H
#define BEAM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdbeam/image_format.h"

#define BEAM_GEN_TEXT_BYTES 48

/* The remedy for a process or thread that cannot be had. */
#define BEAM_RAISE_TASKS                                                                           \
	"raise TasksMax and LimitNPROC of the unit, or the container's limit of processes"

/* Lower case. `out` must have room for 2 * len_bytes + 1. */
void beam_to_hex(const uint8_t *bytes, size_t len_bytes, char *out);
/* Expects exactly 2 * len_bytes digits, lower case. 0 or -EINVAL. */
int beam_from_hex(const char *text, uint8_t *bytes, size_t len_bytes);

/* Whether both are the same generation. */
bool beam_gen_same(const struct beam_gen *a, const struct beam_gen *b);
/* "nonce-counter", with the nonce in 16 hex digits. */
void beam_gen_to_text(const struct beam_gen *gen, char out[BEAM_GEN_TEXT_BYTES]);
/* Parses such a text. 0 or -EINVAL; *gen is unchanged on failure. */
int beam_gen_from_text(const char *text, struct beam_gen *gen);

/* Replaces control characters by '?': text from a peer must not add lines to a log or control a
 * terminal. */
void beam_text_plain(char *text);

/* Replaces each byte that is not valid UTF-8 by '?': paths and a peer's text may hold any bytes,
 * JSON may not. */
void beam_text_utf8(char *text);

/* strdup that uses the caller's malloc, so that the caller can free the copy. Valkey (8.1 on) loads
 * modules with RTLD_DEEPBIND: the module's malloc and free are then libc's, but what libc allocates
 * for its caller (strdup, realpath, asprintf) comes from the server's allocator if that is a shared
 * library, and free would abort. NULL without memory. */
char *beam_strdup(const char *text);

#endif
