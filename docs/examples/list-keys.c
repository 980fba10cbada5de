/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Lists the keys of a dump.rdb or image, one a line: database, type, seconds to live, size, name.
 *
 *	cc list-keys.c $(pkg-config --cflags --libs librdbeam) -o list-keys
 *	./list-keys /var/lib/redis/dump.rdb
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include <rdbeam/rdbeam.h>

/* Keys are any bytes: what a terminal would act on is shown as \xNN. */
static void put_key(const unsigned char *key, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (isprint(key[i]) && key[i] != '\\')
			putchar(key[i]);
		else
			printf("\\x%02x", key[i]);
	}
	putchar('\n');
}

int main(int argc, char **argv)
{
	struct beam_image *image = NULL;
	struct beam_record record;
	int64_t now_ms = (int64_t)time(NULL) * 1000;
	int got;

	if (argc != 2) {
		fprintf(stderr, "usage: list-keys FILE\n");
		return 2;
	}
	got = beam_image_open(argv[1], &image);
	while (got >= 0 && (got = beam_image_next(image, &record)) == 1) {
		printf("%" PRIu32 "\t%s\t", record.db, beam_type_name(record.type));
		if (record.expire_ms >= 0)
			printf("%" PRId64, (record.expire_ms - now_ms) / 1000);
		printf("\t%zu\t", record.payload_bytes);
		put_key(record.key, record.key_bytes);
	}
	beam_image_close(&image);
	if (got == 0)
		return 0;
	fprintf(stderr, "list-keys: %s: %s\n", argv[1], beam_strerror(got));
	return 1;
}
