/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bytes and generations as text, as they stand in replies and options; copies of text. No state.
 */
#ifndef BEAM_TEXT_H
#define BEAM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdbeam/image_format.h"

#define BEAM_GEN_TEXT_BYTES 48

/* Lower case; `out` has room for 2 * len_bytes + 1. */
void beam_to_hex(const uint8_t *bytes, size_t len_bytes, char *out);
/* Exactly 2 * len_bytes digits, lower case. 0 or -EINVAL. */
int beam_from_hex(const char *text, uint8_t *bytes, size_t len_bytes);

bool beam_gen_same(const struct beam_gen *a, const struct beam_gen *b);
/* "nonce-counter", the nonce in 16 hex digits. */
void beam_gen_to_text(const struct beam_gen *gen, char out[BEAM_GEN_TEXT_BYTES]);
/* 0 or -EINVAL. */
int beam_gen_from_text(const char *text, struct beam_gen *gen);

/* Control characters become '?': what comes from a peer must not write lines of its own into a log, nor
 * steer a terminal. */
void beam_text_plain(char *text);

/* Bytes that are not UTF-8 become '?', each: paths and a peer's words may be anything, JSON may not. */
void beam_text_utf8(char *text);

/* strdup by the caller's own malloc, to be freed by its free. Valkey (8.1 on) loads modules with
 * RTLD_DEEPBIND: in the module, malloc and free are libc's then, but what libc itself allocates for
 * its caller (strdup, realpath, asprintf) comes from the server's allocator where that is a shared
 * library, and free would abort. NULL without memory. */
char *beam_strdup(const char *text);

#endif
