/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One TCP connection between puller and daemon, plain or with TLS 1.3. No certificates are needed:
 * both sides know the ticket's key, which was sent over the (TLS) Redis connection. TLS uses a key
 * derived from it as pre-shared key, together with a fresh Diffie-Hellman exchange. Non-blocking;
 * one thread.
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

/* Looks up the key of ticket `id`. Returns 0 with `key`, or BEAM_E_DENIED when there is no such
 * ticket. */
typedef int channel_key_fn(void *arg, const uint8_t id[BEAM_TICKET_ID_BYTES],
			   uint8_t key[BEAM_TICKET_KEY_BYTES]);

/* First byte of a TLS connection; a plain HELLO starts with a different one. */
#define CHANNEL_TLS_FIRST_BYTE 0x16

/* Starts TLS on the connecting side and completes the handshake within timeout_ms. Returns 0,
 * -ENOMEM, -ETIMEDOUT, BEAM_E_DENIED (the peer does not know the ticket, or does not speak TLS), or
 * -errno. */
int channel_connect_tls(struct channel *channel, const uint8_t id[BEAM_TICKET_ID_BYTES],
			const uint8_t key[BEAM_TICKET_KEY_BYTES], int timeout_ms);
/* Starts TLS on the accepting side; the handshake then happens within channel_recv. Returns 0 or
 * -ENOMEM. */
int channel_accept_tls(struct channel *channel, channel_key_fn *key_of, void *arg);

/* Receive and send like recvmsg and sendmsg with MSG_DONTWAIT. Return a number of bytes, 0 at end
 * of file (recv), or a negative code: -EAGAIN, BEAM_E_DENIED for a failed handshake or a broken
 * record, -errno. Bytes that send has taken no longer refer to the caller's memory. `last`:
 * channel_finish follows, so that the end can travel in the same packet. */
ssize_t channel_recv(struct channel *channel, const struct iovec *iov, int niov);
ssize_t channel_send(struct channel *channel, const struct iovec *iov, int niov, bool last);

/* On the accepting side: true when the peer has proved by TLS that it has a ticket's key. */
bool channel_has_key(const struct channel *channel);

/* True when bytes were read from the socket that the caller has not received yet: poll does not
 * report them. */
bool channel_has_input(const struct channel *channel);
/* True when send has taken bytes that the socket has not: call send (niov may be 0) when the socket
 * becomes writable. */
bool channel_has_output(const struct channel *channel);

/* Ends the output; the peer reads end of file. */
void channel_finish(struct channel *channel);
/* Closes the socket and frees the TLS state. May be called again. */
void channel_close(struct channel *channel);

#endif
