/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Unix SEQPACKET sockets that carry whole messages and file descriptors, and small fd helpers. All
 * functions return 0 or a count, or a negative code. All fds created here are CLOEXEC.
 */
#ifndef BEAM_SOCKETS_H
#define BEAM_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define BEAM_PACKET_FDS_MAX 8

/* Listens on an abstract SEQPACKET address chosen by the kernel. Stores its raw bytes in `name`
 * (room for 6 bytes), and their number in *name_len. Returns the fd, or -errno. */
int beam_packet_listen(uint8_t name[6], size_t *name_len);

/* Connects to such an address (blocking socket). Returns the fd, or -errno. */
int beam_packet_connect(const uint8_t *name, size_t name_len);

/* Sends one packet with up to BEAM_PACKET_FDS_MAX fds, which stay open here. Retries on EINTR;
 * raises no SIGPIPE. 0, BEAM_E_GONE if the peer has closed, -EAGAIN if a non-blocking socket is
 * full, or -errno. */
int beam_packet_send(int sock, const void *data, size_t len_bytes, const int *fds, int nfds);

/* Receives one packet. The caller must close fds[0..*nfds). Fds beyond BEAM_PACKET_FDS_MAX, and all
 * fds if `fds` is NULL, are closed. timeout_ms -1: wait forever; 0: do not wait (-EAGAIN). Returns
 * the length (> 0), BEAM_E_GONE if the peer has closed, BEAM_E_PROTO if the packet is larger than
 * cap_bytes, -ETIMEDOUT, or -errno. */
ssize_t beam_packet_recv(int sock, void *data, size_t cap_bytes, int *fds, int *nfds,
			 int timeout_ms);

/* Gets pid and uid of the peer of a connected unix socket. 0 or -errno. */
int beam_packet_peer(int sock, pid_t *pid, uid_t *uid);

/* Waits for poll(2)'s `events` on fd; timeout_ms < 0: forever. 0, -ETIMEDOUT or -errno. */
int beam_wait_for(int fd, short events, int64_t timeout_ms);

/* True if both addresses are of one host: they are equal, or both of IPv4's loopback network, all of
 * which is this host's (a server at 127.0.0.10 sees us come from 127.0.0.1). Ports do not count. */
bool beam_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* True if the other end of a connected socket is on this host, by its address. */
bool beam_peer_is_here(int sock);

/* Raises this process's limit of open files to its hard limit. */
void beam_allow_files(void);

/* Closes *fd if it is >= 0, and sets it to -1. Preserves errno. */
void beam_close(int *fd);

/* Writes or reads all bytes on a blocking fd, through EINTR and short transfers. 0, BEAM_E_GONE at
 * end of file, or -errno. */
int beam_write_all(int fd, const void *data, size_t len_bytes);
int beam_read_all(int fd, void *data, size_t len_bytes);

/* Makes a rename in the directory durable. Succeeds as well on file systems that know no fsync of
 * directories (EINVAL, EBADF), as Redis does: some network and shared folders. 0 or -errno. */
int beam_sync_dir(int dirfd);

/* Gets random bytes from the kernel. Aborts the process if there are none, since it cannot continue
 * safely. */
void beam_random(void *out, size_t len_bytes);

#endif
