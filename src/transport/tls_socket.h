/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A socket BIO for OpenSSL that never raises SIGPIPE: this code is also used in programs whose
 * signal handling is not ours to change.
 */
#ifndef BEAM_TLS_SOCKET_H
#define BEAM_TLS_SOCKET_H

#include <openssl/ssl.h>

/* Makes `ssl` use the non-blocking socket `fd`, which stays the caller's and must outlive `ssl`.
 * Returns 0 or -ENOMEM. */
int tls_socket_set(SSL *ssl, int fd);

#endif
