# SPDX-License-Identifier: BSD-3-Clause
"""confine.py [--no-io-uring] [--memlock BYTES] [--clock FILE] PROGRAM [ARG...]: runs a program as a
strict service manager would: a seccomp filter that answers io_uring_setup() with EPERM; no
CAP_IPC_LOCK and little memory that may be locked. Or with a time of day that is off by the seconds
in FILE (tests/support/clock_shim.c)."""
import argparse
import ctypes
import errno
import os
import resource
import struct

PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 24, 22, 38
SECCOMP_MODE_FILTER = 2
CAP_IPC_LOCK = 14
IO_URING_SETUP = 425  # on every architecture
# struct sock_filter: code, jump if true, jump if false, value
LOAD_SYSCALL = (0x20, 0, 0, 0)
RETURN_ALLOW = (0x06, 0, 0, 0x7fff0000)
RETURN_EPERM = (0x06, 0, 0, 0x00050000 | errno.EPERM)


def prctl(*args):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*[ctypes.c_ulong(arg) for arg in args]) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{args}")


def refuse_io_uring():
    rules = (LOAD_SYSCALL, (0x15, 0, 1, IO_URING_SETUP), RETURN_EPERM, RETURN_ALLOW)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-io-uring", action="store_true")
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
    os.execvp(opts.command[0], opts.command)


if __name__ == "__main__":
    main()
