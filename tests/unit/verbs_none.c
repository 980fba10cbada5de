/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs server on a host without a device, as most hosts are: there it is opened every five
 * seconds.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "loop.h"
#include "verbs.h"
#include "verbs_server.h"

static int nasked;

/* ---- in the place of the library's ---------------------------------------------------------- */

struct rdma_event_channel *__wrap_rdma_create_event_channel(void);
struct ibv_context **__wrap_rdma_get_devices(int *ndevices);

struct rdma_event_channel *__wrap_rdma_create_event_channel(void)
{
	nasked++;
	errno = ENODEV;
	return NULL;
}

struct ibv_context **__wrap_rdma_get_devices(int *ndevices)
{
	nasked++;
	*ndevices = 0;
	return NULL;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void asks_no_library(void **state)
{
	struct beam_serve_images images = {0};
	struct beam_server_opts opts = {.images = &images, .port = 1, .nbind = 0};
	struct beam_server *server = NULL;
	char text[BEAM_TEXT_BYTES] = "";

	(void)state;
	assert_int_equal(beam_loop_open(&opts.loop), 0);
	assert_int_equal(beam_verbs_server.open(&opts, text, &server), -ENODEV);
	assert_null(server);
	assert_string_equal(text, "no RDMA device here (see: rdma link)");
	assert_int_equal(nasked, 0);
	beam_loop_close(&opts.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(asks_no_library)};

	if (verbs_device_any()) {
		puts("skipped: this host has an RDMA device");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
