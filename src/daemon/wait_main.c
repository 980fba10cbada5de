/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rdbeam-wait: `rdbeamd --wait` as a program of its own, because loading the daemon's libraries
 * takes as long as the rest of a small save. It is given the same arguments, argv[0] included.
 */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "waiter.h"

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--wait"))
		return waiter_main(argc - 2, argv + 2);
	fputs(BEAM_WAITER_MARK "not started by hand, but by rdbeam.so inside redis-server's saving "
			       "child\n",
	      stderr);
	return 2;
}
