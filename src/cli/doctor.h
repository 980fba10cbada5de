/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam doctor: checks, each of which looks at one thing and adds one finding: ok, or what is
 * wrong with its value, and what to change and why. Nothing is changed by looking. One thread.
 */
#ifndef BEAM_DOCTOR_H
#define BEAM_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "redis.h"
#include "view.h"

enum beam_level {
	BEAM_LEVEL_OK,
	BEAM_LEVEL_WARN, /* works, but slower, later, or with less safety */
	BEAM_LEVEL_FAIL, /* something that rdbeam is for does not work */
};

struct beam_finding {
	enum beam_level level;
	const char *name; /* of the check; static */
	char text[400];
	char remedy[400]; /* "" for ok */
};

#define BEAM_FINDINGS_MAX 48

struct beam_doctor {
	struct beam_redis *redis; /* NULL: no server answers */
	struct beam_view view;    /* of it, when there is one */
	bool has_info;
	bool local;          /* the server runs on this host, as far as can be seen */
	pid_t pid;           /* the server's in our /proc, or 0 */
	uint64_t data_bytes; /* that the server's next dump takes, by estimate */
	const char *transport;
	struct beam_finding findings[BEAM_FINDINGS_MAX];
	int nfindings;
};

/* Adds a finding; its text is "value: reason". `remedy` says what to change; it is not NULL. */
void beam_doctor_add(struct beam_doctor *doctor, enum beam_level level, const char *name,
		     const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Reads a small file, such as one of /proc, as text without its last newline. 0 or -errno, and then
 * `out` is "". */
int beam_doctor_read(const char *path, char *out, size_t cap);
/* The same of /proc/<the server's pid>, or of our own process when the server's is not visible. */
int beam_doctor_read_proc(const struct beam_doctor *doctor, const char *name, char *out,
			  size_t cap);

/* A setting of the server. False, with "" in `out`, if there is no such setting or no access. */
bool beam_doctor_config(struct beam_doctor *doctor, const char *name, char *out, size_t cap);
/* The same as a number; `fallback` without it. */
int64_t beam_doctor_config_number(struct beam_doctor *doctor, const char *name, int64_t fallback);

/* Whether CONFIG is renamed there, so that neither we nor the module can ask. */
bool beam_doctor_config_hidden(struct beam_doctor *doctor);

/* The checks, by what they look at. */
void beam_doctor_host(struct beam_doctor *doctor);
void beam_doctor_rdma(struct beam_doctor *doctor); /* within the host's */
void beam_doctor_disk(struct beam_doctor *doctor);
void beam_doctor_server(struct beam_doctor *doctor);
void beam_doctor_service(struct beam_doctor *doctor);

#endif
