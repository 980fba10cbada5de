/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tries the credentials on a connection of its own to the primary, and reads and sets the target's
 * with CONFIG.
 */
#include "credentials.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "rdbeam/error.h"
#include "tell.h"

/* Reads the target's masterauth and masteruser. Returns false when it has no masterauth or does not
 * let us read it. */
static bool read_own(struct beam_redis *to, struct beam_redis_addr *own)
{
	return !beam_redis_config(to, "masterauth", own->password, sizeof(own->password)) &&
	       own->password[0] &&
	       !beam_redis_config(to, "masteruser", own->user, sizeof(own->user));
}

/* Authenticates the way the target itself will. A primary without a password refuses AUTH
 * <password> too, and a refused AUTH makes the target drop its link. */
static int say_auth(const struct beam_redis_addr *own, int timeout_ms, char *why)
{
	struct beam_redis *redis = NULL;
	int rc = beam_redis_open(own, timeout_ms, why, &redis);

	if (rc || own->user[0]) {
		beam_redis_close(&redis);
		return rc;
	}
	rc = beam_redis_command(redis, NULL, "AUTH %s", own->password);
	if (rc)
		snprintf(why, BEAM_REDIS_ERROR_BYTES, "%s", beam_redis_error(redis));
	beam_redis_close(&redis);
	return rc == BEAM_E_SERVER ? BEAM_E_DENIED : rc;
}

int beam_credentials_try(const struct beam_redis_addr *lead, struct beam_redis *to, int timeout_ms,
			 char *error)
{
	char why[BEAM_REDIS_ERROR_BYTES] = "";
	struct beam_redis_addr own = *lead;
	int rc = 0;

	own.user[0] = '\0';
	if (read_own(to, &own))
		rc = say_auth(&own, timeout_ms, why);
	explicit_bzero(own.password, sizeof(own.password));
	if (rc != BEAM_E_DENIED)
		/* other failures have nothing to do with credentials and show up elsewhere */
		return 0;
	return beam_tell(error, rc,
			 "%s has a masterauth that its primary would refuse: %.200s (CONFIG SET "
			 "masterauth and masteruser there, to \"\" where none is wanted)",
			 beam_redis_name(to), why);
}

/* A password meant for another server (REDISCLI_AUTH) does not keep us out of a primary that wants
 * none, but it would keep a replica out, because the replica's AUTH would be refused. */
static bool wants_password(const struct beam_redis_addr *from, int timeout_ms)
{
	char why[BEAM_REDIS_ERROR_BYTES];

	return from->password[0] && say_auth(from, timeout_ms, why) != BEAM_E_DENIED;
}

int beam_credentials_give(struct beam_redis *to, const struct beam_redis_addr *from, int timeout_ms,
			  struct beam_target_state *state, bool *untold, char *error)
{
	char auth[512], user[128];
	int rc;

	*untold = false;
	if (!wants_password(from, timeout_ms))
		return 0;
	rc = beam_redis_config(to, "masterauth", auth, sizeof(auth));
	if (!rc)
		rc = beam_redis_config(to, "masteruser", user, sizeof(user));
	bool has_own = auth[0];

	explicit_bzero(auth, sizeof(auth));
	if (!rc && has_own)
		return 0;
	*untold = rc == BEAM_E_DENIED || rc == BEAM_E_SERVER;
	if (*untold) {
		beam_log(BEAM_LOG_NOTICE,
			 "%s: masterauth cannot be read (%s): it must be set in that server's "
			 "configuration file",
			 beam_redis_name(to), beam_redis_error(to));
		return 0;
	}
	if (!rc) {
		state->set_masterauth = true;
		rc = beam_redis_command(to, NULL, "CONFIG SET masterauth %s", from->password);
	}
	if (!rc && from->user[0] && !user[0]) {
		state->set_masteruser = true;
		rc = beam_redis_command(to, NULL, "CONFIG SET masteruser %s", from->user);
	}
	if (!rc)
		return 0;
	return beam_tell(
	    error, rc,
	    "%s: the primary wants a password and masterauth cannot be set here: %s "
	    "(grant +config|set, or set masterauth and masteruser in its configuration)",
	    beam_redis_name(to), beam_redis_error(to));
}
