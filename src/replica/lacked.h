/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Modules of the source that the target lacks (docs/adr/0116): a server exits when it loads data of
 * a module that it does not have.
 */
#ifndef BEAM_LACKED_H
#define BEAM_LACKED_H

#include "redis.h"
#include "stage.h"

#define BEAM_MODULE_NAME_BYTES 64

/* Copies the name of a module to `name` that `from` has, `to` lacks, and that may have data of its
 * own, because one of its commands writes; "" if there is none or the servers do not tell. */
void beam_lacked_module(struct beam_redis *from, struct beam_redis *to,
			char name[BEAM_MODULE_NAME_BYTES]);

/* Looks for data of modules in a complete image, in keys or outside of them; keys of a type by whose
 * name `to` has a module do not count. Returns 0 if there is none, otherwise BEAM_E_UNSUPPORTED with
 * its line: `to` lacks the module `name`. */
int beam_lacked_check(const struct beam_stage *stage, struct beam_redis *to, const char *name,
		      char *error);

#endif
