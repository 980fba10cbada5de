/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Replaces the command name in a formatted request by its other name.
 */
#include "redis_renamed.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Returns the list's next pair, NULL at the end. */
static const char *next_pair(const char *list, size_t *command_bytes, size_t *pair_bytes)
{
	list += strspn(list, " ");
	*pair_bytes = strcspn(list, " ");
	*command_bytes = strcspn(list, " =");
	return *list ? list : NULL;
}

int beam_redis_renamed_check(const char *list)
{
	size_t command, pair;

	while ((list = next_pair(list, &command, &pair))) {
		if (command == 0 || list[command] != '=' || command + 1 == pair)
			return -EINVAL;
		list += pair;
	}
	return 0;
}

/* Finds the command name in a request ("*2\r\n$6\r\nCONFIG\r\n..."), or returns NULL. */
static const char *name_in(const char *request, size_t len, size_t *name_bytes)
{
	const char *dollar = memchr(request, '$', len);
	char *at;

	if (!dollar || !isdigit((unsigned char)dollar[1]))
		return NULL;
	*name_bytes = strtoul(dollar + 1, &at, 10);
	return *name_bytes < len - (size_t)(at - request) ? at + 2 : NULL;
}

int beam_redis_renamed(const char *list, const char *request, size_t request_bytes, char **out,
		       size_t *len)
{
	size_t name_bytes, command, pair;
	const char *name = name_in(request, request_bytes, &name_bytes);

	while (name && (list = next_pair(list, &command, &pair))) {
		if (command == name_bytes && strncasecmp(list, name, command) == 0)
			break;
		list += pair;
	}
	if (!name || !list)
		return -ENOENT;
	const char *dollar = memchr(request, '$', request_bytes), *rest = name + name_bytes;
	size_t other_bytes = pair - command - 1,
	       rest_bytes = request_bytes - (size_t)(rest - request);
	char *text = malloc(request_bytes + other_bytes + 32);

	if (!text)
		return -ENOMEM;
	int head = sprintf(text, "%.*s$%zu\r\n%.*s", (int)(dollar - request), request, other_bytes,
			   (int)other_bytes, list + command + 1);

	memcpy(text + head, rest, rest_bytes);
	*out = text;
	*len = (size_t)head + rest_bytes;
	return 0;
}
