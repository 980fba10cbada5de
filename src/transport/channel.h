/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One TCP connection between puller and daemon, plain or TLS 1.3. Nobody needs a certificate: both
 * sides know the ticket's key, which went over the (TLS) Redis connection, and TLS takes a key
 * derived from it as its pre-shared key, with a fresh Diffie-Hellman exchange. Non-blocking, one
 * thread.
 */
#ifndef BEAM_CHANNEL_H
#define BEAM_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "ctl.h"

struct channel_tls;

struct channel {
	int fd;                  /* owned; -1: closed */
	struct channel_tls *tls; /* NULL: plain */
};

/* Gives the key of the ticket `id`, unless there is none: BEAM_E_DENIED. */
typedef int channel_key_fn(void *arg, const uint8_t id[BEAM_TICKET_ID_BYTES],
			   uint8_t key[BEAM_TICKET_KEY_BYTES]);

/* First byte of a TLS connection; a HELLO in clear starts with another. */
#define CHANNEL_TLS_FIRST_BYTE 0x16

/* Starts TLS on the connecting side and shakes hands within timeout_ms. 0, -ENOMEM, -ETIMEDOUT,
 * BEAM_E_DENIED (the peer does not know the ticket, or speaks no TLS), or -errno. */
int channel_connect_tls(struct channel *channel, const uint8_t id[BEAM_TICKET_ID_BYTES],
			const uint8_t key[BEAM_TICKET_KEY_BYTES], int timeout_ms);
/* Starts TLS on the accepting side; the handshake is done within channel_recv. 0 or -ENOMEM. */
int channel_accept_tls(struct channel *channel, channel_key_fn *key_of, void *arg);

/* As recvmsg and sendmsg with MSG_DONTWAIT: bytes, 0 at the end (recv), or a negative code:
 * -EAGAIN, BEAM_E_DENIED for a failed handshake or a broken record, -errno. What send has taken does
 * not refer to the caller's memory any more. `last`: channel_finish follows, and goes by the same
 * packet. */
ssize_t channel_recv(struct channel *channel, const struct iovec *iov, int niov);
ssize_t channel_send(struct channel *channel, const struct iovec *iov, int niov, bool last);

/* Of the accepting side: by TLS the peer has shown that it has a ticket's key. */
bool channel_has_key(const struct channel *channel);

/* Bytes that were read from the socket but not yet by the caller: poll does not tell of them. */
bool channel_has_input(const struct channel *channel);
/* Bytes that send has taken and the socket has not: call send (niov may be 0) when it can be
 * written. */
bool channel_has_output(const struct channel *channel);

/* No more is sent; the peer reads an end. */
void channel_finish(struct channel *channel);
void channel_close(struct channel *channel);

#endif
