/* SPDX-License-Identifier: BSD-3-Clause
 * A socket for OpenSSL that raises no SIGPIPE: whose program we are in is not ours to say. */
#ifndef BEAM_TLS_SOCKET_H
#define BEAM_TLS_SOCKET_H

#include <openssl/ssl.h>

/* Gives `ssl` the non-blocking socket `fd`, which stays the caller's and outlives `ssl`. 0 or
 * -ENOMEM. */
int tls_socket_set(SSL *ssl, int fd);

#endif
