/* SPDX-License-Identifier: BSD-3-Clause
 * Asks the server's ACL whether the caller may run another command, on servers (Redis 7.0) that
 * cannot put ours into ACL categories. */
#include "access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command_names.h"

/* Returns the calling user, or NULL if the caller has none: the server itself or another module. */
static RedisModuleUser *caller(RedisModuleCtx *ctx)
{
	RedisModuleString *name =
	    RedisModule_GetClientUserNameById(ctx, RedisModule_GetClientId(ctx));
	RedisModuleUser *user = name ? RedisModule_GetModuleUserFromUserName(name) : NULL;

	if (name)
		RedisModule_FreeString(ctx, name);
	return user;
}

static bool may_run(RedisModuleCtx *ctx, RedisModuleUser *user, const char *command)
{
	const char *name = beam_command(command);
	RedisModuleString *argv[] = {RedisModule_CreateString(ctx, name, strlen(name))};

	/* With any other errno the command was hidden by rename-command, and no rule can name
	 * it. */
	bool may = RedisModule_ACLCheckCommandPermissions(user, argv, 1) == REDISMODULE_OK ||
		   errno != EACCES;

	RedisModule_FreeString(ctx, argv[0]);
	return may;
}

bool beam_access_granted(RedisModuleCtx *ctx, const char *command)
{
	char text[160];

	if (RedisModule_SetCommandACLCategories || !RedisModule_GetClientUserNameById ||
	    !RedisModule_GetModuleUserFromUserName || !RedisModule_ACLCheckCommandPermissions ||
	    !RedisModule_FreeModuleUser)
		return true;
	RedisModuleUser *user = caller(ctx);
	bool may = !user || may_run(ctx, user, command);

	if (user)
		RedisModule_FreeModuleUser(user);
	if (may)
		return true;
	snprintf(text, sizeof(text),
		 "NOPERM this user has no permissions to run the '%s' command, which this one asks "
		 "for (ACL SETUSER <user> +%s)",
		 command, command);
	RedisModule_ReplyWithError(ctx, text);
	return false;
}
