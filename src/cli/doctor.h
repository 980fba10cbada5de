/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam doctor: a set of checks. Each looks at one thing and adds one finding: ok, or what is
 * wrong, with its value, what to change, and why. Checks change nothing. Single-threaded.
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
	BEAM_LEVEL_WARN, /* works, but slower, later, or less safely */
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
	struct beam_view view;    /* of the server, if there is one */
	bool has_info;
	bool local;          /* the server runs on this host, as far as one can tell */
	pid_t pid;           /* the server's in our /proc, or 0 */
	uint64_t data_bytes; /* estimated size of the server's next dump */
	const char *transport;
	struct beam_finding findings[BEAM_FINDINGS_MAX];
	int nfindings;
};

/* Adds a finding. Its text has the form "value: reason". `remedy` says what to change; it must not
 * be NULL. */
void beam_doctor_add(struct beam_doctor *doctor, enum beam_level level, const char *name,
		     const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Reads a small file (as in /proc) as text, without its last newline. Returns 0, or -errno with
 * `out` "". */
int beam_doctor_read(const char *path, char *out, size_t cap);
/* The same for a file of /proc/<the server's pid>, or of our own process when the server's is not
 * visible. */
int beam_doctor_read_proc(const struct beam_doctor *doctor, const char *name, char *out,
			  size_t cap);

/* Gets a setting of the server. Returns false, with `out` "", when there is no such setting or no
 * access to it. */
bool beam_doctor_config(struct beam_doctor *doctor, const char *name, char *out, size_t cap);
/* The same as a number; `fallback` when it is not available. */
int64_t beam_doctor_config_number(struct beam_doctor *doctor, const char *name, int64_t fallback);

/* True when CONFIG is renamed there, so that neither we nor the module can use it. */
bool beam_doctor_config_hidden(struct beam_doctor *doctor);

/* The checks, by subject. */
void beam_doctor_host(struct beam_doctor *doctor);
/* Called by beam_doctor_host. */
void beam_doctor_rdma(struct beam_doctor *doctor);
void beam_doctor_disk(struct beam_doctor *doctor);
void beam_doctor_server(struct beam_doctor *doctor);
void beam_doctor_service(struct beam_doctor *doctor);

#endif
