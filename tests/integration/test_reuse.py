# SPDX-License-Identifier: BSD-3-Clause
"""BGSAVE of an image larger than rdbeam.region-size: slots are used again while the disk and the
attached pulls take their segments."""
import signal

import pytest

import data
import harness
from harness import check_rdb, cli, cli_start, wait_for

MIB = 1 << 20


def fill(server, megabytes):
    cli("fill", "-p", server.port, "--keys", megabytes * 1000, "--value-size", 1024, "--quiet",
        check=0)


def test_large_image_goes_through_a_small_region(make, loads, full):
    size = 600 if full else 200
    server = make("primary", options={"region-size": "64mb" if full else "32mb"})
    fill(server, size)
    data.fill_mixed(server)
    for _ in range(2):
        server.bgsave()
        info = server.image_made()
        assert int(info["rdbeam_snapshot_bytes"]) > size * 1000 * 1000
        assert int(info["rdbeam_region_bytes"]) <= (64 if full else 32) * MIB
    check_rdb(server.dump())
    assert loads(server.dump()).digest() == server.digest()
    # Nothing is retained of it: a pull makes an image of its own, which does not fit.
    late = cli("pull", "--from", f"127.0.0.1:{server.port}", "--discard")
    assert late.returncode != 0 and "rdbeam.region-size" in late.stderr, late.stderr


def slow_save(make, **options):
    """A save of 40 MB by 8 slots that lasts some seconds, with a backlog for pulls."""
    server = make("primary", options={"region-size": "16mb", "segment-size": "2mb", **options})
    replica = make("backlog", module=False, replicaof=f"127.0.0.1 {server.port}")
    wait_for(lambda: replica.value("replication", "master_link_status") == "up", "a backlog")
    server.childless()
    data.fill_strings(server.client, 40, MIB)
    server.client.config_set("rdb-key-save-delay", 100000)
    server.client.execute_command("BGSAVE")
    return server


def test_pull_that_is_there_from_the_beginning_gets_all(make, loads, root):
    server = slow_save(make)
    path = root / "pulled.rdb"
    cli("pull", "--from", f"127.0.0.1:{server.port}", "--transport", "tcp", "--to-file", path,
        check=0)
    server.saved()
    server.image_made()
    assert path.read_bytes() == server.dump().read_bytes()
    assert loads(path).digest() == server.digest()


def test_pull_that_stops_is_dropped_and_told(make, root):
    server = slow_save(make, stall_timeout=1)
    puller = cli_start("pull", "--from", f"127.0.0.1:{server.port}", "--transport", "tcp",
                       "--to-file", root / "pulled.rdb")
    wait_for(lambda: server.number("rdbeam", "rdbeam_pull_bytes_total") > 0, "it reads")
    puller.send_signal(signal.SIGSTOP)
    server.saved(timeout_s=60)
    server.image_made()
    assert "rdbeam.stall-timeout" in server.log() or "its copy waited" in server.log()
    puller.send_signal(signal.SIGCONT)
    said = puller.communicate(timeout=30)[1]
    assert puller.returncode != 0 and not (root / "pulled.rdb").exists(), said
    check_rdb(server.dump())


@pytest.mark.parametrize("victim", ["daemon", "child", "worker"])
def test_death_in_mid_save(make, loads, victim):
    server = slow_save(make)
    wait_for(lambda: int(server.info("rdbeam")["rdbeam_progress_pct"]) > 40, "slots are used again")
    child = server.child()
    if victim == "daemon":
        harness.kill(server.daemon())
    elif victim == "child":
        harness.kill(child)
    else:
        harness.kill(server.workers(child)[0])
    server.client.config_set("rdb-key-save-delay", 0)
    server.saved("err" if victim == "child" else "ok", timeout_s=60)
    server.wait_ready()
    server.bgsave()
    check_rdb(server.dump())
    assert loads(server.dump()).digest() == server.digest()


def region_after_save(server):
    server.bgsave()
    return int(server.image_made()["rdbeam_region_bytes"])


def test_image_that_nobody_can_go_on_from_gives_its_memory(make):
    size = 120
    half = size * 1000 * 1000 // 2
    server = make("primary", options={"segment-size": "2mb"})
    fill(server, size)
    alone = region_after_save(server)
    assert region_after_save(server) < alone + half
    replica = make("backlog", module=False, replicaof=f"127.0.0.1 {server.port}")
    wait_for(lambda: replica.value("replication", "master_link_status") == "up", "a backlog")
    server.childless()
    kept = region_after_save(server)
    assert kept < alone + half
    cut = server.number("rdbeam", "rdbeam_offset")
    server.client.config_set("repl-backlog-size", 16384)
    data.fill_strings(server.client, 300, 16384)
    wait_for(lambda: server.number("replication", "repl_backlog_first_byte_offset") > cut + 1,
             "the backlog has gone on")
    assert region_after_save(server) < alone + half
    # And this one a replica could go on from.
    assert region_after_save(server) > alone + half
