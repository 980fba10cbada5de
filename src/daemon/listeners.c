/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The transports: opened and configured as the settings say, told of new segments, and fenced.
 * `transports` has one row for each that was built in.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#if RDBEAM_HAVE_VERBS
#include "verbs_server.h"
#endif

/* Best first. */
static const struct beam_server_ops *const transports[] = {
#if RDBEAM_HAVE_VERBS
    &beam_verbs_server,
#endif
    &beam_tcp_server,
};
#define NTRANSPORTS (sizeof(transports) / sizeof(transports[0]))
static_assert(NTRANSPORTS <= DAEMON_SERVERS_MAX, "each transport has its place");

#define LISTEN_AGAIN_MS 500
#define LOOK_AGAIN_MS   5000 /* for an RDMA device, which may come up at any time */

static struct beam_serve_images images;

static bool wanted(const struct beam_ctl_config *config, const char *name)
{
	switch ((enum beam_transport_choice)config->transport) {
	case BEAM_TRANSPORT_AUTO: /* RDMA traffic is not encrypted */
		return config->port != 0 && (!config->must_tls || !strcmp(name, "tcp"));
	case BEAM_TRANSPORT_TCP:
	case BEAM_TRANSPORT_VERBS:
		return config->port != 0 &&
		       !strcmp(name, config->transport == BEAM_TRANSPORT_TCP ? "tcp" : "verbs");
	case BEAM_TRANSPORT_OFF:
		break;
	}
	return false;
}

static bool same_address(const struct beam_ctl_config *a, const struct beam_ctl_config *b)
{
	return a->port == b->port && a->nbind == b->nbind &&
	       !memcmp(a->bind, b->bind, sizeof(a->bind));
}

static void open_one(struct daemon *d, size_t i, struct beam_server_opts *opts,
		     char error[BEAM_TEXT_BYTES])
{
	char text[BEAM_TEXT_BYTES] = "";
	int err = BEAM_FAULT("daemon.listener");

	d->leaving[i].d = d;
	opts->lost_arg = &d->leaving[i];
	if (!err)
		err = transports[i]->open(opts, text, &d->servers[i]);
	bool lacked = d->lacking[i];

	/* A host without an RDMA device is no error, unless the device was asked for. */
	d->lacking[i] = err == -ENODEV && d->config.transport == BEAM_TRANSPORT_AUTO;
	if (d->lacking[i] && !lacked)
		beam_log(BEAM_LOG_INFO, "%s; pulls go over tcp only", text);
	else if (lacked && !err)
		beam_log(BEAM_LOG_NOTICE, "an RDMA device is available now: pulls use it");
	else if (err && !d->lacking[i])
		snprintf(error, BEAM_TEXT_BYTES, "%.*s", BEAM_TEXT_BYTES - 1,
			 text[0] ? text : beam_strerror(err));
}

void listeners_again(void *arg)
{
	struct daemon *d = arg;
	const struct beam_ctl_config same = d->config;

	listeners_configure(d, &same);
	status_moved(d);
}

static void stopped(void *arg)
{
	struct leaving *leaving = arg;
	struct daemon *d = leaving->d;
	size_t i = (size_t)(leaving - d->leaving);

	leaving->yes = false;
	transports[i]->close(&d->servers[i]);
	listeners_again(d); /* at the address now wanted */
}

/* Stops a transport. Its sessions may take a moment to end, during which the loop goes on. */
static void leave(struct daemon *d, size_t i)
{
	d->leaving[i] = (struct leaving){.d = d, .yes = true};
	if (transports[i]->stop(d->servers[i], stopped, &d->leaving[i]))
		return;
	d->leaving[i].yes = false;
	transports[i]->close(&d->servers[i]);
}

/* The transport's hardware is gone. Tickets no longer name it; what comes back may be other
 * hardware. */
static void lost(void *arg)
{
	struct leaving *leaving = arg;
	struct daemon *d = leaving->d;

	leave(d, (size_t)(leaving - d->leaving));
	control_ready(d, "");
	status_moved(d);
	/* Not at once: hardware that fails over and over should only cause a log line now and
	 * then. */
	beam_timer_set(d->loop, LOOK_AGAIN_MS, listeners_again, d, &d->listen_again);
}

/* True if it listens; false if it is only waiting for its sessions to end. */
static bool listens(const struct daemon *d, size_t i)
{
	return d->servers[i] && !d->leaving[i].yes;
}

static struct beam_server_opts options(struct daemon *d)
{
	const struct beam_ctl_config *config = &d->config;

	return (struct beam_server_opts){.loop = d->loop,
					 .images = &images,
					 .port = config->port,
					 .max_pulls = config->max_pulls,
					 .rate_limit = config->rate_limit,
					 .stall_timeout_s = config->stall_timeout_s,
					 .must_tls = config->must_tls,
					 .lends = config->transport == BEAM_TRANSPORT_AUTO,
					 .lost = lost};
}

static bool lacks_any(const struct daemon *d)
{
	for (size_t i = 0; i < NTRANSPORTS; i++)
		if (d->lacking[i])
			return true;
	return false;
}

/* Polls for hardware, because nothing announces it: drivers are loaded and links come up long after
 * the host has started. */
static void look(void *arg)
{
	struct daemon *d = arg;
	struct beam_server_opts opts = options(d);
	char error[BEAM_TEXT_BYTES] = "";
	bool known = names_addresses(d, &opts);

	for (size_t i = 0; known && i < NTRANSPORTS; i++)
		if (d->lacking[i])
			open_one(d, i, &opts, error);
	if (lacks_any(d))
		beam_timer_set(d->loop, LOOK_AGAIN_MS, look, d, &d->listen_again);
	else
		listeners_again(d); /* reports it, or the error */
}

void listeners_configure(struct daemon *d, const struct beam_ctl_config *old)
{
	const struct beam_ctl_config *config = &d->config;
	struct beam_server_opts opts = options(d);
	char error[BEAM_TEXT_BYTES] = "";
	bool any = false, known = names_addresses(d, &opts);

	serve_init(d, &images);
	for (size_t i = 0; i < NTRANSPORTS; i++) {
		bool want = wanted(config, transports[i]->name);

		any |= want;
		want &= known;
		d->lacking[i] &= want;
		if (listens(d, i) && (!want || !same_address(config, old)))
			leave(d, i);
		if (d->leaving[i].yes)
			continue;
		if (d->servers[i])
			transports[i]->configure(d->servers[i], &opts);
		else if (want)
			open_one(d, i, &opts, error);
	}
	if (!any && config->transport == BEAM_TRANSPORT_VERBS)
		snprintf(error, sizeof(error),
			 "rdbeam.transport verbs: this build has no such transport (it was built "
			 "without "
			 "libibverbs and librdmacm): set tcp or auto");
	if (error[0]) {
		if (strcmp(error, d->last_error) != 0)
			beam_log(BEAM_LOG_WARNING, "no listener for pulls: %s", error);
		status_error(d, error);
		d->error_of_listeners = true;
		/* The port may still be held by the old daemon of a server that was restarted. */
		beam_timer_set(d->loop, LISTEN_AGAIN_MS, listeners_again, d, &d->listen_again);
	} else {
		if (d->error_of_listeners)
			status_error(d, "");
		if (lacks_any(d))
			beam_timer_set(d->loop, LOOK_AGAIN_MS, look, d, &d->listen_again);
	}
	control_ready(d, error);
}

uint32_t listeners_port(const struct daemon *d)
{
	for (size_t i = 0; i < NTRANSPORTS; i++)
		if (listens(d, i))
			return d->config.port;
	return 0;
}

void listeners_names(const struct daemon *d, char *out, size_t cap)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < NTRANSPORTS && at < cap; i++)
		if (listens(d, i))
			at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? "," : "",
					       transports[i]->name);
}

void listeners_published(struct generation *gen)
{
	for (size_t i = 0; i < NTRANSPORTS; i++)
		if (gen->d->servers[i])
			transports[i]->published(gen->d->servers[i], &gen->served);
}

uint32_t listeners_sessions(struct generation *gen)
{
	uint32_t sessions = 0;

	for (size_t i = 0; i < NTRANSPORTS; i++)
		if (gen->d->servers[i])
			sessions += transports[i]->sessions(gen->d->servers[i], &gen->served);
	return sessions;
}

static void fenced(void *arg)
{
	struct generation *gen = arg;

	gen->revokes_pending--;
	generation_fence(gen);
}

void listeners_revoke(struct generation *gen, const char *why)
{
	for (size_t i = 0; i < NTRANSPORTS; i++) {
		struct beam_server *server = gen->d->servers[i];

		/* Count it before the call, which may call `fenced` itself. */
		gen->revokes_pending++;
		if (!server || !transports[i]->revoke(server, &gen->served, why, fenced, gen))
			gen->revokes_pending--;
	}
}

bool listeners_done(struct generation *gen, uint32_t index)
{
	for (size_t i = 0; i < NTRANSPORTS; i++)
		if (gen->d->servers[i] &&
		    !transports[i]->done(gen->d->servers[i], &gen->served, index))
			return false;
	return true;
}

uint32_t listeners_drop(struct generation *gen, uint32_t index, const char *why)
{
	uint32_t n = 0;

	for (size_t i = 0; i < NTRANSPORTS; i++)
		if (gen->d->servers[i])
			n += transports[i]->drop(gen->d->servers[i], &gen->served, index, why);
	return n;
}

static void tell_pull(const struct beam_server_pull *pull, const char *transport,
		      struct beam_ctl_pull *out)
{
	*out = (struct beam_ctl_pull){.number = pull->number,
				      .bytes = pull->bytes,
				      .image_bytes = pull->image->gen->copied.image_bytes,
				      .ms = pull->ms};
	snprintf(out->transport, sizeof(out->transport), "%s", transport);
	memcpy(out->peer, pull->peer, sizeof(out->peer));
}

uint32_t listeners_pulls(struct daemon *d, struct beam_ctl_pull out[BEAM_CTL_PULLS])
{
	struct beam_server_pull pulls[BEAM_CTL_PULLS];
	uint32_t n = 0;

	for (size_t i = 0; i < NTRANSPORTS; i++) {
		uint32_t more =
		    !d->servers[i] ? 0
				   : transports[i]->pulls(d->servers[i], pulls, BEAM_CTL_PULLS - n);

		for (uint32_t k = 0; k < more; k++)
			tell_pull(&pulls[k], transports[i]->name, &out[n++]);
	}
	return n;
}

void listeners_counts(struct daemon *d, struct beam_server_counts *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < NTRANSPORTS; i++) {
		struct beam_server_counts one = {0};

		if (!d->servers[i])
			continue;
		transports[i]->counts(d->servers[i], &one);
		out->active += one.active;
		out->waiting += one.waiting;
		out->unauthenticated += one.unauthenticated;
		if (one.device.name[0])
			out->device = one.device;
	}
}
