# SPDX-License-Identifier: BSD-3-Clause
"""Rows of docs/reliability.md that need a disk, a limit or a crowd of their own."""
import contextlib
import errno
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import time

import pytest
import redis

import data
import harness
from harness import check_rdb, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def run(*args):
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{' '.join(map(str, args))}: {done.stderr.strip()}")


@contextlib.contextmanager
def loop_disk(root, megabytes):
    """A small ext4 of its own, mounted."""
    image, place = root / "disk.img", root / "disk"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", "-F", image)
    run("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def sha(path):
    return subprocess.run(["sha256sum", path], capture_output=True, text=True,
                                  check=True).stdout.split()[0]


def saved_with_old_dump(make, place, **kwargs):
    server = make("primary", dir=str(place), **kwargs)
    server.client.set("old", "data")
    server.bgsave()
    return server, sha(place / "dump.rdb")


# ---- row 7: full disk, read-only disk -------------------------------------------------------

@needs_root
def test_full_disk_is_err_and_leaves_the_old_dump(make, root):
    with loop_disk(root, 64) as place:
        server, old = saved_with_old_dump(make, place)
        data.fill_strings(server.client, 90, 1 << 20)
        server.bgsave(status="err")
        assert sha(place / "dump.rdb") == old
        assert [name for name in os.listdir(place) if name.startswith("temp")] == []
        server.client.flushall()
        server.client.set("it fits", "again")
        server.bgsave()
        check_rdb(place / "dump.rdb", server.binary)
        server.stop()


@needs_root
@pytest.mark.parametrize("way", ["file", "image", "stream"])
def test_full_disk_of_a_pull_is_named(make, root, way):
    """Where there is no room, and the option that helps; what the target held is still there."""
    if way == "stream" and not harness.FAULTS:
        pytest.skip("needs a build with RDBEAM_FAULTS")
    primary = make("primary")
    target = make("target", module=False)
    data.fill_strings(primary.client, 40, 1 << 20)
    target.client.set("old", "data")
    with loop_disk(root, 24) as place:
        option, path, env = "--spill-dir", place, {}
        goal = ["--to", f"127.0.0.1:{target.port}", "--force", "--buffer", "16mb"]
        if way == "file":
            option, path = "--to-file", place / "pulled.rdb"
            goal = [option, path]
        elif way == "stream":
            goal[-1] = "256mb"
            env["RDBEAM_FAULT"] = "pull-spool:1:errno=ENOSPC"
        done = harness.cli("pull", "--from", f"127.0.0.1:{primary.port}", "--spill-dir", place,
                           *goal, env=env, check=1)
        assert f" in {path}: No space left on device: make room there" in done.stderr
        assert f"give another {option}" in done.stderr
        assert os.listdir(place) == ["lost+found"]
    assert target.client.get("old") == b"data"


@needs_root
def test_disk_remounted_read_only_is_err_and_heals(make, root):
    with loop_disk(root, 64) as place:
        server, old = saved_with_old_dump(make, place)
        run("mount", "-o", "remount,ro", place)
        server.bgsave(status="err")
        assert sha(place / "dump.rdb") == old
        run("mount", "-o", "remount,rw", place)
        server.bgsave()
        assert [name for name in os.listdir(place) if name.startswith("temp")] == []
        server.stop()


# ---- row 6: the region's edge ---------------------------------------------------------------

@pytest.mark.parametrize("megabytes", [5, 9, 30])
def test_image_around_the_regions_size_is_saved(make, loads, megabytes):
    """Just within the region, just beyond it, far beyond it: by the table or by stock saving."""
    server = make("primary", options={"segment-size": "2mb", "region-size": "8mb", "workers": 1})
    data.fill_strings(server.client, megabytes, 1 << 20)
    server.bgsave()
    assert loads(server.dump()).digest() == server.digest()


# ---- rows 11 and 12: no io_uring, little memlock, no O_DIRECT --------------------------------

def io_uring_is_allowed():
    try:
        return pathlib.Path("/proc/sys/kernel/io_uring_disabled").read_text().strip() == "0"
    except FileNotFoundError:
        return True  # older than the switch


def saves_confined(make, loads, confined):
    server = make("primary", confined=confined)
    data.fill_strings(server.client, 100, 10000)
    for _ in range(2):
        server.bgsave()
        server.image_made()
    assert loads(server.dump()).digest() == server.digest()
    return server.log()


@pytest.mark.skipif(not io_uring_is_allowed(), reason="kernel.io_uring_disabled")
def test_little_memlock_still_saves(make, loads):
    log = saves_confined(make, loads, ["--memlock", "65536"])
    assert "of memory not registered with io_uring" in log


@pytest.mark.parametrize("answer", ["--no-io-uring", "--deadly-io-uring"])
def test_seccomp_without_io_uring_writes_by_pwrite_and_says_so_once(make, loads, answer):
    """By an error, or, as a SystemCallFilter without SystemCallErrorNumber does, by SIGSYS."""
    log = saves_confined(make, loads, [answer])
    assert log.count("io_uring cannot be used here") == 1


def test_server_without_a_file_to_spare_saves(make, loads):
    """Of its soft limit: as one that has maxclients clients."""
    server = make("primary")
    data.fill_strings(server.client, 100, 10000)
    pools = [server.connect().connection_pool for _ in range(10)]
    clients = [pool.get_connection("PING") for pool in pools]  # in whatever gaps there are
    files = os.listdir(f"/proc/{server.pid}/fd")
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    # Stock saving needs one, and the module's way three before it has a table.
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (max(map(int, files)) + 4, hard))
    server.bgsave()
    server.image_made()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert loads(server.dump()).digest() == server.digest() and len(clients) == 10


def test_filter_that_ends_who_changes_priorities(make, loads):
    """As the unit of Debian's redis-server has it: who calls setpriority() there dies by SIGSYS."""
    sandbox = ["--no-scheduling"]
    primary = make("primary", confined=sandbox, repl_diskless_sync_delay="60",
                   options={"workers": os.cpu_count()})
    data.fill_strings(primary.client, 2000, 100)
    primary.bgsave()
    primary.image_made()
    data.fill_strings(primary.client, 30, 1 << 20)  # by threads, one for each processor
    primary.bgsave()
    primary.image_made()
    assert loads(primary.dump()).digest() == primary.digest()
    assert primary.log().count("filter of system calls") == 1
    if not harness.ASAN:  # it waits for a server's threads to stand still
        primary.client.config_set("rdbeam.fork-thp", "yes")
    # A puller lets a target that loads by itself go first.
    replica = make("replica", confined=sandbox, options={"auto-pull": "yes"}, replica_read_only="no")
    replica.client.replicaof("127.0.0.1", primary.port)
    wait_for(lambda: "replica by partial resync" in replica.log(),
             lambda: f"it is pulled:\n{replica.log()[-3000:]}", harness.DEADLINE_S * 3)
    assert replica.digest() == primary.digest()
    assert "loader stock" in replica.log()


def test_filter_that_refuses_pidfd_open_is_named(make, loads):
    server = make("primary", confined=["--no-pidfd"])
    data.fill_strings(server.client, 100, 100)
    server.bgsave()
    wait_for(lambda: "pidfd_open" in server.value("rdbeam", "rdbeam_last_error"),
             lambda: server.info("rdbeam"))
    assert server.fallbacks() == 1 and "seccomp" in server.log()
    assert loads(server.dump()).digest() == server.digest()


def test_file_system_without_o_direct_saves(make, loads):
    place = pathlib.Path("/dev/shm") / f"rdbeam-test-{os.getpid()}"
    place.mkdir()
    try:
        server = make("primary", dir=str(place))
        data.fill_strings(server.client, 100, 10000)
        server.bgsave()
        server.image_made()
        assert loads(place / "dump.rdb").digest() == server.digest()
        server.stop()
    finally:
        shutil.rmtree(place)


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_limit_of_processes_is_named(make, loads, monkeypatch):
    """As TasksMax= of a unit makes fork() fail."""
    monkeypatch.setenv("RDBEAM_FAULT", "fork-worker:1:errno=EAGAIN")
    server = make("primary", options={"workers": 2})
    data.fill_strings(server.client, 2000, 100)
    server.bgsave()
    assert "TasksMax" in server.value("rdbeam", "rdbeam_last_fallback_reason")
    assert loads(server.dump()).digest() == server.digest()


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_server_that_cannot_fork_says_so_at_once(make, root, monkeypatch):
    """As without memory to overcommit: no child's end would start another one."""
    fault = root / "fault"
    monkeypatch.setenv("RDBEAM_FAULT", f"@{fault}")
    server = make("primary", repl_backlog_size="1mb")
    data.fill_strings(server.client, 100, 100)
    harness.cli("pull", "--from", f"127.0.0.1:{server.port}", "--discard", check=0)
    server.childless()  # whose end would start another
    fault.write_text("request.fork:1:errno=ENOMEM snapshot\n")
    with pytest.raises(redis.ResponseError, match="cannot fork.*overcommit"):
        server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
    fault.write_text("request.fork:1:errno=ENOMEM pull\n")
    done = harness.cli("pull", "--from", f"127.0.0.1:{server.port}", "--discard", "--fresh", check=1, timeout_s=20)
    assert "cannot fork" in done.stderr
    harness.cli("pull", "--from", f"127.0.0.1:{server.port}", "--discard", "--fresh", check=0)


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_region_that_could_not_be_opened_is_opened_by_a_save(make, monkeypatch):
    """At the daemon's start there was no thread or no memory to be had."""
    monkeypatch.setenv("RDBEAM_FAULT", "daemon.region:1:errno=EAGAIN")
    server = make("primary")
    server.client.set("some", "data")
    wait_for(lambda: "region of segments of" in server.log(), "it could not be opened")
    server.bgsave()
    server.image_made()


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_settings_that_could_not_be_sent_are_sent_again(make, monkeypatch):
    """As while the daemon is stopped, or without memory."""
    monkeypatch.setenv("RDBEAM_FAULT", "link.configure:1:errno=EAGAIN")
    server = make("primary")  # which waits until the daemon is up
    server.client.set("some", "data")
    server.bgsave()
    server.image_made()


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_reason_of_stock_saving_is_the_daemons(make, loads, monkeypatch):
    """Not what followed from it in the child."""
    monkeypatch.setenv("RDBEAM_FAULT", "daemon.grant:1:errno=EIO")
    server = make("primary")
    data.fill_strings(server.client, 100, 100)
    server.bgsave()
    assert server.value("rdbeam", "rdbeam_last_fallback_reason") == "fault at a grant"
    assert loads(server.dump()).digest() == server.digest()


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("nth", [1, 2])
def test_what_no_process_could_be_had_for_is_tried_again(make, root, monkeypatch, nth):
    """Whether the filter of system calls here ends who changes priorities, or who uses io_uring."""
    fault = root / "fault"
    fault.write_text(f"call-try:{nth}:errno=EAGAIN\n")
    monkeypatch.setenv("RDBEAM_FAULT", f"@{fault}")
    server = make("primary", confined=["--old-kernel"])
    assert not fault.exists()
    server.client.set("some", "data")
    server.bgsave()
    server.image_made()
    assert "filter of system calls" not in server.log() and "io_uring cannot be used" not in server.log()


# ---- row 2: SIGUSR1 around the rename --------------------------------------------------------

@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("point, renamed", [("waiter.publish", False), ("file.rename", False),
                                            ("file.dirsync", True), ("waiter.published", True)])
def test_flushall_around_the_rename(make, monkeypatch, point, renamed):
    """The server kills its child while it stands before or behind the rename."""
    monkeypatch.setenv("RDBEAM_FAULT", f"{point}:1:stop")
    server = make("primary")
    server.client.set("old", "data")
    server.client.execute_command("BGSAVE")
    child = server.child()
    wait_for(lambda: pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")")[1].split()[0] == "T",
             "the waiter stands at the point")
    server.client.flushall()
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: not server.saving(), "the save is given up")
    wait_for(lambda: not harness.alive(child), "the waiter is gone", 5)
    assert server.dump().exists() == renamed
    assert server.value("persistence", "rdb_last_bgsave_status") == "ok"  # as in stock Redis
    assert server.temp_files() == []


# ---- a child that begins late ------------------------------------------------------------------

@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_new_image_has_what_was_written_before_it_was_asked_for(make, monkeypatch):
    """It is not that of a child which was forked before."""
    monkeypatch.setenv("RDBEAM_FAULT", "hook.child:1:stop")
    server = make("primary", options={"mode": "mirror"})
    server.client.set("old", "data")
    server.client.execute_command("BGSAVE")
    child = server.child()
    wait_for(lambda: pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")")[1].split()[0] == "T",
             "the child stands at its beginning")
    server.client.set("new", "data")
    pool = server.connect().connection_pool
    asking = pool.get_connection("RDBEAM.SNAPSHOT")
    asking.send_command("RDBEAM.SNAPSHOT", "WAIT", 60000)
    wait_for(lambda: server.number("clients", "blocked_clients") == 1, "it is asked for")
    os.kill(child, signal.SIGCONT)
    reply = asking.read_response()
    assert dict(zip(reply[::2], reply[1::2]))[b"keys"] == 2, reply


# ---- the waiter cannot be started ------------------------------------------------------------

@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("confined", [[], ["--old-kernel"]], ids=["unnamed file", "named file"])
def test_waiter_that_cannot_be_started_leaves_the_save_to_stock(make, loads, monkeypatch, confined):
    """Redis 7.0 has its temporary file open by then."""
    monkeypatch.setenv("RDBEAM_FAULT", "exec:1:errno=ENOMEM")
    server = make("server", confined=confined)
    data.fill_strings(server.client, 100, 1000)
    server.bgsave()
    assert "stock saving takes over: starting the waiter" in server.log()
    assert loads(server.dump()).digest() == server.digest()
    assert server.temp_files() == []


# ---- row 15: a flipped bit -------------------------------------------------------------------

@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_bit_flipped_in_the_region_feeds_nothing(make, monkeypatch):
    monkeypatch.setenv("RDBEAM_FAULT", "lane.seal:2:flip")
    primary = make("primary", options={"segment-size": "2mb", "workers": 1})
    monkeypatch.delenv("RDBEAM_FAULT")
    data.fill_strings(primary.client, 20, 1 << 20)
    replica = make("replica", module=False)
    replica.client.set("mine", "kept")
    done = harness.cli("pull", "--force", "--from", f"127.0.0.1:{primary.port}", "--to",
                       f"127.0.0.1:{replica.port}", check=4)
    assert "checksum" in done.stderr
    assert replica.client.get("mine") == b"kept"
    assert replica.info("replication")["role"] == "master"


# ---- row 21: the clock ----------------------------------------------------------------------

def test_no_time_of_day_in_deadlines():
    """Steps of the clock have no effect where it is not read: what is shown to people uses it, and when a key ends."""
    shown = {"clock.c", "clock.h", "save.c", "copied.c", "status_cmd.c", "record_meta.c", "expire.c"}
    found = {path.name for path in (harness.REPO / "src").glob("*/*.[ch]")
             if "beam_wall_ms" in path.read_text() or "CLOCK_REALTIME" in path.read_text()
             or "gettimeofday" in path.read_text()}
    assert found <= shown, found - shown


def step_clock(path, seconds):
    """In place: the servers have the file mapped."""
    with open(path, "r+b" if path.exists() else "wb") as file:
        file.write(struct.pack("=q", seconds))


@pytest.mark.skipif(harness.ASAN, reason="the sanitizer wants to be loaded first")
def test_steps_of_the_clock_have_no_effect(make, root):
    """Forth and back by more than `retain` and a ticket's time, in mid-save and in mid-pull; by less
    than repl-timeout, after which Redis itself drops its replicas."""
    clock = root / "clock"
    step_clock(clock, 0)
    shim = harness.artifact("rdbeam-clock-shim.so")
    primary = make("primary", confined=["--clock", shim, clock],
                   options={"rate-limit": 20 << 20, "retain": 20})
    replica = make("replica", module=False)
    data.fill_strings(primary.client, 40, 1 << 20)
    harness.cli("pull", "--discard", "--from", f"127.0.0.1:{primary.port}", check=0)  # a backlog
    started = primary.client.time()[0]
    for offset in (40, -40):
        primary.client.config_set("rdb-key-save-delay", 30000)
        primary.client.execute_command("BGSAVE")
        wait_for(lambda: primary.value("rdbeam", "rdbeam_state") == "copying", "the copy")
        step_clock(clock, offset)
        primary.saved()
        primary.image_made()
    assert primary.client.time()[0] < started, "the clock was set back"
    generation = primary.generation()
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{replica.port}")
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") > 0, "bytes flow")
    step_clock(clock, 0)
    assert process.wait(harness.DEADLINE_S) == 0, process.stderr.read()
    assert primary.generation() == generation, "the image was kept, and its ticket was good"
    wait_for(lambda: replica.digest() == primary.digest(), "the same data")


# ---- row 22: a crowd ------------------------------------------------------------------------

def latencies(client, seconds):
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        client.ping()
        taken.append(time.perf_counter() - began)
    return statistics.quantiles(taken, n=100)[98]


def test_half_open_connections_are_bounded_and_leave_pulls_alone(make, full):
    """Whoever says nothing is cut; the daemon holds few of them, and a real pull gets through."""
    primary, replica = make("primary"), make("replica", module=False)
    data.fill_strings(primary.client, 100, 1000)
    port = int(primary.options["port"])
    held, count = [], 10000 if full else 1000
    quiet = latencies(primary.client, 1)
    for number in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.0.{number % 200 + 1}.1", 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", port))
        held.append(sock)
        if len(held) > 400:  # of this process's own descriptors
            held.pop(0).close()
    crowded = latencies(primary.client, 1)
    fds = len(os.listdir(f"/proc/{primary.daemon()}/fd"))
    assert fds < 64 + 40, f"{fds} descriptors in the daemon"
    harness.cli("pull", "--from", f"127.0.0.1:{primary.port}", "--to", f"127.0.0.1:{replica.port}",
                check=0)
    wait_for(lambda: replica.digest() == primary.digest(), "the same data")
    print(f"p99 of PING: {quiet * 1e6:.0f} us alone, {crowded * 1e6:.0f} us beside {count} "
          "half-open connections")
    for sock in held:
        sock.close()


# ---- row 28: OOM score ----------------------------------------------------------------------

SCORES = {"oom_score_adj": "yes", "oom_score_adj_values": "0 200 800"}


def oom_score(pid):
    return int(pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_who_copies_is_the_first_to_go_without_memory(make):
    server = make("primary", options={"workers": 2}, **SCORES)
    server.hold()
    child = server.begin_held_save()
    assert (oom_score(server.pid), oom_score(server.daemon())) == (0, 1000)
    assert {oom_score(pid) for pid in (child, *harness.children(child))} == {800}
    harness.kill(child)
    server.saved("err")


def test_waiter_does_not_inherit_the_childs_oom_score(make):
    """It has the server's, which a unit's OOMScoreAdjust= may have made another than 0."""
    server = make("primary", options={"flush-rate-limit": 65536}, **SCORES)
    data.fill_strings(server.client, 40, 10000)
    pathlib.Path(f"/proc/{server.pid}/oom_score_adj").write_text("150")
    server.client.execute_command("BGSAVE")
    child = server.child()
    wait_for(lambda: "--wait" in harness.command_line(child), "the waiter")
    assert os.path.realpath(f"/proc/{child}/exe") == str(harness.artifact("rdbeam-wait").resolve())
    wait_for(lambda: oom_score(child) == 150, "the server's score")
    server.client.config_set("rdbeam.flush-rate-limit", 0)
    server.client.flushall()


def terminate(pids):
    for pid in pids:
        harness.kill(pid, signal.SIGTERM)


def test_sigterm_to_all_of_a_unit_is_the_servers(make):
    """systemd says it to each process of a unit that it stops (ADR 96): daemon, child, workers and waiter go on as long as
    the server does."""
    server = make("primary", options={"workers": "2", "flush-rate-limit": 65536})
    daemon = server.daemon()
    for number in range(400):
        server.client.set(f"key:{number}", "v" * 400)
    terminate([daemon])
    server.client.config_set("rdb-key-save-delay", 2000)
    child = server.begin_held_save()
    terminate([*server.workers(child), child, daemon])
    wait_for(lambda: "--wait" in harness.command_line(child), "the child waits for the disk")
    terminate([child, daemon])
    server.client.config_set("rdbeam.flush-rate-limit", 0)
    server.saved()
    server.image_made()
    assert server.daemon() == daemon
    terminate([*server.family(), server.pid])
    server.process.wait(harness.DEADLINE_S)
    server.gone()
    assert "is gone" not in server.log()


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("goal", ["file", "discard"])
def test_connection_that_breaks_when_all_is_read_is_made_again(make, root, goal):
    """Before the primary's word that the image is valid still: another connection can ask for it."""
    primary = make("primary")
    data.fill_strings(primary.client, 20, 1 << 20)
    path = root / "pulled.rdb"
    done = harness.cli("pull", "--json", "--from", f"127.0.0.1:{primary.port}",
                       *(["--to-file", path] if goal == "file" else ["--discard"]),
                       env={"RDBEAM_FAULT": f"pull-valid:1:errno={errno.ECONNRESET}"}, check=0)
    assert json.loads(done.stdout)["keys"] == 20
    # The second connection has read nothing again.
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_total") == 2, lambda: primary.info("rdbeam"))
    if goal == "file":
        harness.cli("verify", path, check=0)
