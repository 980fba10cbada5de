# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam beside Redis Cluster and Sentinel: a cluster node seeded by a file continues by a partial
resync, and a failover during or after a pull ends in no difference."""
import shutil

import pytest
import redis

import data
import harness
from harness import wait_for
from test_pull import MIB, in_sync, last_json, pull, stats

SLOTS = 16384


# ---- Cluster --------------------------------------------------------------------------------

def node(make, name, **kwargs):
    return make(name, cluster_enabled="yes", cluster_config_file="nodes.conf",
                cluster_node_timeout=15000, cluster_require_full_coverage="no", **kwargs)


def cluster_id(server):
    return server.client.execute_command("CLUSTER", "MYID").decode()


def cluster_of(make, shards=3):
    """Primaries with all slots, and the node that is to be one more replica of the first."""
    primaries = [node(make, f"shard{number}") for number in range(shards)]
    replica = node(make, "replica", module=False)
    for number, server in enumerate(primaries):
        first, last = SLOTS * number // shards, SLOTS * (number + 1) // shards - 1
        server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        server.client.execute_command("CONFIG", "SET", "repl-diskless-sync", "yes")
    for server in (*primaries[1:], replica):
        server.client.execute_command("CLUSTER", "MEET", "127.0.0.1", primaries[0].port)
    everyone = [*primaries, replica]
    wait_for(lambda: all(known_nodes(server) == shards + 1 for server in everyone),
             lambda: f"all know all: {[known_nodes(server) for server in everyone]}")
    wait_for(lambda: all(cluster_ok(server) for server in everyone),
             lambda: f"the cluster is up: {[cluster_ok(server) for server in everyone]}")
    return primaries, replica


def cluster_ok(server):
    """Each node finds out for itself, some hundred milliseconds apart."""
    said = server.client.execute_command("CLUSTER", "INFO").decode()
    return "cluster_state:ok" in said and f"cluster_slots_ok:{SLOTS}" in said


def reaches(server, other):
    """A node's links to one that was down come back one by one; a vote without a link is lost."""
    for line in server.client.execute_command("CLUSTER", "NODES").decode().splitlines():
        fields = line.split()
        if f":{other.port}@" in fields[1]:
            return fields[7] == "connected" and "fail" not in fields[2]
    return False


def known_nodes(server):
    text = server.client.execute_command("CLUSTER", "INFO").decode()
    return int(dict(line.split(":") for line in text.split())["cluster_known_nodes"])


def fill_shards(primaries, count, prefix):
    """Keys to where they belong, by the slot that the first shard tells."""
    pipes = [server.client.pipeline(transaction=False) for server in primaries]
    for number in range(count):
        key = f"{prefix}:{number}"
        slot = key_slot(key.encode())
        pipes[slot * len(primaries) // SLOTS].set(key, "v" * 100)
    for pipe in pipes:
        pipe.execute()


def key_slot(key):
    """CRC16 (XMODEM) of the key, modulo 16384: the cluster specification."""
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc % SLOTS


def follows(replica, primary):
    wait_for(lambda: replica.info("replication").get("master_link_status") == "up"
             and replica.value("replication", "master_port") == str(primary.port),
             lambda: f"follows: {replica.info('replication')}\n{replica.log()[-2000:]}")


def test_a_cluster_replica_is_seeded_by_a_file(make):
    """docs/operations.md, "Cluster": the node is down, the file takes the place of its dump, and at
    its start it continues by a partial resync. Then it can take its shard over."""
    primaries, replica = cluster_of(make)
    fill_shards(primaries, 3000, "first")
    replica.client.execute_command("CLUSTER", "REPLICATE", cluster_id(primaries[0]))
    follows(replica, primaries[0])
    replica.stop()
    replica.dump().unlink(missing_ok=True)
    fill_shards(primaries, 3000, "second")
    before = stats(primaries[0])
    pull(primaries[0], None, "--fresh", "--to-file", replica.dump())
    fill_shards(primaries, 1000, "third")  # after the cut: it must come by the stream
    replica.start()
    follows(replica, primaries[0])
    in_sync(primaries[0], replica)
    after = stats(primaries[0])
    assert after["sync_full"] == before["sync_full"]
    assert after["sync_partial_ok"] == before["sync_partial_ok"] + 1
    assert replica.digest() == primaries[0].digest() and replica.client.dbsize() > 2000
    wait_for(lambda: all(reaches(server, replica) and reaches(replica, server)
                         for server in primaries), "the nodes reach each other")
    replica.client.execute_command("CLUSTER", "FAILOVER")
    follows(primaries[0], replica)
    in_sync(replica, primaries[0])
    assert replica.digest() == primaries[0].digest()


def some_of_each(client):
    """Values of each layout, in many slots. Returns how many keys."""
    for number in range(100):
        client.set(f"short:{number}", f"value {number}")
        client.set(f"number:{number}", number - 50)
        client.set(f"large number:{number}", (number - 50) * 10**12)
        client.set(f"long:{number}", "v" * 300)
        client.hset(f"hash:{number}", "field", number)
        client.sadd(f"numbers:{number}", number, 7)
        client.zadd(f"scores:{number}", {"member": number})
        client.rpush(f"list:{number}", number)
    client.rpush("large list", *range(20000))
    client.zadd("large scores", {f"member {number}": number for number in range(1000)})
    return client.dbsize()


def read_without_commands(server):
    info = server.image_made()
    assert info["rdbeam_snapshot_keys_by_api"] == "0", info
    return int(info["rdbeam_snapshot_keys"])


def test_a_cluster_replica_saves_through_the_table(make, loads):
    """It refuses commands on keys, by which values are proved elsewhere."""
    primary = node(make, "primary", module=False)
    replica = node(make, "replica", options={"workers": 2})
    primary.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    replica.client.execute_command("CLUSTER", "MEET", "127.0.0.1", primary.port)
    wait_for(lambda: cluster_ok(primary) and cluster_ok(replica), "the cluster is up")
    replica.client.execute_command("CLUSTER", "REPLICATE", cluster_id(primary))
    follows(replica, primary)
    keys = some_of_each(primary.client)
    in_sync(primary, replica)
    replica.bgsave()
    assert read_without_commands(replica) == keys
    assert loads(replica.dump()).digest() == primary.digest()
    data.fill_strings(primary.client, 40, 1 << 20)  # the coordinator walks, workers read the rest
    in_sync(primary, replica)
    replica.bgsave()
    assert read_without_commands(replica) == keys + 40
    assert loads(replica.dump()).digest() == primary.digest()


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_expired_keys_of_many_slots_do_not_stop_a_save(make, loads, fast_path):
    """They are looked at by commands, which take no keys of several slots."""
    server = node(make, "server", options={"fast-path": fast_path})
    server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    wait_for(lambda: cluster_ok(server), "the cluster is up")
    server.client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    for number in range(200):
        server.client.set(f"over:{number}", "soon", px=1)
    keys = some_of_each(server.client)
    wait_for(lambda: not any(server.client.get(f"over:{number}") for number in range(190, 200)),
             "they have expired")
    server.bgsave()
    assert server.image_made()["rdbeam_fallback_total"] == "0"
    loaded = loads(server.dump()).client
    assert loaded.dbsize() == keys - 200
    assert loaded.get("number:7") == b"-43" and loaded.get("short:99") == b"value 99"


class Migration:
    """Slots 0 to 100 on their way from one node to another, a key a second, as the server does it."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.is_valkey = "valkey_version" in source.info("server")
        source.client.config_set("rdb-key-save-delay", 1000000)
        try:
            if self.is_valkey:
                self.of(source, "MIGRATESLOTS", "SLOTSRANGE", 0, 100, "NODE", cluster_id(target))
            else:
                self.of(target, "MIGRATION", "IMPORT", 0, 100)
        except redis.ResponseError as error:
            pytest.skip(f"this server has no migration of slots: {error}")

    @staticmethod
    def of(server, *command):
        return server.client.execute_command("CLUSTER", *command)

    def state(self):
        """On the target; none before it has heard of it."""
        found = self.of(self.target, *(["GETSLOTMIGRATIONS"] if self.is_valkey
                                       else ["MIGRATION", "STATUS", "ALL"]))
        return dict(zip(found[0][::2], found[0][1::2]))[b"state"].decode() if found else None

    def cancel(self):
        if self.is_valkey:
            self.of(self.source, "CANCELSLOTMIGRATIONS")
        else:
            self.of(self.target, "MIGRATION", "CANCEL", "ALL")


def test_slots_on_their_way_are_saved_by_the_server(make):
    """The keys of slots that arrive are hidden from commands and scans, and are in the server's own dumps: a
    replica that is fed one without them would lack them for ever."""
    source = node(make, "source", module=False)
    target = node(make, "target")
    for server, first in (source, 0), (target, SLOTS // 2):
        server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, first + SLOTS // 2 - 1)
    target.client.execute_command("CLUSTER", "MEET", "127.0.0.1", source.port)
    wait_for(lambda: cluster_ok(source) and cluster_ok(target), "the cluster is up")
    slots = {f"key:{number}": key_slot(b"key:%d" % number) for number in range(20000)}
    for server, first, last in (source, 0, 100), (target, SLOTS // 2, SLOTS // 2 + 100):
        for key in (key for key, slot in slots.items() if first <= slot <= last):
            server.client.set(key, "v" * 20000)
    target.bgsave()
    own = target.client.dbsize()
    assert target.image_made()["rdbeam_snapshot_keys"] == str(own)
    dump = target.dump().read_bytes()
    migration = Migration(source, target)
    assert migration.is_valkey or b"cluster-asm-task\0" in dump, "that there is none is told"
    wait_for(lambda: migration.state() in ("receiving-snapshot", "accumulate-buffer"),
             lambda: f"keys arrive: {migration.state()}")
    target.bgsave()
    assert target.client.dbsize() == own
    assert target.info("rdbeam")["rdbeam_last_fallback_reason"].startswith("slots are moving")
    migration.cancel()

    def by_the_table():
        before = target.generation()
        target.bgsave()
        return target.generation() != before
    wait_for(by_the_table, "saves are made through the table again")


# ---- Sentinel -------------------------------------------------------------------------------

class Sentinel(harness.Server):
    """One is quorum enough for these tests."""

    def __init__(self, root, primary):
        super().__init__(root, "sentinel", primary.binary, module=False)
        self.primary = primary
        program = self.dir / "redis-sentinel"  # by its name the server is a Sentinel
        program.symlink_to(shutil.which(self.binary))
        self.binary = str(program)

    def write_config(self):
        path = self.dir / "sentinel.conf"
        path.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.dir}\n"
                        f"logfile {self.dir}/server.log\nprotected-mode no\n"
                        f"sentinel monitor group 127.0.0.1 {self.primary.port} 1\n"
                        "sentinel down-after-milliseconds group 1000\n"
                        "sentinel failover-timeout group 10000\n")
        return path

    def current(self):
        return int(self.client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "group")[1])

    def replicas(self):
        reply = self.client.execute_command("SENTINEL", "REPLICAS", "group")
        return [dict(zip(entry[::2], entry[1::2]))[b"name"] for entry in reply]

    def knows(self, server):
        # It asks the primary every ten seconds.
        wait_for(lambda: f"127.0.0.1:{server.port}".encode() in self.replicas(),
                 lambda: f"Sentinel knows {server.name}: {self.replicas()}")


@pytest.fixture
def sentinel_for(root):
    started = []

    def start(primary):
        started.append(Sentinel(root, primary))
        return started[-1].start()

    yield start
    for sentinel in started:
        sentinel.stop()


def promoted(sentinel, old, candidates):
    port = wait_for(lambda: sentinel.current() != old.port and sentinel.current(),
                    lambda: f"a failover\n{sentinel.log()[-2000:]}")
    new = next(server for server in candidates if server.port == port)
    wait_for(lambda: new.value("replication", "role") == "master", f"{new.name} is primary")
    return new


def test_failover_after_a_pull(make, sentinel_for):
    """A pulled replica is a replica as any other: Sentinel finds it, and it takes over; then its
    module serves the next pull."""
    primary, second, third = (make(f"server{number}") for number in range(3))
    data.fill_strings(primary.client, 2000, 200)
    sentinel = sentinel_for(primary)
    assert pull(primary, second)["full_resyncs"] == 0
    sentinel.knows(second)
    primary.client.set("last", "word")
    in_sync(primary, second)
    digest = primary.digest()
    primary.kill()
    assert promoted(sentinel, primary, [second]) is second
    assert second.digest() == digest
    second.client.set("after", "failover")
    assert pull(second, third)["full_resyncs"] == 0
    in_sync(second, third)
    assert third.digest() == second.digest()


def pull_begun(make):
    """A primary, its replica, and a pull from it that has some seconds to go."""
    primary = make("primary", options={"rate-limit": 4 * MIB, "segment-size": "2mb"})
    data.fill_strings(primary.client, 40, MIB)
    other = make("other")
    other.client.replicaof("127.0.0.1", primary.port)
    in_sync(primary, other)
    target = make("target", module=False)

    def begin():
        process = harness.cli_start("pull", "--json", "--from", f"127.0.0.1:{primary.port}", "--to",
                                    f"127.0.0.1:{target.port}")
        wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") > 5 * MIB, "bytes flow")
        return process

    return primary, other, target, begin


def is_a_replica(server):
    try:
        return server.value("replication", "role") == "slave"
    except redis.ConnectionError:
        return False  # Sentinel closes the clients of a server that it makes a replica


def pulled_unless_loading(primary, target):
    """None if the target was just then being fed by the primary that it had."""
    done = harness.cli("pull", "--json", "--from", f"127.0.0.1:{primary.port}", "--to",
                       f"127.0.0.1:{target.port}", "--force")
    assert done.returncode == 0 or "LOADING" in done.stderr, done.stderr
    return None if done.returncode else done


def ends_without_difference(process, primary, new, target):
    """The pull ends well or with a line; either way the target is not left different, and a pull
    from the new primary works."""
    new.client.set("written", "by the new primary")
    out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode in (0, 1, 4), err
    if process.returncode:
        assert err.strip()
        wait_for(lambda: target.value("replication", "role") == "master", "target is its own again")
    else:
        assert last_json(out)["partial_resyncs"] + last_json(out)["full_resyncs"] == 1
    wait_for(lambda: is_a_replica(primary), "the old primary follows")
    done = wait_for(lambda: pulled_unless_loading(new, target), "the target is not loading")
    assert last_json(done.stdout)["full_resyncs"] == 0
    in_sync(new, target)
    assert target.digest() == new.digest() and target.client.get("written")


def test_failover_during_a_pull(make, sentinel_for):
    primary, other, target, begin = pull_begun(make)
    sentinel = sentinel_for(primary)
    sentinel.knows(other)
    process = begin()
    sentinel.client.execute_command("SENTINEL", "FAILOVER", "group")
    new = promoted(sentinel, primary, [other])
    ends_without_difference(process, primary, new, target)


def test_failover_command_during_a_pull(make):
    """FAILOVER: the primary pauses its writes, and the replica goes on with a new replication id."""
    primary, other, target, begin = pull_begun(make)
    process = begin()
    primary.client.execute_command("FAILOVER", "TO", "127.0.0.1", other.port)
    wait_for(lambda: other.value("replication", "role") == "master", "the replica has taken over")
    assert other.value("replication", "master_replid2") != "0" * 40
    ends_without_difference(process, primary, other, target)
