/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Off-host backup: waits for a new generation, pulls it into a file, and removes the oldest file.
 * File names sort by time, as the clock showed it then, and within a second by the counter.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "rdbeam/error.h"
#include "relay.h"
#include "sockets.h"
#include "tell.h"
#include "text.h"

#define NAME_PREFIX   "rdbeam-"
#define NAME_SUFFIX   ".rdb"
#define TIME_SHAPE    "00000000T000000Z" /* each 0 stands for a digit */
#define TIME_BYTES    sizeof(TIME_SHAPE)
#define RETRY_FIRST_S 1
#define RETRY_LAST_S  30

struct follower {
	const struct beam_follow_opts *opts;
	beam_relay_report_fn *report;
	void *report_arg;
	int dir;
};

/* True for names made by make_path; other files in the directory are not ours to remove. */
static int is_ours(const struct dirent *entry)
{
	static const char shape[] = NAME_PREFIX TIME_SHAPE "-";
	const char *at = entry->d_name, *suffix = strrchr(at, '.');
	char text[BEAM_GEN_TEXT_BYTES];
	struct beam_gen gen;

	for (const char *want = shape; *want; want++, at++)
		if (*want == '0' ? *at < '0' || *at > '9' : *at != *want)
			return 0;
	if (!suffix || strcmp(suffix, NAME_SUFFIX) != 0 || suffix - at >= (ptrdiff_t)sizeof(text))
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)(suffix - at), at);
	return beam_gen_from_text(text, &gen) == 0;
}

static void time_text(char out[TIME_BYTES])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(out, TIME_BYTES, "%Y%m%dT%H%M%SZ", &tm);
}

static int by_age(const struct dirent **a, const struct dirent **b)
{
	const size_t head = strlen(NAME_PREFIX TIME_SHAPE);
	int order = strncmp((*a)->d_name, (*b)->d_name, head);
	unsigned long long of_a, of_b;

	if (order)
		return order;
	/* The name has the shape that is_ours() has seen: the counter follows the last hyphen. */
	of_a = strtoull(strrchr((*a)->d_name, '-') + 1, NULL, 10);
	of_b = strtoull(strrchr((*b)->d_name, '-') + 1, NULL, 10);
	return of_a < of_b ? -1 : of_a > of_b;
}

/* Lists our files, oldest first. Returns their number or -errno. The caller frees names[0..n) and
 * names. */
static int list(const struct follower *f, struct dirent ***names)
{
	int n = scandirat(f->dir, ".", names, is_ours, by_age);

	return n < 0 ? -errno : n;
}

static bool is_here(const struct follower *f, const struct beam_gen *gen)
{
	char tail[BEAM_GEN_TEXT_BYTES + sizeof(NAME_SUFFIX)], name[BEAM_GEN_TEXT_BYTES];
	struct dirent **names = NULL;
	bool found = false;
	int n = list(f, &names);

	beam_gen_to_text(gen, name);
	snprintf(tail, sizeof(tail), "%s" NAME_SUFFIX, name);
	for (int i = 0; i < n; i++) {
		size_t len = strlen(names[i]->d_name), end = strlen(tail);

		found |= len > end && strcmp(names[i]->d_name + len - end, tail) == 0;
		free(names[i]);
	}
	free(names);
	return found;
}

/* Counts the sorted names whose time is not in the future. The image just pulled never counts as
 * future: the clock may have been set back while it arrived. */
static int count_past(struct dirent **names, int n, const char *pulled)
{
	char now[TIME_BYTES];

	time_text(now);
	if (strncmp(pulled, now, strlen(now)) > 0)
		memcpy(now, pulled, strlen(now));
	while (n > 0 && strncmp(names[n - 1]->d_name + strlen(NAME_PREFIX), now, strlen(now)) > 0)
		n--;
	return n;
}

/* Puts the file just pulled behind the others of its second: rdbeamd may have been restarted in
 * between, and then its counter is lower than theirs. */
static void put_last(struct dirent **names, int n, const char *pulled)
{
	for (int i = 0; i + 1 < n; i++) {
		struct dirent *name = names[i];

		if (strcmp(name->d_name + strlen(NAME_PREFIX), pulled) != 0)
			continue;
		names[i] = names[i + 1];
		names[i + 1] = name;
	}
}

/* Files with a time in the future were written before the clock was set back, so they are older
 * than all others. If they counted as the newest, the file just written would be the first to be
 * removed. */
static void remove_oldest(const struct follower *f, const char *path)
{
	const char *pulled = path + strlen(f->opts->dir) + strlen("/" NAME_PREFIX);
	struct dirent **names = NULL;
	int n = list(f, &names), past = n > 0 ? count_past(names, n, pulled) : 0;
	int too_many = n - (int)f->opts->keep;

	put_last(names, past, pulled);
	for (int i = 0; i < too_many; i++) {
		const char *name = names[(past + i) % n]->d_name;

		if (unlinkat(f->dir, name, 0))
			beam_log(BEAM_LOG_WARNING, "cannot remove %s/%s: %s", f->opts->dir, name,
				 strerror(errno));
	}
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	int err = too_many > 0 ? beam_sync_dir(f->dir) : 0;

	if (err)
		beam_log(BEAM_LOG_WARNING, "fsync of %s: %s", f->opts->dir, strerror(-err));
}

static int make_path(const struct follower *f, const struct beam_gen *gen, char path[PATH_MAX])
{
	char when[TIME_BYTES], name[BEAM_GEN_TEXT_BYTES];

	time_text(when);
	beam_gen_to_text(gen, name);
	return snprintf(path, PATH_MAX, "%s/" NAME_PREFIX "%s-%s" NAME_SUFFIX, f->opts->dir, when,
			name) < PATH_MAX
		   ? 0
		   : -ENAMETOOLONG;
}

static int pull_file(const struct follower *f, const struct beam_gen *gen)
{
	struct beam_pull_opts opts = {.from = f->opts->from,
				      .target = BEAM_PULL_FILE,
				      .gen = *gen,
				      .transport = f->opts->transport,
				      .timeout_ms = f->opts->timeout_ms};
	struct beam_pull_result result = {0};
	char path[PATH_MAX];
	int rc = make_path(f, gen, path);

	opts.file = path;
	if (!rc)
		rc = beam_pull_run(&opts, NULL, NULL, &result);
	result.gen = *gen;
	f->report(f->report_arg, rc, &result, path);
	if (!rc)
		remove_oldest(f, path);
	return rc;
}

/* Pulls images until the connection breaks. `served` becomes true once the primary has let us
 * wait. */
static int pull_files(const struct follower *f, struct beam_redis *redis, bool *served)
{
	struct beam_relay_news news = {0};
	struct beam_gen gen;

	for (;;) {
		int rc = beam_relay_wait(redis, &news, f->opts->timeout_ms, &gen);

		if (rc && rc != -EAGAIN)
			return rc;
		*served = true;
		if (rc)
			continue;
		beam_relay_pulled(&news, &gen, is_here(f, &gen) ? 0 : pull_file(f, &gen));
	}
}

static int run(const struct follower *f, char *error)
{
	time_t retry_s = RETRY_FIRST_S;

	for (bool begun = false;; begun = true) {
		char text[BEAM_REDIS_ERROR_BYTES];
		struct beam_redis *redis = NULL;
		int rc = beam_redis_open(&f->opts->from, f->opts->timeout_ms, text, &redis);

		if (rc && !begun)
			return beam_tell(error, rc, "%s", text);
		bool served = false;

		if (!rc) {
			beam_redis_reopen_idle(redis, &f->opts->from);
			beam_redis_watch_host(redis, beam_redis_gone_ms(f->opts->timeout_ms));
			rc = pull_files(f, redis, &served);
			snprintf(text, sizeof(text), "%s: %.400s", beam_redis_name(redis),
				 beam_redis_error(redis));
			/* The server answers, but refuses: asking again is of no use, unless it let us
			 * wait before (its rdbeamd may have died since). */
			bool is_final =
			    rc == BEAM_E_DENIED || (rc == BEAM_E_SERVER && !begun && !served);

			if (is_final)
				rc = beam_relay_refused(redis, rc, error);
			beam_redis_close(&redis);
			if (is_final)
				return rc;
		}
		if (served)
			retry_s = RETRY_FIRST_S;
		beam_log(BEAM_LOG_WARNING, "trying the primary again in %lld s: %s",
			 (long long)retry_s, text);
		nanosleep(&(struct timespec){.tv_sec = retry_s}, NULL);
		retry_s = 2 * retry_s < RETRY_LAST_S ? 2 * retry_s : RETRY_LAST_S;
	}
}

int beam_follow_run(const struct beam_follow_opts *opts, beam_relay_report_fn *report, void *arg,
		    char *error)
{
	struct follower f = {.opts = opts, .report = report, .report_arg = arg};

	f.dir = open(opts->dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (f.dir < 0)
		return beam_tell(error, -errno, "--dir %s: %s: give a directory that is there",
				 opts->dir, strerror(errno));
	int rc = faccessat(f.dir, ".", W_OK | X_OK, AT_EACCESS) ? -errno : 0;

	if (rc)
		beam_tell(error, rc, "--dir %s: %s: give a directory that this user can write to",
			  opts->dir, strerror(-rc));
	else
		rc = run(&f, error);
	beam_close(&f.dir);
	return rc;
}
