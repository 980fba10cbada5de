# SPDX-License-Identifier: BSD-3-Clause
"""The files of rdbeamd and rdbeam-wait: replaced under a running server, of another build, or not to be run."""
import os
import pathlib
import re
import shutil
import signal
import sys

import pytest

import data
import harness
from harness import check_rdb, wait_for
from test_module import daemon_up

BEAM_CTL_LOG, BEAM_LOG_WARNING = 22, 3


def test_upgrade_of_the_files_leaves_a_running_server_alone(make, binary):
    """Another build lies where rdbeamd and rdbeam-wait were: the waiter and the next daemon are still the module's
    own."""
    server = make("primary")
    data.fill_strings(server.client, 1000, 100)
    for name in ("rdbeamd", "rdbeam-wait"):
        program = server.dir / name
        program.unlink()
        program.symlink_to(shutil.which("false"))
    server.bgsave()
    server.image_made()
    first = server.daemon()
    os.kill(first, signal.SIGKILL)
    daemon_up(server, other_than=first)
    server.bgsave()
    server.image_made()
    check_rdb(server.dump(), binary)


def test_daemon_of_another_build_is_named_and_replaced_without_a_restart(make, root):
    """rdbeamd as an incomplete upgrade leaves it: it says that it cannot serve this module, and ends. What it said is
    told to whoever asks, and the right one is taken up once it is there."""
    said = "rdbeamd speaks protocol 4 and the module 9: install both from one build"
    program = root / "rdbeamd"
    program.write_text(f"""#!{sys.executable}
import os, socket, struct
if os.fork():
    os._exit(0)
module = socket.socket(fileno=3)
module.recv(8192)
module.send(struct.pack("=IIiI256s", {BEAM_CTL_LOG}, 272, {BEAM_LOG_WARNING}, 0, b"{said}"))
""")
    program.chmod(0o755)
    server = make("primary", options={"daemon": program})
    wait_for(lambda: server.value("rdbeam", "rdbeam_last_error") == said, lambda: server.info("rdbeam"))
    server.bgsave()
    assert server.fallbacks() == 1
    for command in (("pull", "--from", f"127.0.0.1:{server.port}", "--discard"), ("doctor", "-p", server.port)):
        done = harness.cli(*command, check=1)
        assert said in done.stdout + done.stderr, (command, done)
    shutil.copy(harness.artifact("rdbeamd"), root / "right")
    (root / "right").rename(program)
    daemon_up(server)


@pytest.mark.parametrize("why", ["lacks a shared library", "ended at once (status 1)"])
def test_program_that_never_served_is_not_held(make, root, why):
    program = root / "rdbeamd"
    shutil.copy(harness.artifact("rdbeamd") if "library" in why else shutil.which("false"), program)
    program.write_bytes(re.sub(rb"\0liburing\.so", rb"\0liburing.xx", program.read_bytes()))
    server = make("primary", options={"daemon": program})
    wait_for(lambda: why in server.value("rdbeam", "rdbeam_last_error"), lambda: server.info("rdbeam"))
    server.bgsave()
    shutil.copy(harness.artifact("rdbeamd"), root / "right")
    (root / "right").rename(program)
    daemon_up(server)


def test_daemon_that_is_a_script_is_run_by_its_name(make, root):
    script = root / "rdbeamd"
    script.write_text(f'#!/bin/sh\nexec {harness.artifact("rdbeamd")} "$@"\n')
    script.chmod(0o755)
    server = make("primary", options={"daemon": script})
    wait_for(lambda: server.value("rdbeam", "rdbeam_daemon_state") == "up", "daemon is up")
    server.bgsave()
    server.image_made()


def test_script_that_calls_nothing_is_told(make, root):
    """It was said to lack a library, which ldd would show."""
    script = root / "rdbeamd"
    script.write_text(f'#!/bin/sh\nexec {root}/absent "$@"\n')
    script.chmod(0o755)
    server = make("primary", options={"daemon": script})
    wait_for(lambda: "what that script calls" in server.value("rdbeam", "rdbeam_last_error"), lambda: server.info("rdbeam"))


@pytest.mark.parametrize("beside", ["another version", "another protocol", "not to be run", "overwritten", "a pipe"])
def test_rdbeamd_waits_where_rdbeam_wait_cannot(make, root, beside):
    programs = root / "programs"
    programs.mkdir()
    for name in ("rdbeamd", "rdbeam-wait"):
        shutil.copy(harness.artifact(name), programs / name)
    waiter = programs / "rdbeam-wait"
    mark = re.search(rb"rdbeam-wait [0-9.]+, protocol \d+: ", waiter.read_bytes()).group()
    if beside == "another version":
        shutil.copy(shutil.which("false"), waiter)
    elif beside == "another protocol":
        marked = re.sub(rb"protocol \d+", b"protocol 1", mark)
        waiter.write_bytes(pathlib.Path(shutil.which("false")).read_bytes() + marked)
    elif beside == "not to be run":  # refused by the kernel itself, as it would be by a security module
        waiter.write_bytes(b"\177ELF" + mark)
    elif beside == "a pipe":  # nobody writes into it, and the server waited for that
        waiter.unlink()
        os.mkfifo(waiter)
    server = make("primary", options={"daemon": programs / "rdbeamd"})
    wait_for(lambda: server.value("rdbeam", "rdbeam_daemon_state") == "up", "daemon is up")
    if beside == "overwritten":
        os.truncate(waiter, 4096)
    server.bgsave()
    server.image_made()
