/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The settings rdbeam.* as data: one row gives the registration, the checks, CONFIG GET's default and
 * the man page. config.c does all that with them; main thread only.
 */
#ifndef BEAM_SETTINGS_H
#define BEAM_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#define SETTING_BYTES_MAX (1ll << 46)

enum kind { KIND_ENUM, KIND_BOOL, KIND_NUMBER, KIND_BYTES, KIND_TEXT };

struct setting {
	const char *name;
	const char *help; /* sentences, for the man page */
	enum kind kind;
	void *value; /* int *, long long *, char ** by kind */
	long long preset;
	long long min, max;
	long long multiple; /* of which a number must be; 0: any */
	const char **names; /* of an enum's values 0..n-1 */
	int nnames;
	bool fixed; /* from the start on */
	unsigned flags;
};

extern struct setting beam_settings[]; /* presets change with loadmodule's arguments */
extern const size_t beam_nsettings;
extern const char *beam_mode_names[];      /* by enum beam_mode */
extern const char *beam_transport_names[]; /* by enum beam_transport_choice */

#endif
