/* SPDX-License-Identifier: BSD-3-Clause
 * Does a fork copy huge pages in small pieces here? Asked by the module before it gives the server's
 * heap huge pages (rdbeam.fork-thp). */
#ifndef THP_TEST_H
#define THP_TEST_H

/* Exit codes of `rdbeamd --test-thp`, which both sides know. */
enum thp_test_result {
	THP_TEST_GOOD = 0,
	THP_TEST_ERROR = 1,
	THP_TEST_NO_PAGES = 3,   /* the kernel gives no huge pages to memory that asks for them */
	THP_TEST_COPIES_ALL = 4, /* a write after the fork copies all of a huge page */
};

/* Forks once, in a process that holds nothing else. An enum thp_test_result. */
int thp_test_main(void);

#endif
