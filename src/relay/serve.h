/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The serving side of a relay: the daemon's TCP transport on top of the images in the store. Runs
 * on the loop's thread.
 */
#ifndef RELAY_SERVE_H
#define RELAY_SERVE_H

#include "admission.h"
#include "loop.h"
#include "store.h"

struct relay_server {
	struct relay_store *store;
	struct admission *admission; /* protected by the store's lock */
	struct beam_serve_images images;
	struct beam_server *tcp;
	struct beam_watch *watch;
	struct beam_loop *loop;
	/* Runs when tickets for an image that is over have expired. */
	struct beam_timer *sweep;
};

/* Starts to listen and serve. Returns 0, or -errno with error_text. `server` must not move in
 * memory. */
int relay_server_open(struct relay_server *server, const struct beam_server_opts *opts,
		      char error_text[BEAM_TEXT_BYTES]);
/* Cuts all sessions and stops listening. */
void relay_server_close(struct relay_server *server);

#endif
