/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Room for what the server's own loader creates during a load by module: collections, small values,
 * and the entries of its tables. The main thread takes a fault at each page of new memory. At each
 * record of the stream it looks where its heap gets new memory, and a thread has the kernel make the
 * pages behind that place, as many as the last records took (docs/adr/0111). Main thread only.
 */
#ifndef BEAM_LOAD_AHEAD_H
#define BEAM_LOAD_AHEAD_H

/* Begins a load. Without a thread (none can be made, or the kernel is older than Linux 5.14), and
 * once less than 256 MB of memory is left, the functions below have no effect. */
void beam_load_ahead_begin(void);
/* Looks at the heap. To be called between two allocations of the main thread, often. */
void beam_load_ahead_look(void);
/* Ends the load, and joins the thread. May be called without a begin. */
void beam_load_ahead_end(void);

#endif
