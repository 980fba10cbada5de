/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names of the server's commands where they have been renamed (rename-command). No reply of a
 * server tells a new name, but its configuration files do; a name found there is used only if the
 * server's ACL confirms that it stands for the command. New names are secrets: they never appear in
 * logs, texts, INFO or a process's arguments. Used by the server's main thread and its forked
 * children.
 */
#ifndef BEAM_COMMAND_NAMES_H
#define BEAM_COMMAND_NAMES_H

#include "redis_api.h"

/* Finds the names of all commands that the module calls. Call it once, at load; names do not change
 * while a server runs. Reads the configuration files only if one of these commands has been
 * renamed. Logs which commands were renamed, but not their new names. */
void beam_command_names_find(RedisModuleCtx *ctx);

/* Name to pass to RM_Call for a command that the module calls ("CONFIG"; see the table in
 * command_names.c): `name` itself if it was not renamed, or "", which is never a command, if its
 * new name is not known. Valid as long as the module is loaded. */
const char *beam_command(const char *name);

/* Commands that cannot be called because their new names are not known ("config,dump"); "" if there
 * are none. */
const char *beam_commands_hidden(void);

#endif
