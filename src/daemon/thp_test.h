/* SPDX-License-Identifier: BSD-3-Clause
 * Tests whether a write after a fork copies only a small part of a huge page on this kernel. The
 * module runs it before it gives the server's heap huge pages (rdbeam.fork-thp). */
#ifndef THP_TEST_H
#define THP_TEST_H

/* Exit codes of `rdbeamd --test-thp`, shared with the module. */
enum thp_test_result {
	THP_TEST_GOOD = 0,
	THP_TEST_ERROR = 1,
	THP_TEST_NO_PAGES = 3,   /* the kernel gives no huge pages, even with MADV_HUGEPAGE */
	THP_TEST_COPIES_ALL = 4, /* a write after a fork copies a whole huge page */
};

/* Runs the test, in a process that holds nothing else. Forks once. Returns an enum
 * thp_test_result. */
int thp_test_main(void);

#endif
