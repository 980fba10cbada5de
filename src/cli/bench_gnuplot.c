/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs gnuplot through a pipe.
 */
#include "bench_gnuplot.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rdbeam/error.h"
#include "redis.h"

static int find_gnuplot(void)
{
	const char *at = getenv("PATH");
	char path[PATH_MAX];

	while (at && *at) {
		size_t len = strcspn(at, ":");

		if (snprintf(path, sizeof(path), "%.*s/gnuplot", (int)len, at) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return 0;
		at += len + (at[len] == ':');
	}
	return -ENOENT;
}

int beam_gnuplot_check(const char *path, char *error)
{
	int code = find_gnuplot();
	FILE *out;

	if (code) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "no gnuplot in PATH: --plot %.300s: install gnuplot or leave --plot out",
			 path);
		return code;
	}
	out = fopen(path, "ae");
	if (!out) {
		code = -errno;
		snprintf(error, BEAM_REDIS_ERROR_BYTES,
			 "--plot: %.300s (%s): give a file that can be written", path,
			 beam_strerror(code));
		return code;
	}
	fclose(out);
	return 0;
}

int beam_gnuplot_open(const char *path, int width, int height, char *error, FILE **out)
{
	FILE *pipe = popen("gnuplot", "we");

	if (!pipe) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "cannot run: gnuplot (%s): install it",
			 beam_strerror(-errno));
		return -EIO;
	}
	fprintf(pipe,
		"set terminal svg size %d,%d enhanced font 'sans,13' background 'white'\n"
		"set output '",
		width, height);
	for (const char *c = path; *c; c++) {
		putc(*c, pipe);
		if (*c == '\'') /* doubled: gnuplot's way of quoting */
			putc('\'', pipe);
	}
	fputs("'\n", pipe);
	*out = pipe;
	return 0;
}

int beam_gnuplot_close(FILE *out, const char *path, char *error)
{
	int status = pclose(out);

	if (status == 0 && access(path, R_OK) == 0)
		return 0;
	snprintf(error, BEAM_REDIS_ERROR_BYTES,
		 "gnuplot failed: --plot %.300s (exit status %d): see its lines above", path,
		 status < 0 ? -1 : WEXITSTATUS(status));
	return -EIO;
}

void beam_gnuplot_value(FILE *out, double value)
{
	if (value > 0)
		fprintf(out, " %.6g", value);
	else
		fputs(" NaN", out);
}

void beam_gnuplot_made_of(FILE *out, const char *server, int64_t runs, int64_t scale)
{
	fprintf(out, "%s, ", server);
	if (runs > 1)
		fprintf(out, "medians of %d runs", (int)runs);
	else
		fputs("one run", out);
	if (scale != 100)
		fprintf(out, ", %d %% of the keys", (int)scale);
}
