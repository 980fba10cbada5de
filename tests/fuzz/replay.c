/* SPDX-License-Identifier: BSD-3-Clause
 * Feeds files, or all files of directories, to a fuzz target once each. Exits with 1 if there was
 * nothing to feed, or if a file could not be read. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned fed;

static int feed(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;

	if (!file || fstat(fileno(file), &st)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		if (file)
			fclose(file);
		return 1;
	}
	/* Exactly as large as the input, so that sanitizers catch reads past it. */
	size_t size = (size_t)st.st_size;
	uint8_t *data = malloc(size ? size : 1);
	int failed = !data || fread(data, 1, size, file) != size;

	fclose(file);
	if (failed) {
		fprintf(stderr, "%s: short read\n", path);
	} else {
		LLVMFuzzerTestOneInput(data, size);
		fed++;
	}
	free(data);
	return failed;
}

static int feed_directory(DIR *dir, const char *path)
{
	int failed = 0;

	for (struct dirent *entry; (entry = readdir(dir));) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		failed |= feed(name);
	}
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);

		failed |= dir ? feed_directory(dir, argv[i]) : feed(argv[i]);
		if (dir)
			closedir(dir);
	}
	printf("%u inputs\n", fed);
	return failed || fed == 0;
}
