/* SPDX-License-Identifier: BSD-3-Clause
 *
 * After the handshake only the tunnel's thread touches the SSL object, so it needs no lock. Each
 * direction has one buffer; while a buffer is full, its direction stops reading.
 */
#include "tunnel.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "clock.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "tcp_connect.h"
#include "tls_socket.h"

#define BUFFER_BYTES (64u << 10)

struct buffer {
	size_t at, end;
	uint8_t bytes[BUFFER_BYTES];
};

struct beam_tunnel {
	SSL *ssl;
	int sock;  /* TCP, non-blocking */
	int outer; /* the caller's end, until it is taken */
	int inner; /* the thread's end */
	pthread_t thread;
	bool started;
	/* What SSL_read and SSL_write must wait for before the next try: POLLIN, POLLOUT. */
	short read_needs, write_needs;
	bool ended; /* by the peer */
	int error;  /* errno, unless the peer ended it; read by others only after `ended` */
	struct buffer in, out;
};

/* ---- setting up ------------------------------------------------------------------------------ */

/* Returns OpenSSL's latest error text, or "". */
static const char *reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	return text ? text : "";
}

static int refuse_file(char *error, size_t cap, const char *what, const char *path)
{
	snprintf(error, cap, "%s: %s: cannot be used (%s): give a readable PEM file", what, path,
		 reason());
	return -EINVAL;
}

static int load_authorities(SSL_CTX *context, const struct beam_tls_opts *opts, char *error,
			    size_t cap)
{
	if (opts->cacert && SSL_CTX_load_verify_file(context, opts->cacert) != 1)
		return refuse_file(error, cap, "--cacert", opts->cacert);
	if (opts->cacertdir && SSL_CTX_load_verify_dir(context, opts->cacertdir) != 1)
		return refuse_file(error, cap, "--cacertdir", opts->cacertdir);
	if (!opts->cacert && !opts->cacertdir)
		SSL_CTX_set_default_verify_paths(context);
	return 0;
}

static int load_own(SSL_CTX *context, const struct beam_tls_opts *opts, char *error, size_t cap)
{
	if (!opts->cert != !opts->key) {
		snprintf(error, cap, "--%s is given without --%s: give both or none",
			 opts->cert ? "cert" : "key", opts->cert ? "key" : "cert");
		return -EINVAL;
	}
	if (!opts->cert)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(context, opts->cert) != 1)
		return refuse_file(error, cap, "--cert", opts->cert);
	if (SSL_CTX_use_PrivateKey_file(context, opts->key, SSL_FILETYPE_PEM) != 1)
		return refuse_file(error, cap, "--key", opts->key);
	if (SSL_CTX_check_private_key(context) != 1)
		return refuse_file(error, cap, "--key (does it belong to --cert?)", opts->key);
	return 0;
}

static int set_ciphers(SSL_CTX *context, const struct beam_tls_opts *opts, char *error, size_t cap)
{
	const char *refused = NULL;

	if (opts->ciphers && SSL_CTX_set_cipher_list(context, opts->ciphers) != 1)
		refused = opts->ciphers;
	if (opts->ciphersuites && SSL_CTX_set_ciphersuites(context, opts->ciphersuites) != 1)
		refused = opts->ciphersuites;
	if (!refused)
		return 0;
	snprintf(error, cap, "ciphers %s: OpenSSL knows none of them: see openssl ciphers -v",
		 refused);
	return -EINVAL;
}

static int make_ssl(struct beam_tunnel *tunnel, const char *host, const struct beam_tls_opts *opts,
		    char *error, size_t cap)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	int rc = context ? 0 : -ENOMEM;

	ERR_clear_error();
	if (!rc)
		rc = load_authorities(context, opts, error, cap);
	if (!rc)
		rc = load_own(context, opts, error, cap);
	if (!rc)
		rc = set_ciphers(context, opts, error, cap);
	if (!rc) {
		SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
		SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		SSL_CTX_set_verify(context, opts->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
				   NULL);
		tunnel->ssl = SSL_new(context); /* holds its own reference */
		if (!tunnel->ssl || tls_socket_set(tunnel->ssl, tunnel->sock))
			rc = -ENOMEM;
	}
	const char *name = opts->sni ? opts->sni : host;

	/* OpenSSL copies the name, though its prototype does not promise that. An address is not
	 * sent. */
	if (!rc && !strchr(name, ':'))
		SSL_set_tlsext_host_name(tunnel->ssl, (void *)(uintptr_t)name);
	SSL_CTX_free(context);
	return rc;
}

static int handshake_failed(struct beam_tunnel *tunnel, int ssl_error, char *error, size_t cap)
{
	long verified = SSL_get_verify_result(tunnel->ssl);

	if (verified != X509_V_OK) {
		snprintf(error, cap,
			 "its certificate is not trusted (%s): name its authority with --cacert",
			 X509_verify_cert_error_string(verified));
		return BEAM_E_DENIED;
	}
	if (ssl_error == SSL_ERROR_SSL) {
		snprintf(error, cap,
			 "no TLS handshake (%s): is this the server's tls-port, and does it want a "
			 "certificate (--cert, --key)?",
			 reason());
		return BEAM_E_PROTO;
	}
	snprintf(error, cap, "closed during the TLS handshake: is this the server's tls-port?");
	return BEAM_E_PROTO;
}

static int handshake(struct beam_tunnel *tunnel, uint64_t deadline, char *error, size_t cap)
{
	for (;;) {
		ERR_clear_error();
		int done = SSL_connect(tunnel->ssl);
		int ssl_error = SSL_get_error(tunnel->ssl, done);
		uint64_t now = beam_now_ms();

		if (done == 1)
			return 0;
		if (ssl_error != SSL_ERROR_WANT_READ && ssl_error != SSL_ERROR_WANT_WRITE)
			return handshake_failed(tunnel, ssl_error, error, cap);
		int rc =
		    beam_wait_for(tunnel->sock, ssl_error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
				  now < deadline ? (int64_t)(deadline - now) : 0);

		if (rc) {
			snprintf(error, cap,
				 "no answer to the TLS handshake (%s): is this the "
				 "server's tls-port?",
				 beam_strerror(rc));
			return rc;
		}
	}
}

/* ---- carrying -------------------------------------------------------------------------------- */

/* Returns what an SSL call that made no progress waits for; 0 when the connection is over. */
static short needs(struct beam_tunnel *tunnel, int result)
{
	int err = errno;

	switch (SSL_get_error(tunnel->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return POLLIN;
	case SSL_ERROR_WANT_WRITE:
		return POLLOUT;
	case SSL_ERROR_SYSCALL:
		tunnel->error = err;
		return 0;
	default:
		return 0;
	}
}

/* Returns true when bytes were moved (or the connection ended). */
static bool from_peer(struct beam_tunnel *tunnel)
{
	struct buffer *b = &tunnel->in;

	if (tunnel->ended || b->at < b->end)
		return false;
	ERR_clear_error();
	errno = 0;
	int n = SSL_read(tunnel->ssl, b->bytes, sizeof(b->bytes));

	if (n > 0) {
		b->at = 0;
		b->end = (size_t)n;
		return true;
	}
	tunnel->read_needs = needs(tunnel, n);
	tunnel->ended = !tunnel->read_needs;
	return tunnel->ended;
}

static bool to_peer(struct beam_tunnel *tunnel)
{
	struct buffer *b = &tunnel->out;

	if (tunnel->ended || b->at == b->end)
		return false;
	ERR_clear_error();
	errno = 0;
	int n = SSL_write(tunnel->ssl, b->bytes + b->at, (int)(b->end - b->at));

	if (n > 0) {
		b->at += (size_t)n;
		tunnel->write_needs = 0;
		return true;
	}
	tunnel->write_needs = needs(tunnel, n);
	tunnel->ended = !tunnel->write_needs;
	return tunnel->ended;
}

/* Returns 1 when bytes were moved, 0 when nothing can be done now, -1 when our side is closed. */
static int to_us(struct beam_tunnel *tunnel)
{
	struct buffer *b = &tunnel->in;

	if (b->at == b->end)
		return 0;
	ssize_t n =
	    send(tunnel->inner, b->bytes + b->at, b->end - b->at, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	b->at += (size_t)n;
	return 1;
}

static int from_us(struct beam_tunnel *tunnel)
{
	struct buffer *b = &tunnel->out;

	if (b->at < b->end)
		return 0;
	ssize_t n = recv(tunnel->inner, b->bytes, sizeof(b->bytes), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	b->at = 0;
	b->end = (size_t)n;
	return 1;
}

/* Waits until something can be moved. Returns false when our side is closed while bytes are still
 * queued for the peer: nobody waits for an answer to them any more. */
static bool wait_any(struct beam_tunnel *tunnel)
{
	bool in_full = tunnel->in.at < tunnel->in.end, out_full = tunnel->out.at < tunnel->out.end;
	struct pollfd pfds[2] = {{.fd = tunnel->inner}, {.fd = tunnel->sock}};

	pfds[0].events = (short)((in_full ? POLLOUT : 0) | (out_full ? 0 : POLLIN));
	pfds[1].events =
	    (short)((in_full ? 0 : tunnel->read_needs) | (out_full ? tunnel->write_needs : 0));
	if (!pfds[1].events)
		pfds[1].fd = -1; /* its POLLHUP would end the wait */
	poll(pfds, 2, -1);
	return !(out_full && (pfds[0].revents & (POLLHUP | POLLERR)));
}

static void *carry(void *arg)
{
	struct beam_tunnel *tunnel = arg;

	for (;;) {
		int up = from_us(tunnel);
		bool moved = up > 0;

		moved |= to_peer(tunnel);
		moved |= from_peer(tunnel);
		int down = to_us(tunnel);

		moved |= down > 0;
		bool all_told = tunnel->in.at == tunnel->in.end;

		if (down < 0 || (up < 0 && tunnel->out.at == tunnel->out.end) ||
		    (tunnel->ended && all_told))
			break;
		if (!moved && !wait_any(tunnel))
			break;
	}
	SSL_shutdown(tunnel->ssl); /* notifies the peer; its answer is not awaited */
	shutdown(tunnel->inner, SHUT_RDWR);
	return NULL;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int start(struct beam_tunnel *tunnel)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	tunnel->outer = fds[0];
	tunnel->inner = fds[1];
	tunnel->read_needs = POLLIN;
	int rc = -pthread_create(&tunnel->thread, NULL, carry, tunnel);

	tunnel->started = rc == 0;
	return rc;
}

int beam_tunnel_open(const char *host, const char *first, uint32_t port,
		     const struct beam_tls_opts *opts, int host_ms, int timeout_ms, char *error,
		     size_t error_cap, struct beam_tunnel **out)
{
	struct beam_tunnel *tunnel = calloc(1, sizeof(*tunnel));
	uint64_t deadline = beam_now_ms() + (uint64_t)timeout_ms;
	int rc;

	error[0] = '\0';
	if (!tunnel)
		return -ENOMEM;
	tunnel->outer = tunnel->inner = -1;
	tunnel->sock = tcp_connect_host(host, first, port, host_ms);
	rc = tunnel->sock < 0 ? tunnel->sock : 0;
	if (!rc)
		rc = make_ssl(tunnel, host, opts, error, error_cap);
	if (!rc)
		rc = handshake(tunnel, deadline, error, error_cap);
	if (!rc)
		rc = start(tunnel);
	if (rc) {
		beam_tunnel_close(&tunnel);
		return rc;
	}
	*out = tunnel;
	return 0;
}

int beam_tunnel_take_fd(struct beam_tunnel *tunnel)
{
	int fd = tunnel->outer;

	tunnel->outer = -1;
	return fd;
}

int beam_tunnel_socket(const struct beam_tunnel *tunnel)
{
	return tunnel->sock;
}

int beam_tunnel_error(const struct beam_tunnel *tunnel)
{
	return tunnel->error;
}

void beam_tunnel_close(struct beam_tunnel **tunnel)
{
	struct beam_tunnel *t = *tunnel;

	if (!t)
		return;
	beam_close(&t->outer);
	if (t->started) {
		shutdown(t->inner, SHUT_RDWR); /* wakes the thread even if the peer reads nothing */
		pthread_join(t->thread, NULL);
	}
	SSL_free(t->ssl);
	beam_close(&t->inner);
	beam_close(&t->sock);
	OPENSSL_cleanse(&t->in, sizeof(t->in) + sizeof(t->out));
	free(t);
	*tunnel = NULL;
}
