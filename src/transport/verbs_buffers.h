/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory registration on the reader's side. The target of a read is registered when it is first
 * used, and stays registered. Memory that cannot be registered (pages of a file, or more than the
 * limit) is read into registered bounce buffers and copied.
 */
#ifndef BEAM_VERBS_BUFFERS_H
#define BEAM_VERBS_BUFFERS_H

#include <infiniband/verbs.h>
#include <stdint.h>

struct verbs_buffers;

/* Prepares for `nbounces` bounce buffers of `bounce_bytes`, which are allocated when first needed.
 * Returns 0 or -ENOMEM. */
int verbs_buffers_open(struct ibv_pd *pd, uint32_t nbounces, uint32_t bounce_bytes,
		       struct verbs_buffers **out);
/* Deregisters everything. The queue pair must be destroyed before. Accepts NULL; clears the
 * pointer. */
void verbs_buffers_close(struct verbs_buffers **buffers);
/* Announces the area that most reads go to; it must stay mapped until close. It is registered in
 * large parts as these are used. */
void verbs_buffers_area(struct verbs_buffers *buffers, uint8_t *base, uint64_t bytes);
/* Finds where a READ for buf's bytes must go: buf itself, or bounce buffer `number`. Returns 0 or
 * -errno. */
int verbs_buffers_find(struct verbs_buffers *buffers, uint8_t *buf, uint32_t len_bytes,
		       uint32_t number, struct ibv_sge *out);

#endif
