/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Marks the functions that librdbeam exports. Programs do not need this header.
 */
#ifndef RDBEAM_API_H
#define RDBEAM_API_H

#if defined(RDBEAM_BUILDS_LIBRARY)
#define RDBEAM_API __attribute__((visibility("default")))
#else
#define RDBEAM_API
#endif

#endif
