/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Presents a TLS connection as a plain socket, because hiredis 0.14 has no TLS but accepts a
 * connected fd. A thread carries bytes between one end of a socketpair and OpenSSL. The certificate
 * options mean the same as in redis-cli; as there, the peer's certificate chain is verified, its
 * host name is not.
 */
#ifndef BEAM_TUNNEL_H
#define BEAM_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Any may be NULL; by default: the system's certificate authorities, no certificate of our own. */
struct beam_tls_opts {
	const char *cacert;       /* file of authorities */
	const char *cacertdir;    /* hashed directory of them */
	const char *cert, *key;   /* PEM files; both or none */
	const char *sni;          /* server name to request */
	const char *ciphers;      /* up to TLS 1.2 */
	const char *ciphersuites; /* TLS 1.3 */
	bool insecure;            /* accept any certificate */
};

struct beam_tunnel;

/* Connects (`first` as in tcp_connect_host), completes the TLS handshake, and starts the thread.
 * host_ms limits the connecting, timeout_ms both together. Returns 0; -ECONNREFUSED, -ETIMEDOUT,
 * -ENXIO (no such host), ... for the connection, with `error` (error_cap bytes) empty;
 * BEAM_E_DENIED for a refused certificate, -EINVAL for files that do not load, or BEAM_E_PROTO for
 * a peer that does not speak TLS, each with a line in `error` that names the remedy. */
int beam_tunnel_open(const char *host, const char *first, uint32_t port,
		     const struct beam_tls_opts *opts, int host_ms, int timeout_ms, char *error,
		     size_t error_cap, struct beam_tunnel **out);

/* Returns our end, a blocking socket. After the first call the caller owns it and must close it
 * before the tunnel. */
int beam_tunnel_take_fd(struct beam_tunnel *tunnel);
/* The TCP socket, only to query its addresses and set options. */
int beam_tunnel_socket(const struct beam_tunnel *tunnel);
/* To be called after end of file on our end: errno of the TCP connection, or 0 if the peer closed
 * it. */
int beam_tunnel_error(const struct beam_tunnel *tunnel);

/* Stops the thread and closes the connection. Accepts NULL; clears the pointer. */
void beam_tunnel_close(struct beam_tunnel **tunnel);

#endif
