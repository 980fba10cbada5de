/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fault points. BEAM_FAULT(name) stands before the step that it can break; built without
 * RDBEAM_FAULTS it is the constant 0. With it, the environment chooses one:
 *	RDBEAM_FAULT=name:n:action	at the n-th passage (1 is the first) of this process
 *	RDBEAM_FAULT=*:n:action		at the n-th passage of any point
 *	RDBEAM_FAULT=@path		as the file says, which may come and go; see below
 *
 * action: kill (SIGKILL to itself), abort, stop (SIGSTOP), errno=X (a number or EIO, ENOSPC,
 * ENOMEM, EAGAIN, ECANCELED, EPERM, EINVAL, EDQUOT, EROFS), short (short transfer), flip (flip one
 * bit).
 *
 * A file holds one fault, "name:n:action" and a word that no earlier one had; passages count from
 * where it was first seen. It fires in one process only: the one that removes the file, which then
 * leaves "pid name" in path.fired.
 *
 * RDBEAM_FAULT_TRACE=path appends each point passed, "pid name", to a file, for sweeps.
 */
#ifndef BEAM_FAULT_H
#define BEAM_FAULT_H

#define BEAM_FAULT_SHORT (-10001)
#define BEAM_FAULT_FLIP  (-10002)

#ifdef RDBEAM_FAULTS
/* 0: go on. -errno, BEAM_FAULT_SHORT or BEAM_FAULT_FLIP: the caller acts as if that had happened.
 * From any thread. */
int beam_fault(const char *name);
#define BEAM_FAULT(name) beam_fault(name)
#else
#define BEAM_FAULT(name) 0
#endif

#endif
