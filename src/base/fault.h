/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fault points for tests. BEAM_FAULT(name) stands before the step that it can make fail. In builds
 * without RDBEAM_FAULTS it is the constant 0. With it, the environment selects a fault:
 *	RDBEAM_FAULT=name:n:action	at the n-th passage (1 is the first) in this process
 *	RDBEAM_FAULT=*:n:action		at the n-th passage of any point
 *	RDBEAM_FAULT=@path		as told by a file, which may come and go; see below
 *
 * action: kill (SIGKILL to itself), abort, stop (SIGSTOP), errno=X (a number or EIO, ENOSPC,
 * ENOMEM, EAGAIN, ECANCELED, EPERM, EINVAL, EDQUOT, EROFS), short (short transfer), flip (flip one
 * bit).
 *
 * A file holds one fault, "name:n:action", and a word that no earlier file had; passages are
 * counted from when the file was first seen. The fault fires in one process only: the one that
 * removes the file, which then writes "pid name" to path.fired.
 *
 * RDBEAM_FAULT_TRACE=path appends "pid name" to a file for each point passed, for sweeps.
 */
#ifndef BEAM_FAULT_H
#define BEAM_FAULT_H

#define BEAM_FAULT_SHORT (-10001)
#define BEAM_FAULT_FLIP  (-10002)

#ifdef RDBEAM_FAULTS
/* 0: continue. -errno, BEAM_FAULT_SHORT or BEAM_FAULT_FLIP: the caller acts as if that had
 * happened. Any thread. */
int beam_fault(const char *name);
#define BEAM_FAULT(name) beam_fault(name)
#else
#define BEAM_FAULT(name) 0
#endif

#endif
