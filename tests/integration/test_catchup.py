# SPDX-License-Identifier: BSD-3-Clause
"""Pulls while writes go on all the time, over many databases: no full resync, no difference. And
replicas that cannot catch up: the pull says so. `--pulls N` makes more of them."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

import data
import harness
from harness import wait_for
from test_pull import in_sync, one_line, pull, stats

DBS = 16
WRITES = pathlib.Path(__file__).with_name("writes.py")


class Writes:
    """writes.py as a context; `rate` is what it tries, `done` and `seconds` what it did."""

    def __init__(self, server, rate, dbs=DBS, size=60):
        self.args = [sys.executable, str(WRITES), *map(str, (server.port, rate, dbs, size))]

    def __enter__(self):
        self.process = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        out, _ = self.process.communicate(timeout=harness.DEADLINE_S * 4)
        assert self.process.returncode == 0
        done, seconds = out.split()
        self.done, self.seconds = int(done), float(seconds)


@pytest.fixture
def pulls(request):
    return request.config.getoption("--pulls")


def test_pulls_under_writes_over_all_databases(make, pulls):
    """Every third target still holds the data of the pull before, and is loaded by swapdb."""
    primary = make("primary", databases=DBS, options={"segment-size": "2mb"})
    data.fill_strings(primary.client, 20000, 200)
    target = make("target", module=False, databases=DBS)
    pull(primary, None, "--discard")  # makes the backlog
    full = stats(primary)["sync_full"]
    rates = []
    for number in range(pulls):
        target.client.replicaof("NO", "ONE")
        if number % 3:
            target.client.flushall()
        with Writes(primary, 50000 // harness.SLOWER) as writes:
            said = pull(primary, target, *([] if number % 3 else ["--force"]),
                        *(["--fresh"] if number % 2 else []))
        rates.append(writes.done / writes.seconds)
        assert said["full_resyncs"] == 0 and said["partial_resyncs"] == 1, (number, said)
        in_sync(primary, target)
        assert target.digest() == primary.digest(), f"pull {number}"
    assert stats(primary)["sync_full"] == full
    print(f"{pulls} pulls under {min(rates):.0f} to {max(rates):.0f} writes/s")


class Jerky:
    """Lets a process run a hundredth of the time."""

    def __init__(self, pid):
        self.pid, self.end = pid, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.end.is_set():
            os.kill(self.pid, signal.SIGSTOP)
            self.end.wait(0.198)
            os.kill(self.pid, signal.SIGCONT)
            self.end.wait(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


def test_a_replica_slower_than_the_writes_is_told(make):
    """The backlog is small, so a hand-over would end in a full resync; the pull ends in a line with
    both rates, and the target is as it was."""
    primary = make("primary", repl_backlog_size="8mb", databases=DBS)
    data.fill_strings(primary.client, 100, 100)
    target = make("target", module=False, databases=DBS)
    with Jerky(target.pid), Writes(primary, 20000 // harness.SLOWER, size=2000):
        done = harness.cli("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                           f"127.0.0.1:{target.port}", "--handover-timeout", 3, "--quiet", check=1)
    one_line(done, "behind after 3 s", "writes", "applies", "repl-backlog-size")
    wait_for(lambda: target.value("replication", "role") == "master", "the target is its own again")


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("loader", ["stock", "module"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_link_that_ends_behind_the_load(make, loader, elsewhere):
    """The primary's backlog has the rest, so the pull goes on, unless somebody sent the target
    elsewhere."""
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 100)
    target = make("target", module=loader == "module")
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}", "--loader", loader, "--json",
                                env={"RDBEAM_FAULT": "pull-catch-up:1:stop"})
    stat = pathlib.Path(f"/proc/{process.pid}/stat")
    wait_for(lambda: stat.read_text().rsplit(")")[1].split()[0] == "T", "the target has loaded")
    primary.client.set("late", "data")
    if elsewhere:
        target.client.replicaof("NO", "ONE")
    else:
        assert target.client.execute_command("CLIENT", "KILL", "TYPE", "master") == 1
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == elsewhere, err
    if elsewhere:
        assert target.value("replication", "role") == "master"
        return
    in_sync(primary, target)
    assert target.client.get("late") == b"data"
    said = json.loads(out)
    assert (said["partial_resyncs"], said["full_resyncs"]) == (1, 0)


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_primary_that_ends_behind_the_load(make):
    """That link's end also ends the target's, and is told. The target is not sent to a primary that is gone."""
    primary, target = make("primary", repl_backlog_size="64mb"), make("target", module=False)
    data.fill_strings(primary.client, 1000, 100)
    processes = [int(server.number("server", "process_id")) for server in (primary, target)]
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to", f"127.0.0.1:{target.port}",
                                env={"RDBEAM_FAULT": "pull-catch-up:1:stop"})
    proc = pathlib.Path(f"/proc/{process.pid}")
    wait_for(lambda: (proc / "stat").read_text().rsplit(")")[1].split()[0] == "T", "the target has loaded")
    data.fill_strings(primary.client, 100, 10000, prefix="late")  # read piece by piece
    opened = len(os.listdir(proc / "fd"))
    os.kill(processes[1], signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    os.kill(processes[0], signal.SIGKILL)
    wait_for(lambda: len(os.listdir(proc / "fd")) < opened, "the target's link is closed")
    os.kill(processes[1], signal.SIGCONT)
    _, err = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 1 and "closed by the primary" in err, err
    assert target.value("replication", "role") == "master"


def test_primary_that_ends_right_before_the_hand_over(make):
    """The target was sent to it, and waited for 30 s; the line told of masterauth."""
    primary, target = make("primary"), make("target", module=False)
    data.fill_strings(primary.client, 1000, 100)
    digest = primary.digest()

    def ends(chunk):
        if b"INFO\r\n$5\r\nstats" in chunk:  # the last question before
            between.refuse()
            harness.kill(primary.pid)
        return chunk

    between = harness.Between(primary.port, asked=ends)
    done = harness.cli("pull", "--from", f"127.0.0.1:{between.port}", "--to", f"127.0.0.1:{target.port}", "--quiet",
                       check=1)
    one_line(done, str(between.port), "went away before", "pull again")
    assert target.value("replication", "role") == "master" and target.digest() == digest


def test_primary_that_ends_during_the_hand_over(make):
    primary, target = make("primary"), make("target", module=False)
    data.fill_strings(primary.client, 1000, 100)
    digest = primary.digest()

    def ends(chunk):
        if b"REPLICAOF" in chunk and str(primary.port).encode() in chunk:
            harness.kill(primary.pid)
        return chunk

    between = harness.Between(target.port, asked=ends)
    began = time.monotonic()
    done = harness.cli("pull", "--from", f"127.0.0.1:{primary.port}", "--to", f"127.0.0.1:{between.port}", "--quiet",
                       check=1)
    one_line(done, str(primary.port), "went away just then", "REPLICAOF NO ONE")
    assert time.monotonic() - began < 25 and target.digest() == digest
    assert target.value("replication", "master_port") == str(primary.port)
