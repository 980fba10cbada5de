/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checks the host: limits, memory and huge pages, io_uring. Everything is read from /proc and /sys.
 */
#include "doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"
#include "report.h"
#include "sockets.h"

#define CAP_IPC_LOCK_BIT 14
#define SMALL_TABLE      (64ull << 20) /* even a small server's table may need this much */
#define HUGE_PAGE        (2ull << 20)

static bool is_small(const struct beam_doctor *doctor)
{
	return doctor->data_bytes < SMALL_TABLE;
}

/* Size of the table for the next snapshot; the most that it may be if the server is small. */
static uint64_t table_bytes(const struct beam_doctor *doctor)
{
	return is_small(doctor) ? SMALL_TABLE : doctor->data_bytes;
}

/* Parses the number after `field` in a file of /proc; `fallback` if there is none. */
static uint64_t number_after(const char *text, const char *field, int base, uint64_t fallback)
{
	const char *at = strstr(text, field);
	uint64_t value;
	char *end;

	if (!at)
		return fallback;
	at += strlen(field);
	value = strtoull(at, &end, base);
	return end == at ? fallback : value;
}

/* ---- limits ------------------------------------------------------------------------------- */

static void check_memlock(struct beam_doctor *doctor)
{
	const char *whose = doctor->pid ? "the server" : "this shell";
	const char *most = is_small(doctor) ? "up to " : "";
	bool verbs = strcmp(doctor->transport, "verbs") == 0;
	char limits[4096], status[4096], limit_text[BEAM_TEXT_CAP], need[BEAM_TEXT_CAP];
	uint64_t limit, caps;

	beam_doctor_read_proc(doctor, "limits", limits, sizeof(limits));
	beam_doctor_read_proc(doctor, "status", status, sizeof(status));
	limit = number_after(limits, "Max locked memory", 10, UINT64_MAX); /* "unlimited" */
	caps = number_after(status, "\nCapEff:", 16, 0);
	if (limits[0] && (limit == UINT64_MAX || caps >> CAP_IPC_LOCK_BIT & 1)) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "memlock", "", "unlimited for %s", whose);
		return;
	}
	beam_text_bytes(limit_text, limit);
	beam_text_bytes(need, table_bytes(doctor));
	if (limits[0] && limit >= table_bytes(doctor))
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "memlock", "",
				"%s for %s, an image takes %s%s", limit_text, whose, most, need);
	else
		beam_doctor_add(doctor, verbs ? BEAM_LEVEL_FAIL : BEAM_LEVEL_WARN, "memlock",
				"set LimitMEMLOCK=infinity in the server's unit, or memlock in "
				"limits.d: io_uring and RDMA pin the image's memory; without it, "
				"writing dumps costs more CPU",
				"%s for %s, an image takes %s%s", limit_text, whose, most, need);
}

static void check_overcommit(struct beam_doctor *doctor)
{
	char text[32];

	if (beam_doctor_read("/proc/sys/vm/overcommit_memory", text, sizeof(text)) != 0)
		return;
	if (strcmp(text, "1") == 0)
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "overcommit", "",
				"vm.overcommit_memory is 1");
	else
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "overcommit",
				"sysctl vm.overcommit_memory=1: otherwise fork fails when memory "
				"is tight, and with it every save",
				"vm.overcommit_memory is %s", text);
}

/* ---- memory ------------------------------------------------------------------------------- */

/* A worker fills up to three segments at once, and one more is being written to disk. */
#define LEAST_SEGMENTS 4

/* The largest size that a table may reach: limited by the setting, or by the memory that the host
 * has left, or (*by_group) by the limits of the server's unit or container. The part of the table
 * that exists already is not in the available memory, so it is added. */
static uint64_t most_of_region(struct beam_doctor *doctor, bool *by_group)
{
	struct beam_memory_left left;
	int64_t setting = beam_doctor_config_number(doctor, "rdbeam.region-size", 0);
	int64_t stands =
	    doctor->view.status ? beam_view_status_number(&doctor->view, "region_bytes", 0) : 0;

	beam_memory_look(doctor->pid, &left);
	uint64_t could = (setting > 0 ? left.bytes : left.bytes / 2) + (uint64_t)stands;
	bool by_setting = setting > 0 && (uint64_t)setting <= could;

	*by_group = left.group_limit && !by_setting;
	return by_setting ? (uint64_t)setting : could;
}

static void check_memory(struct beam_doctor *doctor)
{
	bool by_group;
	uint64_t most = most_of_region(doctor, &by_group);
	char have[BEAM_TEXT_CAP], need[BEAM_TEXT_CAP];

	beam_text_bytes(have, most);
	beam_text_bytes(need, doctor->data_bytes);
	int64_t segment = beam_doctor_config_number(doctor, "rdbeam.segment-size", 4 << 20);
	uint64_t segments = most / (uint64_t)segment;
	bool any = segments >= LEAST_SEGMENTS;
	bool fits = segments * (uint64_t)segment >= doctor->data_bytes && segments > 0;
	char remedy[320];

	snprintf(
	    remedy, sizeof(remedy), "%s: until then %s",
	    by_group
		? "raise MemoryMax and MemoryHigh of the server's unit, or its container's limit"
		: "raise rdbeam.region-size, or give the host more memory",
	    any ? "a save reuses its memory while the disk takes the data, which takes longer and "
		  "leaves no image for replicas"
		: "saves are the server's own");
	if (!fits)
		beam_doctor_add(doctor, any ? BEAM_LEVEL_WARN : BEAM_LEVEL_FAIL, "region", remedy,
				"at most %s, which is %" PRIu64
				" of rdbeam.segment-size, the next image takes about %s",
				have, segments, need);
	else
		beam_doctor_add(
		    doctor, BEAM_LEVEL_OK, "region", "",
		    "up to %s%s, the next image takes about %s", have,
		    by_group ? " (by the memory limit of the server's unit or container)" : "",
		    need);
}

/* Since Linux 6.1 memory can be collapsed into huge pages, unless the setting is deny. */
static bool kernel_collapses(void)
{
	char release[64];
	unsigned major = 0, minor = 0;

	beam_doctor_read("/proc/sys/kernel/osrelease", release, sizeof(release));
	return sscanf(release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 1));
}

struct shmem_thp {
	char text[128];     /* "always within_size [advise]": up to the word that is chosen */
	const char *chosen; /* the last word of text; NULL: this kernel has none */
	bool serves;        /* images get transparent huge pages */
};

static void look_at_shmem_thp(struct shmem_thp *thp)
{
	char *end;

	beam_doctor_read("/sys/kernel/mm/transparent_hugepage/shmem_enabled", thp->text,
			 sizeof(thp->text));
	end = strchr(thp->text, ']');
	if (end)
		end[1] = '\0';
	thp->chosen = end ? strchr(thp->text, '[') : NULL;
	thp->serves = thp->chosen && strcmp(thp->chosen, "[deny]") != 0 &&
		      (strcmp(thp->chosen, "[never]") != 0 || kernel_collapses());
}

/* What an image without hugepages has instead. */
static const char *second_best(void)
{
	struct shmem_thp thp;

	look_at_shmem_thp(&thp);
	return thp.serves ? "until then the image gets transparent huge pages, as far as the "
			    "kernel finds any"
			  : "small pages make the copy slower";
}

static void check_hugepages(struct beam_doctor *doctor, const char *meminfo)
{
	uint64_t page = number_after(meminfo, "Hugepagesize:", 10, 0) * 1024;
	uint64_t free_pages = number_after(meminfo, "HugePages_Free:", 10, 0);
	uint64_t want = (table_bytes(doctor) + HUGE_PAGE - 1) / HUGE_PAGE;
	char setting[32], remedy[200];
	bool has_table = doctor->view.status &&
			 beam_view_status_number(&doctor->view, "region_page_bytes", 0) > 4096;

	beam_doctor_config(doctor, "rdbeam.hugepages", setting, sizeof(setting));
	if (strcmp(setting, "no") == 0) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "hugepages", "", "rdbeam.hugepages is no");
		return;
	}
	if (page == HUGE_PAGE && (free_pages >= want || has_table)) {
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "hugepages", "",
				"%" PRIu64 " of 2 MiB free%s", free_pages,
				has_table ? ", the image has huge pages" : "");
		return;
	}
	snprintf(remedy, sizeof(remedy),
		 "sysctl vm.nr_hugepages=%" PRIu64 " (in /etc/sysctl.d to keep it): %s", want,
		 strcmp(setting, "require") == 0
		     ? "rdbeam.hugepages is require, so saves are the server's own until then"
		     : second_best());
	beam_doctor_add(doctor, strcmp(setting, "require") == 0 ? BEAM_LEVEL_FAIL : BEAM_LEVEL_WARN,
			"hugepages", remedy,
			"%" PRIu64 " of 2 MiB free, the next image takes %s%" PRIu64,
			page == HUGE_PAGE ? free_pages : 0, is_small(doctor) ? "up to " : "", want);
}

static void check_shmem_thp(struct beam_doctor *doctor)
{
	struct shmem_thp thp;

	look_at_shmem_thp(&thp);
	if (!thp.chosen)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "shmem-thp",
				"reserve hugepages: small pages make the copy slower",
				"this kernel has no transparent huge pages");
	else if (!thp.serves)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "shmem-thp",
				"echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled: "
				"an image without hugepages then still gets larger pages",
				"shmem_enabled is %s", thp.chosen);
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "shmem-thp", "", "shmem_enabled is %s%s",
				thp.text,
				strcmp(thp.chosen, "[never]") == 0
				    ? ", and the image's memory is collapsed to huge pages"
				    : "");
}

/* ---- io_uring ----------------------------------------------------------------------------- */

static void check_uring(struct beam_doctor *doctor)
{
	struct io_uring_params params = {0};
	char disabled[32], status[4096];
	int fd = (int)syscall(__NR_io_uring_setup, 4, &params);
	int err = fd < 0 ? errno : 0;

	beam_close(&fd);
	beam_doctor_read("/proc/sys/kernel/io_uring_disabled", disabled, sizeof(disabled));
	beam_doctor_read_proc(doctor, "status", status, sizeof(status));
	if (err == EPERM || (disabled[0] && strcmp(disabled, "0") != 0))
		beam_doctor_add(
		    doctor, BEAM_LEVEL_WARN, "io_uring",
		    "sysctl kernel.io_uring_disabled=0, or allow io_uring_setup in the seccomp "
		    "filter: until then dumps are written by pwrite, which is slower",
		    "refused, kernel.io_uring_disabled is %s",
		    disabled[0] ? disabled : "not there");
	else if (err)
		beam_doctor_add(doctor, BEAM_LEVEL_WARN, "io_uring",
				"use a kernel of 5.10 or newer: until then dumps are written by "
				"pwrite, which is slower",
				"not there: %s", strerror(err));
	else
		beam_doctor_add(doctor, BEAM_LEVEL_OK, "io_uring", "", "works here%s",
				doctor->pid && number_after(status, "\nSeccomp:", 10, 0) == 2
				    ? "; the server has a seccomp filter, its log tells if that "
				      "refuses it"
				    : "");
}

void beam_doctor_host(struct beam_doctor *doctor)
{
	char meminfo[8192];

	beam_doctor_read("/proc/meminfo", meminfo, sizeof(meminfo));
	if (doctor->has_info)
		check_memory(doctor);
	check_hugepages(doctor, meminfo);
	check_shmem_thp(doctor);
	check_memlock(doctor);
	check_overcommit(doctor);
	check_uring(doctor);
	beam_doctor_rdma(doctor);
}
