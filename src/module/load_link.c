/* SPDX-License-Identifier: BSD-3-Clause
 * The link between a pull and this server, for one load. It goes through three states:
 *   offered: RDBEAM.LOAD was called, and a listener waits for the pull until a timer ends the offer
 *   met: a pull has connected, but has not sent HELLO
 *   linked: HELLO had the right secret, and a decoder reads jobs from the connection */
#include "load_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "rdbeam/error.h"
#include "sockets.h"

#define OFFER_MS 30000

static struct {
	RedisModuleCtx *ctx; /* detached */
	int listener, sock;
	struct beam_load_offer offer;
	bool timer_set;
	RedisModuleTimerID timer;
	struct beam_decoder *decoder;
	bool kept;
	uint64_t life; /* counts links: a notice from an earlier link's thread does not match */
} link_ = {.listener = -1, .sock = -1};

static void unwatch(int *fd)
{
	if (*fd >= 0)
		RedisModule_EventLoopDel(*fd, REDISMODULE_EVENTLOOP_READABLE);
	beam_close(fd);
}

static void end_offer(void)
{
	unwatch(&link_.listener);
	if (link_.timer_set)
		RedisModule_StopTimer(link_.ctx, link_.timer, NULL);
	link_.timer_set = false;
	explicit_bzero(link_.offer.secret, sizeof(link_.offer.secret));
}

void beam_load_link_close(void)
{
	end_offer();
	if (link_.decoder) {
		beam_decoder_close(&link_.decoder);
		beam_close(&link_.sock);
	}
	unwatch(&link_.sock);
	link_.kept = false;
	link_.life++;
	explicit_bzero(link_.offer.nonce, sizeof(link_.offer.nonce));
}

/* ---- the pull connects ---------------------------------------------------------------------- */

static void on_ended_here(void *life)
{
	if ((uint64_t)(uintptr_t)life == link_.life && !link_.kept)
		beam_load_link_close();
}

/* Runs in a decoder thread. */
static void on_ended(void)
{
	RedisModule_EventLoopAddOneShot(on_ended_here, (void *)(uintptr_t)link_.life);
}

/* If the pull could shrink the memory, reading it would raise SIGBUS in the server. */
static int check_memory(int fd, uint64_t bytes)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return BEAM_E_DENIED;
	if (fstat(fd, &st))
		return -errno;
	if (!bytes || bytes > BEAM_LOAD_MEMORY_MAX || (uint64_t)st.st_size < bytes)
		return BEAM_E_PROTO;
	return 0;
}

static bool equal_secret(const uint8_t *a, const uint8_t *b)
{
	unsigned differ = 0;

	for (size_t i = 0; i < BEAM_LOAD_SECRET_BYTES; i++)
		differ |= a[i] ^ b[i];
	return differ == 0;
}

static int take_hello(int sock)
{
	struct beam_load_hello hello;
	int fds[BEAM_PACKET_FDS_MAX], nfds = 0;
	ssize_t n = beam_packet_recv(sock, &hello, sizeof(hello), fds, &nfds, 0);
	int rc = n < 0 ? (int)n : 0;

	if (!rc && (n != sizeof(hello) || nfds != 1))
		rc = BEAM_E_PROTO;
	if (!rc && !equal_secret(hello.secret, link_.offer.secret))
		rc = BEAM_E_DENIED;
	if (!rc)
		rc = check_memory(fds[0], hello.memory_bytes);
	if (!rc)
		rc = beam_decoder_open(sock, fds[0], hello.memory_bytes, on_ended, &link_.decoder);
	for (int i = 0; i < nfds; i++)
		close(fds[i]);
	return rc;
}

static void on_hello(int fd, void *arg, int mask)
{
	int sock = fd;

	(void)arg;
	(void)mask;
	RedisModule_EventLoopDel(fd, REDISMODULE_EVENTLOOP_READABLE);
	int rc = take_hello(fd);

	if (rc) {
		beam_log(BEAM_LOG_WARNING, "a pull that was to load was refused: %s",
			 beam_strerror(rc));
		beam_close(&sock);
		link_.sock = -1;
		return;
	}
	end_offer(); /* an offer can be used once */
}

static void on_connect(int fd, void *arg, int mask)
{
	int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	pid_t pid;
	uid_t uid;

	(void)arg;
	(void)mask;
	if (sock < 0)
		return;
	/* The server is going to read memory that the peer supplies: accept only root and its own
	 * user. */
	if (link_.sock >= 0 || beam_packet_peer(sock, &pid, &uid) ||
	    (uid != 0 && uid != geteuid()) ||
	    RedisModule_EventLoopAdd(sock, REDISMODULE_EVENTLOOP_READABLE, on_hello, NULL) !=
		REDISMODULE_OK) {
		beam_log(BEAM_LOG_WARNING,
			 "refused a connection to the load socket: run rdbeam pull as root or as "
			 "the server's user");
		close(sock);
		return;
	}
	link_.sock = sock;
}

static void on_offer_over(RedisModuleCtx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	link_.timer_set = false;
	if (!link_.decoder)
		beam_load_link_close();
}

int beam_load_link_arm(RedisModuleCtx *ctx, struct beam_load_offer *out)
{
	if (link_.decoder)
		return BEAM_E_BUSY;
	beam_load_link_close();
	if (!link_.ctx)
		link_.ctx = RedisModule_GetDetachedThreadSafeContext(ctx);
	if (!link_.ctx)
		return -ENOMEM;
	link_.listener = beam_packet_listen(link_.offer.name, &link_.offer.name_len);
	if (link_.listener < 0) {
		int rc = link_.listener;

		link_.listener = -1;
		return rc;
	}
	fcntl(link_.listener, F_SETFL, O_NONBLOCK);
	if (RedisModule_EventLoopAdd(link_.listener, REDISMODULE_EVENTLOOP_READABLE, on_connect,
				     NULL) != REDISMODULE_OK) {
		beam_close(&link_.listener);
		return -ENOMEM;
	}
	beam_random(link_.offer.secret, sizeof(link_.offer.secret));
	beam_random(link_.offer.nonce, sizeof(link_.offer.nonce));
	link_.timer = RedisModule_CreateTimer(link_.ctx, OFFER_MS, on_offer_over, NULL);
	link_.timer_set = true;
	*out = link_.offer;
	return 0;
}

/* ---- during the load ------------------------------------------------------------------------ */

bool beam_load_link_is(const char *nonce, size_t len_bytes)
{
	return link_.decoder && len_bytes == BEAM_LOAD_SECRET_BYTES &&
	       equal_secret((const uint8_t *)nonce, link_.offer.nonce);
}

int beam_load_link_say(enum beam_load_word word, const char *text)
{
	struct beam_load_news news = {.word = word};

	snprintf(news.text, sizeof(news.text), "%s", text);
	return beam_packet_send(link_.sock, &news, sizeof(news), NULL, 0);
}

struct beam_decoder *beam_load_link_decoder(void)
{
	return link_.decoder;
}

void beam_load_link_keep(bool yes)
{
	link_.kept = yes;
}
