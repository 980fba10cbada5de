# SPDX-License-Identifier: BSD-3-Clause
"""Servers of different versions. With RDBEAM_SERVERS each is pulled into each."""
import itertools
import re
import socket

import pytest

import data
import harness
from harness import wait_for
from test_pull import in_sync, one_line, pull, same_data


def older(server, number, other_kind):
    """Stands before a server and makes it say that it knows an older format: the version at the end
    of FUNCTION DUMP, which has nothing else in it where there are no functions. `other_kind`: and that it is Valkey."""
    mark = b"$10\r\n"

    def change(chunk):
        if other_kind:  # by a field of the same length
            chunk = re.sub(rb"redis_git_sha1:.{8}\r", b"valkey_version:8.1.1000\r", chunk)
        return mark + bytes([number, 0]) + chunk[len(mark) + 2:] if chunk.startswith(mark) else chunk
    return harness.Between(server.port, change)


@pytest.mark.parametrize("kind, other_kind", [("replica", False), ("copy", False), ("replica", True)])
def test_format_that_the_target_cannot_read_is_refused_before_it_is_touched(make, kind, other_kind):
    primary = make("primary")
    is_valkey = "valkey_version" in primary.info("server")
    if is_valkey and other_kind:
        pytest.skip("this server is Valkey: it would be one kind")
    data.fill_strings(primary.client, 100, 100)
    pull(primary, None, "--discard")  # makes the backlog
    target = make("target", module=False)
    target.client.set("stays", "here")
    before = primary.info("stats"), target.info("replication")["role"]
    done = pull(primary, older(target, 9, other_kind), "--as", kind, "--force", check=3)
    here = f"Valkey {version(target)}" if is_valkey else f"Redis {version(target)}"
    one_line(done, "cannot read", "(Valkey 8.1.1000)" if other_kind else f"({here})", f"({here}) saves",
             f"format {rdb_version(primary)}", "knows 9", f"pull into {here} or newer" if other_kind else "upgrade")
    assert target.client.get("stays") == b"here" and target.client.dbsize() == 1
    assert target.info("replication")["role"] == before[1] == "master"
    assert "REPLICAOF" not in target.log()
    assert primary.info("stats")["total_forks"] == before[0]["total_forks"], "no image was made for it"


def version(server):
    info = server.info("server")
    return info.get("valkey_version", info["redis_version"])


def pairs():
    return [pytest.param(a, b, id=f"{a[0]}-to-{b[0]}")
            for a, b in itertools.product(harness.servers(), repeat=2)]


def rdb_version(server):
    return int.from_bytes(server.client.execute_command("FUNCTION", "DUMP")[-10:-8], "little")


def reads(target, source):
    """Valkey from 9 on takes none of the formats that Redis has had since the two parted."""
    return source <= target and not (target >= 80 and 12 <= source < 80)


@pytest.mark.skipif(len(harness.servers()) < 2, reason="one server: RDBEAM_SERVERS names more")
@pytest.mark.parametrize("old, new", pairs())
def test_each_into_each(make, old, new):
    """A newer primary's image is refused by an older replica, all others are taken, by the stock
    loader and by the module, under writes."""
    primary = make("primary", old[1])
    data.fill_mixed(primary)
    data.fill_strings(primary.client, 3000, 1000)
    pull(primary, None, "--discard")
    for module in (False, True):
        replica = make(f"replica{module}", new[1], module=module)
        if not reads(rdb_version(replica), rdb_version(primary)):
            one_line(pull(primary, replica, check=3), "cannot read")
            assert replica.info("replication")["role"] == "master"
            continue
        with data.Load(primary, pause_s=0.002):
            said = pull(primary, replica)
        assert said["full_resyncs"] == 0 and said["loader"] == ("module" if module else "stock"), said
        if old[0] == new[0]:
            same_data(primary, replica)
        else:  # digests differ between versions for the same data
            wait_for(lambda: primary.client.dbsize() == replica.client.dbsize()
                     and primary.number("replication", "master_repl_offset")
                     == replica.number("replication", "slave_repl_offset"), "they agree")


# ---- clients in other databases ---------------------------------------------------------------

# Redis before 7.0.6 puts clients that come or go into database 0 for modules that hear of it.

def test_client_that_waits_in_another_database_may_leave(make, binary):
    server = make("server")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"SELECT 1\r\nBLPOP nothing 0\r\n")
        wait_for(lambda: server.number("clients", "blocked_clients") == 1, "it waits")
    wait_for(lambda: server.number("clients", "blocked_clients") == 0, "it is gone")
    assert server.connect(db=1).rpush("nothing", "stays") == 1


def test_replica_whose_link_broke_goes_on_in_the_same_database(make, binary):
    primary, replica = make("primary"), make("replica")
    replica.client.execute_command("REPLICAOF", "127.0.0.1", primary.port)
    in_sync(primary, replica)
    primary.connect(db=1).set("before", 1)
    in_sync(primary, replica)
    replica.client.execute_command("CLIENT", "KILL", "TYPE", "master")
    wait_for(lambda: primary.number("stats", "sync_partial_ok") == 1, "it is back")
    primary.connect(db=1).set("after", 1)
    in_sync(primary, replica)
    assert replica.connect(db=1).get("after") == b"1" and not replica.client.dbsize()
