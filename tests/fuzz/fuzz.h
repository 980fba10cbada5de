/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Common to all fuzz targets. A target is one source file with LLVMFuzzerTestOneInput, and is built
 * twice: with libFuzzer (RDBEAM_FUZZERS, clang), and with replay.c, which feeds it files, so that
 * ctest runs the corpus with any compiler. A target aborts when a contract is violated.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef RDBEAM_FUZZERS
/* libFuzzer's own mutation, for custom mutators that repair lengths and CRCs afterwards. Without
 * these nothing would get past the checksum. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
#endif

#define FUZZ_CHECK(condition)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
