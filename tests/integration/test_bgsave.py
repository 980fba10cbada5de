# SPDX-License-Identifier: BSD-3-Clause
"""BGSAVE through the table: the file is right, and Redis behaves as without the module."""
import hashlib
import json
import os
import re
import resource
import signal
import time

import pytest
import redis

import data
import harness
from harness import alive, check_rdb, wait_for


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same_after_load(server, loads, dbs=3, **conf):
    """dump.rdb in a plain server holds what the server holds."""
    check_rdb(server.dump(), server.binary)
    copy = loads(server.dump(), **conf)
    assert copy.digest() == server.digest()
    assert data.details(copy, dbs) == data.details(server, dbs)
    return copy


# ---- the file -------------------------------------------------------------------------------

def test_mixed_data_loads_in_a_plain_server(make, loads, binary):
    server = make("primary", options={"segment-size": "2mb"})
    keys = data.fill_mixed(server)
    server.bgsave()
    info = server.image_made()
    assert int(info["rdbeam_snapshot_keys"]) == keys
    assert int(info["rdbeam_snapshot_bytes"]) == server.dump().stat().st_size
    same_after_load(server, loads)
    said = json.loads(harness.cli("verify", "--json", server.dump(), check=0).stdout)
    assert said["keys"] == keys
    assert server.temp_files() == []


def test_small_dump_takes_no_room_for_its_filler(make, loads):
    server = make("primary")
    data.fill_strings(server.client, 1000, 100)
    server.bgsave()
    server.image_made()
    same_after_load(server, loads)
    stat = server.dump().stat()
    assert stat.st_size > 8 << 20 and stat.st_blocks * 512 < 1 << 20
    assert json.loads(harness.cli("verify", "--json", server.dump(), check=0).stdout)["keys"] == 1000


def test_small_image_takes_little_memory(make):
    server = make("primary", options={"segment-size": "4mb"})
    data.fill_strings(server.client, 1000, 100)
    for _ in range(3):
        server.bgsave()
        server.image_made()
    assert server.number("rdbeam", "rdbeam_region_bytes") <= 32 << 20


def test_memory_of_a_larger_image_is_given_back_while_saves_go_on(make):
    """Each save begins before rdbeam.retain (300 s) of the last one is over."""
    server = make("primary", options={"segment-size": "4mb"})
    data.fill_strings(server.client, 120, 1 << 20)
    for _ in range(2):
        server.bgsave()
    region = lambda: server.number("rdbeam", "rdbeam_region_bytes")
    assert region() > 128 << 20
    server.client.delete(*server.client.keys())
    data.fill_strings(server.client, 1000, 100)
    for _ in range(2):
        server.bgsave()
    wait_for(lambda: region() <= 80 << 20, region)
    server.bgsave()
    server.image_made()


def test_many_workers_write_each_key_once(make, loads):
    server = make("primary", options={"segment-size": "2mb", "workers": 4})
    data.fill_mixed(server, scale=20)
    data.fill_strings(server.client, 50000, 30)
    server.bgsave()
    info = server.image_made()
    assert int(info["rdbeam_snapshot_keys"]) == sum(
        server.connect(db=db).dbsize() for db in range(3))
    same_after_load(server, loads)


@pytest.mark.parametrize("fast_path", ["yes", "no"])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_dump_in_mid_rehash_loads(make, loads, workers, fast_path):
    """The child walks both tables of a dictionary that grows, or shrinks: each key once."""
    server = make("primary", options={"workers": workers, "fast-path": fast_path},
                  activerehashing="no")
    client = server.client

    def rehashes():
        return b"rehashing target" in client.execute_command("DEBUG", "HTSTATS", 0)

    data.fill_strings(client, 65536, 10)
    for number in range(200000):  # one more is enough for Redis
        client.set(f"more {number}", "starts a rehash")
        if number % 100 == 0 and rehashes():
            break
    keys = client.dbsize()
    server.bgsave()
    assert rehashes()
    assert server.image_made()["rdbeam_snapshot_keys"] == str(keys)
    same_after_load(server, loads, dbs=1)
    client.eval("for _, k in ipairs(redis.call('KEYS', '*')) do "
                "if #k < 3 or k:sub(-2) ~= '77' then redis.call('DEL', k) end end", 0)
    wait_for(rehashes, "the dictionary shrinks")
    keys = client.dbsize()
    assert 0 < keys < 3000
    server.bgsave()
    assert server.image_made()["rdbeam_snapshot_keys"] == str(keys)
    same_after_load(server, loads, dbs=1)


def test_server_is_told_what_was_copied_on_write(make):
    server = make("primary")
    client = server.client

    def saving():
        return server.info("persistence")["rdb_bgsave_in_progress"]

    for number in range(100):
        client.set(f"large:{number}", b"a" * 100000)
    client.config_set("rdb-key-save-delay", 10000)
    client.bgsave()
    for number in range(100):
        client.setrange(f"large:{number}", 0, b"b" * 65536)
    assert saving() == "1", "all written in time"
    wait_for(lambda: saving() == "0", "the save's end")
    assert server.info("persistence")["rdb_last_bgsave_status"] == "ok"
    assert 6 << 20 <= int(server.info("persistence")["rdb_last_cow_size"]) < 20 << 20
    server.image_made()


def test_loading_server_has_room_in_its_table(make, loads):
    """120,000 keys fit a table of 131,072: each insert would follow a chain (ADR 64)."""
    server = make("primary")
    server.client.execute_command("DEBUG", "POPULATE", 120000, "key", 8)
    for number in range(500):
        server.client.expire(f"key:{number}", 100000)
    server.bgsave()
    server.image_made()
    copy = same_after_load(server, loads, dbs=1)
    stats = copy.client.execute_command("DEBUG", "HTSTATS", 0).decode()
    sizes = [int(size) for size in re.findall(r"table size: (\d+)", stats)]
    info = copy.info("server")
    version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
    if version < (7, 4) and int(info.get("valkey_version", "7").split(".")[0]) < 8:
        assert sizes == [262144, 512], stats


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_children_keep_to_bgsave_cpulist(make):
    cpu = min(os.sched_getaffinity(0))
    server = make("primary")
    server.stop()
    server.conf["bgsave_cpulist"] = cpu  # the one name with an underscore
    server.start()
    data.fill_strings(server.client, 20, 4 << 20)
    server.bgsave()
    assert server.image_made()["rdbeam_workers"] == "1"
    server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
    info = server.info("rdbeam")
    assert (info["rdbeam_state"], info["rdbeam_workers"]) == ("ready", "1")


def test_empty_database_loads(make, loads, binary):
    server = make("primary")
    server.bgsave()
    assert server.image_made()["rdbeam_snapshot_keys"] == "0"
    assert same_after_load(server, loads).client.dbsize() == 0


def test_value_of_512_mb_loads(make, loads):
    server = make("primary", proto_max_bulk_len="1gb")
    server.client.setrange("huge", (512 << 20) - 8, b"the end.")
    server.client.set("small", "after")
    server.bgsave(timeout_s=harness.DEADLINE_S * 4)
    server.image_made()
    same_after_load(server, loads, dbs=1)


def test_values_around_a_segment_load(make, loads):
    server = make("primary", options={"segment-size": "2mb"})
    segment = 2 << 20
    for size in (segment - 200, segment - 70, segment - 64, segment - 63, segment - 1, segment,
                 segment + 1, 2 * segment - 64, 2 * segment, 5 * segment + 123, 9 << 20):
        server.client.setrange(f"around:{size}", size - 1, "x")
        server.client.set(f"between:{size}", "y" * 50)
    server.bgsave()
    server.image_made()
    same_after_load(server, loads, dbs=1)


def test_expired_keys_add_up_and_are_not_loaded(make, loads):
    """Every key of DBSIZE is in the file or counted as left out; a loader drops what has expired."""
    server = make("primary")
    server.client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    data.fill_strings(server.client, 100, 10)
    pipe = server.client.pipeline(transaction=False)
    for number in range(40):
        pipe.set(f"gone:{number}", "x" * (10 if number % 2 else 100), px=1)
        pipe.rpush(f"gone-list:{number}", 1)
        pipe.pexpire(f"gone-list:{number}", 1)
    pipe.execute()
    wait_for(lambda: server.client.pttl("gone-list:39") == -2, "the keys are expired")
    size = server.client.dbsize()
    assert size > 170, "expired keys are still in memory"
    server.bgsave()
    server.image_made()
    said = json.loads(harness.cli("verify", "--json", server.dump(), check=0).stdout)
    assert said["keys"] + said["expired_left_out"] == size
    assert loads(server.dump()).client.dbsize() == 100


def test_lfu_counters_survive(make, loads):
    conf = {"maxmemory-policy": "allkeys-lfu", "lfu-decay-time": 0, "maxmemory": "1gb"}
    server = make("primary", **conf)
    for number in range(50):
        server.client.execute_command("RESTORE", f"key{number}", 0, dump_of(server, b"v" * 60),
                                      "FREQ", number * 5)
    server.bgsave()
    server.image_made()
    copy = loads(server.dump(), **conf)
    for number in range(50):
        assert copy.client.execute_command("OBJECT", "FREQ", f"key{number}") == number * 5


def test_lru_idle_times_survive(make, loads):
    conf = {"maxmemory-policy": "allkeys-lru", "maxmemory": "1gb"}
    server = make("primary", **conf)
    for number in range(50):
        server.client.execute_command("RESTORE", f"key{number}", 0, dump_of(server, b"v" * 60),
                                      "IDLETIME", 1000 * number)
    server.bgsave()
    server.image_made()
    copy = loads(server.dump(), **conf)
    for number in range(50):
        idle = copy.client.execute_command("OBJECT", "IDLETIME", f"key{number}")
        assert 1000 * number <= idle <= 1000 * number + 120, number


def dump_of(server, value):
    server.client.set("dumped", value)
    payload = server.client.dump("dumped")
    server.client.delete("dumped")
    return payload


def test_cut_stands_in_the_file(make, loads):
    """repl-id and repl-offset of the header are the server's own at the fork."""
    server = make("primary")
    make("replica", module=False, replicaof=f"127.0.0.1 {server.port}")
    wait_for(lambda: server.value("replication", "connected_slaves") == "1", "replica connects")
    wait_for(lambda: not server.saving(), "the replica's own child has ended")
    data.fill_strings(server.client, 100, 50)
    server.bgsave()
    said = json.loads(harness.cli("verify", "--json", server.dump(), check=0).stdout)
    assert said["replid"] == server.value("replication", "master_replid")
    assert 0 < said["offset"] <= server.number("replication", "master_repl_offset")


def heard(server, pattern, **user):
    """A subscription, and a function that returns what it heard until now."""
    listener = server.connect(**user).pubsub(ignore_subscribe_messages=True)
    listener.psubscribe(pattern)
    wait_for(lambda: server.client.pubsub_numpat(), "the subscription")

    def until_now():
        # What came before a PONG was all: the server answers in order.
        listener.ping()
        said, message = [], None
        while not message or message["type"] != "pong":
            message = listener.get_message(timeout=harness.DEADLINE_S)
            if message and message["type"] == "pmessage":
                said.append((message["channel"], message["data"]))
        return said
    return until_now


def test_only_subscribers_of_everything_hear_of_a_save(make):
    """As docs/faq.md says: two empty messages, and only where there is a backlog."""
    server = make("primary")
    listen = heard(server, "*")
    server.bgsave()
    assert listen() == []
    replica = make("replica", module=False, replicaof=f"127.0.0.1 {server.port}")
    wait_for(lambda: replica.value("replication", "master_link_status") == "up", "the link")
    listen()
    there, narrow = heard(replica, "*"), heard(server, "app:*")
    changes = server.number("persistence", "rdb_changes_since_last_save")
    server.bgsave()
    server.client.publish("app:1", "hello")
    both = [(b"__rdbeam__:cut", b"")] * 2
    assert listen() == [*both, (b"app:1", b"hello")]
    assert narrow() == [(b"app:1", b"hello")]
    wait_for(lambda: in_sync(server, replica), "the replica has it all")
    assert there() == [*both, (b"app:1", b"hello")]
    assert server.number("persistence", "rdb_changes_since_last_save") == changes
    server.client.execute_command("ACL", "SETUSER", "app", "on", "nopass", "+@all", "resetchannels", "&app:*")
    with pytest.raises(redis.exceptions.NoPermissionError):
        server.connect(username="app", password="any").execute_command("PSUBSCRIBE", "*")


def test_cut_is_not_marked_for_a_sync_of_the_servers_own(make):
    """The replica gets the offset that it would get without us, also by two connections (Redis 8)."""
    primary = make("primary", repl_diskless_sync_delay="0")
    replica = make("replica", module=False, replicaof=f"127.0.0.1 {primary.port}")
    wait_for(lambda: replica.value("replication", "master_link_status") == "up", "the replica is in sync")
    assert "cmdstat_publish" not in primary.info("commandstats")


def in_sync(primary, replica):
    return replica.number("replication", "slave_repl_offset") == \
        primary.number("replication", "master_repl_offset")


# ---- Redis's own bookkeeping ----------------------------------------------------------------

def test_save_points_make_an_image(make, loads):
    server = make("primary")
    before = server.number("persistence", "rdb_saves")
    server.client.config_set("save", "1 10")
    data.fill_strings(server.client, 20, 100)
    wait_for(lambda: server.number("persistence", "rdb_saves") == before + 1, "the save point saves")
    server.saved()
    server.image_made()
    assert server.number("persistence", "rdb_changes_since_last_save") == 0
    same_after_load(server, loads, dbs=1)


def test_dirty_counter_and_lastsave_are_true(make):
    server = make("primary")
    server.hold(keys=12)
    before = server.client.lastsave()
    assert server.number("persistence", "rdb_changes_since_last_save") == 12
    server.client.config_set("rdb-key-save-delay", 100000)
    server.begin_held_save()
    for number in range(7):
        server.client.set(f"during:{number}", number)
    assert server.saving()
    time_of_save = int(time.time())
    server.saved()
    server.image_made()
    assert server.number("persistence", "rdb_changes_since_last_save") == 7
    assert server.client.lastsave() >= before
    assert server.client.lastsave().timestamp() >= time_of_save - 1
    assert server.number("persistence", "rdb_saves") == 1


def test_key_save_delay_is_honoured(make):
    server = make("primary", options={"workers": 1})
    server.hold(keys=20)
    server.client.config_set("rdb-key-save-delay", 50000)
    start = time.monotonic()
    server.bgsave()
    assert time.monotonic() - start >= 20 * 0.05
    server.image_made()


def with_old_dump(make, delay_us=1000000, **kwargs):
    """A server that has saved once and is in the middle of its second save."""
    server = make("primary", **kwargs)
    server.client.set("old", "data")
    server.bgsave()
    old = sha(server.dump())
    server.hold()
    server.client.config_set("rdb-key-save-delay", delay_us)
    lastsave = server.client.lastsave()
    return server, old, server.begin_held_save(), lastsave


def test_flushall_in_mid_save_stops_it(make):
    server, old, child, lastsave = with_old_dump(make)
    pids = [child, *harness.children(child)]
    server.client.flushall()
    wait_for(lambda: not server.saving(), "the save is given up")
    wait_for(lambda: not any(map(alive, pids)), "child and workers are gone", 5)
    assert server.value("persistence", "rdb_last_bgsave_status") == "ok"  # as in stock Redis
    assert sha(server.dump()) == old
    assert server.temp_files() == []
    assert server.client.lastsave() == lastsave
    server.client.config_set("rdb-key-save-delay", 0)
    server.bgsave()  # the slots of the killed child can be had again
    server.image_made()


def test_shutdown_nosave_in_mid_save_leaves_nothing(make):
    server, old, child, _ = with_old_dump(make)
    mine = server.family()
    with pytest.raises(redis.ConnectionError):
        server.client.execute_command("SHUTDOWN", "NOSAVE")
        server.client.ping()
    server.process.wait(harness.DEADLINE_S)
    server.gone(mine)
    assert sha(server.dump()) == old
    assert server.temp_files() == []


def test_shutdown_save_in_mid_save_saves(make, loads):
    server, _, child, _ = with_old_dump(make)
    mine = server.family()
    digest = server.digest()
    server.client.config_set("rdb-key-save-delay", 0)  # for the last save; the child keeps its own
    with pytest.raises(redis.ConnectionError):
        server.client.execute_command("SHUTDOWN", "SAVE")
        server.client.ping()
    server.process.wait(harness.DEADLINE_S)
    server.gone(mine)
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump()).digest() == digest
    assert server.temp_files() == []


def test_config_set_dir_in_mid_save_keeps_the_old_place(make, root):
    server = make("primary")
    server.hold(keys=10)
    server.client.config_set("rdb-key-save-delay", 100000)
    server.begin_held_save()
    other = root / "other"
    other.mkdir()
    server.client.config_set("dir", str(other))
    server.client.config_set("dbfilename", "other.rdb")
    server.saved()
    server.image_made()
    check_rdb(server.dump(), server.binary)
    assert list(other.iterdir()) == []
    server.client.config_set("rdb-key-save-delay", 0)
    server.bgsave()
    check_rdb(other / "other.rdb")


def test_missing_dir_is_misconf_and_heals(make, root):
    server = make("primary")
    server.client.set("key", "value")
    place = root / "lost"
    place.mkdir()
    server.client.config_set("dir", str(place))
    place.rmdir()
    server.client.config_set("save", "10000 100000")  # MISCONF needs a save point
    server.bgsave(status="err")
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        server.client.set("key", "refused")
    server.client.config_set("dir", str(server.dir))
    server.bgsave()
    server.client.set("key", "accepted")


def test_name_taken_by_a_directory_fails_and_leaves_nothing(make):
    server = make("primary")
    server.client.set("key", "value")
    server.dump().mkdir()
    server.bgsave(status="err")
    assert server.dump().is_dir()
    assert server.temp_files() == []
    server.dump().rmdir()
    server.bgsave()
    check_rdb(server.dump(), server.binary)


# ---- processes that die ---------------------------------------------------------------------

@pytest.mark.parametrize("victim", ["child", "worker"])
def test_killed_writer_leaves_the_old_dump(make, victim):
    """Row 1 of reliability.md: status err, old dump byte-identical, no orphan."""
    # The stock saving that takes over after a worker's death honours the delay, too.
    server, old, child, lastsave = with_old_dump(make, options={"workers": 2}, delay_us=20000)
    workers = server.workers(child) if victim == "worker" else harness.children(child)
    os.kill(workers[0] if victim == "worker" else child, signal.SIGKILL)
    wait_for(lambda: not server.saving(), "the save ends")
    wait_for(lambda: not any(map(alive, [child, *workers])), "child and workers are gone", 5)
    if server.value("persistence", "rdb_last_bgsave_status") == "ok":
        assert victim == "worker", "a killed child is a failed save"
        assert server.fallbacks() == 1  # the child has saved by the stock path
        check_rdb(server.dump(), server.binary)
    else:
        assert sha(server.dump()) == old
        assert server.client.lastsave() == lastsave
    assert server.temp_files() == []
    server.client.config_set("rdb-key-save-delay", 0)
    server.bgsave()
    check_rdb(server.dump(), server.binary)


def may_raise_priority():
    """RLIMIT_NICE is 20 less the nice value that it allows."""
    return os.geteuid() == 0 or \
        resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20 - os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(not may_raise_priority(), reason="needs root, or RLIMIT_NICE")
def test_stock_saving_after_a_copy_has_the_servers_priority(make):
    server, _, child, _ = with_old_dump(make, options={"workers": 2})

    def nice(pid):
        return os.getpriority(os.PRIO_PROCESS, pid)

    workers = server.workers(child)
    assert {nice(pid) for pid in [child, *workers]} == {min(nice(server.pid) + 10, 19)}
    os.kill(workers[0], signal.SIGKILL)
    wait_for(lambda: server.fallbacks() == 1, "stock saving takes over")
    assert nice(child) == nice(server.pid)
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: not server.saving(), "the save ends")


def test_daemon_killed_in_mid_save_is_no_misconf(make, loads):
    """Rule 3: a daemon failure never turns a savable data set into MISCONF."""
    server = make("primary", options={"workers": 1})
    server.hold(keys=30)
    server.client.config_set("rdb-key-save-delay", 50000)
    server.begin_held_save()
    os.kill(server.daemon(), signal.SIGKILL)
    server.saved("ok", harness.DEADLINE_S * 2)
    same_after_load(server, loads, dbs=1)
    assert server.temp_files() == []


def test_server_killed_in_mid_save_takes_all_along(make):
    """Rule 16: child, workers and daemon end within seconds of a server killed by -9."""
    server, old, child, _ = with_old_dump(make, options={"workers": 2})
    mine = server.family() + harness.children(child)
    server.kill()
    server.gone(mine)
    assert sha(server.dump()) == old
    assert [name for name in server.temp_files() if not name.startswith("temp-")] == []


# ---- the rest of Redis goes on --------------------------------------------------------------

def replica_in_sync(primary, replica):
    def same():
        mine, its = primary.info("replication"), replica.info("replication")
        return its.get("master_link_status") == "up" and \
            its["slave_repl_offset"] == mine["master_repl_offset"]
    wait_for(same, lambda: f"replica in sync: {replica.info('replication')}\n{replica.log()[-2000:]}")


@pytest.mark.parametrize("diskless", ["no", "yes"])
def test_stock_replica_syncs(make, diskless, binary):
    primary = make("primary", repl_diskless_sync=diskless)
    data.fill_mixed(primary)
    generation = primary.generation()
    replica = make("replica", module=False, replicaof=f"127.0.0.1 {primary.port}")
    replica_in_sync(primary, replica)
    assert replica.digest() == primary.digest()
    assert primary.fallbacks() == 0
    if diskless == "yes":
        assert primary.generation() == generation, "a diskless child is none of our business"
    else:
        assert primary.generation() != generation
        check_rdb(primary.dump(), primary.binary)


def test_replica_with_the_module_still_loads_by_swapdb(make):
    primary = make("primary", module=False, repl_diskless_sync="yes")
    data.fill_mixed(primary)
    replica = make("replica", replicaof=f"127.0.0.1 {primary.port}",
                   repl_diskless_load="swapdb")
    replica_in_sync(primary, replica)
    assert "Skipping diskless-load" not in replica.log()
    assert replica.digest() == primary.digest()


def test_aof_rewrite_is_left_alone(make):
    server = make("primary", appendonly="yes", aof_use_rdb_preamble="yes")
    data.fill_mixed(server)
    generation = server.generation()
    server.client.bgrewriteaof()
    wait_for(lambda: server.value("persistence", "aof_rewrite_in_progress") == "0"
             and server.value("persistence", "aof_rewrite_scheduled") == "0", "the rewrite ends")
    assert server.value("persistence", "aof_last_bgrewrite_status") == "ok"
    assert server.generation() == generation
    assert server.fallbacks() == 0
    digest = server.digest()
    server.stop()
    server.module = False
    server.start()
    assert server.digest() == digest


def test_save_and_debug_reload_stay_stock(make):
    server = make("primary")
    data.fill_mixed(server)
    digest, generation = server.digest(), server.generation()
    server.client.save()
    check_rdb(server.dump(), server.binary)
    server.client.execute_command("DEBUG", "RELOAD")
    assert server.digest() == digest
    assert server.generation() == generation


def test_two_servers_with_one_dir(make, root, loads):
    """Rule 18: the second is refused the file and saves stock; the file is always whole."""
    shared = root / "shared"
    shared.mkdir()
    first = make("first", dir=shared)
    second = make("second", dir=shared)
    first.hold(keys=40)
    first.client.config_set("rdb-key-save-delay", 50000)
    second.client.set("second", "its data")
    first.begin_held_save()
    second.bgsave()
    assert first.saving(), "the first still saves"
    assert second.fallbacks() == 1, second.info("rdbeam")
    check_rdb(shared / "dump.rdb")
    first.saved()
    check_rdb(shared / "dump.rdb")
    assert loads(shared / "dump.rdb").digest() == first.digest()
    assert [path.name for path in shared.iterdir() if path.is_file()] == ["dump.rdb"]


def test_dump_that_cannot_be_replaced_is_told_in_the_log(make):
    """The waiter's stderr is nowhere if the server runs as a daemon; and there is no dump to count from."""
    server = make("primary")
    server.client.set("key", "value")
    server.dump().mkdir()
    server.bgsave(status="err")
    wait_for(lambda: server.value("rdbeam", "rdbeam_state") == "failed", "the daemon knows")
    info = server.info("rdbeam")
    assert info["rdbeam_last_error"] == "naming the file 'dump.rdb': Is a directory"
    assert int(info["rdbeam_last_durable_unixtime"]) == 0
    assert "stays in memory only: naming the file 'dump.rdb': Is a directory" in server.log()
    assert server.temp_files() == []
    server.dump().rmdir()
    server.bgsave()
    info = server.info("rdbeam")
    assert info["rdbeam_state"] == "ready" and info["rdbeam_last_error"] == ""
    assert int(info["rdbeam_last_durable_unixtime"]) > 0


def test_module_unload_leaves_a_stock_server(make):
    server = make("primary")
    if not server.unloads_modules():
        pytest.skip("from 7.2 on no module with a data type can be unloaded")
    server.client.set("key", "value")
    server.bgsave()
    daemon = server.daemon()
    server.client.execute_command("MODULE", "UNLOAD", "rdbeam")
    wait_for(lambda: not alive(daemon), "the daemon ends", 5 * harness.SLOWER)
    server.dump().unlink()
    server.client.set("key", "saved by stock Redis")
    server.bgsave()
    check_rdb(server.dump(), server.binary)
    assert "rdbeam_mode" not in server.info("everything")
