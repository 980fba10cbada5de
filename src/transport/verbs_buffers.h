/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The reader's memory as its device knows it: what reads go to is registered at its first use and
 * stays so; what cannot be registered (the pages of a file, more than the limit) is read into
 * registered memory of our own and copied.
 */
#ifndef BEAM_VERBS_BUFFERS_H
#define BEAM_VERBS_BUFFERS_H

#include <infiniband/verbs.h>
#include <stdint.h>

struct verbs_buffers;

/* `nbounces` buffers of `bounce_bytes`, made when they are needed. 0 or -ENOMEM. */
int verbs_buffers_open(struct ibv_pd *pd, uint32_t nbounces, uint32_t bounce_bytes,
		       struct verbs_buffers **out);
/* Deregisters everything. The queue pair must be gone. NULL-safe, clears the pointer. */
void verbs_buffers_close(struct verbs_buffers **buffers);
/* Most reads go there; it stays mapped until close. Registered by large parts as they are used. */
void verbs_buffers_area(struct verbs_buffers *buffers, uint8_t *base, uint64_t bytes);
/* Where a READ of buf's bytes is to go: buf itself, or bounce buffer `number`. 0 or -errno. */
int verbs_buffers_find(struct verbs_buffers *buffers, uint8_t *buf, uint32_t len_bytes,
		       uint32_t number, struct ibv_sge *out);

#endif
