# SPDX-License-Identifier: BSD-3-Clause
"""Which way keys are read. An image looks the same by any of them, so the ways are counted."""
import os
import pathlib
import re
import resource

import pytest
import redis

import data
import harness
from harness import check_rdb, wait_for


def ways(info):
    return {way: int(info[f"rdbeam_snapshot_keys_by_{way}"])
            for way in ("layout", "serializer", "api")}


def tables_of(server):
    """As the server's version has it: Valkey's new table came with 8.1. That of Redis 8.2 has objects."""
    info = server.info("server")
    version = info.get("valkey_version", info["redis_version"])
    major, minor = (int(number) for number in version.split(".")[:2])
    if major == 255:  # some state of its development
        return ["chained", "objects", "buckets"]
    if "valkey_version" not in info:
        return ["objects"] if (major, minor) >= (8, 2) else ["chained"]
    return ["buckets"] if (major, minor) >= (8, 1) else ["chained"]


def said(server):
    """What the log has of it, as INFO names it."""
    found = re.search(r"read by layout \((\d+)\), by the server's serializer \((\d+)\) and by the "
                      r"module API \((\d+)\); tables: (\S+)", server.log())
    return found and {"layout": int(found[1]), "serializer": int(found[2]), "api": int(found[3]),
                      "tables": found[4]}


# Of each database of data.fill_mixed these have no form of their own in one block of memory.
LARGE = ["h:100k", "z:10k", "set:10k", "l:large", "stream", "stream:empty"]


@pytest.mark.parametrize("long_values", [False, True])
@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_the_way_that_is_meant_is_taken(make, binary, fast_path, long_values):
    server = make("primary", options={"segment-size": "2mb", "workers": 2, "fast-path": fast_path})
    keys = data.fill_mixed(server, dbs=2)
    if long_values:  # walked by the coordinator; workers read what is left
        data.fill_strings(server.client, 60, 1 << 20, prefix="mega")
        keys += 60
    server.bgsave()
    info = server.image_made()
    found = ways(info)
    assert sum(found.values()) == keys, found
    if fast_path == "yes":
        assert info["rdbeam_snapshot_tables"] in tables_of(server)
        assert found["serializer"] >= 2 * len(LARGE), found
        assert found["api"] == 0, found
    else:
        assert info["rdbeam_snapshot_tables"] == "scanned"
        assert found == {"layout": 0, "serializer": 0, "api": keys}
    wait_for(lambda: said(server), "the log says how the keys were read")
    assert said(server) == {**found, "tables": info["rdbeam_snapshot_tables"]}


def test_a_clusters_slots_are_walked(make, binary, loads):
    """Newer servers have a table for each; one of them is large here, and in mid-rehash, and some are empty."""
    server = make("primary", cluster_enabled="yes", activerehashing="no",
                  options={"segment-size": "2mb", "workers": 2})
    client = server.client
    client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_for(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "the cluster's state")
    data.fill_mixed(server, dbs=1)
    data.fill_strings(client, 3000, 20, prefix="gone")
    data.fill_strings(client, 8192, 50, prefix="{one slot}")
    client.set("{one slot}:more", "starts a rehash")
    pipe = client.pipeline(transaction=False)
    for number in range(3000):
        pipe.delete(f"gone:{number}")
    pipe.execute()
    server.bgsave()
    info = server.image_made()
    assert info["rdbeam_snapshot_tables"] in tables_of(server)
    assert sum(ways(info).values()) == client.dbsize()
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump()).digest() == server.digest()


def test_large_collections_in_mid_rehash_load(make, binary, loads):
    """Their tables are gone through ahead of the server's serializer, both of them."""
    server = make("primary", options={"workers": 2}, activerehashing="no")
    client = server.client
    for start in range(0, 65536, 8192):
        client.hset("hash", mapping={f"field {n}": f"value {n}"
                                     for n in range(start, start + 8192)})
        client.sadd("set", *[f"member {n}" for n in range(start, start + 8192)])
        client.sadd("numbers", *[str(n * 7) for n in range(start, start + 8192)])
    client.sadd("numbers", "not one")
    for number in range(70000, 70200):  # the first starts a rehash, the others go on with it
        client.hset("hash", f"field {number}", "more")
        client.sadd("set", f"member {number}")
        client.sadd("numbers", number * 7)
    server.bgsave()
    info = server.image_made()
    assert ways(info)["serializer"] == 3
    if info["rdbeam_snapshot_tables"] == "chained":
        for key in ("hash", "set", "numbers"):
            found = client.execute_command("DEBUG", "HTSTATS-KEY", key)
            assert b"rehashing target" in found, key
        # The one that is no number is a mark: found as far as seven elements into its part, what follows comes that
        # much later, and the table's last ones, where parts are of one or two, not before their end.
        late = 3 * (65536 + 200) + 1 - int(info["rdbeam_snapshot_elements_ahead"])
        assert 0 <= late < 8
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump()).digest() == server.digest()


def test_a_large_sorted_set_is_fetched_ahead(make, binary, loads):
    """Its list is gone through from many nodes at once, as each server has it."""
    server = make("primary", options={"workers": 2})
    members = {f"member {n}": n * 7919 % 20011 for n in range(20000)}
    members.update({str(n): n + 0.5 for n in range(5000)})
    server.client.zadd("scores", members)
    server.bgsave()
    info = server.image_made()
    assert ways(info)["serializer"] == 1
    assert int(info["rdbeam_snapshot_elements_ahead"]) == len(members)
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump()).digest() == server.digest()


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_arrays_are_saved(make, binary, loads, fast_path):
    """All saves with one were the server's: as it has vector sets, keys are looked at for metadata, and an array's object
    was taken for something else."""
    server = make("primary", options={"fast-path": fast_path})
    try:
        data.fill_array(server.client, "short")
    except redis.ResponseError as error:
        pytest.skip(f"this server has no arrays: {error}")
    for start in range(0, 20000, 500):
        server.client.execute_command("ARSET", "long", start, *range(start, start + 500))
    data.fill_strings(server.client, 100, 20)
    server.bgsave()
    found = ways(server.image_made())
    assert found == ({"layout": 100, "serializer": 2, "api": 0} if fast_path == "yes" else
                     {"layout": 0, "serializer": 0, "api": 102})
    check_rdb(server.dump(), server.binary)
    told = harness.cli("verify", server.dump(), check=0).stdout
    assert re.search(r"array +2\n", told) and "other" not in told
    assert loads(server.dump()).digest() == server.digest()


def test_fields_with_an_end_leave_the_serializer_in_use(make, binary, loads):
    """Valkey 9.0 does not count their times among the bytes that it writes. After the first such hash all large
    collections and streams went through DUMP."""
    server = make("primary", options={"workers": 1})
    client = server.client
    try:
        for n in range(6):
            client.hset(f"hash {n}", mapping={f"field {i}": i for i in range(n * 150 + 1)})
            client.execute_command("HPEXPIRE", f"hash {n}", 10**8, "FIELDS", 1, "field 0")
    except redis.ResponseError as error:
        pytest.skip(f"this server's fields have no end: {error}")
    for n in range(20):
        client.sadd(f"set {n}", *range(5000), "member")
    server.bgsave()
    assert ways(server.image_made())["api"] == 0
    check_rdb(server.dump(), server.binary)
    loaded = loads(server.dump())
    assert loaded.digest() == server.digest()
    ask = ("HPEXPIRETIME", "hash 5", "FIELDS", 2, "field 0", "field 1")
    assert loaded.client.execute_command(*ask) == client.execute_command(*ask)


def spent_by_children(server):
    """Processor seconds and page faults of the server's children that have ended, and of theirs."""
    stat = pathlib.Path(f"/proc/{server.pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2:].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK"), int(fields[8])


def test_thousands_of_databases_take_no_time(make, binary, loads):
    """Each with a few keys: it took 40 times as long as BGSAVE, as each part of the work was looked for from the first
    database on, and each table was proved."""
    server = make("primary", databases=20000, lua_time_limit=0, options={"workers": 2})
    server.client.eval("""for db = 0, 19999 do redis.call('SELECT', db)
        for key = 0, db % 10 == 0 and 40 or 0 do redis.call('SET', 'k' .. key, db, 'EX', 10000 + db) end end""", 0)
    before, _ = spent_by_children(server)
    server.bgsave()
    info = server.image_made()
    after, _ = spent_by_children(server)
    assert info["rdbeam_snapshot_keys"] == str(20000 + 2000 * 40)
    assert info["rdbeam_snapshot_tables"] in tables_of(server)
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump(), databases=20000).digest() == server.digest()
    if not harness.SANITIZE:
        assert after - before < 0.4


def test_values_that_many_keys_share(make, binary, loads):
    """A server keeps small integers once. That two keys of a bucket have the same value disproved the table's layout."""
    server = make("primary", options={"workers": 2})
    server.client.eval("for n = 1, 3000 do redis.call('SET', 'flag:' .. n, 1) end", 0)
    server.bgsave()
    info = server.image_made()
    assert info["rdbeam_snapshot_tables"] in tables_of(server)
    assert ways(info)["layout"] == 3000
    assert loads(server.dump()).digest() == server.digest()


def test_keys_that_are_over_are_read_as_the_others(make, binary, loads):
    """Where all keys of a kind were, each was looked up by its name: ten times as long as BGSAVE, which writes them."""
    server = make("primary")
    server.client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    server.client.eval("""for n = 1, 3000 do
        redis.call('SET', 'short' .. n, 'x') redis.call('SET', 'number' .. n, n)
        redis.call('HSET', 'hash' .. n, 'f', 'x') redis.call('RPUSH', 'list' .. n, 'x')
        for _, key in pairs({'short', 'number', 'hash', 'list'}) do redis.call('PEXPIRE', key .. n, 10) end end""", 0)
    wait_for(lambda: server.client.pttl("list3000") == -2, "the keys are expired")
    size = server.client.dbsize()
    assert size > 11900
    server.bgsave()
    info = server.image_made()
    assert ways(info)["api"] == 0
    assert size - int(info["rdbeam_snapshot_keys"]) <= 64
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump()).client.dbsize() == 0


def test_no_key_is_deleted_from_a_table_that_is_walked(make, binary):
    """A command that looks up a key that is over deletes it. Valkey since 8.1 then moves another one of its bucket into its
    place, where the walk has been: keys were missing, and stock saving took over. And those 64 were left out."""
    server = make("primary", options={"workers": 1})
    server.client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    for n in (200, 340, 860):
        server.client.flushall()
        server.client.eval("""for n = 0, ARGV[1] do
            redis.call('XADD', 's' .. n, '1-1', 'f', n) redis.call('PEXPIRE', 's' .. n, 100) end""", 0, n)
        wait_for(lambda: server.client.pttl(f"s{n}") == -2, "the keys are expired")  # and that one is deleted
        server.bgsave()
        assert server.image_made()["rdbeam_snapshot_keys"] == str(n)
        check_rdb(server.dump(), server.binary)


def fill_lists(client):
    """Of each kind of node: packed, compressed within, and single elements."""
    client.eval("for n = 1, 20000 do redis.call('RPUSH', 'list', string.rep('x', 1000) .. n) end", 0)
    client.config_set("list-compress-depth", 1)
    client.eval("for n = 1, 40000 do redis.call('RPUSH', 'deep', string.rep('x', 1000) .. n) end", 0)
    client.eval("for n = 1, 9 do redis.call('RPUSH', 'short', string.rep('x', 100) .. n) end", 0)
    client.execute_command("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "1000b")
    client.eval("for n = 1, 10000 do redis.call('RPUSH', 'single', string.rep('x', n) .. n) end", 0)


@pytest.mark.parametrize("region", [None, "24mb"])
def test_long_lists_are_not_held_in_memory(make, binary, loads, region):
    """They were, which took as much memory as the list once more, and twice the time of BGSAVE: by faults for each 4 KiB."""
    server = make("primary", options={"region-size": region} if region else {})
    fill_lists(server.client)
    _, before = spent_by_children(server)
    server.bgsave()
    assert ways(server.image_made())["serializer"] >= 3
    _, after = spent_by_children(server)
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump()).digest() == server.digest()
    if not harness.SANITIZE:
        assert after - before < 5000


def test_a_large_collection_is_written_into_huge_pages(make, binary, loads):
    server = make("primary")
    server.client.eval("for n = 1, 40000 do redis.call('HSET', 'hash', n, string.rep('x', 1000) .. n) end", 0)
    _, before = spent_by_children(server)
    server.bgsave()
    server.image_made()
    _, after = spent_by_children(server)
    check_rdb(server.dump(), server.binary)
    assert loads(server.dump()).digest() == server.digest()
    allowed = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    if not harness.SANITIZE and "[never]" not in allowed:
        assert after - before < 5000


@pytest.mark.skipif(bool(harness.SANITIZE), reason="sanitizers take all addresses there are")
def test_want_of_memory_is_said_and_disproves_nothing(make, binary):
    """The server was asked for the value then, which crashes when it lacks memory: taken for a layout that is another, and no
    save read by layout any more."""
    server = make("primary", options={"workers": 1})
    server.client.set("string", "x")
    server.client.eval("for n = 1, 150000 do redis.call('HSET', 'hash', n, string.rep('x', 1000) .. n) end", 0)
    size = int(re.search(r"VmSize:\s*(\d+)", pathlib.Path(f"/proc/{server.pid}/status").read_text())[1]) << 10
    unlimited = resource.prlimit(server.pid, resource.RLIMIT_AS)
    resource.prlimit(server.pid, resource.RLIMIT_AS, (size + (500 << 20), unlimited[1]))
    server.bgsave()
    assert server.info("rdbeam")["rdbeam_last_fallback_reason"] == "worker 0: Cannot allocate memory"
    check_rdb(server.dump(), server.binary)
    resource.prlimit(server.pid, resource.RLIMIT_AS, unlimited)
    server.bgsave()
    assert ways(server.info("rdbeam"))["layout"] == 1
    assert server.fallbacks() == 1


FIELDS = {"small": 8, "medium": 700, "large": 40000}


def fill_fields_with_ends(client):
    for name, count in FIELDS.items():
        for kind in ("plain", "some", "all"):
            key, fields = f"{name}:{kind}", [f"field{n}" for n in range(count)]
            client.hset(key, mapping={field: field * 2 for field in fields})
            step = {"plain": None, "some": 3, "all": 1}[kind]
            for start in range(0, count if step else 0, 3000):
                some = fields[start:start + 3000:step]
                client.execute_command("HPEXPIREAT", key, 4102444800000 + start, "FIELDS", len(some), *some)
    client.hset("ends:first", mapping={"a": 1, "b": 2})
    client.execute_command("HPEXPIREAT", "ends:first", 4102444800000, "FIELDS", 1, "a")


def fields_and_ends(client):
    found = {}
    for key in client.scan_iter(count=1000):
        values = client.hgetall(key)
        fields = sorted(values)
        ends = []
        for start in range(0, len(fields), 5000):
            some = fields[start:start + 5000]
            ends += client.execute_command("HPEXPIRETIME", key, "FIELDS", len(some), *some)
        found[key] = values, ends
    return found


def test_hashes_whose_fields_end_are_read_by_the_serializer(make, binary, loads):
    """Redis 7.4 and 8 do not count all of what they write of these."""
    server = make("primary", options={"segment-size": "2mb"})
    try:
        fill_fields_with_ends(server.client)
    except redis.ResponseError as error:
        pytest.skip(f"this server has no ends of fields: {error}")
    server.bgsave()
    found = ways(server.image_made())
    assert found["api"] == 0 and found["serializer"] >= 3 * len(FIELDS) - 1, found
    check_rdb(server.dump(), server.binary)
    assert fields_and_ends(loads(server.dump()).client) == fields_and_ends(server.client)


VECTOR_SETS = ("NOQUANT", "Q8", "BIN")


def vector_sets(client):
    found = {}
    for name in VECTOR_SETS:
        elements = [b"e%d" % n for n in range(client.execute_command("VCARD", name))]
        ask = lambda command: [client.execute_command(command, name, element) for element in elements]
        links = [[sorted(level) for level in levels] for levels in ask("VLINKS")]
        found[name] = ask("VEMB"), ask("VGETATTR"), links
    return found


def test_vector_sets_are_what_they_were(make, binary, loads):
    """Redis 8 has them by a module of its own: they go by the module API."""
    server = make("primary", options={"segment-size": "2mb"})
    data.fill_mixed(server, dbs=1)
    try:
        for name in VECTOR_SETS:
            for n in range(300):
                server.client.execute_command("VADD", name, "VALUES", 4, n % 7, n / 300, -n, 1, f"e{n}", name,
                                              "SETATTR", '{"n": %d}' % n)
    except redis.ResponseError as error:
        pytest.skip(f"this server has no vector sets: {error}")
    server.bgsave()
    assert ways(server.image_made())["api"] == len(VECTOR_SETS)
    check_rdb(server.dump(), server.binary)
    loader = loads(server.dump())
    assert loader.digest() == server.digest()
    assert vector_sets(loader.client) == vector_sets(server.client)


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_table_on_its_way_to_a_tiny_one(make, loads, fast_path):
    """Most keys are gone, the new table is of a few buckets, and new keys are all in these: a walk by cursors
    has more parts than that."""
    server = make("primary", options={"workers": 2, "fast-path": fast_path}, activerehashing="no")
    client = server.client
    client.mset({b"k:%d" % number: b"v" for number in range(300000)})
    client.eval("for i = 2, 299999 do redis.call('DEL', 'k:' .. i) end", 0)
    wait_for(lambda: b"rehashing target" in client.execute_command("DEBUG", "HTSTATS", 0),
             "a rehash")
    client.mset({b"new:%d" % number: b"v" for number in range(800)})
    if b"rehashing target" not in client.execute_command("DEBUG", "HTSTATS", 0):
        pytest.skip("this server is through with its rehash by then")
    for _ in range(2):
        server.bgsave()
        info = server.image_made()
        assert info["rdbeam_workers"] == "2"
    assert loads(server.dump()).digest() == server.digest()
