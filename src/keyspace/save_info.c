/* SPDX-License-Identifier: BSD-3-Clause */
#include "save_info.h"

#include <dlfcn.h>
#include <string.h>

#define ID_BYTES 40

struct save_info {
	int stream_db;
	int has_id;
	char id[ID_BYTES + 1];
	long long offset;
	uint8_t room[1024]; /* for versions with more members */
};

/* Members that are only used for loading must still have their initial values, and the room after
 * the struct must be untouched: that is enough to recognize it. */
static bool is_known(const struct save_info *info, const struct save_info *before)
{
	static const char none[] = "0000000000000000000000000000000000000000";

	return info->has_id == 0 && info->offset == -1 && info->stream_db >= 0 &&
	       memcmp(info->id, none, sizeof(none)) == 0 &&
	       memcmp(info->room, before->room, sizeof(info->room)) == 0;
}

bool beam_save_info_stream_db(int64_t *db)
{
	struct save_info *(*populate)(struct save_info *);
	struct save_info info, before;

	*(void **)&populate = dlsym(RTLD_DEFAULT, "rdbPopulateSaveInfo");
	if (!populate)
		return false;
	memset(&info, 0xa5, sizeof(info));
	before = info;
	const struct save_info *told = populate(&info);

	*db = told ? info.stream_db : -1;
	return !told || (told == &info && is_known(&info, &before));
}
