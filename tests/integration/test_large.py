# SPDX-License-Identifier: BSD-3-Clause
"""Keyspaces that the coordinator walks itself: of long values, which its threads copy, and tiny ones."""
import os
import struct

import pytest

import data
import harness
from harness import check_rdb
from test_pull import pull, same_data

LONG = {"workers": 3, "segment-size": "2mb"}


def fill(server, dbs=2):
    """All types, and enough long strings beside them for the average to be long."""
    keys = data.fill_mixed(server, dbs=dbs)
    data.fill_strings(server.client, 60, 1 << 20, prefix="mega")
    data.fill_strings(server.client, 2, 40 << 20, prefix="runs")
    return keys + 62


def same(server, loads, dbs=2):
    check_rdb(server.dump(), server.binary)
    copy = loads(server.dump())
    assert copy.digest() == server.digest()
    assert data.details(copy, dbs) == data.details(server, dbs)


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_long_values_and_all_types_beside_them(make, loads, fast_path):
    server = make("primary", options={**LONG, "fast-path": fast_path})
    keys = fill(server)
    server.bgsave()
    info = server.image_made()
    assert int(info["rdbeam_snapshot_keys"]) == keys
    same(server, loads)


def test_long_values_through_a_small_region(make, loads):
    server = make("primary", options={**LONG, "region-size": "24mb"})
    fill(server, dbs=1)
    server.bgsave()
    server.image_made()
    same(server, loads, dbs=1)


def posing(first, mark, generation):
    """A value of four segments of 2 MiB, `first` and on, that has one of our marks where the first of them ends."""
    segment, body, head = 2 << 20, 1 << 20, 10  # what stands before the value
    value = bytearray(os.urandom(7 << 20))
    end = segment - head
    if mark == b"rdbmEND1":
        value[end - 33:end - 9] = generation + mark
    else:
        value[body - head:body - head + 7] = b"\xfa\0\x80" + struct.pack(">I", segment - body - 7)
        value[end - 56:end] = mark + generation + struct.pack("<IIIIQQ", first, 1, 1, 1, body, 0)
    return bytes(value)


@pytest.mark.parametrize("how", ["stock", "module", "copy"])
def test_values_that_pose_as_marks_of_ours(make, how):
    """By all that a client can know of the image to come: the generation of the one before it."""
    primary = make("primary", options={"segment-size": "2mb", "workers": 1})
    primary.bgsave()
    nonce, counter = primary.generation().split("-")
    generation = struct.pack("<QQ", int(nonce, 16), int(counter) + 1)
    primary.client.set("v", posing(1, b"rdbmCHK1", generation))
    primary.connect(db=1).set("v", posing(5, b"rdbmEND1", generation))
    data.fill_strings(primary.connect(db=2), 1000, 100)
    replica = make("replica", module=how == "module")
    said = pull(primary, replica, *(["--as", "copy"] if how == "copy" else ["--loader", how]))
    assert said["reread_segments"] == 0, said
    if how == "copy":
        assert replica.digest() == primary.digest()
    else:
        same_data(primary, replica)


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("fault", ["copy.thread:1:errno=EAGAIN", "copy.job:3:errno=EIO",
                                   "large:1:errno=ENOMEM", "fork-worker:1:errno=EAGAIN",
                                   "worker-start:1:kill", "begin:1:errno=EIO"])
def test_what_fails_in_it_is_left_to_stock_saving(make, loads, monkeypatch, fault):
    monkeypatch.setenv("RDBEAM_FAULT", fault)
    server = make("primary", options=LONG)
    fill(server, dbs=1)
    server.bgsave()
    if fault.startswith("copy.thread"):  # the coordinator does it
        server.image_made()
    else:
        assert server.fallbacks() == 1
    same(server, loads, dbs=1)


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
def test_a_tiny_keyspace_takes_no_worker(make, loads, monkeypatch):
    """But for a key that only a command can read."""
    monkeypatch.setenv("RDBEAM_FAULT", "fork-worker:1:errno=EAGAIN")
    server = make("primary")
    data.fill_strings(server.client, 1000, 100)
    server.client.hset("hash", mapping={"field": "value", "other": 7})
    server.bgsave()
    server.image_made()
    same(server, loads, dbs=1)
    server.client.xadd("events", {"field": "value"})
    server.bgsave()
    assert "worker" in server.info("rdbeam")["rdbeam_last_fallback_reason"]
    same(server, loads, dbs=1)
