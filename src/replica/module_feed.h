/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The image for a target whose module helps to load it (load_share.h): an image source for the feed
 * over a shared window. String values stay in the window, from where the module's threads take
 * them; the stream gets the rest, and AUX records. The feed's thread takes, a thread of its own
 * listens to the module.
 */
#ifndef BEAM_MODULE_FEED_H
#define BEAM_MODULE_FEED_H

#include <stdbool.h>

#include "load_share.h"
#include "redis.h"
#include "segments.h"
#include "window.h"

struct beam_module_offer {
	uint8_t name[6];
	size_t name_len;
	uint8_t secret[BEAM_LOAD_SECRET_BYTES];
	uint8_t nonce[BEAM_LOAD_SECRET_BYTES];
};

/* Asks the target for an offer. 0, or a code with the reason why there is none in `why`
 * (BEAM_REDIS_ERROR_BYTES). A later offer voids an earlier one. */
int beam_module_ask(struct beam_redis *to, char *why, struct beam_module_offer *out);

struct beam_module_feed;

/* Takes the offer up. The window is shared and has begun, and outlives the feed. `must`: fail when
 * the server refuses to share this load, instead of going on by the stream alone. 0, or a code with
 * the reason in `why`; the target was not touched then. */
int beam_module_feed_open(const struct beam_module_offer *offer, struct beam_window *window,
			  bool must, char *why, struct beam_module_feed **out);

void beam_module_feed_source(struct beam_module_feed *feed, struct beam_image_source *out);

/* True when the server took the offer up (it loads by module). Any thread. */
bool beam_module_feed_agreed(struct beam_module_feed *feed);
/* Bytes of the image that the target has, or has the memory of no more. Any thread. */
uint64_t beam_module_feed_bytes(struct beam_module_feed *feed);

/* No call of the source blocks any more. Any thread. */
void beam_module_feed_abort(struct beam_module_feed *feed);
/* After the feed's end. NULL-safe, clears the pointer. */
void beam_module_feed_close(struct beam_module_feed **feed);

#endif
