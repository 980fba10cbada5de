# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam.fork-thp: huge pages for the heap, after a test of the kernel; on, off, and forbidden."""
import pathlib
import re

import pytest
import redis

import data
import harness
from harness import check_rdb, wait_for

MIB = 1 << 20

pytestmark = pytest.mark.skipif(harness.ASAN, reason="a sanitizer's heap is no server's")


def allowed():
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as enabled:
        return "[never]" not in enabled.read()


def huge_bytes(server):
    with open(f"/proc/{server.pid}/smaps_rollup") as rollup:
        return int(re.search(r"AnonHugePages:\s+(\d+)", rollup.read()).group(1)) * 1024


def state(server):
    return server.value("rdbeam", "rdbeam_fork_thp")


def fill(server, megabytes, prefix):
    data.fill_strings(server.client, megabytes, MIB - 1000, prefix=prefix)


def thread(pid):
    """/proc/PID/task/TID of the thread that puts pages together; None: it has none."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "rdbeam-thp":
            return task
    return None


def switch_on_and(server, *command):
    """`command` while a hundred megabytes or more are being put together."""
    pipe = server.client.pipeline(transaction=False)
    pipe.config_set("rdbeam.fork-thp", "yes")
    pipe.execute_command(*command)
    pipe.execute()


def refusing_daemon(root, code):
    """A daemon whose test of huge pages ends with `code`; anything else is the real one's."""
    path = root / "rdbeamd-that-refuses"
    path.write_text(f'#!/bin/sh\n[ "$1" = --test-thp ] && exit {code}\n'
                    f'exec {harness.artifact("rdbeamd")} "$@"\n')
    path.chmod(0o755)
    return path


def test_heap_gets_huge_pages_and_loses_them(make, binary, loads):
    if not allowed():
        pytest.skip("this kernel's huge pages are off")
    server = make("primary")
    assert state(server) == "off"
    fill(server, 60, "before")
    server.client.config_set("rdbeam.fork-thp", "yes")
    assert state(server) == "on", server.log()
    # What was there before is put together; what comes is huge from its first touch on.
    wait_for(lambda: huge_bytes(server) > 40 * MIB, lambda: huge_bytes(server))
    fill(server, 30, "after")
    wait_for(lambda: huge_bytes(server) > 70 * MIB, lambda: huge_bytes(server))
    wait_for(lambda: server.number("rdbeam", "rdbeam_fork_thp_bytes") > 70 * MIB, "INFO tells it")
    server.bgsave()
    server.image_made()
    check_rdb(server.dump(), binary)
    server.client.config_set("rdbeam.fork-thp", "no")
    assert state(server) == "off" and server.number("rdbeam", "rdbeam_fork_thp_bytes") == 0
    before = huge_bytes(server)
    fill(server, 60, "small")
    assert huge_bytes(server) < before + 20 * MIB
    server.client.config_set("rdbeam.fork-thp", "yes")
    assert state(server) == "on"
    wait_for(lambda: huge_bytes(server) > 120 * MIB, lambda: huge_bytes(server))
    assert loads(server.dump()).client.dbsize() == 90


def test_on_at_load(make):
    if not allowed():
        pytest.skip("this kernel's huge pages are off")
    server = make("primary", options={"fork-thp": "yes"})
    assert server.client.config_get("rdbeam.fork-thp") == {"rdbeam.fork-thp": "yes"}
    wait_for(lambda: state(server) == "on", lambda: server.info("rdbeam"))
    fill(server, 40, "key")
    wait_for(lambda: huge_bytes(server) > 25 * MIB, lambda: huge_bytes(server))


def test_a_thread_does_it(make):
    """Not the server's own, which answers its clients meanwhile."""
    if not allowed():
        pytest.skip("this kernel's huge pages are off")
    server = make("primary")
    fill(server, 60, "key")
    assert thread(server.pid) is None
    server.client.config_set("rdbeam.fork-thp", "yes")
    wait_for(lambda: huge_bytes(server) > 40 * MIB, lambda: huge_bytes(server))
    task = thread(server.pid)
    # Twenty times 2 MiB were copied: that takes milliseconds, in nanoseconds here.
    assert int((task / "schedstat").read_text().split()[0]) > 1000000
    blocked = re.search(r"SigBlk:\s+(\w+)", (task / "status").read_text()).group(1)
    assert int(blocked, 16) & 0x7fff == 0x7eff, blocked  # all but SIGKILL, which cannot be
    server.client.config_set("rdbeam.fork-thp", "no")
    assert thread(server.pid) is None


def test_it_rests_while_a_child_lives(make, binary):
    if not allowed():
        pytest.skip("this kernel's huge pages are off")
    server = make("primary")
    server.hold()
    fill(server, 120, "key")
    digest = server.digest()
    switch_on_and(server, "BGSAVE")
    child = server.child()
    assert thread(server.pid) and thread(child) is None
    # It may be in the middle of one when the child is born; after that nothing comes.
    turns = lambda: (thread(server.pid) / "schedstat").read_text().split()[2]
    seen = []

    def rests():
        seen.append(turns())
        return len(seen) > 3 and len(set(seen[-4:])) == 1

    wait_for(rests, lambda: seen[-4:])
    server.client.config_set("rdb-key-save-delay", 0)
    harness.kill(child)
    server.childless()
    wait_for(lambda: huge_bytes(server) > 100 * MIB, lambda: huge_bytes(server))
    server.bgsave()
    check_rdb(server.dump(), binary)
    assert server.digest() == digest


def test_unload_and_shutdown_in_the_middle(make):
    if not allowed():
        pytest.skip("this kernel's huge pages are off")
    server = make("primary")
    fill(server, 120, "key")
    digest = server.digest()
    if server.unloads_modules():
        switch_on_and(server, "MODULE", "UNLOAD", "rdbeam")
        assert thread(server.pid) is None and server.digest() == digest
        server.client.execute_command("MODULE", "LOAD", str(harness.artifact("rdbeam.so")))
    with pytest.raises(redis.exceptions.ConnectionError):
        switch_on_and(server, "SHUTDOWN", "NOSAVE")
    assert server.process.wait(30 * harness.SLOWER) == 0, server.log()


@pytest.mark.parametrize("code,words", [(3, "gives no huge pages"), (4, "copies 2 MiB"),
                                        (1, "could not run")])
def test_kernel_that_is_not_fit_for_it(make, root, code, words):
    server = make("primary", options={"fork-thp": "yes",
                                      "daemon": str(refusing_daemon(root, code))})
    wait_for(lambda: state(server).startswith("unavailable: "), lambda: server.info("rdbeam"))
    assert words in state(server) and words in server.log()
    fill(server, 30, "key")
    assert huge_bytes(server) < 10 * MIB
    server.bgsave()
    server.image_made()
    server.client.config_set("rdbeam.fork-thp", "no")
    assert state(server) == "off"


def test_daemon_that_is_missing(make, root):
    server = make("primary", options={"fork-thp": "yes",
                                      "daemon": str(root / "no-such-rdbeamd")})
    wait_for(lambda: state(server).startswith("unavailable: "), lambda: server.info("rdbeam"))
    assert server.client.set("still", "there")


def test_self_test_by_hand():
    """0: fit; 3: no huge pages; 4: whole pages are copied. Nothing else."""
    done = harness.subprocess.run([str(harness.artifact("rdbeamd")), "--test-thp"], timeout=30)
    assert done.returncode in ((0, 4) if allowed() else (3,))
