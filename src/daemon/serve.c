/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Images as the transports see them: a ticket opens one, its sealed segments can be read, and after
 * the fence nothing can.
 */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"

static bool readable(const struct generation *gen)
{
	return gen->state == GEN_FILLING || gen->state == GEN_FLUSHING || gen->state == GEN_READY;
}

static struct generation *find(const struct daemon *d, struct beam_gen id)
{
	for (struct generation *gen = d->gens; gen; gen = gen->next)
		if (gen->id.nonce == id.nonce && gen->id.counter == id.counter && readable(gen))
			return gen;
	return NULL;
}

static int denied(struct daemon *d, const char *peer_addr, const char *why)
{
	d->tickets_denied++;
	if (beam_log_may(&d->denied_lines))
		beam_log(BEAM_LOG_WARNING, "pull from %s refused: its ticket is %s", peer_addr,
			 why);
	status_moved(d);
	return BEAM_E_DENIED;
}

static int authorize(void *ctx, const struct beam_wire_hello *hello, const char *peer_addr,
		     uint8_t key[BEAM_TICKET_KEY_BYTES], struct beam_served **image)
{
	struct daemon *d = ctx;
	const char *why = "";

	/* The module sent the ticket before the puller could know it, so it has arrived, unless it
	 * does not exist. */
	control_drain(d);
	struct ticket *ticket =
	    tickets_find(&d->tickets, hello->id, peer_addr, beam_now_ms(), &why);
	int err = BEAM_FAULT("daemon.authorize");

	if (err)
		return err;
	if (!ticket)
		return denied(d, peer_addr, why);
	if (beam_wire_check_hello(ticket->key, hello))
		return denied(d, peer_addr, "not proven by its key");
	struct generation *gen = find(d, ticket->gen);

	memcpy(key, ticket->key, BEAM_TICKET_KEY_BYTES);
	tickets_spend(ticket);
	if (gen && gen->ngone) {
		beam_log(BEAM_LOG_WARNING,
			 "pull from %s refused: generation %llu is larger than rdbeam.region-size, "
			 "and the memory of its first segments was reused",
			 peer_addr, (unsigned long long)gen->id.counter);
		gen = NULL;
	}
	if (!gen)
		return BEAM_E_STALE;
	gen->refs++;
	(void)BEAM_FAULT("daemon.authorized");
	d->pulls_total++;
	*image = &gen->served;
	status_moved(d);
	return 0;
}

static int ticket_key(void *ctx, const uint8_t id[BEAM_TICKET_ID_BYTES], const char *peer_addr,
		      uint8_t key[BEAM_TICKET_KEY_BYTES])
{
	struct daemon *d = ctx;
	const char *why = "";

	control_drain(d);
	const struct ticket *ticket = tickets_find(&d->tickets, id, peer_addr, beam_now_ms(), &why);

	if (!ticket)
		return denied(d, peer_addr, why);
	memcpy(key, ticket->key, BEAM_TICKET_KEY_BYTES);
	return 0;
}

static bool is_loopback(const char *addr)
{
	return strncmp(addr, "127.", 4) == 0 || strcmp(addr, "::1") == 0;
}

/* In Redis's protected mode, only local clients can have tickets, so nobody else has any business
 * here. The message that the mode has ended precedes the first ticket for such an address. */
static bool admits(void *ctx, const char *peer_addr)
{
	struct daemon *d = ctx;

	if (!d->config.is_protected || is_loopback(peer_addr))
		return true;
	control_drain(d);
	if (!d->config.is_protected)
		return true;
	beam_log(BEAM_LOG_INFO,
		 "connection from %s refused: the server is in protected mode (set a password "
		 "there, or protected-mode no)",
		 peer_addr);
	return false;
}

static void release(void *ctx, struct beam_served *image)
{
	struct daemon *d = ctx;
	struct generation *gen = image->gen;

	(void)BEAM_FAULT("daemon.release");
	gen->refs--;
	reuse_later(gen);
	generation_free_if_unused(gen);
	chores_schedule(d);
	status_moved(d);
}

static void taken(void *ctx, struct beam_served *image, uint32_t index)
{
	(void)ctx;
	(void)index;
	reuse_later(image->gen);
}

static void describe(void *ctx, struct beam_served *image, struct beam_gen *gen,
		     uint32_t *segment_bytes)
{
	(void)ctx;
	*gen = image->gen->id;
	*segment_bytes = image->gen->segment_bytes;
}

static int segment(void *ctx, struct beam_served *image, uint32_t index,
		   struct beam_serve_segment *out)
{
	struct daemon *d = ctx;
	struct generation *gen = image->gen;

	if (!readable(gen))
		return BEAM_E_STALE;
	if (index >= (gen->total ? gen->total : gen->capacity))
		return -ERANGE;
	if (!gen->segments[index].len_bytes)
		return -EAGAIN;
	if (!gen->segments[index].slot)
		return BEAM_E_STALE;
	out->base = beam_region_at(d->region, gen->segments[index].slot);
	out->file = beam_region_file(d->region, gen->segments[index].slot, &out->file_at);
	out->len_bytes = gen->segments[index].len_bytes;
	out->crc = gen->segments[index].crc;
	return 0;
}

static int vouched(void *ctx, struct beam_served *image, uint32_t index,
		   struct beam_wire_vouched *out)
{
	(void)ctx;
	return readable(image->gen) ? signing_get(image->gen, index, out) : BEAM_E_STALE;
}

static uint32_t claimed(void *ctx, struct beam_served *image)
{
	const struct generation *gen = image->gen;

	(void)ctx;
	return gen->total ? gen->total : gen->reach;
}

static bool complete(void *ctx, struct beam_served *image, struct beam_wire_complete *out)
{
	const struct generation *gen = image->gen;

	(void)ctx;
	if (!gen->total || !readable(gen))
		return false;
	memset(out, 0, sizeof(*out));
	out->nsegments = gen->total;
	out->image_bytes = gen->copied.image_bytes;
	out->file_crc = gen->copied.file_crc;
	return true;
}

static void moved(void *ctx)
{
	status_stepped(ctx);
}

static void sent(void *ctx, struct beam_served *image, uint64_t bytes)
{
	struct daemon *d = ctx;

	(void)image;
	d->pull_bytes_total += bytes;
	status_moved(d);
}

static void ended(void *ctx, struct beam_served *image, const char *peer_addr, int code,
		  uint64_t bytes, uint64_t ms)
{
	struct daemon *d = ctx;

	if (code)
		image->gen->broken_ms = beam_now_ms();
	beam_log(code ? BEAM_LOG_WARNING : BEAM_LOG_NOTICE,
		 "pull of generation %llu by %s %s: %llu bytes in %llu ms (%llu MB/s)%s%s",
		 (unsigned long long)image->gen->id.counter, peer_addr, code ? "failed" : "done",
		 (unsigned long long)bytes, (unsigned long long)ms,
		 (unsigned long long)(bytes / 1000 / (ms ? ms : 1)), code ? ", " : "",
		 code ? beam_strerror(code) : "");
	status_moved(d);
}

void serve_init(struct daemon *d, struct beam_serve_images *images)
{
	*images = (struct beam_serve_images){.ctx = d,
					     .authorize = authorize,
					     .ticket_key = ticket_key,
					     .admits = admits,
					     .release = release,
					     .describe = describe,
					     .segment = segment,
					     .vouched = vouched,
					     .claimed = claimed,
					     .complete = complete,
					     .taken = taken,
					     .moved = moved,
					     .sent = sent,
					     .ended = ended};
}
