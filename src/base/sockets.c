/* SPDX-License-Identifier: BSD-3-Clause
 * Packets with file descriptors over unix sockets, complete transfers on streams, and small fd
 * helpers. */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "fault.h"
#include "rdbeam/error.h"

#define ABSTRACT_NAME_BYTES 6 /* a NUL and five hex digits, assigned by the kernel's autobind */

int beam_packet_listen(uint8_t name[6], size_t *name_len)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr.sun_family)) || listen(fd, SOMAXCONN) ||
	    getsockname(fd, (struct sockaddr *)&addr, &len)) {
		int err = -errno;

		close(fd);
		return err;
	}
	*name_len = len - offsetof(struct sockaddr_un, sun_path);
	if (*name_len > ABSTRACT_NAME_BYTES)
		*name_len = ABSTRACT_NAME_BYTES;
	memcpy(name, addr.sun_path, *name_len);
	return fd;
}

int beam_packet_connect(const uint8_t *name, size_t name_len)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, name, name_len);
	if (connect(fd, (struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_len))) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

int beam_packet_send(int sock, const void *data, size_t len_bytes, const int *fds, int nfds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * BEAM_PACKET_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len_bytes};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds < 0 || nfds > BEAM_PACKET_FDS_MAX)
		return -EINVAL;
	if (nfds > 0) {
		size_t fd_bytes = sizeof(int) * (size_t)nfds;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_bytes);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(fd_bytes);
		memcpy(CMSG_DATA(cmsg), fds, fd_bytes);
	}
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		return errno == EPIPE || errno == ECONNRESET ? BEAM_E_GONE : -errno;
	}
}

static void take_fds(struct msghdr *msg, int *fds, int *nfds)
{
	int taken = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fds && taken < BEAM_PACKET_FDS_MAX)
				fds[taken++] = fd;
			else
				close(fd);
		}
	}
	if (nfds)
		*nfds = taken;
}

int beam_wait_for(int fd, short events, int64_t timeout_ms)
{
	uint64_t deadline = beam_now_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
	struct pollfd pfd = {.fd = fd, .events = events};

	for (;;) {
		int n = poll(&pfd, 1, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
		if (timeout_ms > 0) {
			uint64_t now = beam_now_ms();

			timeout_ms = now < deadline ? (int64_t)(deadline - now) : 0;
		}
	}
}

/* If the peer closes before it has read everything, ECONNRESET is returned here, once, ahead of the
 * packets that the peer has sent. So try again, to receive these. */
static ssize_t receive(int sock, struct msghdr *msg, int flags)
{
	bool reset = false;
	ssize_t n;

	for (;;) {
		n = recvmsg(sock, msg, flags);
		if (n >= 0 || (errno != EINTR && (errno != ECONNRESET || reset)))
			return n;
		reset |= errno == ECONNRESET;
	}
}

ssize_t beam_packet_recv(int sock, void *data, size_t cap_bytes, int *fds, int *nfds,
			 int timeout_ms)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * BEAM_PACKET_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = cap_bytes};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control)};

	if (nfds)
		*nfds = 0;
	if (timeout_ms > 0) {
		int err = beam_wait_for(sock, POLLIN, timeout_ms);

		if (err)
			return err;
	}
	ssize_t n = receive(sock, &msg, MSG_CMSG_CLOEXEC | (timeout_ms == 0 ? MSG_DONTWAIT : 0));

	if (n < 0)
		return errno == ECONNRESET ? BEAM_E_GONE : -errno;
	take_fds(&msg, fds, nfds);
	if (n > 0 && !(msg.msg_flags & MSG_TRUNC))
		return n;
	for (int i = 0; nfds && i < *nfds; i++)
		close(fds[i]);
	if (nfds)
		*nfds = 0;
	return n ? BEAM_E_PROTO : BEAM_E_GONE;
}

int beam_packet_peer(int sock, pid_t *pid, uid_t *uid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -errno;
	*pid = cred.pid;
	*uid = cred.uid;
	return 0;
}

void beam_allow_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	/* If it is refused, the limit stays as it was. */
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

static bool is_loopback4(struct in_addr addr)
{
	return ntohl(addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
}

bool beam_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET6)
		return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
			      &((const struct sockaddr_in6 *)b)->sin6_addr,
			      sizeof(struct in6_addr)) == 0;
	struct in_addr one = ((const struct sockaddr_in *)a)->sin_addr;
	struct in_addr other = ((const struct sockaddr_in *)b)->sin_addr;

	return one.s_addr == other.s_addr || (is_loopback4(one) && is_loopback4(other));
}

bool beam_peer_is_here(int sock)
{
	struct sockaddr_storage ours = {0}, theirs = {0};
	socklen_t our_len = sizeof(ours), their_len = sizeof(theirs);

	if (getsockname(sock, (struct sockaddr *)&ours, &our_len) ||
	    getpeername(sock, (struct sockaddr *)&theirs, &their_len))
		return false;
	return theirs.ss_family == AF_UNIX || beam_same_host(&ours, &theirs);
}

void beam_close(int *fd)
{
	int saved_errno = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved_errno;
}

int beam_write_all(int fd, const void *data, size_t len_bytes)
{
	const char *at = data;

	while (len_bytes) {
		ssize_t n = write(fd, at, len_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

int beam_read_all(int fd, void *data, size_t len_bytes)
{
	char *at = data;

	while (len_bytes) {
		ssize_t n = read(fd, at, len_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return BEAM_E_GONE;
		at += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

int beam_sync_dir(int dirfd)
{
	int err = BEAM_FAULT("file.dirsync");

	if (!err && fsync(dirfd))
		err = -errno;
	return err == -EINVAL || err == -EBADF ? 0 : err;
}

void beam_random(void *out, size_t len_bytes)
{
	char *at = out;

	while (len_bytes) {
		ssize_t n = getrandom(at, len_bytes, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort();
		at += n;
		len_bytes -= (size_t)n;
	}
}
