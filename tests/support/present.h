/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which pages of a mapping are in memory, for tests.
 */
#ifndef BEAM_TEST_PRESENT_H
#define BEAM_TEST_PRESENT_H

#include <stddef.h>

#define PAGE 4096u

/* Returns how many of len_bytes (whole pages, mapped) have a page. Fails the test on an error. */
size_t present(void *memory, size_t len_bytes);

#endif
