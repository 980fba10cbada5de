/* SPDX-License-Identifier: BSD-3-Clause
 * beam_verify: tells images from plain RDB files, and calls the walk for either. */
#include "verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rdb.h"
#include "rdbeam/error.h"

/* Whether the file ends as an image does. *manifest is filled in only if true. */
static bool find_manifest(struct beam_verify_run *run, struct beam_manifest *manifest)
{
	const size_t tail = BEAM_MANIFEST_FOOTER_BYTES + BEAM_LAST_TAIL_BYTES;
	struct beam_manifest_footer footer;

	if (run->len_bytes < tail ||
	    beam_manifest_footer_get(run->base + run->len_bytes - tail, &footer))
		return false;
	uint64_t start = footer.nsegments ? (uint64_t)(footer.nsegments - 1) * footer.segment_bytes
					  : run->len_bytes;

	if (start < run->len_bytes &&
	    beam_manifest_parse(run->base + start, run->len_bytes - start, manifest) == 0)
		return true;
	beam_verify_tell(run, BEAM_E_FORMAT, run->len_bytes - tail,
			 "the manifest does not fit the file (%" PRIu32 " segments of %" PRIu32
			 " bytes): damaged or truncated; walked as a plain RDB file",
			 footer.nsegments, footer.segment_bytes);
	return false;
}

int beam_verify(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem, void *arg,
		struct beam_verify_report *report)
{
	return beam_verify_keys(base, len_bytes, problem, NULL, arg, report);
}

int beam_verify_keys(const uint8_t *base, size_t len_bytes, beam_verify_problem_fn *problem,
		     beam_verify_key_fn *key, void *arg, struct beam_verify_report *report)
{
	struct beam_verify_run run = {
	    .base = base,
	    .len_bytes = len_bytes,
	    .problem = problem,
	    .key = key,
	    .arg = arg,
	    .report = report,
	    .last_db = -1,
	};
	struct beam_manifest manifest;

	memset(report, 0, sizeof(*report));
	report->file_bytes = len_bytes;
	report->repl_offset = -1;
	if (find_manifest(&run, &manifest)) {
		report->is_image = true;
		beam_verify_image(&run, &manifest);
	} else {
		beam_verify_plain(&run);
		if (run.own_aux)
			beam_verify_tell(&run, BEAM_E_TORN, len_bytes,
					 "written by rdbeam, but its last segment is not at the "
					 "end: truncated or damaged");
	}
	free(run.key_buffer.bytes);
	return run.first_code;
}
