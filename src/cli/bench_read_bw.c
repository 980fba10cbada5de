/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs both ends in a shell. The first end cannot tell when it listens, so the second one is
 * started again until it connects.
 */
#include "bench_read_bw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "redis.h"

#define SIZE    1048576
#define GIDS    256
#define COMMAND "ib_read_bw -F -d %s %s -s 1048576 -n %u"

/* True for text that is safe as a word of a shell command. */
static bool is_word(const char *text)
{
	return *text &&
	       strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ._:-%") == strlen(text) &&
	       *text != '-';
}

static bool read_line(const char *device, const char *what, int index, char line[64])
{
	char path[192];

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/%s/%d", device, what, index);
	FILE *in = fopen(path, "re");
	bool got = in && fgets(line, 64, in);

	if (in)
		fclose(in);
	line[got ? strcspn(line, "\n") : 0] = '\0';
	return got;
}

/* RoCE has each GID twice, for v1 and v2; rdma_cm uses v2. */
static int find_gid(const char *device, const char *gid)
{
	struct in6_addr wanted, one;
	char line[64];
	int found = -1;

	if (inet_pton(AF_INET6, gid, &wanted) != 1)
		return -1;
	for (int i = 0; i < GIDS; i++) {
		if (!read_line(device, "gids", i, line) || inet_pton(AF_INET6, line, &one) != 1 ||
		    memcmp(&wanted, &one, sizeof(one)) != 0)
			continue;
		if (found < 0 ||
		    (read_line(device, "gid_attrs/types", i, line) && strstr(line, "v2")))
			found = i;
	}
	return found;
}

int beam_read_bw_init(struct beam_read_bw *bw, const char *device, const char *gid,
		      const char *host)
{
	if (!is_word(device) || !is_word(host))
		return -EINVAL;
	snprintf(bw->device, sizeof(bw->device), "%s", device);
	snprintf(bw->host, sizeof(bw->host), "%s", host);
	bw->gid_index = find_gid(device, gid);
	return 0;
}

static bool parse(FILE *in, double *mb_per_s)
{
	char line[512];
	double peak, average;
	long iterations, bytes;
	bool found = false;

	while (fgets(line, sizeof(line), in))
		if (sscanf(line, "%ld %ld %lf %lf", &bytes, &iterations, &peak, &average) == 4 &&
		    bytes == SIZE) {
			*mb_per_s = average * 1.048576; /* its MB is 2^20 bytes */
			found = true;
		}
	return found;
}

int beam_read_bw_run(const struct beam_read_bw *bw, uint64_t bytes, double *mb_per_s, char *error)
{
	char gid[32] = "", end[512], command[2048];

	if (bw->gid_index >= 0)
		snprintf(gid, sizeof(gid), "-x %d", bw->gid_index);
	snprintf(end, sizeof(end), COMMAND, bw->device, gid, (unsigned int)(bytes / SIZE) + 1);
	/* Restart both ends each time: it gives up by itself when the processor's clock seems to
	 * vary. */
	snprintf(command, sizeof(command),
		 "for i in 1 2 3 4 5; do %s >/dev/null 2>&1 & pid=$!; for j in 1 2 3 4 5 6 7 8; do "
		 "sleep 0.2; %s %s 2>/dev/null && kill $pid 2>/dev/null; kill -0 $pid 2>/dev/null "
		 "|| break; done | grep '^ *%d ' && exit 0; kill $pid 2>/dev/null; wait; done",
		 end, end, bw->host, SIZE);
	FILE *in = popen(command, "re");

	if (!in) {
		snprintf(error, BEAM_REDIS_ERROR_BYTES, "sh: %s: free some memory",
			 strerror(errno));
		return -errno;
	}
	bool found = parse(in, mb_per_s);

	pclose(in);
	if (found)
		return 0;
	snprintf(error, BEAM_REDIS_ERROR_BYTES,
		 "%s of perftest told nothing on %s: install it (perftest), and try it by hand: %s",
		 "ib_read_bw", bw->device, end);
	return -EIO;
}
