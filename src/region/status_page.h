/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeamd's numbers in memory that it shares with its module: what moves is written there and read
 * when somebody asks for it, so that nobody is woken by it (ADR 69). The daemon writes, from one
 * thread; the module only reads. There are two slots: a daemon that stops or dies while it writes
 * one leaves the other whole.
 */
#ifndef BEAM_STATUS_PAGE_H
#define BEAM_STATUS_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl.h"

struct beam_status_page;

/* Module: makes one. *fd is for the daemon, and the caller's to close. 0 or -errno. */
int beam_status_page_create(int *fd, struct beam_status_page **out);
/* Daemon: maps one; the fd stays the caller's. 0, -errno, or -EINVAL for what is no such page. */
int beam_status_page_open(int fd, struct beam_status_page **out);
void beam_status_page_close(struct beam_status_page **page); /* NULL-safe, clears */

/* Daemon: the slot that nobody reads, to be filled; then it is the one that is read. */
struct beam_ctl_status *beam_status_page_next(struct beam_status_page *page);
void beam_status_page_publish(struct beam_status_page *page);

/* Module: true with *out where there is something newer than what *seen stands for, which begins as
 * 0. On false *out is of no use. */
bool beam_status_page_read(const struct beam_status_page *page, uint64_t *seen,
			   struct beam_ctl_status *out);

/* True if nothing differs that the module acts on by itself. Whatever does is told by a message. */
bool beam_status_same_news(const struct beam_ctl_status *a, const struct beam_ctl_status *b);

#endif
