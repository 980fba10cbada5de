/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What other modules keep outside of keys (AUX data), as the server's own serializer writes it into a dump (source:
 * rdbSaveModulesAux and moduleTypeModuleName in module.c of Redis 7.0.15 to 8.6, Valkey 7.2.7 to 9.1). In a forked
 * child, as there; main thread.
 */
#ifndef BEAM_MODULE_AUX_H
#define BEAM_MODULE_AUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

#define BEAM_AUX_MOST_BYTES ((size_t)64 << 20) /* it is held in the child's memory */
#define BEAM_AUX_TYPES_MAX  32

enum beam_aux_when { BEAM_AUX_BEFORE_KEYS = 1, BEAM_AUX_AFTER_KEYS = 2 };

/* Data types that have some, by their numbers in a dump. */
struct beam_aux_types {
	uint64_t ids[BEAM_AUX_TYPES_MAX];
	uint32_t n;
};

/* Has the modules write their data: records of a dump. *bytes is the caller's, to be freed; NULL where there are none.
 * 0, -ENOMEM, BEAM_E_FULL for more than BEAM_AUX_MOST_BYTES, BEAM_E_UNSUPPORTED where the server hides its serializer,
 * BEAM_E_SERVER where a module failed. */
int beam_module_aux_read(enum beam_aux_when when, uint8_t **bytes, size_t *len_bytes);

/* Whether a key is of a module that has a type among these. How such a module writes its keys may depend on what it has
 * written before, in one process. True also where that cannot be told. */
bool beam_module_aux_owns(const struct beam_aux_types *types, RedisModuleKey *key);

#endif
