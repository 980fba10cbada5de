/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs gnuplot to draw the results of the benchmarks.
 */
#ifndef BEAM_BENCH_GNUPLOT_H
#define BEAM_BENCH_GNUPLOT_H

#include <stdint.h>
#include <stdio.h>

/* Checks that gnuplot exists and that `path` can be written, to fail now and not after an hour.
 * Returns 0, or -errno with the line in `error` (BEAM_REDIS_ERROR_BYTES). */
int beam_gnuplot_check(const char *path, char *error);

/* Starts gnuplot for an SVG file of that size in points; commands for it are written to *out.
 * Returns 0, or -EIO with the line in `error` (BEAM_REDIS_ERROR_BYTES). */
int beam_gnuplot_open(const char *path, int width, int height, char *error, FILE **out);

/* Waits for gnuplot to end. Returns 0, or -EIO with the line in `error` when nothing was drawn. */
int beam_gnuplot_close(FILE *out, const char *path, char *error);

/* Writes one value of a row. A value not above 0 has no logarithm and is left out. */
void beam_gnuplot_value(FILE *out, double value);

/* Writes "redis 7.0.15, medians of 3 runs, 5 % of the keys". */
void beam_gnuplot_made_of(FILE *out, const char *server, int64_t runs, int64_t scale);

#endif
