/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unix SEQPACKET sockets that carry whole messages and file descriptors, and small fd helpers.
 * All return 0 or a count, or a negative code. Every fd made here is CLOEXEC.
 */
#ifndef BEAM_SOCKETS_H
#define BEAM_SOCKETS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BEAM_PACKET_FDS_MAX 8

/* Listens on an abstract SEQPACKET address chosen by the kernel; `name` (room for 6 bytes) gets its
 * raw bytes, *name_len their number. Returns the fd, or -errno. */
int beam_packet_listen(uint8_t name[6], size_t *name_len);

/* Connects to such an address (blocking socket). Returns the fd, or -errno. */
int beam_packet_connect(const uint8_t *name, size_t name_len);

/* Sends one packet with up to BEAM_PACKET_FDS_MAX fds (they stay open here). Retries EINTR, raises
 * no SIGPIPE. 0, BEAM_E_GONE when the peer closed, -EAGAIN on a full non-blocking socket, or
 * -errno. */
int beam_packet_send(int sock, const void *data, size_t len_bytes, const int *fds, int nfds);

/* Receives one packet. fds[0..*nfds) are the caller's to close; fds beyond BEAM_PACKET_FDS_MAX, or
 * any when `fds` is NULL, are closed. timeout_ms: -1 for ever; 0 do not wait (-EAGAIN).
 * Returns the length (> 0), BEAM_E_GONE at the peer's close, BEAM_E_PROTO when the packet is larger
 * than `cap_bytes`, -ETIMEDOUT, or -errno. */
ssize_t beam_packet_recv(int sock, void *data, size_t cap_bytes, int *fds, int *nfds,
			 int timeout_ms);

/* pid, uid of the peer of a connected unix socket. 0 or -errno. */
int beam_packet_peer(int sock, pid_t *pid, uid_t *uid);

/* Waits for poll(2)'s `events` on fd; timeout_ms < 0: for ever. 0, -ETIMEDOUT or -errno. */
int beam_wait_for(int fd, short events, int64_t timeout_ms);

/* Lets this process have as many open files as it may allow itself. */
void beam_allow_files(void);

/* Closes *fd if it is >= 0 and sets it to -1. Preserves errno. */
void beam_close(int *fd);

/* Writes or reads all bytes on a blocking fd, through EINTR and short transfers.
 * 0, BEAM_E_GONE on end of file, or -errno. */
int beam_write_all(int fd, const void *data, size_t len_bytes);
int beam_read_all(int fd, void *data, size_t len_bytes);

/* Random bytes from the kernel; aborts the process if there are none (it cannot go on safely). */
void beam_random(void *out, size_t len_bytes);

#endif
