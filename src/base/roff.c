/* SPDX-License-Identifier: BSD-3-Clause */
#include "roff.h"

#include <stdbool.h>

void beam_roff_put(const char *text, FILE *out)
{
	bool line_begins = true;

	for (; *text; text++) {
		if (line_begins && (*text == '.' || *text == '\''))
			fputs("\\&", out);
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
		line_begins = *text == '\n';
	}
}
