/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Asks for the offer: RDBEAM.LOAD.
 */
#include "module_offer.h"

#include <string.h>

#include "rdbeam/error.h"
#include "tell.h"

int beam_module_ask(struct beam_redis *to, char *why, struct beam_module_offer *out)
{
	redisReply *reply = NULL;
	int rc = beam_redis_command(to, &reply, "RDBEAM.LOAD");

	if (rc == BEAM_E_SERVER && beam_is_unknown_command(beam_redis_error(to)))
		return beam_tell(why, BEAM_E_UNSUPPORTED,
				 "%s: no loading by module: rdbeam.so is not loaded there",
				 beam_redis_name(to));
	if (rc)
		return beam_tell(why, rc, "%s: RDBEAM.LOAD: %s", beam_redis_name(to),
				 beam_redis_error(to));
	const redisReply *version = beam_reply_field(reply, "version");
	const redisReply *name = beam_reply_field(reply, "socket");

	if (!version || version->type != REDIS_REPLY_STRING ||
	    strcmp(version->str, beam_load_version()) != 0) {
		freeReplyObject(reply);
		return beam_tell(why, BEAM_E_VERSION,
				 "%s: no loading by module: its rdbeam.so is not of version %s",
				 beam_redis_name(to), beam_load_version());
	}
	out->name_len = name && name->type == REDIS_REPLY_STRING ? name->len / 2 : 0;
	if (out->name_len > sizeof(out->name))
		out->name_len = 0;
	rc = beam_reply_hex(reply, "socket", out->name, out->name_len);
	if (!rc)
		rc = beam_reply_hex(reply, "secret", out->secret, sizeof(out->secret));
	if (!rc)
		rc = beam_reply_hex(reply, "nonce", out->nonce, sizeof(out->nonce));
	freeReplyObject(reply);
	return rc ? beam_tell(why, rc, "%s: unexpected answer to RDBEAM.LOAD", beam_redis_name(to))
		  : 0;
}
