/* SPDX-License-Identifier: BSD-3-Clause
 * Texts and scopes of error codes, generated from the list in rdbeam/error.h. */
#include "rdbeam/error.h"

#include <string.h>

struct row {
	int code;
	enum beam_scope scope;
	const char *name;
	const char *text;
};

static const struct row rows[] = {
#define X(name, value, scope, text) {value, BEAM_SCOPE_##scope, #name, text},
    BEAM_ERRORS(X)
#undef X
};

static const struct row *find(int code)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == code)
			return &rows[i];
	return NULL;
}

const char *beam_strerror(int code)
{
	const struct row *row = find(code);

	if (code == 0)
		return "ok";
	if (row)
		return row->text;
	return strerror(code < 0 ? -code : code);
}

const char *beam_error_name(int code)
{
	const struct row *row = find(code);

	return row ? row->name : "ERRNO";
}

enum beam_scope beam_error_scope(int code)
{
	const struct row *row = find(code);

	return row ? row->scope : BEAM_SCOPE_SYSTEM;
}
