/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Feeds an image to a target whose own rdbeam module helps to load it (load_share.h). This is an
 * image source for the feed, on top of a window in shared memory. The values that the module takes
 * stay in the window, where the module's threads decode them; everything else goes through the
 * replication stream, together with AUX records that say where the module's values belong. The
 * source is used by the feed's thread; a thread of its own listens to the module.
 */
#ifndef BEAM_MODULE_FEED_H
#define BEAM_MODULE_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "module_offer.h"
#include "segments.h"
#include "window.h"

struct beam_module_feed;

/* Accepts the offer and shares the window with the target's module. The window must be a shared
 * one, must have begun, and must outlive the feed. `must`: fail when the server refuses to share
 * this load, instead of falling back to the plain stream. Returns 0, or a code with the reason in
 * `why`; the target is unchanged then. */
int beam_module_feed_open(const struct beam_module_offer *offer, struct beam_window *window,
			  bool must, char *why, struct beam_module_feed **out);

/* Fills in the source's functions, for the feed's thread. */
void beam_module_feed_source(struct beam_module_feed *feed, struct beam_image_source *out);

/* True once the target has agreed to load by module. Any thread. */
bool beam_module_feed_agreed(struct beam_module_feed *feed);
/* Bytes of the image that the target has loaded or that were sent to it, so that their segments are
 * released. Any thread. */
uint64_t beam_module_feed_bytes(struct beam_module_feed *feed);

/* Makes every blocked or later call of the source return. Any thread. */
void beam_module_feed_abort(struct beam_module_feed *feed);
/* To be called after the feed was closed. Accepts NULL; clears the pointer. */
void beam_module_feed_close(struct beam_module_feed **feed);

#endif
