/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rdbeam.* settings as data: one row serves the registration, the checks, CONFIG GET's default
 * and the man page, all by config.c. Main thread only.
 */
#ifndef BEAM_SETTINGS_H
#define BEAM_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#define SETTING_BYTES_MAX (1ll << 46)

enum kind { KIND_ENUM, KIND_BOOL, KIND_NUMBER, KIND_BYTES, KIND_TEXT };

struct setting {
	const char *name;
	const char *help; /* whole sentences, for the man page */
	enum kind kind;
	void *value; /* int *, long long * or char **, by kind */
	long long preset;
	long long min, max;
	long long multiple; /* numbers must be multiples of this; 0: any */
	const char **names; /* of an enum's values 0..n-1 */
	int nnames;
	bool fixed; /* cannot be changed after load */
	unsigned flags;
};

extern struct setting beam_settings[]; /* loadmodule's arguments change the presets */
extern const size_t beam_nsettings;
extern const char *beam_mode_names[];      /* by enum beam_mode */
extern const char *beam_transport_names[]; /* by enum beam_transport_choice */

#endif
