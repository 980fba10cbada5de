/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Host names among the addresses to listen on. A lookup may block for half a minute, so a thread
 * does it, and snapshots and readers go on meanwhile.
 */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "jobs.h"
#include "log.h"
#include "sockets.h"

#define NAMES_MOST 16

struct names {
	struct beam_job job; /* first, so that a job can be cast back to this */
	struct daemon *d;
	struct beam_jobs *jobs;
	struct beam_watch *watch;
	bool busy, known, missing; /* `found` answers `asked`, except for missing names */
	uint32_t n;
	char asked[NAMES_MOST][BEAM_ADDR_BYTES], found[NAMES_MOST][BEAM_ADDR_BYTES];
	/* Used by the thread while it is busy. */
	uint32_t looked_n;
	char looked[NAMES_MOST][BEAM_ADDR_BYTES], answers[NAMES_MOST][BEAM_ADDR_BYTES];
};

static_assert(sizeof(((struct names *)0)->asked) == sizeof(((struct beam_ctl_config *)0)->bind),
	      "there is room for each");

/* ---- the thread ----------------------------------------------------------------------------- */

static struct addrinfo *look_up(const char *name, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | flags};
	struct addrinfo *list = NULL;

	return getaddrinfo(name, NULL, &hints, &list) ? NULL : list;
}

static bool is_name(const char *text)
{
	struct addrinfo *list;

	if (strcmp(text, "*") == 0 || strcmp(text, "::*") == 0)
		return false;
	list = look_up(text, AI_NUMERICHOST);
	if (list)
		freeaddrinfo(list);
	return !list;
}

static bool is_of_this_host(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = fd >= 0 && bind(fd, info->ai_addr, info->ai_addrlen) == 0;

	beam_close(&fd);
	return yes;
}

/* Takes the first of the name's addresses that this host has, as Redis does. If there is none, the
 * name is kept, and an error will show it. */
static void answer(const char *name, char out[BEAM_ADDR_BYTES])
{
	struct addrinfo *list = look_up(name, 0);

	memcpy(out, name, BEAM_ADDR_BYTES);
	for (struct addrinfo *info = list; info; info = info->ai_next)
		if (is_of_this_host(info) &&
		    getnameinfo(info->ai_addr, info->ai_addrlen, out, BEAM_ADDR_BYTES, NULL, 0,
				NI_NUMERICHOST) == 0)
			break;
	if (list)
		freeaddrinfo(list);
}

static void work(struct beam_job *job)
{
	struct names *names = (struct names *)job;

	for (uint32_t i = 0; i < names->looked_n; i++)
		if (is_name(names->looked[i]))
			answer(names->looked[i], names->answers[i]);
		else
			memcpy(names->answers[i], names->looked[i], BEAM_ADDR_BYTES);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void take(struct names *names)
{
	bool first = !names->known;

	names->busy = names->missing = false;
	names->known = names->looked_n == names->n &&
		       memcmp(names->looked, names->asked, sizeof(names->asked)) == 0;
	for (uint32_t i = 0; i < names->n && names->known; i++) {
		memcpy(names->found[i], names->answers[i], BEAM_ADDR_BYTES);
		names->missing |= is_name(names->found[i]);
	}
	if (first)
		listeners_again(names->d);
}

static void done(int fd, uint32_t events, void *arg)
{
	struct names *names = arg;
	bool any = false;

	(void)fd;
	(void)events;
	while (beam_jobs_done(names->jobs))
		any = true;
	if (any)
		take(names);
}

static void begin(struct names *names)
{
	names->busy = true;
	names->looked_n = names->n;
	memcpy(names->looked, names->asked, sizeof(names->looked));
	names->job.work = work;
	beam_jobs_give(names->jobs, &names->job);
}

static int open_names(struct daemon *d)
{
	struct names *names = calloc(1, sizeof(*names));
	int err = names ? beam_jobs_open(1, &names->jobs) : -ENOMEM;

	if (err)
		goto free_names;
	err =
	    beam_watch_add(d->loop, beam_jobs_fd(names->jobs), EPOLLIN, done, names, &names->watch);
	if (err)
		goto close_jobs;
	names->d = d;
	d->names = names;
	return 0;

close_jobs:
	beam_jobs_stop(names->jobs);
	beam_jobs_close(&names->jobs);
free_names:
	free(names);
	return err;
}

static void ask(struct names *names, const struct beam_ctl_config *config)
{
	if (names->n != config->nbind ||
	    memcmp(names->asked, config->bind, sizeof(names->asked)) != 0) {
		names->known = false;
		names->n = config->nbind;
		memcpy(names->asked, config->bind, sizeof(names->asked));
	}
	/* A name that was not found may exist by now; the next call will see the result. */
	if (!names->busy && (!names->known || names->missing))
		begin(names);
}

bool names_addresses(struct daemon *d, struct beam_server_opts *opts)
{
	bool any = false;

	opts->bind = d->config.bind;
	opts->nbind = d->config.nbind;
	for (uint32_t i = 0; i < opts->nbind; i++)
		any |= is_name(opts->bind[i]);
	if (!any)
		return true;
	if (!d->names && open_names(d)) {
		beam_log(BEAM_LOG_NOTICE, "no thread to look up the names of rdbeam.bind");
		return true;
	}
	ask(d->names, &d->config);
	opts->bind = d->names->found;
	opts->no_names = true;
	return d->names->known;
}
