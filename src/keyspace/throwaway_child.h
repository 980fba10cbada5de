/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BEAM_THROWAWAY_CHILD_H
#define BEAM_THROWAWAY_CHILD_H

/* Lets the server fork a child that ends before it has run a line of the server's. The server never
 * notices that it has ended: it takes it for running as long as this process lives. Forked child only,
 * one thread at a time. 0, -EAGAIN where the fork failed, -ENOMEM. */
int beam_throwaway_child(void);

#endif
