/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The median, for benchmark results.
 */
#ifndef BEAM_MEDIAN_H
#define BEAM_MEDIAN_H

#include <stddef.h>

/* Returns the median of n values (for an even n the mean of the middle two; 0 for none). Sorts
 * them. */
double beam_median(double *values, size_t n);

#endif
