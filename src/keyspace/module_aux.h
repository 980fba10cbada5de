/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Data that other modules keep outside of keys (AUX data), as the server's own serializer writes it
 * into a dump (source: rdbSaveModulesAux and moduleTypeModuleName in module.c of Redis 7.0.15 to
 * 8.6, Valkey 7.2.7 to 9.1). Used on the main thread of a forked child, as the server does.
 */
#ifndef BEAM_MODULE_AUX_H
#define BEAM_MODULE_AUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

#define BEAM_AUX_MOST_BYTES ((size_t)64 << 20) /* the data is held in the child's memory */
#define BEAM_AUX_TYPES_MAX  32

enum beam_aux_when { BEAM_AUX_BEFORE_KEYS = 1, BEAM_AUX_AFTER_KEYS = 2 };

/* IDs, as in a dump, of the data types that have AUX data. */
struct beam_aux_types {
	uint64_t ids[BEAM_AUX_TYPES_MAX];
	uint32_t n;
};

/* Makes the modules write their AUX data and returns it as records of a dump. *bytes belongs to the
 * caller, who frees it; it is NULL if there is no data, and on failure. 0, -ENOMEM, BEAM_E_FULL for
 * more than BEAM_AUX_MOST_BYTES, BEAM_E_UNSUPPORTED if the server does not export its serializer,
 * BEAM_E_SERVER if a module failed. */
int beam_module_aux_read(enum beam_aux_when when, uint8_t **bytes, size_t *len_bytes);

/* Whether the key's type belongs to a module that has one of these types. How such a module writes
 * its keys may depend on what it has written before in the same process. Also true if the module
 * cannot be determined. */
bool beam_module_aux_owns(const struct beam_aux_types *types, RedisModuleKey *key);

#endif
