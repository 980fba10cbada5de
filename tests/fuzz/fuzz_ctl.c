/* SPDX-License-Identifier: BSD-3-Clause
 * The input is a packet between module, saving child and daemon. An accepted packet has its type's
 * size: the same packet with any other length is refused. */
#include "fuzz.h"

#include <string.h>

#include "ctl.h"
#include "rdbeam/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct beam_ctl_head head;
	uint32_t bytes = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
	int err = beam_ctl_check(data, bytes);

	FUZZ_CHECK(err == 0 || err == BEAM_E_PROTO);
	if (err)
		return 0;
	FUZZ_CHECK(bytes >= sizeof(head) && bytes <= BEAM_CTL_MAX_BYTES);
	memcpy(&head, data, sizeof(head));
	FUZZ_CHECK(head.len_bytes == bytes);
	FUZZ_CHECK(beam_ctl_check(data, bytes - 1) == BEAM_E_PROTO);
	return 0;
}

#ifdef RDBEAM_FUZZERS
/* The length in the head is adjusted after the mutation; otherwise hardly any input would be a
 * packet. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	struct beam_ctl_head head;

	size = LLVMFuzzerMutate(data, size, max_size);
	if (size < sizeof(head) || seed % 8 == 0)
		return size;
	memcpy(&head, data, sizeof(head));
	head.type = 1 + head.type % 32;
	head.len_bytes = (uint32_t)size;
	memcpy(data, &head, sizeof(head));
	return size;
}
#endif
