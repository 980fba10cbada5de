/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reports the progress of a running pull to its caller.
 */
#include "clock.h"
#include "pull_run.h"

#define SHOW_EVERY_MS 100

int beam_pull_show(struct beam_pull *pull)
{
	struct beam_pull_progress *shown = &pull->shown;
	uint64_t now = beam_now_ms();
	struct beam_feed_status status;

	if (!pull->progress || now - pull->shown_ms < SHOW_EVERY_MS)
		return 0;
	pull->shown_ms = now;
	shown->stage = pull->stage;
	shown->bytes = pull->counts.bytes;
	shown->bytes_total = pull->counts.image_bytes;
	shown->queue_position = pull->counts.queue_position;
	shown->queue_length = pull->counts.queue_length;
	shown->elapsed_ms = now - pull->began_ms;
	if (pull->feed) {
		beam_feed_status(pull->feed, &status);
		shown->fed_bytes = pull->module_feed ? beam_module_feed_bytes(pull->module_feed)
						     : status.fed_bytes;
	}
	if (pull->stream)
		shown->stream_bytes = beam_stream_received(pull->stream);
	pull->progress(pull->progress_arg, shown);
	return 0;
}
