/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies the newest image of a primary that has rdbeam.so loaded to a file: a backup over the
 * network that costs the primary no disk. With one argument it keeps nothing and counts the keys.
 *
 *	cc pull-image.c $(pkg-config --cflags --libs librdbeam) -o pull-image
 *	./pull-image primary:6379 dump.rdb
 */
#include <inttypes.h>
#include <stdio.h>

#include <rdbeam/rdbeam.h>

static void show(void *arg, uint64_t bytes, uint64_t bytes_total)
{
	(void)arg;
	fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " MiB ", bytes >> 20, bytes_total >> 20);
}

static int count(const struct beam_pull_request *request)
{
	struct beam_image *image = NULL;
	struct beam_record record;
	uint64_t keys = 0;
	int err = beam_image_pull(request, &image);

	while (err >= 0 && (err = beam_image_next(image, &record)) == 1)
		keys++;
	beam_image_close(&image);
	if (err == 0)
		printf("%" PRIu64 " keys\n", keys);
	return err;
}

int main(int argc, char **argv)
{
	char error[512] = "";
	struct beam_pull_request request = {
	    .struct_bytes = sizeof(request),
	    .progress = show,
	    .error = error,
	    .error_cap = sizeof(error),
	};
	int err;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: pull-image PRIMARY [FILE]\n");
		return 2;
	}
	request.from = argv[1]; /* redis://user:password@host:port is fine too */
	err = argc == 3 ? beam_image_pull_to_file(&request, argv[2]) : count(&request);
	fputc('\n', stderr);
	if (err)
		fprintf(stderr, "pull-image: %s\n", *error ? error : beam_strerror(err));
	return err ? 1 : 0;
}
