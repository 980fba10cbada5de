# SPDX-License-Identifier: BSD-3-Clause
"""Servers configured as few are: what cannot be done with them is left to stock saving, and said."""
import pytest
import redis

import data


def fill_two_databases(server):
    for db in (0, 9):
        data.fill_strings(server.connect(db=db), 50, 30, prefix=f"db{db}")


def test_renamed_config_saves_stock_and_listens_nowhere(make, loads, binary):
    server = make("primary", options={"transport": "tcp"}, rename_command='CONFIG ""')
    fill_two_databases(server)
    server.bgsave()
    info = server.info("rdbeam")
    assert info["rdbeam_fallback_total"] == "1" and "dbfilename" in info["rdbeam_last_fallback_reason"]
    assert loads(server.dump()).digest() == server.digest()
    # An image in memory needs no file name. It has every database all the same.
    server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
    assert server.value("rdbeam", "rdbeam_snapshot_keys") == "100"
    with pytest.raises(redis.ResponseError, match="CONFIG is renamed"):
        server.client.execute_command("RDBEAM.TICKET")


@pytest.mark.parametrize("command", ["DUMP", "FUNCTION", "MGET", "GET", "PUBLISH"])
def test_renamed_command_is_no_misconf(make, loads, command):
    server = make("primary", rename_command=f"{command} XX{command}")
    fill_two_databases(server)
    server.client.hset("large", mapping={f"field:{number}": number for number in range(1000)})
    server.bgsave()
    assert loads(server.dump()).digest() == server.digest()


def test_more_databases_than_anyone_has(make, loads):
    server = make("primary", databases=20000)
    fill_two_databases(server)
    server.connect(db=19999).set("last", "database")
    server.bgsave()
    assert server.image_made()["rdbeam_snapshot_keys"] == "101"
    assert loads(server.dump(), databases=20000).digest() == server.digest()


def test_dump_name_too_long_for_a_file_is_err(make):
    server = make("primary")
    server.client.config_set("dbfilename", "n" * 256)
    server.bgsave(status="err")
    assert server.temp_files() == []


def test_program_of_the_daemon_cannot_be_changed(make, binary):
    server = make("primary")
    server.client.config_set("rdbeam.daemon", "")  # as CONFIG GET shows it
    with pytest.raises(redis.ResponseError, match="while the server runs"):
        server.client.config_set("rdbeam.daemon", "/bin/true")
