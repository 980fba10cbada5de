/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parses server addresses as users write them.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "redis.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Copies text[0..len) with %xx decoded. Returns -EINVAL when it does not fit, or for a bad escape
 * or %00. */
static int percent_decode(const char *text, size_t len, char *out, size_t cap)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)text[i];

		if (c == '%') {
			int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
			int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EINVAL;
			c = high * 16 + low;
			i += 2;
		}
		if (c == '\0' || used + 1 >= cap)
			return -EINVAL;
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return 0;
}

static int copy_text(const char *text, size_t len, char *out, size_t cap)
{
	if (len >= cap)
		return -EINVAL;
	memcpy(out, text, len);
	out[len] = '\0';
	return 0;
}

static int parse_port(const char *text, size_t len, uint32_t *port)
{
	uint32_t value = 0;

	if (len == 0 || len > 5)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)text[i]))
			return -EINVAL;
		value = value * 10 + (uint32_t)(text[i] - '0');
	}
	if (value == 0 || value > 65535)
		return -EINVAL;
	*port = value;
	return 0;
}

/* Parses "host", "host:port", "[v6]", "[v6]:port", or a bare v6 address (more than one colon). */
static int parse_host_port(const char *text, size_t len, struct beam_redis_addr *addr)
{
	const char *end = text + len;
	const char *host_end = end;
	const char *colon = memchr(text, ':', len);

	if (len > 0 && text[0] == '[') {
		host_end = memchr(text, ']', len);
		if (!host_end || (host_end + 1 < end && host_end[1] != ':'))
			return -EINVAL;
		colon = host_end + 1 < end ? host_end + 1 : NULL;
		text++;
	} else if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
		colon = NULL;
	} else if (colon) {
		host_end = colon;
	}
	if (host_end == text)
		return -EINVAL;
	if (colon && parse_port(colon + 1, (size_t)(end - colon - 1), &addr->port) != 0)
		return -EINVAL;
	addr->is_unix = false;
	return copy_text(text, (size_t)(host_end - text), addr->host, sizeof(addr->host));
}

/* Parses what follows "redis://". A single word before '@' is the password, as in redis-cli. */
static int parse_uri(const char *text, struct beam_redis_addr *addr)
{
	size_t authority = strcspn(text, "/?");
	const char *db = text + authority;
	const char *at = memrchr(text, '@', authority);
	const char *host = text;

	if (*db == '/')
		db++;
	if (strspn(db, "0123456789") != strlen(db))
		return -EINVAL;
	if (at) {
		const char *colon = memchr(text, ':', (size_t)(at - text));
		const char *password = colon ? colon + 1 : text;

		if (colon && percent_decode(text, (size_t)(colon - text), addr->user,
					    sizeof(addr->user)) != 0)
			return -EINVAL;
		if (percent_decode(password, (size_t)(at - password), addr->password,
				   sizeof(addr->password)) != 0)
			return -EINVAL;
		host = at + 1;
	}
	if (host == text + authority)
		return 0;
	return parse_host_port(host, (size_t)(text + authority - host), addr);
}

int beam_redis_parse_addr(const char *text, struct beam_redis_addr *addr)
{
	struct beam_redis_addr parsed = *addr;
	int code;

	if (strncmp(text, "redis://", 8) == 0) {
		code = parse_uri(text + 8, &parsed);
	} else if (strncmp(text, "rediss://", 9) == 0) {
		parsed.use_tls = true;
		code = parse_uri(text + 9, &parsed);
	} else if (text[0] == '/') {
		parsed.is_unix = true;
		code = copy_text(text, strlen(text), parsed.host, sizeof(parsed.host));
	} else if (strstr(text, "://") || strpbrk(text, "/@ \t")) {
		code = -EINVAL;
	} else {
		code = parse_host_port(text, strlen(text), &parsed);
	}
	if (code == 0)
		*addr = parsed;
	explicit_bzero(&parsed, sizeof(parsed));
	return code;
}
