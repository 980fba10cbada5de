/* SPDX-License-Identifier: BSD-3-Clause
 *
 * gnuplot, which draws what the benchmarks have measured.
 */
#ifndef BEAM_BENCH_GNUPLOT_H
#define BEAM_BENCH_GNUPLOT_H

#include <stdint.h>
#include <stdio.h>

/* 0 when gnuplot is there and `path` can be written: to be known now, not after an hour. Or -errno,
 * with the line in `error` (BEAM_REDIS_ERROR_BYTES). */
int beam_gnuplot_check(const char *path, char *error);

/* Starts gnuplot for an SVG file of that size in points; its commands are written to *out. 0, or
 * -EIO with the line in `error` (BEAM_REDIS_ERROR_BYTES). */
int beam_gnuplot_open(const char *path, int width, int height, char *error, FILE **out);

/* Ends it. 0, or -EIO with the line in `error` when nothing was drawn. */
int beam_gnuplot_close(FILE *out, const char *path, char *error);

/* One value of a row; one that is not above 0 has no logarithm and is left out. */
void beam_gnuplot_value(FILE *out, double value);

/* "redis 7.0.15, medians of 3 runs, 5 % of the keys" */
void beam_gnuplot_made_of(FILE *out, const char *server, int64_t runs, int64_t scale);

#endif
