# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam pull: an empty stock server becomes a replica of a primary that keeps taking writes."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
import redis

import data
import harness
from harness import alive, check_rdb, wait_for

MIB = 1 << 20


def pull(primary, replica=None, *more, check=0, **kwargs):
    """Runs a pull; the JSON object that it prints last, or the process when it is to fail."""
    args = ["pull", "--json", "--from", f"127.0.0.1:{primary.port}"]
    if replica is not None:
        args += ["--to", f"127.0.0.1:{replica.port}"]
    done = harness.cli(*args, *more, check=check, **kwargs)
    return last_json(done.stdout) if check == 0 else done


def last_json(text):
    return json.loads(text.strip().splitlines()[-1] if text.strip().startswith("{")
                      and text.strip().count("\n{") else text)


def one_line(done, *words):
    """Bad input gets one line that names what is wrong and what to do."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    missing = [word for word in words if word.lower() not in lines[0].lower()]
    assert not missing, (missing, lines[0])


def stats(server):
    return {key: server.number("stats", key)
            for key in ("sync_full", "sync_partial_ok", "sync_partial_err", "total_forks")}


def in_sync(primary, replica):
    def same():
        mine, its = primary.info("replication"), replica.info("replication")
        return its.get("master_link_status") == "up" \
            and its["master_port"] == str(primary.port) \
            and its["slave_repl_offset"] == mine["master_repl_offset"]
    wait_for(same, lambda: f"in sync: {replica.info('replication')}\n{replica.log()[-3000:]}")


def same_data(primary, replica, dbs=4):
    in_sync(primary, replica)
    assert replica.digest() == primary.digest()
    assert data.details(replica, dbs) == data.details(primary, dbs)


def slow_primary(make, megabytes=60, rate=10 * MIB, **kwargs):
    """A primary whose pulls take seconds, so that something can happen in between."""
    options = {"rate-limit": rate, "segment-size": "2mb", **kwargs.pop("options", {})}
    primary = make("primary", options=options, **kwargs)
    data.fill_strings(primary.client, megabytes, MIB)
    return primary


def script_of_daemon(root):
    """A daemon that cannot be started again once this is gone."""
    script = root / "rdbeamd"
    script.write_text(f'#!/bin/sh\nexec {harness.artifact("rdbeamd")} "$@"\n')
    script.chmod(0o755)
    return script


# ---- the main job ---------------------------------------------------------------------------

def test_pull_under_writes_is_partial(make, binary):
    primary = make("primary", options={"segment-size": "2mb"})
    data.fill_mixed(primary)
    data.fill_strings(primary.client, 20000, 500)
    replica = make("replica", module=False)
    before = stats(primary)
    with data.Load(primary) as load:
        said = pull(primary, replica)
        after_pull = load.writes
        wait_for(lambda: load.writes > after_pull, "writes go on after the hand-over")
    assert said["full_resyncs"] == 0 and said["partial_resyncs"] == 1, said
    same_data(primary, replica)
    after = stats(primary)
    assert after["sync_full"] - before["sync_full"] <= 1  # the link that opens the stream
    assert replica.info("replication")["role"] == "slave"
    assert replica.value("replication", "slave_read_only") == "1"


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_key_that_gets_a_longer_life_while_it_is_copied(make, binary, fast_path):
    """All that the stream says of it is that it lives on."""
    primary = make("primary", options={"workers": 1, "fast-path": fast_path})
    replica = make("replica", module=False)
    pull(primary, replica)  # there is a backlog from now on
    replica.client.replicaof("no", "one")
    keys = [f"list:{i}" for i in range(300)]
    pipe = primary.client.pipeline()
    for key in keys:
        pipe.rpush(key, *range(100))
    pipe.set("string", "read by a command")
    pipe.execute()
    primary.client.config_set("rdb-key-save-delay", 4000)  # usleep: each key takes that long
    with primary.client.pipeline(transaction=False) as ends:
        for key in (*keys, "string"):
            ends.pexpire(key, 700)
        ends.execute()
    puller = harness.cli_start("pull", "--fresh", "--force", "--from", f"127.0.0.1:{primary.port}",
                               "--to", f"127.0.0.1:{replica.port}")
    wait_for(lambda: harness.children(primary.pid), "a child copies")
    for key in (*keys, "string"):
        primary.client.persist(key)
    assert puller.wait(harness.DEADLINE_S) == 0, puller.stderr.read()
    same_data(primary, replica)


def test_pull_of_a_quiet_primary(make):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 100)
    replica = make("replica", module=False)
    said = pull(primary, replica)
    assert said["full_resyncs"] == 0 and said["keys"] == 1000, said
    primary.client.set("after", "the pull")  # in database 0
    primary.connect(db=3).set("after", "the pull")
    same_data(primary, replica)


def test_target_that_connects_from_another_of_its_addresses(make):
    primary = make("primary", protected_mode="no")
    data.fill_strings(primary.client, 100, 100)
    target = make("target", module=False, bind_source_addr="127.0.0.2")
    assert pull(primary, target)["full_resyncs"] == 0
    same_data(primary, target)


def test_pull_of_an_empty_primary(make):
    primary = make("primary")
    replica = make("replica", module=False)
    assert pull(primary, replica)["keys"] == 0
    primary.client.set("first", "key")
    same_data(primary, replica)


def test_pull_with_one_database(make):
    primary = make("primary", databases=1)
    data.fill_strings(primary.client, 1000, 100)
    replica = make("replica", module=False)
    with data.Load(primary, dbs=1):
        said = pull(primary, replica)
    assert said["full_resyncs"] == 0
    same_data(primary, replica, dbs=1)


@pytest.mark.parametrize("load_mode", ["disabled", "on-empty-db", "swapdb"])
def test_pull_into_each_way_of_loading(make, load_mode):
    primary = make("primary")
    data.fill_mixed(primary)
    replica = make("replica", module=False, repl_diskless_load=load_mode)
    with data.Load(primary):
        said = pull(primary, replica)
    assert said["full_resyncs"] == 0
    same_data(primary, replica)


def own_memory(primary):
    """Bytes that the server and the daemon hold for themselves: not the image, which is shared."""
    lines = [line for pid in (primary.pid, primary.daemon())
             for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def most_memory(primary, running):
    """The most of it until all have ended."""
    most = own_memory(primary)
    for process in running:
        while process.poll() is None:
            most = max(most, own_memory(primary))
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
    return most


def test_two_pulls_at_once_and_a_third_from_the_same_image(make):
    """And each costs the primary less than 16 MiB while it lasts."""
    primary = slow_primary(make, rate=0)
    replicas = [make(f"replica{n}", module=False) for n in range(3)]
    pull(primary, None, "--discard")  # makes the backlog and the image
    primary.client.config_set("rdbeam.rate-limit", 30 * MIB)
    forks = stats(primary)["total_forks"]
    before = own_memory(primary)
    with data.Load(primary, pause_s=0.005):
        running = [harness.cli_start("pull", "--json", "--from", f"127.0.0.1:{primary.port}",
                                     "--to", f"127.0.0.1:{replica.port}")
                   for replica in replicas[:2]]
        wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_active") == 2, "two are served")
        taken = most_memory(primary, running) - before
        assert harness.SANITIZE or taken < 2 * 16 * MIB, taken  # a sanitizer keeps what is freed
        for process in running:
            out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
            assert process.returncode == 0, err
            assert last_json(out)["full_resyncs"] == 0
        primary.client.config_set("rdbeam.rate-limit", 0)
        third = pull(primary, replicas[2])
    assert third["reused"] is True and third["full_resyncs"] == 0
    for replica in replicas:
        same_data(primary, replica)
    assert stats(primary)["total_forks"] == forks, "one image, one fork"


def test_image_of_bgsave_is_reused(make):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 1000)
    first = make("first", module=False)
    pull(primary, first)  # makes the backlog
    primary.bgsave()
    forks = stats(primary)["total_forks"]
    second = make("second", module=False)
    said = pull(primary, second)
    assert said["reused"] is True and said["full_resyncs"] == 0
    assert stats(primary)["total_forks"] == forks
    same_data(primary, second)


def test_stale_image_gives_way_to_a_new_snapshot(make):
    """The backlog has moved past the retained image's offset."""
    primary = make("primary", repl_backlog_size="64kb")
    data.fill_strings(primary.client, 1000, 100)
    primary.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 30000)
    generation = primary.generation()
    data.fill_strings(primary.client, 2000, 1000, prefix="overrun")
    replica = make("replica", module=False)
    said = pull(primary, replica)
    assert said["reused"] is False
    assert primary.generation() != generation
    same_data(primary, replica)


def test_save_while_clients_are_paused(make):
    """The server ends itself if something goes into its stream then: the cut stays unmarked."""
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 100)
    first = make("first", module=False, replicaof=f"127.0.0.1 {primary.port}")
    in_sync(primary, first)
    primary.connect(db=5).set("before", "the pause")
    primary.client.execute_command("CLIENT", "PAUSE", 600000, "WRITE")
    primary.bgsave()
    assert primary.image_made()["rdbeam_replid"] == ""
    one_line(pull(primary, None, "--discard", check=1), "clients are paused", "try again")
    primary.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 30000)
    primary.client.execute_command("CLIENT", "UNPAUSE")
    primary.connect(db=5).set("after", "the pause")
    replica = make("replica", module=False)
    said = pull(primary, replica)
    assert (said["reused"], said["full_resyncs"]) == (False, 0)
    primary.connect(db=5).set("after", "the pull")
    same_data(primary, replica, dbs=6)


def test_small_backlog_under_writes(make):
    """A backlog smaller than what is written during the pull: the stream is buffered at our side."""
    primary = slow_primary(make, megabytes=30, repl_backlog_size="16kb",
                           client_output_buffer_limit='"replica 0 0 0"')
    replica = make("replica", module=False)
    with data.Load(primary, size=500, pause_s=0.01) as load:
        done = harness.cli("pull", "--json", "--from", f"127.0.0.1:{primary.port}",
                           "--to", f"127.0.0.1:{replica.port}")
        assert load.writes > 0
    assert done.returncode == 0, done.stderr
    same_data(primary, replica)


def test_small_buffer_spills_and_stages(make, root):
    primary = slow_primary(make, megabytes=40, rate=20 * MIB)
    replica = make("replica", module=False)
    spill = root / "spill"
    spill.mkdir()
    with data.Load(primary, size=2000):
        said = pull(primary, replica, "--buffer", "16mb", env={"TMPDIR": str(spill)})
    assert said["full_resyncs"] == 0
    same_data(primary, replica)
    assert list(spill.iterdir()) == []


@pytest.mark.parametrize("loader", ["stock", "module"])
def test_servers_that_close_idle_connections(make, loader):
    """`timeout 1` at both: nothing is said to either while the image is read."""
    primary = slow_primary(make, megabytes=40)
    replica = make("replica", module=loader == "module")
    for server in (primary, replica):
        server.client.config_set("timeout", 1)
    said = pull(primary, replica, "--loader", loader)
    for server in (primary, replica):  # the test's own connections have been idle, too
        server.client = server.connect()
        server.client.config_set("timeout", 0)
    assert said["full_resyncs"] == 0
    primary.connect(db=1).set("after", "the pull")
    same_data(primary, replica)


# ---- other targets --------------------------------------------------------------------------

def test_as_copy_adds_keys_to_an_independent_server(make):
    primary = make("primary")
    data.fill_mixed(primary)
    target = make("target", module=False)
    pull(primary, target, "--as", "copy")
    assert target.value("replication", "role") == "master"
    primary.client.set("later", "not copied")
    assert target.client.get("later") is None
    primary.client.delete("later")
    assert target.digest() == primary.digest()


def test_as_copy_whose_target_dies_while_the_image_travels(make):
    primary = slow_primary(make, megabytes=20)
    target = make("target", module=False)
    process = harness.cli_start("pull", "--as", "copy", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") > MIB, "bytes flow")
    target.kill()
    primary.client.config_set("rdbeam.rate-limit", 0)
    _, err = process.communicate(timeout=harness.DEADLINE_S * 2)
    assert process.returncode == 1, (process.returncode, err)
    assert f"cannot connect: 127.0.0.1:{target.port}" in err.splitlines()[-1]


def test_to_file_loads_and_continues(make, loads, root):
    primary = make("primary")
    data.fill_mixed(primary)
    path = root / "pulled.rdb"
    pull(primary, None, "--to-file", path)
    check_rdb(path)
    harness.cli("verify", path, check=0)
    copy = loads(path)
    assert copy.digest() == primary.digest()
    assert [p.name for p in root.iterdir() if p.is_file()] == ["pulled.rdb"]


def test_misspelt_place_costs_the_primary_no_fork(make, root):
    primary = make("primary")
    target = make("target", module=False)
    nowhere = root / "nowhere"
    for option in (["--to-file", nowhere / "pulled.rdb"], ["--to-file", root],
                   ["--to", f"127.0.0.1:{target.port}", "--spill-dir", nowhere],
                   ["--to", f"127.0.0.1:{target.port}", "--spill-dir", "/dev/null"]):
        done = harness.cli("pull", "--from", f"127.0.0.1:{primary.port}", *option, check=1)
        assert f"{option[-2]} {option[-1]}: " in done.stderr, done.stderr
    assert primary.number("stats", "total_forks") == 0
    assert target.value("replication", "role") == "master"


def test_to_file_beside_what_a_killed_pull_has_left(make, root):
    """In a container it had the same pid."""
    primary = make("primary")
    primary.client.set("key", "value")
    done = subprocess.run([str(harness.artifact("rdbeam")), "pull", "--from", f"127.0.0.1:{primary.port}",
                           "--to-file", root / "new.rdb"], capture_output=True, text=True,
                          preexec_fn=lambda: (root / f".rdbeam-{os.getpid()}.tmp").touch())
    assert done.returncode == 0, done.stderr
    check_rdb(root / "new.rdb")


def test_to_file_leaves_an_old_file_whole_when_it_fails(make, root):
    script = script_of_daemon(root)
    primary = slow_primary(make, options={"daemon": script})
    path = root / "pulled.rdb"
    path.write_bytes(b"older")
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to-file", path)
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") > 5 * MIB, "bytes flow")
    script.unlink()
    os.kill(primary.daemon(), signal.SIGKILL)
    _, err = process.communicate(timeout=harness.DEADLINE_S * 2)
    assert process.returncode == 1 and f"rdbeam.daemon {script}" in err, err
    assert path.read_bytes() == b"older"
    assert [p.name for p in root.iterdir() if p.is_file()] == ["pulled.rdb"]


def test_discard_reads_and_keeps_nothing(make):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 1000)
    said = pull(primary, None, "--discard")
    assert said["keys"] == 1000 and said["image_bytes"] > 1000000


def test_pull_on_the_primarys_host_reads_its_memory(make):
    primary = make("primary")
    data.fill_strings(primary.client, 2000, 1000)
    said = pull(primary, None, "--discard")
    assert said["transport"] == "tcp" and said["same_host_bytes"] > 2000000, said
    harness.wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") == said["same_host_bytes"],
                     "the daemon to count what the pull has copied")
    assert pull(primary, None, "--discard", "--transport", "tcp")["same_host_bytes"] == 0
    primary.client.config_set("rdbeam.rate-limit", "1gb")
    assert pull(primary, None, "--discard")["same_host_bytes"] == 0


# ---- refusals -------------------------------------------------------------------------------

def test_target_with_foreign_keys_needs_force(make):
    primary = make("primary")
    data.fill_strings(primary.client, 100, 100)
    target = make("target", module=False)
    target.client.set("precious", "data")
    digest = target.digest()
    one_line(pull(primary, target, check=3), "--force", str(target.port))
    assert target.digest() == digest and target.value("replication", "role") == "master"
    pull(primary, target, "--force")
    same_data(primary, target)


def test_target_with_too_few_databases_is_refused(make):
    primary = make("primary")
    primary.connect(db=3).set("key", "value")
    target = make("target", module=False, databases=3)
    one_line(pull(primary, target, check=3), "3 databases", "database 3", "configuration file")
    assert target.client.ping() and target.value("replication", "role") == "master"


@pytest.mark.parametrize("held", [0, 100])
def test_small_image_is_loaded_without_its_filler(make, held):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 100)
    replica = make("replica", module=False)
    data.fill_strings(replica.client, held, 100)
    said = pull(primary, replica, *(["--force"] if held else []))
    assert said["full_resyncs"] == 0 and said["image_bytes"] > 8 * MIB, said
    same_data(primary, replica)
    assert replica.number("stats", "total_net_repl_input_bytes") < MIB
    assert "checksum" not in replica.log()


def test_file_of_a_target_that_loads_from_its_disk_is_an_image(make):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 100)
    replica = make("replica", module=False, repl_diskless_load="disabled")
    replica.client.execute_command("ACL", "SETUSER", "default", "-config|set")
    said = pull(primary, replica)
    same_data(primary, replica)
    assert replica.dump().stat().st_size == said["image_bytes"]
    harness.cli("verify", replica.dump(), check=0)


def test_replica_of_this_primary_needs_no_force(make):
    primary = make("primary")
    data.fill_strings(primary.client, 100, 100)
    target = make("target", module=False)
    pull(primary, target)
    target.client.replicaof("NO", "ONE")
    target.client.replicaof("127.0.0.1", primary.port)
    in_sync(primary, target)
    said = pull(primary, target)
    assert said["full_resyncs"] == 0
    same_data(primary, target)


def test_wrong_password_is_refused(make):
    primary = make("primary", requirepass="right")
    target = make("target", module=False)
    done = harness.cli("pull", "--from", f"redis://:wrong@127.0.0.1:{primary.port}", "--to",
                       f"127.0.0.1:{target.port}", check=3)
    one_line(done, str(primary.port), "password")
    assert "wrong@" not in done.stderr
    done = harness.cli("pull", "--from", f"redis://:right@127.0.0.1:{primary.port}", "--to",
                       f"127.0.0.1:{target.port}", check=0)
    in_sync_with_password(primary, target)


def in_sync_with_password(primary, target):
    """The replica must be told the password, or the hand-over cannot work."""
    wait_for(lambda: target.info("replication").get("master_link_status") == "up", "link is up")
    assert target.digest() == primary.digest()


def test_user_without_the_commands_is_refused(make):
    primary = make("primary")
    primary.client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@admin",
                                   "-@dangerous")
    target = make("target", module=False)
    done = harness.cli("pull", "--from", f"redis://app:pw@127.0.0.1:{primary.port}", "--to",
                       f"127.0.0.1:{target.port}", check=3)
    one_line(done, str(primary.port), "NOPERM", "ACL SETUSER")


def test_primary_without_the_module_is_refused(make):
    primary = make("primary", module=False)
    target = make("target", module=False)
    one_line(pull(primary, target, check=3), str(primary.port), "rdbeam.so")


def test_primary_that_is_not_there(make):
    target = make("target", module=False)
    port = harness.free_port()
    done = harness.cli("pull", "--from", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{target.port}",
                       check=1)
    one_line(done, str(port), "refused")


def test_cluster_node_is_told_about_to_file(make):
    primary = make("primary")
    primary.client.set("key", "value")
    target = make("target", module=False, cluster_enabled="yes")
    one_line(pull(primary, target, check=3), "--to-file", str(target.port))


def test_usage_errors_exit_2():
    for args in (["pull"], ["pull", "--from", "127.0.0.1:1", "--no-such"], ["no-such-command"],
                 ["pull", "--from", "127.0.0.1:1", "--to", "127.0.0.1:2", "--buffer", "lots"]):
        done = harness.cli(*args, check=2)
        assert len([line for line in done.stderr.splitlines() if line.strip()]) >= 1


def test_ticket_is_good_once_and_not_for_others(make):
    """Raw: the reply has what a pull needs and no two tickets are the same."""
    primary = make("primary")
    pull(primary, None, "--discard")  # a ticket needs a backlog
    tickets = [primary.client.execute_command("RDBEAM.TICKET") for _ in range(2)]
    assert tickets[0] != tickets[1]
    assert not [line for line in primary.log().splitlines()
                if any(secret(ticket) in line for ticket in tickets)]


def secret(ticket):
    fields = dict(zip(ticket[::2], ticket[1::2]))
    return next(value.decode() for key, value in fields.items() if b"key" in key)


def test_ticket_names_the_port_that_was_set_before_it(make):
    """While rdbeamd has not yet moved to the new port, a ticket would lead to where nobody listens any more."""
    primary = make("primary")
    pull(primary, None, "--discard")
    port, daemon = harness.free_port(), primary.daemon()
    os.kill(daemon, signal.SIGSTOP)
    try:
        primary.client.config_set("rdbeam.port", port)
        waiting = [primary.connect().connection_pool.get_connection("RDBEAM.TICKET") for _ in range(2)]
        for connection in waiting:
            connection.send_command("RDBEAM.TICKET")
        wait_for(lambda: primary.number("clients", "blocked_clients") == len(waiting), "the tickets wait")
    finally:
        os.kill(daemon, signal.SIGCONT)
    for connection in waiting:
        reply = connection.read_response()
        assert dict(zip(reply[::2], reply[1::2]))[b"port"] == port
        connection.disconnect()
    pull(primary, None, "--discard")
    assert primary.number("rdbeam", "rdbeam_port") == port


def test_first_backlog_costs_no_fork_and_no_delay(make):
    """The PSYNC that makes the backlog leaves before repl-diskless-sync-delay is over."""
    primary = make("primary", repl_diskless_sync_delay=30)
    data.fill_strings(primary.client, 100, 100)
    said = pull(primary, None, "--discard")
    assert said["total_ms"] < 30000
    assert stats(primary)["total_forks"] == 1, "the snapshot's own"


def test_more_pulls_than_allowed_wait(make):
    primary = slow_primary(make, megabytes=20, options={"max-pulls": 1})
    targets = [make(f"target{n}", module=False) for n in range(3)]
    running = [harness.cli_start("pull", "--json", "--from", f"127.0.0.1:{primary.port}",
                                 "--to", f"127.0.0.1:{target.port}") for target in targets]
    said = []
    for process in running:
        _, err = process.communicate(timeout=harness.DEADLINE_S * 4)
        assert process.returncode == 0, err
        said.append(err)
    assert any("queue position 2 of 2" in err for err in said), said
    for target in targets:
        same_data(primary, target)


def test_pull_without_a_target_is_no_client_while_it_reads(make):
    primary = slow_primary(make, megabytes=20)
    pull(primary, None, "--discard")  # makes the backlog and the image
    before = primary.number("clients", "connected_clients")
    running = harness.cli_start("pull", "--json", "--from", f"127.0.0.1:{primary.port}", "--discard")
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_active") == 1, "the pull")
    wait_for(lambda: primary.number("clients", "connected_clients") == before, "its connection is closed")
    assert primary.number("rdbeam", "rdbeam_pulls_active") == 1
    primary.client.config_set("rdbeam.rate-limit", "0")
    out, err = running.communicate(timeout=harness.DEADLINE_S)
    assert running.returncode == 0, err
    assert last_json(out)["reused"]


# ---- things that die ------------------------------------------------------------------------

def test_puller_killed_while_feeding(make):
    """Row 20: the primary is unharmed, nothing stays behind, and the next pull works."""
    primary = slow_primary(make)
    target = make("target", module=False)
    process = harness.cli_start("pull", "--stream", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: target.info("persistence")["loading"] == "1"
             or target.info("replication").get("master_sync_in_progress") == "1", "it is fed")
    process.kill()
    process.communicate()
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_active") == 0, "the session is closed")
    primary.client.config_set("rdbeam.rate-limit", 0)
    with data.Load(primary):
        said = pull(primary, target)
    assert said["full_resyncs"] == 0
    same_data(primary, target)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_puller_gives_the_target_back(make, signal_number):
    primary = slow_primary(make)
    target = make("target", module=False)
    process = harness.cli_start("pull", "--stream", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: target.info("persistence")["loading"] == "1"
             or target.info("replication").get("master_sync_in_progress") == "1", "it is fed")
    process.send_signal(signal_number)
    process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode != 0
    wait_for(lambda: target.value("replication", "role") == "master", "the target is its own again")


@pytest.mark.parametrize("ends", ["well", "by SIGKILL", "with a restart"])
def test_configuration_file_written_in_mid_pull(make, ends):
    """CONFIG REWRITE: a restart would follow an address of the pull for ever."""
    primary = slow_primary(make)
    target = make("target", module=False)
    process = harness.cli_start("pull", "--stream", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: target.value("replication", "role") == "slave", "it follows the pull")
    target.client.config_rewrite()
    written = target.dir / "server.conf"
    whom = written.read_text().split("replicaof ")[1].splitlines()[0]
    if ends == "well":
        primary.client.config_set("rdbeam.rate-limit", 0)
    elif ends == "by SIGKILL":
        process.kill()
    else:
        process.send_signal(signal.SIGSTOP)  # it would not wait for the server to be back
        target.kill()
        target.conf["replicaof"] = whom
        target.start()
        process.send_signal(signal.SIGCONT)
    process.communicate()
    # A target that was back before its first word had been answered is fed all the same.
    well = process.returncode == 0
    assert well or ends != "well"
    whom = [f"replicaof 127.0.0.1 {primary.port}"] if well else []
    wait_for(lambda: [line for line in written.read_text().splitlines()
                      if line.startswith("replicaof")] == whom, written.read_text)


def test_configuration_file_that_cannot_be_written(make):
    """Who tried it in mid-pull has had the answer; there is nothing to write again."""
    primary = slow_primary(make)
    target = make("target", module=False)
    process = harness.cli_start("pull", "--stream", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: target.value("replication", "role") == "slave", "it follows the pull")
    (target.dir / "server.conf").unlink()
    (target.dir / "server.conf").mkdir()
    with pytest.raises(redis.ResponseError, match="Rewriting config file"):
        target.client.config_rewrite()
    primary.client.config_set("rdbeam.rate-limit", 0)
    _, err = process.communicate(timeout=harness.DEADLINE_S * 2)
    assert process.returncode == 0 and "restor" not in err, err


def test_full_target_is_given_back_when_it_has_room(make):
    primary = slow_primary(make)
    target = make("target", module=False, requirepass="secret")
    process = harness.cli_start("pull", "--stream", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}", env={"RDBEAM_TO_PASS": "secret"})
    wait_for(lambda: target.value("replication", "role") == "slave", "it follows the pull")
    target.client.config_set("maxclients", 1)  # those who are in stay
    process.send_signal(signal.SIGTERM)
    lines = iter(process.stderr.readline, "")  # the guard's, too
    assert any("will be restored as soon as it allows that" in line for line in lines)
    assert target.value("replication", "role") == "slave"
    target.client.config_set("maxclients", 10000)
    wait_for(lambda: target.value("replication", "role") == "master", "the target is its own again")
    process.communicate(timeout=harness.DEADLINE_S)


def test_daemon_killed_while_feeding(make):
    """The pull begins anew with an image of the next one."""
    primary = slow_primary(make)
    target = make("target", module=False)
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") > 5 * MIB, "bytes flow")
    primary.client.config_set("rdbeam.rate-limit", 0)
    os.kill(primary.daemon(), signal.SIGKILL)
    _, err = process.communicate(timeout=harness.DEADLINE_S * 2)
    assert process.returncode == 0, err
    same_data(primary, target)


@pytest.mark.parametrize("when", ["away", "asked for an image"])
def test_pull_that_meets_a_dead_daemon_waits_for_the_next(make, when):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 1000)
    state = lambda: primary.value("rdbeam", "rdbeam_daemon_state")
    if when == "away":
        for _ in range(3):  # each restart takes longer
            wait_for(lambda: state() == "up", "it is up")
            harness.kill(primary.daemon())
            wait_for(lambda: state() != "up", "it is gone")
        assert pull(primary, None, "--discard")["keys"] == 1000
        return
    primary.client.config_set("repl-diskless-sync-delay", 60)
    daemon = primary.daemon()
    os.kill(daemon, signal.SIGSTOP)
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--discard")
    wait_for(lambda: primary.number("stats", "total_forks") == 1, "an image is begun")
    harness.kill(daemon)
    _, err = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 0, err


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_snapshot_child_killed_while_pulled(make, victim):
    """The generation is revoked; the pull fails or asks again, and never feeds a part."""
    # With the delay that is Redis's default, the PSYNC that makes the backlog costs no fork.
    primary = make("primary", options={"workers": 2, "segment-size": "2mb"},
                   repl_diskless_sync_delay=5)
    primary.hold(keys=400)
    target = make("target", module=False)
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: primary.value("rdbeam", "rdbeam_state") == "copying", "it copies")
    child = wait_for(lambda: harness.children(primary.pid), "child")[0]
    workers = primary.workers(child) if victim == "worker" else harness.children(child)
    primary.client.config_set("rdb-key-save-delay", 0)
    os.kill(workers[0] if victim == "worker" else child, signal.SIGKILL)
    _, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    wait_for(lambda: not any(map(alive, [child, *workers])), "child and workers are gone", 5)
    if process.returncode == 0:
        same_data(primary, target)
    else:
        assert err.strip()
        assert target.client.dbsize() == 0
    assert primary.client.ping()
    said = pull(primary, target)
    assert said["full_resyncs"] == 0
    same_data(primary, target)


def test_pull_does_not_count_as_a_replica(make):
    """Rule 10: WAIT and min-replicas-to-write see no replica before the hand-over."""
    primary = slow_primary(make, options={"retain": 300})
    target = make("target", module=False)
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{target.port}")
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") > 5 * MIB, "bytes flow")
    primary.client.set("key", "value")
    assert primary.client.wait(1, 200) == 0
    primary.client.config_set("rdbeam.rate-limit", 0)
    _, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode == 0, err
    same_data(primary, target)
    primary.client.set("key", "other")
    assert primary.client.wait(1, 5000) == 1


def test_pull_waits_for_another_child_of_the_primary(make):
    """For a minute, whatever --timeout says of its other steps."""
    primary = make("primary")
    pull(primary, None, "--discard")  # makes the backlog
    primary.hold()
    primary.client.bgrewriteaof()
    wait_for(lambda: primary.number("persistence", "aof_rewrite_in_progress"), "it rewrites")
    process = harness.cli_start("pull", "--fresh", "--timeout", 1, "--discard", "--from",
                                f"127.0.0.1:{primary.port}")
    wait_for(lambda: primary.number("clients", "blocked_clients") == 1, "it is asked for an image")
    time.sleep(1.5)
    primary.client.config_set("rdb-key-save-delay", 0)
    for child in harness.children(primary.pid):
        os.kill(child, signal.SIGUSR1)  # as the server ends its children
    _, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode == 0, err


def test_nothing_stays_in_the_temporary_directory(make, root):
    primary = make("primary")
    data.fill_strings(primary.client, 100, 1000)
    target = make("target", module=False)
    place = root / "tmp"
    place.mkdir()
    pull(primary, target, env={"TMPDIR": str(place)})
    assert list(pathlib.Path(place).iterdir()) == []


def test_daemon_sleeps_while_nobody_asks_for_its_image(make):
    """It need not look each second whether the image is old enough to go."""
    primary = make("primary")
    data.fill_strings(primary.client, 100, 1000)
    pull(primary, None, "--discard")
    daemon = primary.number("rdbeam", "rdbeam_daemon_pid")

    def wakes():
        status = pathlib.Path(f"/proc/{daemon}/status").read_text(encoding="ascii")
        return [line for line in status.splitlines() if line.startswith("voluntary")]

    def slept():
        before = wakes()
        time.sleep(2.5)
        return wakes() == before

    wait_for(slept, "2.5 s without a wake-up")
    assert primary.number("rdbeam", "rdbeam_region_bytes") > 0, "and the image is there"


# ---- tickets --------------------------------------------------------------------------------

TICKET_TTL_S = 5


@pytest.mark.parametrize("target", [("--discard",), ("--to",)])
def test_a_ticket_that_comes_too_late_is_asked_for_again(make, target):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 1000)
    replica = make("replica", module=False)
    late = []

    def delay(chunk):
        """The first ticket comes when it has expired, as to a pull that was not scheduled."""
        if b"ttl_ms" in chunk and not late:
            late.append(chunk)
            time.sleep(TICKET_TTL_S + 0.2)
        return chunk

    between = harness.Between(primary.port, delay)
    if target == ("--to",):
        target = ("--to", f"127.0.0.1:{replica.port}")
    done = harness.cli("pull", "--json", "--from", f"127.0.0.1:{between.port}", *target, check=0)
    assert late and "expired" in primary.log()
    assert last_json(done.stdout)["keys"] == 1000


def is_loading(server):
    try:
        return server.number("persistence", "loading")
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("loading", ["primary", "target"])
def test_server_that_is_loading_is_waited_for(make, loading):
    """The pull ended with "LOADING", which named no remedy."""
    primary, target = make("primary"), make("target", module=False)
    data.fill_strings(primary.client, 1000, 100)
    slow = {"primary": primary, "target": target}[loading]
    data.fill_strings(slow.client, 2000, 100, prefix="own")
    slow.client.save()
    slow.stop()
    slow.conf.update({"key-load-delay": "1500", "loading-process-events-interval-bytes": "1024"})
    slow.start(ready=False)
    wait_for(lambda: is_loading(slow), "it loads")
    if loading == "primary":
        pull(primary, target)
        same_data(primary, target)
        return
    one_line(pull(primary, target, "--timeout", 1, check=3), "LOADING", "--timeout", str(target.port))
    one_line(pull(primary, target, check=3), "--force")
    assert target.client.dbsize() == 2000
