/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The link to rdbeamd: spawns it, watches it, starts it again with back-off, keeps its last status.
 * Main thread, except where it says "child".
 */
#ifndef BEAM_LINK_H
#define BEAM_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl.h"
#include "redis_api.h"

enum beam_link_state { BEAM_LINK_DOWN, BEAM_LINK_STARTING, BEAM_LINK_UP };

/* Called when a fork child of ours began a generation, when a generation's state changed, and with
 * a NULL status when the daemon died. */
struct beam_link_events {
	void (*opened)(const struct beam_ctl_opened *opened);
	void (*status)(const struct beam_ctl_status *status);
	void (*relay_key)(const struct beam_ctl_relay_key *key); /* as asked for */
	void (*ready)(void); /* settings are in force, or listeners have come or gone */
};

/* Spawns the daemon for the first time; failing to is logged and tried again. 0 or -ENOMEM. */
int beam_link_open(RedisModuleCtx *ctx, const struct beam_link_events *events);
/* In the server's cron: starts the daemon again when that is due. */
void beam_link_on_cron(void);
/* Ends the daemon (by closing the control socket) and stops watching. */
void beam_link_close(void);

enum beam_link_state beam_link_state(void);
const char *beam_link_state_name(void);
/* Why there is no daemon or no listener, or "". */
const char *beam_link_error(void);
uint32_t beam_link_port(void); /* that pulls connect to, 0: none */
/* Whether the daemon has answered the last settings and listens as they say, or has said why not. */
bool beam_link_settled(void);
/* The transports that listen there, the best first: "verbs,tcp". "": none. */
const char *beam_link_transports(void);
int beam_link_pid(void);
/* Whether processes and threads here may change their priority and processors; false before the first daemon. */
bool beam_link_may_schedule(void);
/* As of now. Valid until the next call or event; its state and generations until the next event. */
const struct beam_ctl_status *beam_link_status(void);

/* Sends the settings anew. */
void beam_link_configure(void);
/* The same, but only if what the server's own settings lead to has changed. */
void beam_link_refresh(void);
/* Whether pulls over TCP must go by TLS. */
bool beam_link_by_tls(void);
/* Registers a ticket. 0 or an error (the daemon is gone or does not read). */
int beam_link_ticket(struct beam_ctl_ticket *ticket);

/* Asks for the key of a relay's ticket. As beam_link_ticket. */
int beam_link_relay_ticket(struct beam_ctl_relay_ticket *ticket);
/* Of the daemon's signatures, BEAM_PUBLIC_BYTES. */
const uint8_t *beam_link_public_key(void);

/* Child: the address children connect to and the secret they show; false when there is no daemon.
 */
bool beam_link_child_address(const uint8_t **name, size_t *name_len, const uint8_t **secret);
/* Child: drops what only the parent may hold. */
void beam_link_child_detach(void);

#endif
