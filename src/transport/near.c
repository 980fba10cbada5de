/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Lending memory files to a reader on the same host, and reading them.
 */
#include "near.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fault.h"
#include "rdbeam/error.h"
#include "server_talk.h"
#include "sockets.h"
#include "text.h"

#define PEERS_MAX 16 /* connections that are looked at; as many may wait */

/* What goes with a file. */
struct packet {
	uint64_t dev, ino;
	uint8_t proof[BEAM_PROOF_BYTES];
};

bool near_is_host(int sock)
{
	struct sockaddr_storage own, peer;
	socklen_t own_bytes = sizeof(own), peer_bytes = sizeof(peer);
	char own_text[BEAM_ADDR_BYTES], peer_text[BEAM_ADDR_BYTES];

	if (getsockname(sock, (struct sockaddr *)&own, &own_bytes) ||
	    getpeername(sock, (struct sockaddr *)&peer, &peer_bytes))
		return false;
	server_talk_peer((const struct sockaddr *)&own, own_text);
	server_talk_peer((const struct sockaddr *)&peer, peer_text);
	return strcmp(own_text, peer_text) == 0 && strcmp(own_text, "?") != 0;
}

/* The abstract address of the reader with this nonce. Returns its length. */
static socklen_t address_of(const uint8_t nonce[BEAM_NONCE_BYTES], struct sockaddr_un *addr)
{
	char hex[2 * BEAM_NONCE_BYTES + 1];

	beam_to_hex(nonce, BEAM_NONCE_BYTES, hex);
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(addr->sun_path + 1, sizeof(addr->sun_path) - 1, "rdbeam-pull-%s", hex);

	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int find(const struct near_file *files, uint32_t nfiles, uint64_t dev, uint64_t ino)
{
	for (uint32_t i = 0; i < nfiles; i++)
		if (files[i].dev == dev && files[i].ino == ino)
			return (int)i;
	return -1;
}

/* ---- the server's half ---------------------------------------------------------------------- */

void near_lender_open(struct near_lender *lender, int sock, const uint8_t nonce[BEAM_NONCE_BYTES],
		      const uint8_t proof[BEAM_PROOF_BYTES])
{
	struct sockaddr_un addr;
	socklen_t addr_bytes = address_of(nonce, &addr);
	pid_t pid;
	uid_t uid;

	near_lender_close(lender);
	memcpy(lender->proof, proof, sizeof(lender->proof));
	if (!near_is_host(sock) || BEAM_FAULT("near_connect"))
		return;
	/* Never waits: a reader whose backlog others have filled gets its bytes by TCP. */
	lender->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (lender->sock < 0 || connect(lender->sock, (struct sockaddr *)&addr, addr_bytes) ||
	    beam_packet_peer(lender->sock, &pid, &uid) || (uid != geteuid() && uid != 0))
		near_lender_close(lender);
}

/* Sends a file that can only be read. */
static bool send_file(int sock, int file, const struct packet *packet)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	int err = BEAM_FAULT("near_lend");

	err = err ? err : beam_packet_send(sock, packet, sizeof(*packet), &fd, 1);
	beam_close(&fd);
	return err == 0;
}

bool near_lend(struct near_lender *lender, uint32_t index, const struct beam_serve_segment *segment,
	       struct beam_wire_lent *lent)
{
	struct stat st;

	if (lender->sock < 0 || segment->file < 0 || fstat(segment->file, &st))
		return false;
	struct packet packet = {.dev = st.st_dev, .ino = st.st_ino};

	memcpy(packet.proof, lender->proof, sizeof(packet.proof));

	if (find(lender->files, lender->nfiles, packet.dev, packet.ino) < 0) {
		if (lender->nfiles == NEAR_FILES_MAX)
			return false;
		if (!send_file(lender->sock, segment->file, &packet)) {
			near_lender_close(lender);
			return false;
		}
		lender->files[lender->nfiles++] =
		    (struct near_file){.dev = packet.dev, .ino = packet.ino, .fd = -1};
	}
	lender->has_lent = true;
	*lent = (struct beam_wire_lent){.index = index,
					.len_bytes = segment->len_bytes,
					.at = segment->file_at,
					.dev = packet.dev,
					.ino = packet.ino};
	return true;
}

void near_lender_close(struct near_lender *lender)
{
	beam_close(&lender->sock);
	lender->nfiles = 0;
}

/* ---- the reader's half ---------------------------------------------------------------------- */

bool near_borrower_open(struct near_borrower *borrower, const uint8_t nonce[BEAM_NONCE_BYTES])
{
	struct sockaddr_un addr;
	socklen_t addr_bytes = address_of(nonce, &addr);

	*borrower = (struct near_borrower){.sock = -1};
	borrower->listener =
	    BEAM_FAULT("near_listen")
		? -1
		: socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (borrower->listener >= 0 &&
	    (bind(borrower->listener, (struct sockaddr *)&addr, addr_bytes) ||
	     listen(borrower->listener, PEERS_MAX)))
		beam_close(&borrower->listener);
	return borrower->listener >= 0;
}

/* True for a memory file: others might make a read wait. */
static bool is_memory(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) &&
	       ((uint32_t)fs.f_type == TMPFS_MAGIC || (uint32_t)fs.f_type == HUGETLBFS_MAGIC);
}

/* Takes in the files that have arrived by this connection. Returns false when it is not the
 * server's: anybody on this host can connect, and inode numbers are not unique for ever. */
static bool drain(struct near_borrower *b, const uint8_t proof[BEAM_PROOF_BYTES])
{
	while (b->nfiles < NEAR_FILES_MAX) {
		struct packet packet;
		int fds[BEAM_PACKET_FDS_MAX], nfds = 0;
		ssize_t n = beam_packet_recv(b->sock, &packet, sizeof(packet), fds, &nfds, 0);
		struct stat st;

		if (n < 0 && n != BEAM_E_PROTO)
			break;
		b->is_servers =
		    n == sizeof(packet) && !memcmp(packet.proof, proof, BEAM_PROOF_BYTES);
		if (b->is_servers && nfds == 1 && !fstat(fds[0], &st) && st.st_dev == packet.dev &&
		    st.st_ino == packet.ino && is_memory(fds[0])) {
			b->files[b->nfiles++] =
			    (struct near_file){.dev = packet.dev, .ino = packet.ino, .fd = fds[0]};
			nfds = 0;
		}
		for (int i = 0; i < nfds; i++)
			beam_close(&fds[i]);
		if (!b->is_servers)
			break;
	}
	return b->is_servers;
}

/* The server's files were sent before the LENT that refers to them, so a connection without any is
 * somebody else's. */
static void receive_files(struct near_borrower *b, const uint8_t proof[BEAM_PROOF_BYTES])
{
	for (int turn = 0; turn < PEERS_MAX; turn++) {
		if (b->sock < 0 && b->listener >= 0)
			b->sock = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (b->sock < 0 || drain(b, proof))
			return;
		beam_close(&b->sock);
	}
}

static struct near_place *place_of(struct near_borrower *b, uint32_t index)
{
	if (index >= b->nplaces) {
		uint32_t n = index + 1 > 2 * b->nplaces ? index + 1 : 2 * b->nplaces;
		struct near_place *grown = realloc(b->places, n * sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + b->nplaces, 0, (n - b->nplaces) * sizeof(*grown));
		b->places = grown;
		b->nplaces = n;
	}
	return &b->places[index];
}

void near_borrow(struct near_borrower *b, const struct beam_wire_lent *lent,
		 const uint8_t proof[BEAM_PROOF_BYTES])
{
	int file = find(b->files, b->nfiles, lent->dev, lent->ino);

	if (file < 0) {
		receive_files(b, proof);
		file = find(b->files, b->nfiles, lent->dev, lent->ino);
	}
	struct near_place *place =
	    file < 0 || lent->index >= BEAM_SEGMENTS_MAX ? NULL : place_of(b, lent->index);

	if (place)
		*place = (struct near_place){
		    .at = lent->at, .len_bytes = lent->len_bytes, .file = (uint32_t)file + 1};
}

void near_give_back(struct near_borrower *b)
{
	for (uint32_t i = 0; i < b->nplaces; i++)
		b->places[i].file = 0;
}

bool near_read(struct near_borrower *b, uint32_t index, uint32_t offset, void *buf,
	       uint32_t len_bytes)
{
	struct near_place *place = index < b->nplaces ? &b->places[index] : NULL;
	uint32_t done = 0;

	if (!place || !place->file || place->at > INT64_MAX - UINT32_MAX ||
	    len_bytes > place->len_bytes || offset > place->len_bytes - len_bytes)
		return false;
	int fault = BEAM_FAULT("near_read");

	while (done < len_bytes) {
		ssize_t n = fault < 0 && fault > -4096
				? 0
				: pread(b->files[place->file - 1].fd, (uint8_t *)buf + done,
					len_bytes - done, (off_t)(place->at + offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			place->file = 0;
			return false;
		}
		done += (uint32_t)n;
	}
	if (fault == BEAM_FAULT_FLIP)
		((uint8_t *)buf)[len_bytes - 1] ^= 1;
	b->bytes += len_bytes;
	return true;
}

void near_borrower_close(struct near_borrower *b)
{
	beam_close(&b->listener);
	beam_close(&b->sock);
	for (uint32_t i = 0; i < b->nfiles; i++)
		beam_close(&b->files[i].fd);
	b->nfiles = 0;
	free(b->places);
	b->places = NULL;
	b->nplaces = 0;
}
