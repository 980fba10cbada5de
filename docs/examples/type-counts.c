/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Counts the keys of a dump.rdb or image by their type, after all checksums were compared.
 *
 *	cc type-counts.c $(pkg-config --cflags --libs librdbeam) -o type-counts
 *	./type-counts /var/lib/redis/dump.rdb
 */
#include <inttypes.h>
#include <stdio.h>

#include <rdbeam/rdbeam.h>

static int tell(void *arg, int code, uint64_t offset, const char *text)
{
	(void)code;
	fprintf(stderr, "%s: at byte %" PRIu64 ": %s\n", (const char *)arg, offset, text);
	return 0;
}

int main(int argc, char **argv)
{
	struct beam_image *image = NULL;
	struct beam_image_facts facts;
	struct beam_image_check check = {0};
	int err;

	if (argc != 2) {
		fprintf(stderr, "usage: type-counts FILE\n");
		return 2;
	}
	err = beam_image_open(argv[1], &image);
	if (err) {
		fprintf(stderr, "type-counts: %s: %s\n", argv[1], beam_strerror(err));
		return 1;
	}
	beam_image_facts(image, &facts);
	err = beam_image_verify(image, tell, argv[1], &check);
	beam_image_close(&image);
	printf("%s %s\n", argv[1], facts.is_image ? "is an image of rdbeam" : "is an RDB file");
	for (int type = 0; type < BEAM_TYPES; type++) {
		if (check.keys_by_type[type])
			printf("%-8s %" PRIu64 "\n", beam_type_name((enum beam_type)type),
			       check.keys_by_type[type]);
	}
	printf("%-8s %" PRIu64 ", %" PRIu64 " with a TTL\n", "all", check.keys, check.expires);
	return err ? 1 : 0;
}
