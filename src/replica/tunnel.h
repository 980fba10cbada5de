/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A TLS connection as a plain socket: hiredis 0.14 speaks no TLS but takes a connected fd. A thread
 * carries the bytes between one end of a socketpair and OpenSSL. The certificate options mean what
 * they mean to redis-cli; as there, the peer's chain is verified, its host name is not.
 */
#ifndef BEAM_TUNNEL_H
#define BEAM_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All may be NULL: the system's certificate authorities, no certificate of our own. */
struct beam_tls_opts {
	const char *cacert;       /* file of authorities */
	const char *cacertdir;    /* hashed directory of them */
	const char *cert, *key;   /* PEM files; both or none */
	const char *sni;          /* server name to ask for */
	const char *ciphers;      /* up to TLS 1.2 */
	const char *ciphersuites; /* TLS 1.3 */
	bool insecure;            /* any certificate will do */
};

struct beam_tunnel;

/* Connects (`first`: as to tcp_connect_host), shakes hands, starts the thread. host_ms is for the first,
 * timeout_ms for both. 0; -ECONNREFUSED, -ETIMEDOUT,
 * -ENXIO (no such host), ... of the connection, with `error` (error_cap bytes) empty; BEAM_E_DENIED for a
 * refused certificate, -EINVAL for files that do not load, BEAM_E_PROTO for a peer that speaks no
 * TLS, with a line in `error` that names the remedy. */
int beam_tunnel_open(const char *host, const char *first, uint32_t port,
		     const struct beam_tls_opts *opts, int host_ms, int timeout_ms, char *error,
		     size_t error_cap, struct beam_tunnel **out);

/* Our end, blocking, owned by the caller from the first call on: to be closed before the tunnel. */
int beam_tunnel_take_fd(struct beam_tunnel *tunnel);
/* The TCP socket, for its addresses and options only. */
int beam_tunnel_socket(const struct beam_tunnel *tunnel);
/* Once our end has come to its end: errno of the TCP connection's, 0 where the peer has ended it. */
int beam_tunnel_error(const struct beam_tunnel *tunnel);

/* Ends the thread and the connection. NULL-safe, clears the pointer. */
void beam_tunnel_close(struct beam_tunnel **tunnel);

#endif
