/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The few BIO callbacks that OpenSSL needs for a socket.
 */
#include "tls_socket.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <openssl/bio.h>

static BIO_METHOD *method; /* kept for the life of the process */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int socket_of(BIO *bio)
{
	return (int)(intptr_t)BIO_get_data(bio);
}

static bool should_retry(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static int write_bytes(BIO *bio, const char *bytes, int len_bytes)
{
	ssize_t n = send(socket_of(bio), bytes, (size_t)len_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

	BIO_clear_retry_flags(bio);
	if (should_retry(n))
		BIO_set_retry_write(bio);
	return (int)n;
}

static int read_bytes(BIO *bio, char *bytes, int cap)
{
	ssize_t n = recv(socket_of(bio), bytes, (size_t)cap, MSG_DONTWAIT);

	BIO_clear_retry_flags(bio);
	if (should_retry(n))
		BIO_set_retry_read(bio);
	return (int)n;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH; /* nothing is buffered here */
}

static int create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static void make_method(void)
{
	BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");

	if (!made)
		return;
	BIO_meth_set_write(made, write_bytes);
	BIO_meth_set_read(made, read_bytes);
	BIO_meth_set_ctrl(made, control);
	BIO_meth_set_create(made, create);
	method = made;
}

int tls_socket_set(SSL *ssl, int fd)
{
	pthread_once(&once, make_method);
	BIO *bio = method ? BIO_new(method) : NULL;

	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, (void *)(intptr_t)fd);
	SSL_set_bio(ssl, bio, bio);
	return 0;
}
