/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The link to rdbeamd: starts it, watches it, restarts it with back-off, and keeps its last status.
 * Main thread, except where it says "child".
 */
#ifndef BEAM_LINK_H
#define BEAM_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl.h"
#include "redis_api.h"

enum beam_link_state { BEAM_LINK_DOWN, BEAM_LINK_STARTING, BEAM_LINK_UP };

/* Callbacks for the daemon's messages: a fork child of ours began a generation; the state of a
 * generation changed (NULL: the daemon died, or could not be started again); an answer to beam_link_relay_ticket; READY. */
struct beam_link_events {
	void (*opened)(const struct beam_ctl_opened *opened);
	void (*status)(const struct beam_ctl_status *status);
	void (*relay_key)(const struct beam_ctl_relay_key *key); /* as asked for */
	void (*ready)(void); /* settings are in force, or listeners have changed */
};

/* Starts the daemon for the first time. A failure is logged and retried from the cron. Returns 0 or
 * -ENOMEM. */
int beam_link_open(RedisModuleCtx *ctx, const struct beam_link_events *events);
/* Called in the server's cron: restarts the daemon when that is due, and resends unsent
 * settings. */
void beam_link_on_cron(void);
/* Ends the daemon by closing the control socket, and stops watching. */
void beam_link_close(void);

/* STARTING until the daemon has answered the first settings, then UP. Name: static storage. */
enum beam_link_state beam_link_state(void);
const char *beam_link_state_name(void);
/* True while there is no daemon, but one starts or will be started within seconds, so that a request
 * may wait for events.ready. events.status(NULL) says that it has come to nothing. */
bool beam_link_comes_soon(void);
/* Why there is no daemon or no listener, for messages; "" if all is well. */
const char *beam_link_error(void);
uint32_t beam_link_port(void); /* that pulls connect to; 0: none */
/* True if the daemon has answered the last settings, and listens as they say or has said why
 * not. */
bool beam_link_settled(void);
/* The transports available at that port, best first: "verbs,tcp"; "" if none. */
const char *beam_link_transports(void);
/* The daemon's pid; 0 while there is none. */
int beam_link_pid(void);
/* True if processes and threads may change their priority and CPU affinity here (no seccomp filter
 * forbids it). False until the first daemon has found out. */
bool beam_link_may_schedule(void);
/* The status as of now. Valid until the next call or event; its state and generations do not change
 * before the next event. */
const struct beam_ctl_status *beam_link_status(void);

/* Sends the settings to the daemon. */
void beam_link_configure(void);
/* The same, but only if the message has changed, for example by the server's own settings. */
void beam_link_refresh(void);
/* True if pulls over TCP must use TLS. */
bool beam_link_by_tls(void);
/* Registers a ticket with the daemon. Returns 0 or an error (the daemon is gone or does not
 * read). */
int beam_link_ticket(struct beam_ctl_ticket *ticket);

/* Asks the daemon for the key of a relay's ticket, which comes by events.relay_key. Returns as
 * beam_link_ticket does. */
int beam_link_relay_ticket(struct beam_ctl_relay_ticket *ticket);
/* The public key for the daemon's signatures, BEAM_PUBLIC_BYTES long. */
const uint8_t *beam_link_public_key(void);

/* Child: the address that children connect to, and the secret they present. Returns false if there
 * is no daemon. */
bool beam_link_child_address(const uint8_t **name, size_t *name_len, const uint8_t **secret);
/* Child: closes what only the parent may hold. */
void beam_link_child_detach(void);

#endif
