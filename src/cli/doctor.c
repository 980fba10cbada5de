/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam doctor: the list of findings, and helpers for the checks.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sockets.h"
#include "tell.h"
#include "text.h"

void beam_doctor_add(struct beam_doctor *doctor, enum beam_level level, const char *name,
		     const char *remedy, const char *fmt, ...)
{
	struct beam_finding *finding = &doctor->findings[doctor->nfindings];
	va_list args;

	if (doctor->nfindings == BEAM_FINDINGS_MAX)
		return;
	doctor->nfindings++;
	finding->level = level;
	finding->name = name;
	snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy);
	va_start(args, fmt);
	vsnprintf(finding->text, sizeof(finding->text), fmt, args);
	va_end(args);
	beam_text_plain(finding->text); /* it may contain text from a server */
}

int beam_doctor_read(const char *path, char *out, size_t cap)
{
	size_t used = 0;
	ssize_t n = 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0;

	while (!err && n > 0 && used + 1 < cap) {
		n = read(fd, out + used, cap - 1 - used);
		if (n < 0 && errno != EINTR)
			err = -errno;
		used += n > 0 ? (size_t)n : 0;
		n = n < 0 ? 1 : n;
	}
	beam_close(&fd);
	while (used > 0 && out[used - 1] == '\n')
		used--;
	out[err ? 0 : used] = '\0';
	return err;
}

int beam_doctor_read_proc(const struct beam_doctor *doctor, const char *name, char *out, size_t cap)
{
	char path[64];

	if (doctor->pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)doctor->pid, name);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", name);
	return beam_doctor_read(path, out, cap);
}

bool beam_doctor_config(struct beam_doctor *doctor, const char *name, char *out, size_t cap)
{
	redisReply *reply = NULL;
	bool found;

	out[0] = '\0';
	if (!doctor->redis || beam_redis_command(doctor->redis, &reply, "CONFIG GET %s", name) != 0)
		return false;
	found = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
		reply->element[1]->type == REDIS_REPLY_STRING;
	if (found)
		snprintf(out, cap, "%s", reply->element[1]->str);
	freeReplyObject(reply);
	return found;
}

bool beam_doctor_config_hidden(struct beam_doctor *doctor)
{
	char port[16];

	return !beam_doctor_config(doctor, "port", port, sizeof(port)) && doctor->redis &&
	       beam_is_unknown_command(beam_redis_error(doctor->redis));
}

int64_t beam_doctor_config_number(struct beam_doctor *doctor, const char *name, int64_t fallback)
{
	char text[64];

	return beam_doctor_config(doctor, name, text, sizeof(text)) ? strtoll(text, NULL, 10)
								    : fallback;
}
