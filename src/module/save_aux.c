/* SPDX-License-Identifier: BSD-3-Clause
 * Collects the AUX data with the server's own function (module_aux.h), and notes the module types
 * that it belongs to. */
#include "save_aux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "image_reader.h"
#include "image_writer.h"
#include "module_aux.h"
#include "rdbeam/error.h"
#include "shared.h"

static void note_type(uint64_t id, struct beam_aux_types *types)
{
	for (uint32_t i = 0; i < types->n && i < BEAM_AUX_TYPES_MAX; i++)
		if (types->ids[i] == id)
			return;
	if (types->n < BEAM_AUX_TYPES_MAX)
		types->ids[types->n] = id;
	if (types->n <= BEAM_AUX_TYPES_MAX)
		types->n++;
}

/* Adds the module types of these records to `types`. */
static int note_types(const uint8_t *bytes, size_t len_bytes, struct beam_aux_types *types)
{
	size_t pos = 0;
	int err = 0;

	while (!err && pos < len_bytes) {
		uint64_t id;

		err = beam_rdb_skip_module_aux(bytes, len_bytes, &pos, &id);
		if (!err)
			note_type(id, types);
	}
	return err;
}

static const char *reason_of(int err)
{
	switch (err) {
	case BEAM_E_UNSUPPORTED:
		return "other modules are loaded, and it is unknown whether they keep AUX data";
	case BEAM_E_FULL:
		return "other modules keep more than 64 MiB of AUX data, which is left to the "
		       "server";
	case BEAM_E_OWNED:
		return "another module keeps AUX data and keys, which only the server itself can "
		       "save";
	case -ENOMEM:
		return "no memory for other modules' AUX data";
	default:
		return "other modules' AUX data could not be read";
	}
}

static int read_both(struct beam_facts *facts, struct beam_save_aux *aux)
{
	int err = beam_module_aux_read(BEAM_AUX_BEFORE_KEYS, &aux->before, &aux->before_bytes);

	if (!err)
		err = beam_module_aux_read(BEAM_AUX_AFTER_KEYS, &aux->after, &aux->after_bytes);
	if (!err)
		err = note_types(aux->before, aux->before_bytes, &facts->aux_types);
	if (!err)
		err = note_types(aux->after, aux->after_bytes, &facts->aux_types);
	return err;
}

int beam_save_aux_read(struct beam_facts *facts, struct beam_save_aux *aux, char *why)
{
	int err = 0;

	if (!facts->other_modules)
		return 0;
	err = atomic_load(&beam_shared->aux_owned) ? BEAM_E_OWNED : read_both(facts, aux);
	if (err)
		snprintf(why, 256, "%s", reason_of(err));
	return err;
}

void beam_save_aux_free(struct beam_save_aux *aux)
{
	free(aux->before);
	free(aux->after);
	*aux = (struct beam_save_aux){0};
}

void beam_save_aux_is_owned(void)
{
	atomic_store(&beam_shared->aux_owned, 1);
}

int beam_save_aux_write(const struct beam_save_aux *aux, const struct beam_segment_source *source)
{
	return aux->after ? beam_image_write_module_aux(source, aux->after, aux->after_bytes) : 0;
}
