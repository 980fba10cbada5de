# SPDX-License-Identifier: BSD-3-Clause
"""confine.py [--no-io-uring] [--deadly-io-uring] [--no-scheduling] [--no-pidfd] [--old-kernel] [--memlock BYTES]
[--clock SHIM FILE] PROGRAM [ARG...]: runs a program as a strict service manager would: a seccomp filter that answers io_uring_setup() with EPERM, or ends who
calls it; no CAP_IPC_LOCK and little memory that may be locked; one that ends who changes priorities or processors, as
SystemCallFilter=~@resources does in Debian's redis-server.service. Or as on a kernel and a file system that know neither
MADV_POPULATE_WRITE nor O_TMPFILE. Or with a time of day that is off by the seconds in FILE
(tests/support/clock_shim.c)."""
import argparse
import ctypes
import errno
import os
import platform
import resource
import struct

PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 24, 22, 38
SECCOMP_MODE_FILTER = 2
CAP_IPC_LOCK = 14
IO_URING_SETUP = 425  # on every architecture
MADVISE, OPENAT = {"x86_64": (28, 257), "aarch64": (233, 56)}.get(platform.machine(), (None, None))
SCHEDULING = {  # setpriority, sched_setaffinity, and mincore, which is in none of systemd's sets for services
    "x86_64": (141, 203, 27), "aarch64": (140, 122, 232)}.get(platform.machine())
MADV_POPULATE_WRITE = 23
# struct sock_filter: code, jump if true, jump if false, value
LOAD_SYSCALL = (0x20, 0, 0, 0)
LOAD_THIRD_ARGUMENT = (0x20, 0, 0, 32)
IS, HAS_BITS = 0x15, 0x45
GETSOCKOPT, PIDFD_OPEN, SO_PEERPIDFD = {"x86_64": 55, "aarch64": 209}.get(platform.machine()), 434, 77
RETURN_ALLOW = (0x06, 0, 0, 0x7fff0000)
END_PROCESS = (0x06, 0, 0, 0x80000000)


def fails_with(code):
    return (0x06, 0, 0, 0x00050000 | code)


def prctl(*args):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*[ctypes.c_ulong(arg) for arg in args]) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{args}")


def filter_calls(*rules):
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def refuse_io_uring():
    filter_calls(LOAD_SYSCALL, (IS, 0, 1, IO_URING_SETUP), fails_with(errno.EPERM), RETURN_ALLOW)


def forbid_io_uring():
    filter_calls(LOAD_SYSCALL, (IS, 0, 1, IO_URING_SETUP), END_PROCESS, RETURN_ALLOW)


def forbid_scheduling():
    if SCHEDULING is None:
        raise SystemExit(f"confine.py: --no-scheduling knows no calls of {platform.machine()}")
    rules = [rule for call in SCHEDULING for rule in ((IS, 0, 1, call), END_PROCESS)]
    filter_calls(LOAD_SYSCALL, *rules, RETURN_ALLOW)


def refuse_pidfd():
    """As runtimes do that are older than the call, on a kernel without SO_PEERPIDFD."""
    if GETSOCKOPT is None:
        raise SystemExit(f"confine.py: --no-pidfd knows no calls of {platform.machine()}")
    filter_calls(LOAD_SYSCALL, (IS, 0, 1, PIDFD_OPEN), fails_with(errno.EPERM), (IS, 0, 3, GETSOCKOPT),
                 LOAD_THIRD_ARGUMENT, (IS, 0, 1, SO_PEERPIDFD), fails_with(errno.ENOPROTOOPT),
                 RETURN_ALLOW)


def be_old():
    if MADVISE is None:
        raise SystemExit(f"confine.py: --old-kernel knows no calls of {platform.machine()}")
    tmpfile = os.O_TMPFILE & ~os.O_DIRECTORY
    filter_calls(LOAD_SYSCALL, (IS, 0, 3, MADVISE),
                 LOAD_THIRD_ARGUMENT, (IS, 0, 5, MADV_POPULATE_WRITE), fails_with(errno.EINVAL),
                 (IS, 0, 3, OPENAT),
                 LOAD_THIRD_ARGUMENT, (HAS_BITS, 0, 1, tmpfile), fails_with(errno.EOPNOTSUPP),
                 RETURN_ALLOW)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-io-uring", action="store_true")
    parser.add_argument("--deadly-io-uring", action="store_true")
    parser.add_argument("--no-scheduling", action="store_true")
    parser.add_argument("--no-pidfd", action="store_true")
    parser.add_argument("--old-kernel", action="store_true")
    parser.add_argument("--memlock", type=int)
    parser.add_argument("--clock", nargs=2, metavar=("SHIM", "FILE"))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    opts = parser.parse_args()
    if opts.memlock is not None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (opts.memlock, opts.memlock))
        if os.geteuid() == 0:
            prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
    if opts.clock:
        os.environ.update(LD_PRELOAD=opts.clock[0], RDBEAM_CLOCK=opts.clock[1])
    if opts.no_io_uring:
        refuse_io_uring()
    if opts.deadly_io_uring:
        forbid_io_uring()
    if opts.no_scheduling:
        forbid_scheduling()
    if opts.no_pidfd:
        refuse_pidfd()
    if opts.old_kernel:
        be_old()
    os.execvp(opts.command[0], opts.command)


if __name__ == "__main__":
    main()
