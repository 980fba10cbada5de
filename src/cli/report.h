/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam's output: one line for a failure, numbers in readable form, JSON for programs.
 */
#ifndef BEAM_REPORT_H
#define BEAM_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "command.h"

/* Writes "rdbeam: <text>" to stderr, and with --json {"error": text, "code": name} to stdout. The
 * text has the form "what: value: remedy". Returns rdbeam's exit code. */
int beam_fail(const struct beam_common *common, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a wrong command line; `common` may be NULL. Returns BEAM_EXIT_USAGE. */
int beam_fail_usage(const struct beam_common *common, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Writes a remark, which is not an error, to stderr: "rdbeam: <text>". Silent with --quiet. */
void beam_remark(const struct beam_common *common, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Room for any of the texts below. */
#define BEAM_TEXT_CAP 40

/* Format "1.21 GiB", "1,234,567", "1 key" or "2 keys" (`noun` is "key", of at most 12 bytes), "1.23 s"
 * or "2 min 03 s". Return `out`, which has BEAM_TEXT_CAP bytes. */
const char *beam_text_bytes(char *out, uint64_t bytes);
const char *beam_text_count(char *out, uint64_t count);
const char *beam_text_counted(char *out, uint64_t count, const char *noun);
const char *beam_text_ms(char *out, uint64_t ms);

/* Add a member to an object. Numbers keep all their 64 bits (a JSON number of cJSON is a
 * double). */
void beam_json_u64(cJSON *object, const char *name, uint64_t value);
void beam_json_i64(cJSON *object, const char *name, int64_t value);
/* Milliseconds as seconds with three decimals. */
void beam_json_seconds(cJSON *object, const char *name, uint64_t ms);
void beam_json_text(cJSON *object, const char *name, const char *value);
void beam_json_bool(cJSON *object, const char *name, bool value);
/* A finite number with `decimals` digits after the point. */
void beam_json_decimal(cJSON *object, const char *name, double value, int decimals);
/* Adds an object or array, which `object` owns from then on. */
void beam_json_add(cJSON *object, const char *name, cJSON *value);

/* Prints the object as one line and frees it. */
void beam_json_print(cJSON *object);

#endif
