/* SPDX-License-Identifier: BSD-3-Clause
 * Handles the daemon's messages to a lane. The daemon is ours, but a child of the server must not
 * crash when the daemon misbehaves, so everything is checked before use. */
#include "lane_inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extent.h"
#include "fault.h"
#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

int beam_lane_break(const char *what)
{
	beam_log(BEAM_LOG_WARNING, "lane: daemon sent %s", what);
	return BEAM_E_PROTO;
}

void beam_lane_forget(struct beam_lane_extent *extent)
{
	if (extent->base)
		munmap(extent->base, extent->bytes);
	extent->base = NULL;
	beam_close(&extent->fd);
}

/* Takes ownership of `fd`. Maps only memory that cannot be truncated. */
static int learn_extent(struct beam_lane *lane, const struct beam_ctl_extent *message, int fd)
{
	struct beam_lane_extent extent = {.fd = fd, .bytes = message->bytes};
	struct stat st;
	int err = BEAM_FAULT("lane.extent");

	/* The kernel drops an fd if this process has reached its limit of open files. */
	if (!err && fd < 0)
		err = -EMFILE;
	if (err)
		goto close_fd;
	if (message->extent >= BEAM_EXTENTS_MAX || message->bytes == 0 ||
	    message->bytes > BEAM_EXTENT_MAX_BYTES || message->bytes % BEAM_SEGMENT_ALIGN) {
		err = beam_lane_break("a bad extent");
		goto close_fd;
	}
	if (fstat(fd, &st) || (uint64_t)st.st_size != message->bytes ||
	    !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK)) {
		err = beam_lane_break("an extent of another size than its file, or not sealed");
		goto close_fd;
	}
	extent.ino = st.st_ino;
	struct beam_lane_extent *known = &lane->extents[message->extent];

	/* Announced twice (because of JOIN). Slots of it may be in use here, so keep the
	 * mapping. */
	if (known->fd >= 0 && known->ino == extent.ino) {
		beam_close(&fd);
		return 0;
	}
	err = beam_extent_map(fd, extent.bytes, &extent.base);
	if (err) {
		beam_log(BEAM_LOG_WARNING,
			 "lane: cannot map extent %" PRIu32 " of %" PRIu64 " bytes: %s",
			 message->extent, extent.bytes, beam_strerror(err));
		goto close_fd;
	}
	beam_lane_forget(known);
	*known = extent;
	if (message->extent >= lane->nextents)
		lane->nextents = message->extent + 1;
	return 0;
close_fd:
	beam_close(&fd);
	return err;
}

int beam_lane_receive(struct beam_lane *lane, union beam_lane_message *m, int *fd, int timeout_ms)
{
	int fds[BEAM_PACKET_FDS_MAX], nfds = 0;
	ssize_t n = beam_packet_recv(lane->sock, m, sizeof(*m), fds, &nfds, timeout_ms);

	*fd = -1;
	if (n < 0)
		return (int)n;
	for (int i = 1; i < nfds; i++)
		close(fds[i]);
	if (nfds)
		*fd = fds[0];
	if (!beam_ctl_check(m, (uint32_t)n))
		return 0;
	beam_close(fd);
	return beam_lane_break("a malformed message");
}

int beam_lane_code(struct beam_ctl_text *text)
{
	text->text[BEAM_TEXT_BYTES - 1] = 0;
	return text->code < 0 ? text->code : BEAM_E_ABORTED;
}

int beam_lane_handle(struct beam_lane *lane, int timeout_ms)
{
	union beam_lane_message m;
	int fd, err = beam_lane_receive(lane, &m, &fd, timeout_ms);

	if (err == -EAGAIN)
		return err;
	if (!err && m.head.type == BEAM_CTL_EXTENT)
		err = learn_extent(lane, &m.extent, fd);
	else if (!err) {
		beam_close(&fd);
		if (m.head.type == BEAM_CTL_FAILED || m.head.type == BEAM_CTL_REFUSED) {
			err = beam_lane_code(&m.text);
			memcpy(lane->failure_text, m.text.text, sizeof(lane->failure_text));
		} else if (m.head.type != BEAM_CTL_GRANTED && m.head.type != BEAM_CTL_PROGRESS &&
			   m.head.type != BEAM_CTL_DURABLE) /* sent to the waiter again */
			err = beam_lane_break("a message that is not for a writer");
	}
	if (err)
		lane->failure = err;
	return err;
}

int beam_lane_drain(struct beam_lane *lane)
{
	int err;

	do {
		err = beam_lane_handle(lane, 0);
	} while (!err);
	return err == -EAGAIN ? 0 : err;
}
