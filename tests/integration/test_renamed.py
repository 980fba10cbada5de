# SPDX-License-Identifier: BSD-3-Clause
"""rename-command: the module finds the new names in the server's configuration files, and tells nobody."""
import pytest
import redis

import data
import harness
from harness import cli, wait_for
from test_doctor import look
from test_odd_servers import fill_two_databases
from test_pull import pull, same_data

SECRET = "nobody-guesses-"
CALLED = ("CONFIG", "DUMP", "FUNCTION", "GET", "MGET", "ACL", "CLIENT", "MODULE", "CLUSTER", "REPLICAOF")


def renames(*commands):
    """For `rename_command`: the first without the word."""
    return "\nrename-command ".join(f"{command} {SECRET}{command.lower()}" for command in commands)


def is_told_nowhere(server, *texts):
    """The names, in what anybody but their operator can read."""
    lines = [harness.command_line(pid) for pid in server.family()]
    for text in [server.log(), str(server.info("everything")), str(server.client.execute_command("RDBEAM.STATUS")),
                 *lines, *texts]:
        assert SECRET not in text, text
    # Of a call by that name SLOWLOG tells, whoever calls; not that somebody asked what it means.
    for entry in server.client.slowlog_get(1000):
        assert SECRET.encode() not in entry["command"].partition(b" ")[2], entry


def saves_by_the_table(server, loads):
    fill_two_databases(server)
    server.client.hset("large", mapping={f"field:{number}": number for number in range(1000)})
    server.client.xadd("stream", {"field": "value"})
    server.bgsave()
    info = server.image_made()
    assert info["rdbeam_hidden_commands"] == "", info
    assert loads(server.dump()).digest() == server.digest()


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_renamed_commands_are_called_by_their_new_names(make, loads, binary, fast_path):
    server = make("primary", options={"fast-path": fast_path}, rename_command=renames(*CALLED, "AUTH", "COMMAND"),
                  slowlog_log_slower_than="0", slowlog_max_len="1000")
    saves_by_the_table(server, loads)
    assert cli("pull", "--from", f"127.0.0.1:{server.port}", "--discard", check=0)
    is_told_nowhere(server)


def test_names_in_included_files_quoted_and_renamed_again(make, loads, binary):
    server = make("primary", run=False)
    (server.dir / "names").mkdir()
    for number, line in enumerate([r'Rename-Command "config" f"\x69rst name\""', r"""rename-command 'first name"' "it's second" """,
                                   f"include names/absent*.conf\nrename-command DUMP {'n' * 300}"]):
        (server.dir / "names" / f"{number}.conf").write_text(f"# a comment\n{line}\n")
    server.conf["include"] = f"{server.dir}/names/[01].conf\ninclude names/2.conf"
    server.start()
    fill_two_databases(server)
    server.bgsave()
    assert server.image_made()["rdbeam_hidden_commands"] == "dump"
    assert loads(server.dump()).digest() == server.digest()


def test_name_of_another_command_is_not_called(make, loads, binary):
    """What is called CONFIG is ECHO, and the file has since been given a name that was not in it. RESET is for everybody."""
    server = make("primary", module=False, rename_command='CONFIG ""\nrename-command ECHO CONFIG\n'
                  'rename-command MGET ""\nrename-command RESET MGET\nrename-command GET ""\nrename-command AUTH anybody')
    assert server.client.execute_command("CONFIG", "GET") == b"GET"
    path = server.dir / "server.conf"
    path.write_text(path.read_text() + "rename-command CONFIG SHUTDOWN\nrename-command CONFIG FLUSHALL\n")
    fill_two_databases(server)
    server.module, server.options = True, {}
    server.client.execute_command("MODULE", "LOAD", str(server.place_module()))
    server.wait_ready()
    hidden = server.value("rdbeam", "rdbeam_hidden_commands").split(",")
    assert set(hidden) in ({"config", "get", "mget"}, {"get", "mget"}), hidden
    before = server.digest()
    server.bgsave()
    assert server.digest() == before == loads(server.dump()).digest()


def test_stream_is_marked_without_publish_by_a_name_that_replicas_have(make):
    primary = make("primary", rename_command=renames("PUBLISH"))
    replica = make("replica", module=False, replicaof=f"127.0.0.1 {primary.port}")
    wait_for(lambda: replica.value("replication", "master_link_status") == "up", "the link")
    target = make("target", module=False)
    with data.Load(primary, pause_s=0.002):
        said = pull(primary, target)
    assert said["full_resyncs"] == 0, said
    same_data(primary, target)
    same_data(primary, replica)
    assert "CRITICAL" not in replica.log() + target.log()
    is_told_nowhere(primary, replica.log())


def test_target_with_other_names_is_pulled_when_they_are_told(make):
    primary = make("primary", requirepass="secret")
    fill_two_databases(primary)
    target = make("target", module=False, rename_command=renames("CONFIG", "REPLICAOF"))
    env = {"RDBEAM_FROM_PASS": "secret", "RDBEAM_RENAMED": f"CONFIG={SECRET}config REPLICAOF={SECRET}replicaof"}
    done = pull(primary, target, check=1, env={**env, "RDBEAM_RENAMED": f"CONFIG={SECRET}config REPLICAOF={SECRET}x"})
    assert "RDBEAM_RENAMED" in done.stderr and SECRET not in done.stderr, done.stderr
    said = pull(primary, target, env=env)
    assert said["full_resyncs"] == 0, said
    same_data(primary, target)
    done = cli("status", "-p", target.port, env={"RDBEAM_RENAMED": f"{SECRET} "}, check=2)
    assert "RDBEAM_RENAMED: give COMMAND=NAME" in done.stderr and SECRET not in done.stderr


def test_target_whose_module_was_not_told(make):
    primary = make("primary")
    fill_two_databases(primary)
    target = make("target", module=False, rename_command=renames("REPLICAOF"))
    (target.dir / "server.conf").write_text("")  # as if it had been given on the command line
    target.module = True
    target.client.execute_command("MODULE", "LOAD", str(target.place_module()))
    target.wait_ready()
    assert target.value("rdbeam", "rdbeam_hidden_commands") == "replicaof"
    done = pull(primary, target, check=1)
    assert "RDBEAM_RENAMED" in done.stderr, done.stderr
    pull(primary, target, env={"RDBEAM_RENAMED": f"REPLICAOF={SECRET}replicaof"})
    same_data(primary, target)
    is_told_nowhere(target, done.stderr)


def test_auto_pull_of_a_server_with_other_names(make):
    primary = make("primary", requirepass="secret", repl_diskless_sync_delay="3")
    fill_two_databases(primary)
    replica = make("replica", options={"auto-pull": "yes"}, requirepass="own", masterauth="secret",
                   rename_command=renames("CONFIG", "REPLICAOF"))
    replica.client.execute_command(f"{SECRET}replicaof", "127.0.0.1", primary.port)
    wait_for(lambda: "replica by partial resync" in replica.log(), replica.log, harness.DEADLINE_S * 3)
    same_data(primary, replica)
    is_told_nowhere(replica)


def test_rights_to_a_renamed_command_are_asked_for(make):
    """Where a module's commands are in no category (Redis 7.0) they need the right to what they do."""
    server = make("primary", rename_command=renames("REPLICAOF", "PSYNC", "BGSAVE"))
    server.client.execute_command("ACL", "SETUSER", "some", "on", ">some", "allkeys", "+@all", "-@dangerous")
    client = server.connect(username="some", password="some")
    for words in (["RDBEAM.FOLLOW", "NO", "ONE"], ["RDBEAM.TICKET"], ["RDBEAM.SNAPSHOT"]):
        with pytest.raises(redis.exceptions.NoPermissionError) as refused:
            client.execute_command(*words)
        assert SECRET not in str(refused.value)


def test_doctor_of_renamed_config(make):
    server = make("renamed", rename_command=renames("CONFIG"))
    level, text, remedy = look(server, 0)["options"]
    assert level == "warn" and "RDBEAM_RENAMED" in remedy, (level, text, remedy)
    found = look(server, 0, env={"RDBEAM_RENAMED": f"CONFIG={SECRET}config"})
    assert "options" not in found and SECRET not in str(found), found
    without = make("without", module=False, rename_command=renames("CONFIG"))
    found = look(without, 1)
    assert found["module"][0] == "fail" and "no problem" not in found["options"][1], found


@pytest.mark.parametrize("taken", [False, True])
def test_keys_keep_their_ttl_where_info_is_renamed(make, loads, taken):
    """INFO's text tells which databases have keys with one; without it, the module's own INFO does. Another command by
    that name tells nothing."""
    server = make("primary", run=False)
    server.conf["rename-command"] = "INFO inform" + ("\nrename-command ECHO INFO" if taken else "")
    server.info_command = "inform"
    server.start()
    fill_two_databases(server)
    for db in (0, 1):
        data.fill_strings(server.connect(db=db), 100, 10, prefix="limited")
        server.connect(db=db).pexpire("limited:7", 1000000)
    server.bgsave()
    server.image_made()
    copy = loads(server.dump())
    assert data.details(copy) == data.details(server)


def test_tool_that_does_not_know_a_name_is_told_how_to_give_it(make):
    """It was told to look into the server's log, or at its ACL."""
    server = make("server", module=False, rename_command=renames("BGSAVE"))
    done = cli("snapshot", "-p", server.port, check=1)
    assert "BGSAVE" in done.stderr and "RDBEAM_RENAMED" in done.stderr and "ACL" not in done.stderr
    cli("snapshot", "-p", server.port, check=0, env={"RDBEAM_RENAMED": f"BGSAVE={SECRET}bgsave"})


@pytest.mark.parametrize("replicas", [False, True])
def test_primary_that_hides_what_every_replica_sends(make, replicas):
    """The line had no remedy, or, where there was no backlog yet, one that does not help: another name."""
    primary = make("primary", rename_command='PSYNC ""')
    if replicas:  # by SYNC, as they were long ago
        other = make("other", module=False, replicaof=f"127.0.0.1 {primary.port}")
        wait_for(lambda: other.value("replication", "master_link_status") == "up", "the link")
    done = pull(primary, make("target", module=False), check=1)
    assert "PSYNC, so that no replica can follow it" in done.stderr and "RDBEAM_RENAMED" not in done.stderr, done.stderr


def test_pull_of_an_image_that_failed_is_told_why(make):
    """It said that the ticket's generation is gone."""
    primary = make("primary", rename_command='DUMP ""')
    primary.client.xadd("stream", {"field": "value"})
    done = pull(primary, make("target", module=False), check=4)
    assert "DUMP is renamed" in done.stderr and "ticket" not in done.stderr, done.stderr
