/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Each call either goes straight to the socket or, for TLS, through OpenSSL with the same contract.
 */
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "clock.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "tls_socket.h"
#include "wire.h"

#define RECORD_BYTES 16384 /* the most that one TLS record carries */

/* Both sides are ours, so there is a single cipher suite; its hash is the one that the key is made
 * for. */
#define SUITE_NAME "TLS_AES_128_GCM_SHA256"
static const unsigned char suite_id[2] = {0x13, 0x01};

struct channel_tls {
	SSL *ssl;
	channel_key_fn *key_of; /* accepting side */
	void *arg;
	uint8_t id[BEAM_TICKET_ID_BYTES]; /* connecting side */
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	/* A record that the socket did not take: OpenSSL must be given the same bytes again. */
	size_t retry_bytes;
	uint8_t retry[RECORD_BYTES];
};

/* ---- keys ------------------------------------------------------------------------------------ */

/* Wraps the pre-shared key in a session to resume, which is how OpenSSL accepts one. Returns NULL
 * without memory. */
static SSL_SESSION *session_of(SSL *ssl, const uint8_t id[BEAM_TICKET_ID_BYTES],
			       const uint8_t ticket_key[BEAM_TICKET_KEY_BYTES])
{
	const SSL_CIPHER *suite = SSL_CIPHER_find(ssl, suite_id);
	SSL_SESSION *session = SSL_SESSION_new();
	uint8_t key[BEAM_PROOF_BYTES];

	beam_wire_tls_key(ticket_key, id, key);
	if (session && (!suite || !SSL_SESSION_set1_master_key(session, key, sizeof(key)) ||
			!SSL_SESSION_set_cipher(session, suite) ||
			!SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))) {
		SSL_SESSION_free(session);
		session = NULL;
	}
	OPENSSL_cleanse(key, sizeof(key));
	return session;
}

static int use_key(SSL *ssl, const EVP_MD *digest, const unsigned char **id, size_t *id_bytes,
		   SSL_SESSION **out)
{
	struct channel_tls *tls = SSL_get_app_data(ssl);

	(void)digest; /* there is one suite, hence one hash */
	*out = session_of(ssl, tls->id, tls->key);
	*id = tls->id;
	*id_bytes = sizeof(tls->id);
	return *out != NULL;
}

/* An unknown ticket is no error here: without a key the handshake fails by itself. */
static int find_key(SSL *ssl, const unsigned char *id, size_t id_bytes, SSL_SESSION **out)
{
	struct channel_tls *tls = SSL_get_app_data(ssl);
	uint8_t key[BEAM_TICKET_KEY_BYTES];

	*out = NULL;
	if (id_bytes != BEAM_TICKET_ID_BYTES || tls->key_of(tls->arg, id, key))
		return 1;
	*out = session_of(ssl, id, key);
	OPENSSL_cleanse(key, sizeof(key));
	return *out != NULL;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static SSL *make_ssl(bool accepting)
{
	SSL_CTX *context = SSL_CTX_new(accepting ? TLS_server_method() : TLS_client_method());
	SSL *ssl = NULL;

	if (!context)
		return NULL;
	if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) &&
	    SSL_CTX_set_ciphersuites(context, SUITE_NAME)) {
		SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					      SSL_MODE_RELEASE_BUFFERS);
		SSL_CTX_set_num_tickets(context, 0); /* sessions are never resumed */
		SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
		ssl = SSL_new(context);
	}
	SSL_CTX_free(context);
	return ssl;
}

static struct channel_tls *make_tls(struct channel *channel, bool accepting)
{
	struct channel_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return NULL;
	tls->ssl = make_ssl(accepting);
	/* The key callbacks find `tls` there. */
	if (!tls->ssl || tls_socket_set(tls->ssl, channel->fd) ||
	    !SSL_set_app_data(tls->ssl, tls)) {
		SSL_free(tls->ssl);
		free(tls);
		return NULL;
	}
	return tls;
}

int channel_accept_tls(struct channel *channel, channel_key_fn *key_of, void *arg)
{
	struct channel_tls *tls = make_tls(channel, true);

	if (!tls)
		return -ENOMEM;
	tls->key_of = key_of;
	tls->arg = arg;
	SSL_set_psk_find_session_callback(tls->ssl, find_key);
	SSL_set_accept_state(tls->ssl);
	channel->tls = tls;
	return 0;
}

bool channel_has_key(const struct channel *channel)
{
	return channel->tls && SSL_session_reused(channel->tls->ssl);
}

/* Translates an SSL call that moved no bytes into a code; 0 when the peer closed in an orderly
 * way. */
static int code_of(const struct channel_tls *tls, int result)
{
	switch (SSL_get_error(tls->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		return errno ? -errno : -ECONNRESET;
	default:
		return BEAM_E_DENIED;
	}
}

static int shake_hands(struct channel *channel, uint64_t deadline)
{
	SSL *ssl = channel->tls->ssl;

	for (;;) {
		ERR_clear_error();
		errno = 0;
		int done = SSL_connect(ssl);

		if (done == 1)
			return 0;
		int code = code_of(channel->tls, done);
		uint64_t now = beam_now_ms();

		if (code != -EAGAIN)
			return code ? code : -ECONNRESET;
		code = beam_wait_for(channel->fd, SSL_want_write(ssl) ? POLLOUT : POLLIN,
				     now < deadline ? (int64_t)(deadline - now) : 0);
		if (code)
			return code;
	}
}

int channel_connect_tls(struct channel *channel, const uint8_t id[BEAM_TICKET_ID_BYTES],
			const uint8_t key[BEAM_TICKET_KEY_BYTES], int timeout_ms)
{
	struct channel_tls *tls = make_tls(channel, false);

	if (!tls)
		return -ENOMEM;
	memcpy(tls->id, id, sizeof(tls->id));
	memcpy(tls->key, key, sizeof(tls->key));
	SSL_set_psk_use_session_callback(tls->ssl, use_key);
	/* A peer without the key would have to show a certificate, and no authority is trusted
	 * here, so it fails. */
	SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
	channel->tls = tls;
	int code = shake_hands(channel, beam_now_ms() + (uint64_t)timeout_ms);

	OPENSSL_cleanse(tls->key, sizeof(tls->key));
	if (!code && !SSL_session_reused(tls->ssl))
		code = BEAM_E_DENIED;
	return code;
}

/* ---- carrying -------------------------------------------------------------------------------- */

ssize_t channel_recv(struct channel *channel, const struct iovec *iov, int niov)
{
	struct channel_tls *tls = channel->tls;

	if (!tls) {
		struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
				     .msg_iovlen = (size_t)niov};
		ssize_t n = recvmsg(channel->fd, &msg, MSG_DONTWAIT);

		if (n < 0)
			return errno == EINTR ? -EAGAIN : -errno;
		return n;
	}
	while (niov > 1 && !iov->iov_len)
		iov++, niov--;
	size_t want = iov->iov_len < INT32_MAX ? iov->iov_len : INT32_MAX;

	ERR_clear_error();
	errno = 0;
	int n = SSL_read(tls->ssl, iov->iov_base, (int)want);

	return n > 0 ? n : code_of(tls, n);
}

/* Sends one record in full or not at all; a record that the socket does not take is kept for a
 * retry. */
static int send_record(struct channel_tls *tls, const uint8_t *bytes, size_t len_bytes)
{
	ERR_clear_error();
	errno = 0;
	int n = SSL_write(tls->ssl, bytes, (int)len_bytes);

	if (n > 0)
		return n;
	int code = code_of(tls, n);

	if (code != -EAGAIN)
		return code ? code : -EPIPE;
	if (bytes != tls->retry)
		memcpy(tls->retry, bytes, len_bytes);
	tls->retry_bytes = len_bytes;
	return -EAGAIN;
}

static int send_retry(struct channel_tls *tls)
{
	while (tls->retry_bytes) {
		size_t len_bytes = tls->retry_bytes;
		int n = send_record(tls, tls->retry, len_bytes);

		if (n < 0)
			return n;
		tls->retry_bytes = len_bytes - (size_t)n;
		memmove(tls->retry, tls->retry + n, tls->retry_bytes);
	}
	return 0;
}

static ssize_t send_tls(struct channel_tls *tls, const struct iovec *iov, int niov)
{
	ssize_t taken = 0;
	int n = send_retry(tls);

	if (n)
		return n;
	for (; niov; iov++, niov--) {
		for (size_t at = 0; at < iov->iov_len;) {
			size_t left = iov->iov_len - at;
			size_t len_bytes = left < RECORD_BYTES ? left : RECORD_BYTES;

			n = send_record(tls, (const uint8_t *)iov->iov_base + at, len_bytes);
			if (n == -EAGAIN) /* kept for a retry: it counts as taken */
				return taken + (ssize_t)len_bytes;
			if (n < 0)
				return taken ? taken : n;
			at += (size_t)n;
			taken += n;
		}
	}
	return taken;
}

ssize_t channel_send(struct channel *channel, const struct iovec *iov, int niov, bool last)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)niov};

	if (channel->tls)
		return send_tls(channel->tls, iov, niov);
	ssize_t n = sendmsg(channel->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT | (last ? MSG_MORE : 0));

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n;
}

bool channel_has_input(const struct channel *channel)
{
	return channel->tls && SSL_has_pending(channel->tls->ssl);
}

bool channel_has_output(const struct channel *channel)
{
	return channel->tls && channel->tls->retry_bytes;
}

void channel_finish(struct channel *channel)
{
	/* Call SSL_shutdown only once: a second call would wait for the peer's answer and mistake
	 * its requests for a broken one. */
	if (channel->tls && !(SSL_get_shutdown(channel->tls->ssl) & SSL_SENT_SHUTDOWN))
		SSL_shutdown(channel->tls->ssl);
	shutdown(channel->fd, SHUT_WR);
}

void channel_close(struct channel *channel)
{
	if (channel->tls) {
		SSL_free(channel->tls->ssl);
		OPENSSL_cleanse(channel->tls, sizeof(*channel->tls));
		free(channel->tls);
		channel->tls = NULL;
	}
	beam_close(&channel->fd);
}
