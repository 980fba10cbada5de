/* SPDX-License-Identifier: BSD-3-Clause
 *
 * By which name the server's commands are called here (rename-command). No reply of a server tells a
 * new name; its configuration file does, and a name that stands there is used only if the server's ACL
 * takes it for that command. A new name is a secret: it is in no log, text, INFO or argument
 * of a process. The server's main thread and its children.
 */
#ifndef BEAM_COMMAND_NAMES_H
#define BEAM_COMMAND_NAMES_H

#include "redis_api.h"

/* Once, at load: names do not change while a server runs. Reads its configuration file, if one of
 * the commands below does not have its own name. Logs which, not by what name. */
void beam_command_names_find(RedisModuleCtx *ctx);

/* For RM_Call, of a command that the module calls ("CONFIG"; the table in command_names.c): `name` itself
 * where it was not renamed; "", which no command is called by, if it is hidden. Lives as long as the module. */
const char *beam_command(const char *name);

/* Those that cannot be called, "config,dump"; "" where there are none. */
const char *beam_commands_hidden(void);

#endif
