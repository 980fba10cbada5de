/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BEAM_MEDIAN_H
#define BEAM_MEDIAN_H

#include <stddef.h>

/* The middle of n values, which are sorted by this; between the middle two for an even n; 0 for
 * none. */
double beam_median(double *values, size_t n);

#endif
