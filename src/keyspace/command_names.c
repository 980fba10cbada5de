/* SPDX-License-Identifier: BSD-3-Clause
 * Finds the new names of renamed commands. The server's ACL tells whether a name stands for a
 * certain command; candidates come from the rename-command lines of the server's configuration
 * files. */
#include "command_names.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "log.h"
#include "sockets.h"

#define NAME_BYTES   256
#define LINE_BYTES   4096 /* longer lines cannot hold a name that is used */
#define WORDS        3
#define DEPTH_MOST   8   /* nested includes */
#define FILES_MOST   256 /* files read at most */
#define LISTED_BYTES 128

static struct command {
	const char *const name;
	int nwords;             /* words of a call of it */
	char found[NAME_BYTES]; /* its new name; "": not found */
	bool is_renamed;
	bool by_users; /* never called here; access.c checks whether a user may call it */
	bool by_api;   /* the module API can do the same, on servers that have that call */
} commands[] = {
    {.name = "acl", .nwords = 2},
    {.name = "bgsave", .nwords = 1, .by_users = true},
    {.name = "client", .nwords = 2},
    {.name = "cluster", .nwords = 2},
    {.name = "config", .nwords = 2, .by_api = true},
    {.name = "dump", .nwords = 2},
    {.name = "function", .nwords = 2},
    {.name = "get", .nwords = 2},
    {.name = "mget", .nwords = 2},
    {.name = "module", .nwords = 2},
    {.name = "psync", .nwords = 3, .by_users = true},
    {.name = "replicaof", .nwords = 3},
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static char hidden[LISTED_BYTES];

struct search {
	RedisModuleCtx *ctx;
	const char *file; /* the server's configuration file */
	unsigned nfiles;
};

/* ---- what a name means ---------------------------------------------------------------------- */

enum meaning { MEANS_IT, DOES_NOT, NOT_TOLD };

static bool may(RedisModuleUser *user, RedisModuleString **argv, const struct command *command)
{
	return RedisModule_ACLCheckCommandPermissions(user, argv, command->nwords) ==
	       REDISMODULE_OK;
}

/* Rules of an ACL user name commands by their original names, but the permission check takes a
 * command's current name. So a user that may call nothing but `command` may call exactly the name
 * that means it. Commands that every user may call (AUTH) are told apart first. No command is run,
 * as MONITOR and SLOWLOG would show that. */
static enum meaning meaning(RedisModuleCtx *ctx, const char *called, const struct command *command)
{
	const char *const words[WORDS] = {called, "HELP", ""};
	RedisModuleString *argv[WORDS];
	enum meaning found = NOT_TOLD;
	char rule[32];

	if (!RedisModule_CreateModuleUser || !RedisModule_SetModuleUserACL ||
	    !RedisModule_FreeModuleUser || !RedisModule_ACLCheckCommandPermissions)
		return NOT_TOLD;
	RedisModuleUser *user = RedisModule_CreateModuleUser("rdbeam");

	for (size_t i = 0; i < WORDS; i++)
		argv[i] = RedisModule_CreateString(ctx, words[i], strlen(words[i]));
	snprintf(rule, sizeof(rule), "+%s", command->name);
	if (RedisModule_SetModuleUserACL(user, "allkeys") == REDISMODULE_OK) {
		bool by_all = may(user, argv, command);

		if (RedisModule_SetModuleUserACL(user, rule) == REDISMODULE_OK)
			found = !by_all && may(user, argv, command) ? MEANS_IT : DOES_NOT;
	}
	for (size_t i = 0; i < WORDS; i++)
		RedisModule_FreeString(ctx, argv[i]);
	RedisModule_FreeModuleUser(user);
	return found;
}

/* ---- the configuration files ---------------------------------------------------------------- */

static int hex_digit(char c)
{
	const char *const digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Reads one escape sequence of a quoted word as the server does. */
static char unescape(const char **at)
{
	static const char letters[] = "nrtba", bytes[] = "\n\r\t\b\a";
	const char *c = *at + 1, *letter = *c ? strchr(letters, *c) : NULL;

	if (*c == 'x' && hex_digit(c[1]) >= 0 && hex_digit(c[2]) >= 0) {
		*at = c + 2;
		return (char)(hex_digit(c[1]) << 4 | hex_digit(c[2]));
	}
	*at = c;
	return letter ? bytes[letter - letters] : *c;
}

/* False if there is no further word, or if it is too long or its quotes are not closed. */
static bool next_word(const char **line, char word[NAME_BYTES])
{
	const char *at = *line + strspn(*line, " \t\r\n");
	char quote = 0;
	size_t n = 0;

	if (!*at)
		return false;
	for (; *at && (quote || !strchr(" \t\r\n", *at)); at++) {
		char c = *at;

		if (quote ? c == quote : c == '"' || c == '\'') {
			quote = quote ? 0 : c;
			continue;
		}
		if (quote == '"' && c == '\\' && at[1])
			c = unescape(&at);
		else if (quote == '\'' && c == '\\' && at[1] == '\'')
			c = *++at;
		if (n + 1 == NAME_BYTES)
			return false;
		word[n++] = c;
	}
	word[n] = 0;
	*line = at;
	return !quote && strlen(word) == n;
}

static void take_name(struct search *search, const char *name)
{
	for (size_t i = 0; i < NCOMMANDS && name[0]; i++)
		if (commands[i].is_renamed && !commands[i].found[0] &&
		    meaning(search->ctx, name, &commands[i]) == MEANS_IT)
			snprintf(commands[i].found, NAME_BYTES, "%s", name);
}

static void read_file(struct search *search, const char *path, unsigned depth);

static void read_all(struct search *search, const char *pattern, unsigned depth)
{
	glob_t found;

	if (glob(pattern, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		read_file(search, found.gl_pathv[i], depth);
	globfree(&found);
}

/* The server resolved a relative path against the directory it was in when it read the file, which
 * is not known any more. So both likely places are searched; this is safe, because no name is used
 * before the ACL has confirmed it. */
static void include(struct search *search, const char *pattern, unsigned depth)
{
	const char *slash = strrchr(search->file, '/');
	char path[PATH_MAX];

	read_all(search, pattern, depth);
	if (pattern[0] == '/' || !slash)
		return;
	snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - search->file), search->file, pattern);
	read_all(search, path, depth);
}

static void take_line(struct search *search, const char *line, unsigned depth)
{
	char words[WORDS][NAME_BYTES];
	int n = 0;

	while (n < WORDS && next_word(&line, words[n]))
		n++;
	if (n == 2 && strcasecmp(words[0], "include") == 0)
		include(search, words[1], depth + 1);
	if (n == 3 && strcasecmp(words[0], "rename-command") == 0)
		take_name(search, words[2]);
	explicit_bzero(words, sizeof(words));
}

/* Returns NULL for anything but a regular file, too: the server may have read its configuration
 * from a pipe that nobody writes to any more. */
static FILE *open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	FILE *file = NULL;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		file = fdopen(fd, "r");
	if (!file)
		beam_close(&fd);
	return file;
}

static void read_file(struct search *search, const char *path, unsigned depth)
{
	FILE *file = depth < DEPTH_MOST && search->nfiles < FILES_MOST ? open_file(path) : NULL;
	char buffer[LINE_BYTES], line[LINE_BYTES]; /* may hold passwords: zeroed below */
	bool whole = true;

	if (!file)
		return;
	search->nfiles++;
	setvbuf(file, buffer, _IOFBF, sizeof(buffer));
	while (fgets(line, sizeof(line), file)) {
		bool ends = strchr(line, '\n') || feof(file);

		if (whole && ends)
			take_line(search, line, depth);
		whole = ends;
	}
	fclose(file);
	explicit_bzero(line, sizeof(line));
	explicit_bzero(buffer, sizeof(buffer));
}

static void search_files(RedisModuleCtx *ctx)
{
	RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "server");
	const char *file = RedisModule_ServerInfoGetFieldC(info, "config_file");
	struct search search = {.ctx = ctx, .file = file};

	if (file && file[0])
		read_file(&search, file, 0);
	RedisModule_FreeServerInfo(ctx, info);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static void list(char out[LISTED_BYTES], const char *name)
{
	size_t used = strlen(out);

	snprintf(out + used, LISTED_BYTES - used, "%s%s", used ? "," : "", name);
}

static bool is_hidden(const struct command *command)
{
	return command->is_renamed && !command->found[0];
}

/* Whether nothing fails if this command cannot be called. */
static bool is_spared(const struct command *command)
{
	return command->by_users || (command->by_api && RedisModule_ConfigGet);
}

void beam_command_names_find(RedisModuleCtx *ctx)
{
	char found[LISTED_BYTES] = "";
	bool some = false;

	for (size_t i = 0; i < NCOMMANDS; i++) {
		commands[i].is_renamed = meaning(ctx, commands[i].name, &commands[i]) == DOES_NOT;
		some |= commands[i].is_renamed;
	}
	if (some)
		search_files(ctx);
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (commands[i].is_renamed && !is_spared(&commands[i]))
			list(is_hidden(&commands[i]) ? hidden : found, commands[i].name);
	if (found[0])
		beam_log(BEAM_LOG_NOTICE,
			 "rename-command: using the names found in the configuration files: %s",
			 found);
	if (hidden[0])
		beam_log(BEAM_LOG_NOTICE,
			 "rename-command: no readable configuration file has the new name of: %s; "
			 "what needs it is left to the server",
			 hidden);
}

const char *beam_command(const char *name)
{
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (commands[i].is_renamed && strcasecmp(name, commands[i].name) == 0)
			return commands[i].found;
	return name;
}

const char *beam_commands_hidden(void)
{
	return hidden;
}
