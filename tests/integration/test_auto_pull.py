# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam.auto-pull: whoever says REPLICAOF, the replica is pulled, or synced by the server as ever."""
import os
import pathlib
import re
import resource
import subprocess
import sys

import pytest
import redis

import data
import harness
from harness import wait_for
from test_pull import MIB, in_sync, same_data, slow_primary

AUTO = {"auto-pull": "yes"}


def follow(replica, primary):
    replica.client.execute_command("REPLICAOF", "127.0.0.1", primary.port)


def said(replica, text):
    wait_for(lambda: text in replica.log(), lambda: f"{text!r} in the log:\n{replica.log()[-3000:]}",
             harness.DEADLINE_S * 3)


def primary_with_data(make, **conf):
    # A stock sync waits this long before it forks; the pull is there before.
    primary = make("primary", repl_diskless_sync_delay="3", **conf)
    data.fill_mixed(primary)
    data.fill_strings(primary.client, 5000, 1000)
    return primary


def test_replicaof_is_served_by_a_pull(make):
    primary = primary_with_data(make)
    replica = make("replica", options=AUTO)
    with data.Load(primary, pause_s=0.002):
        follow(replica, primary)
        said(replica, "replica by partial resync")
    same_data(primary, replica)
    assert replica.log().count("auto-pull: from") == 1, "the pull's own REPLICAOF starts no other"
    assert "loader module" in replica.log()
    # Where the server goes on by a partial resync, nothing is pulled.
    between = make("between")
    follow(between, primary)
    same_data(primary, between)
    follow(replica, between)
    said(replica, "no pull is needed")
    same_data(between, replica)
    assert replica.log().count("replica by partial resync") == 1


def test_replica_of_a_replica_stays_under_it(make):
    """Not under the primary of that one, which may be out of its reach, or ahead of it: a full resync."""
    primary = primary_with_data(make, requirepass="of-the-primary")
    between = make("between", repl_diskless_sync_delay="3", requirepass="between", masterauth="of-the-primary")
    follow(between, primary)
    same_data(primary, between)
    replica = make("replica", options=AUTO, masterauth="between")
    before = between.number("stats", "sync_full")
    with data.Load(primary, pause_s=0.002):
        follow(replica, between)
        said(replica, "replica by partial resync")
    in_sync(primary, between)
    same_data(between, replica)
    assert f"REPLICAOF 127.0.0.1:{primary.port}" not in replica.log()
    assert between.number("stats", "sync_full") == before + 1, "the order's own, which the pull replaced"


def test_passwords_are_the_servers_own_and_not_in_argv(make):
    primary = primary_with_data(make, requirepass="of-the-primary")
    replica = make("replica", options=AUTO, requirepass="its-own", masterauth="of-the-primary",
                   repl_diskless_load="swapdb")
    lines = []
    follow(replica, primary)
    wait_for(lambda: lines.extend(command_lines(replica)) or "replica by partial resync" in replica.log(),
             lambda: f"it is pulled:\n{replica.log()[-3000:]}", harness.DEADLINE_S * 3)
    assert lines and not [line for line in lines if b"of-the-primary" in line or b"its-own" in line]
    same_data(primary, replica)
    assert replica.client.config_get("repl-diskless-load") == {"repl-diskless-load": "swapdb"}


def test_replicaof_of_the_configuration_file(make):
    primary = primary_with_data(make)
    replica = make("replica", options=AUTO, replicaof=f"127.0.0.1 {primary.port}")
    said(replica, "replica by partial resync")
    same_data(primary, replica)


@pytest.mark.parametrize("conf", [{"unixsocket": "its.sock"}, {"unixsocket": "its.sock", "moved": True},
                                  {"bind": "-::*"}, {"bind": "127.0.0.10"}])
def test_replica_is_reached_as_it_listens(make, root, conf):
    primary = make("primary", repl_diskless_sync_delay="60")
    data.fill_strings(primary.client, 500, 100)
    moved = conf.get("moved")
    replica = make("replica", run=False, options=AUTO,
                   **{key: value for key, value in conf.items() if key != "moved"})
    if conf.get("bind") == "-::*":
        if not pathlib.Path("/proc/net/if_inet6").exists():
            pytest.skip("no IPv6 here")
        replica.host = "::1"
    replica.start()
    if moved:
        replica.client.config_set("dir", str(root))
    follow(replica, primary)
    said(replica, "replica by partial resync")
    assert replica.digest() == primary.digest()
    assert ("to 127.0.0.1:" in replica.log()) == bool(moved)


def test_server_that_took_over_the_socket_is_left_alone(make):
    """As with two servers of one configuration file, but for the port. The other one was filled, and lost its data."""
    primary = primary_with_data(make)
    replica = make("replica", options=AUTO, unixsocket="../its.sock")
    other = make("other", module=False, unixsocket="../its.sock")
    other.client.set("precious", "data")
    follow(replica, primary)
    said(replica, "is another server than the one to be filled")
    same_data(primary, replica)
    assert other.info("replication")["role"] == "master" and other.client.get("precious")
    assert "REPLICAOF" not in other.log()


def test_primary_without_the_module_is_synced_as_ever(make):
    primary = make("primary", module=False)
    data.fill_mixed(primary)
    replica = make("replica", options=AUTO)
    follow(replica, primary)
    same_data(primary, replica)
    said(replica, "auto-pull: rdbeam:")
    assert replica.log().count("auto-pull: from") == 1


def listed(primary):
    """The links that the primary sends its stream to, as Sentinel reads of them."""
    entries = [dict(item.split("=", 1) for item in value.split(","))
               for name, value in primary.info("replication").items() if re.fullmatch(r"slave\d+", name)]
    return [(entry["ip"], int(entry["port"])) for entry in entries if entry["state"] == "online"]


def test_primary_lists_the_pull_by_the_replicas_name(make):
    """Sentinel keeps whom it has once read of there: a replica at port 0 would never go."""
    primary = slow_primary(make, megabytes=20, rate=MIB // 4, repl_diskless_sync_delay="30")
    replica = make("replica", options=AUTO)
    long = f"replica-0.{'n' * 60}.svc.cluster.local"
    for name in ("127.0.0.1", replica.port), (long, 7777):
        follow(replica, primary)
        wait_for(lambda: listed(primary) == [name], lambda: f"{name}: {primary.info('replication')}")
        wait_for(lambda: obeys(replica, "NO", "ONE"), "it stands alone")
        wait_for(lambda: not listed(primary), "the pull has ended")
        replica.client.config_set("replica-announce-ip", long)
        replica.client.config_set("replica-announce-port", 7777)


def attached(replica, primary):
    info = replica.info("replication")
    return info.get("master_port") not in (None, str(primary.port))


@pytest.mark.parametrize("order", ["NO ONE", "another"])
def test_other_orders_call_the_pull_off(make, order):
    # The first segment takes long, so that the order comes before the replica loads.
    primary = slow_primary(make, megabytes=20, rate=MIB // 4, repl_diskless_sync_delay="30")
    replica = make("replica", options=AUTO)
    follow(replica, primary)
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_active") == 1, "it pulls")
    if order == "another":
        other = make("other", module=False)
        data.fill_strings(other.client, 100, 100)
        wait_for(lambda: obeys(replica, "127.0.0.1", other.port), "it follows another")
        same_data(other, replica)
    else:
        wait_for(lambda: obeys(replica, "NO", "ONE"), "it stands alone")
    said(replica, "is cancelled")
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_active") == 0, "the pull has ended")
    if order == "NO ONE":
        assert replica.value("replication", "role") == "master"


def obeys(replica, *whom):
    """A server that loads refuses REPLICAOF, as it would in a sync of its own."""
    try:
        return replica.client.execute_command("REPLICAOF", *whom)
    except redis.BusyLoadingError:
        return False


@pytest.mark.parametrize("victims", ["the pull", "its guard, too"])
def test_killed_pull_gives_way_to_the_servers_own_sync(make, victims):
    primary = slow_primary(make)
    primary.client.config_set("repl-diskless-sync-delay", 2)
    replica = make("replica", options=AUTO)
    follow(replica, primary)
    wait_for(lambda: attached(replica, primary), "the pull feeds it")
    pids = sorted(command_lines(replica).values())
    assert len(pids) == 2, "the pull and its guard"
    for pid in reversed(pids[:1] if victims == "the pull" else pids):
        harness.kill(pid)
    same_data(primary, replica)
    assert replica.log().count("auto-pull: from") == 1


FAKE_PULL = """#!{python} -SE
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
sys.stderr.write(f"pid {{os.getpid()}}\\n" + "x" * 511 + "and more\\npid {other}\\n")
sys.stderr.flush()
time.sleep(1000)
"""


def test_a_pull_says_its_pid_once(make):
    """What comes later may be the words of a primary, and whoever's pid that is must not be killed."""
    other = subprocess.Popen(["sleep", "1000"])
    try:
        replica = make("replica", options=AUTO)
        fake = replica.dir / "rdbeam"
        fake.write_text(FAKE_PULL.format(python=sys.executable, other=other.pid))
        fake.chmod(0o755)
        follow(replica, replica)
        said(replica, f"auto-pull: pid {other.pid}")
        assert "x\n" in replica.log() and "auto-pull: and more\n" in replica.log()
        pulls = [path for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")
                 if str(fake).encode() + b"\0" in read(path)]
        assert len(pulls) == 1
        replica.client.execute_command("REPLICAOF", "NO", "ONE")
        wait_for(lambda: not read(pulls[0]), "the pull has ended")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_pull_that_cannot_detach_does_not_keep_the_server_waiting():
    """The server waits for the end of its child: it would wait for the pull, and the pull for the server."""
    def may_not_fork():
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        if os.getuid() == 0:
            os.setresuid(65533, 65533, 65533)  # root may always

    with open(harness.artifact("rdbeam"), "rb") as program:  # its directory may be root's
        done = subprocess.run(["rdbeam", "pull", "--from", "127.0.0.1:1", "--to", "127.0.0.1:1"],
                              executable=f"/proc/self/fd/{program.fileno()}", pass_fds=[program.fileno()],
                              preexec_fn=may_not_fork, capture_output=True, text=True,
                              env={**os.environ, **harness.sanitizer_env(leaks=False), "RDBEAM_PULL_ID": "0" * 32},
                              timeout=harness.DEADLINE_S)
    assert done.returncode == 1, done
    assert done.stderr == "rdbeam: cannot start: a process (Resource temporarily unavailable): free some\n"


def command_lines(replica):
    """Of the processes that pull into this server."""
    return {read(path) + path.parent.name.encode(): int(path.parent.name)
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")
            if f"127.0.0.1:{replica.port}".encode() in read(path) and b"\0pull\0" in read(path)}


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""
