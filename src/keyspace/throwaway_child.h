/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BEAM_THROWAWAY_CHILD_H
#define BEAM_THROWAWAY_CHILD_H

/* Lets the server fork a child that exits before it runs any of the server's code. The server never
 * notices its exit, and takes it for running as long as this process lives. Call it in a forked
 * child only, from one thread at a time. 0, -EAGAIN if the fork failed, or -ENOMEM. */
int beam_throwaway_child(void);

#endif
