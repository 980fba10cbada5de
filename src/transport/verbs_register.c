/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Registers a session's part of the image: exactly the bytes of sealed segments, with neighbouring
 * segments in one memory region. Runs on the worker's thread.
 */
#include "verbs_session.h"

#include <errno.h>
#include <stdlib.h>

#define MR_MAX_BYTES (1ull << 30) /* some devices accept no more than 2 GiB */

static int keep_mr(struct verbs_session *session, struct ibv_mr *mr)
{
	if (session->nmrs == session->mrs_cap) {
		uint32_t cap = session->mrs_cap ? 2 * session->mrs_cap : 64;
		struct ibv_mr **grown = realloc(session->mrs, cap * sizeof(struct ibv_mr *));

		if (!grown)
			return -ENOMEM;
		session->mrs = grown;
		session->mrs_cap = cap;
	}
	session->mrs[session->nmrs++] = mr;
	return 0;
}

/* Registers exactly the bytes of batch[from..to), which are contiguous in memory. */
static int register_run(struct verbs_session *session, uint32_t from, uint32_t to)
{
	const struct verbs_place *last = &session->batch[to - 1];
	const uint8_t *base = session->batch[from].base;
	size_t bytes = (size_t)(last->base - base) + last->len_bytes;
	struct ibv_mr *mr =
	    ibv_reg_mr(session->link.pd, (void *)(uintptr_t)base, bytes, IBV_ACCESS_REMOTE_READ);
	int err = mr ? keep_mr(session, mr) : -errno;

	if (mr && err)
		ibv_dereg_mr(mr);
	if (err)
		return err;
	session->batch_registered += bytes;
	for (uint32_t i = from; i < to; i++)
		session->batch[i].rkey = mr->rkey;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct verbs_place *x = a, *y = b;

	return x->base < y->base ? -1 : x->base > y->base;
}

int verbs_register_batch(struct verbs_session *session)
{
	struct verbs_place *batch = session->batch;
	uint32_t from = 0;
	int err = 0;

	qsort(batch, session->nbatch, sizeof(*batch), by_address);
	for (uint32_t to = 1; !err && to <= session->nbatch; to++) {
		const struct verbs_place *before = &batch[to - 1];

		if (to < session->nbatch && before->base + before->len_bytes == batch[to].base &&
		    (uint64_t)(batch[to].base - batch[from].base) + batch[to].len_bytes <=
			MR_MAX_BYTES)
			continue;
		err = register_run(session, from, to);
		from = to;
	}
	return err;
}

void verbs_deregister(struct verbs_session *session)
{
	for (uint32_t i = 0; i < session->nmrs; i++)
		ibv_dereg_mr(session->mrs[i]);
	free(session->mrs);
	session->mrs = NULL;
	session->nmrs = session->mrs_cap = 0;
}
