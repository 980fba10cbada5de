/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeamd's numbers in memory shared with its module. Numbers that move are written there, and read
 * only when somebody asks for them, so they wake nobody (ADR 69). The daemon writes, from one
 * thread; the module only reads. There are two slots: if the daemon stops or dies while it writes
 * one, the other is still valid.
 */
#ifndef BEAM_STATUS_PAGE_H
#define BEAM_STATUS_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl.h"

struct beam_status_page;

/* Module: creates the page. *fd is for the daemon; the caller closes it. 0 or -errno. */
int beam_status_page_create(int *fd, struct beam_status_page **out);
/* Daemon: maps the page; the caller keeps the fd. 0, -errno, or -EINVAL if it is not such a
 * page. */
int beam_status_page_open(int fd, struct beam_status_page **out);
void beam_status_page_close(struct beam_status_page **page); /* accepts NULL, clears */

/* Daemon: gets the slot that nobody reads, to be filled in; beam_status_page_publish makes it the
 * one that is read. */
struct beam_ctl_status *beam_status_page_next(struct beam_status_page *page);
void beam_status_page_publish(struct beam_status_page *page);

/* Module: copies the status to *out if it is newer than what *seen stands for, and updates *seen,
 * which starts as 0. False if there is nothing newer, or no consistent copy could be made; then
 * *out must not be used. */
bool beam_status_page_read(const struct beam_status_page *page, uint64_t *seen,
			   struct beam_ctl_status *out);

/* True if the two differ in nothing that the module acts on by itself. Anything else is announced
 * by a message. */
bool beam_status_same_news(const struct beam_ctl_status *a, const struct beam_ctl_status *b);

#endif
