/* SPDX-License-Identifier: BSD-3-Clause
 * Keeps track of the images that can be served: by this server's daemon and by relays. */
#include "images.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link.h"
#include "relays.h"
#include "save_file.h"
#include "text.h"

static struct beam_ctl_opened newest; /* the generation that was begun last */

void beam_stream_read(RedisModuleCtx *ctx, struct beam_stream *facts)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "replication");
	const char *replid = RedisModule_ServerInfoGetFieldC(info, "master_replid");
	const char *up = RedisModule_ServerInfoGetFieldC(info, "master_link_status");
	int err;

	facts->cut_off = up && strcmp(up, "up") != 0;
	facts->backlog =
	    RedisModule_ServerInfoGetFieldSigned(info, "repl_backlog_active", &err) == 1;
	facts->first =
	    RedisModule_ServerInfoGetFieldSigned(info, "repl_backlog_first_byte_offset", &err);
	facts->offset = RedisModule_ServerInfoGetFieldSigned(info, "master_repl_offset", &err);
	snprintf(facts->replid, sizeof(facts->replid), "%s", replid ? replid : "");
	RedisModule_FreeServerInfo(ctx, info);
}

bool beam_stream_reaches(const struct beam_stream *facts, const struct beam_cut *cut)
{
	return cut->replid[0] && strcmp(cut->replid, facts->replid) == 0 &&
	       cut->offset + 1 >= facts->first && cut->offset <= facts->offset;
}

bool beam_images_copying(void)
{
	const struct beam_ctl_status *status = beam_link_status();

	return status->state == BEAM_STATE_COPYING && beam_gen_same(&status->gen, &newest.gen);
}

void beam_images_cut(const struct beam_gen *gen, struct beam_cut *cut)
{
	const struct beam_ctl_status *status = beam_link_status();
	struct beam_gen held;

	if (beam_gen_same(&status->servable, gen)) {
		*cut = status->cut;
		return;
	}
	if (beam_gen_same(&newest.gen, gen)) {
		*cut = newest.cut;
		return;
	}
	for (size_t i = 0; beam_relays_held(i, &held, cut); i++)
		if (beam_gen_same(&held, gen))
			return;
	memset(cut, 0, sizeof(*cut));
}

static bool take(const struct beam_stream *stream, const struct beam_gen *gen,
		 const struct beam_cut *cut, struct beam_gen *out, struct beam_cut *out_cut)
{
	if (!gen->counter || !beam_stream_reaches(stream, cut))
		return false;
	*out = *gen;
	*out_cut = *cut;
	return true;
}

bool beam_images_choose(const struct beam_stream *stream, bool relayed, struct beam_gen *gen,
			struct beam_cut *cut)
{
	const struct beam_ctl_status *status = beam_link_status();
	bool found = take(stream, &status->servable, &status->cut, gen, cut) ||
		     (beam_images_copying() && status->servable.counter &&
		      take(stream, &newest.gen, &newest.cut, gen, cut));
	struct beam_gen held;
	struct beam_cut held_cut;

	for (size_t i = 0; !found && relayed && beam_relays_held(i, &held, &held_cut); i++)
		found = take(stream, &held, &held_cut, gen, cut);
	return found;
}

const struct beam_gen *beam_images_newest(void)
{
	return beam_images_copying() ? &newest.gen : &beam_link_status()->servable;
}

void beam_images_on_opened(const struct beam_ctl_opened *opened)
{
	newest = *opened;
}

void beam_images_remove_temp(void)
{
	char name[64];

	if (newest.kind != BEAM_SNAPSHOT_DISK || !newest.pid)
		return;
	snprintf(name, sizeof(name), BEAM_SAVE_TEMP_NAME, newest.pid);
	unlink(name);
	newest.pid = 0;
}
