/* SPDX-License-Identifier: BSD-3-Clause */
#include "present.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

size_t present(void *memory, size_t len_bytes)
{
	unsigned char *pages = malloc(len_bytes / PAGE);
	size_t n = 0;

	assert_non_null(pages);
	assert_int_equal(mincore(memory, len_bytes, pages), 0);
	for (size_t i = 0; i < len_bytes / PAGE; i++)
		n += pages[i] & 1;
	free(pages);
	return n * PAGE;
}
