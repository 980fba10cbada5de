# SPDX-License-Identifier: BSD-3-Clause
"""Servers configured as few are: what cannot be done with them is left to stock saving, and said."""
import os
import shutil
import socket
import struct
import subprocess
import threading

import pytest
import redis

import data
import harness
from harness import cli, wait_for
from test_pull import pull, same_data


def fill_two_databases(server):
    for db in (0, 9):
        data.fill_strings(server.connect(db=db), 50, 30, prefix=f"db{db}")


def test_renamed_config_saves_stock_and_listens_nowhere(make, loads, binary):
    server = make("primary", options={"transport": "tcp"}, rename_command='CONFIG ""')
    fill_two_databases(server)
    server.bgsave()
    info = server.info("rdbeam")
    if info["rdbeam_hidden_commands"] == "":  # Redis 8.6 answers a module by its API
        server.image_made()
        assert loads(server.dump()).digest() == server.digest() and int(info["rdbeam_port"])
        return
    assert info["rdbeam_fallback_total"] == "1" and "dbfilename" in info["rdbeam_last_fallback_reason"]
    assert loads(server.dump()).digest() == server.digest()
    # An image in memory needs no file name. It has every database all the same.
    server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
    assert server.value("rdbeam", "rdbeam_snapshot_keys") == "100"
    with pytest.raises(redis.ResponseError, match="CONFIG is renamed"):
        server.client.execute_command("RDBEAM.TICKET")


@pytest.mark.parametrize("command", ["DUMP", "FUNCTION", "MGET", "GET", "PUBLISH"])
def test_renamed_command_is_no_misconf(make, loads, command):
    server = make("primary", rename_command=f'{command} ""')
    fill_two_databases(server)
    server.client.hset("large", mapping={f"field:{number}": number for number in range(1000)})
    server.bgsave()
    assert loads(server.dump()).digest() == server.digest()
    if command == "DUMP":
        assert server.value("rdbeam", "rdbeam_hidden_commands") == "dump"
        assert "DUMP is renamed" in server.info("rdbeam")["rdbeam_last_fallback_reason"]


def test_without_publish_nobody_goes_on_from_an_image(make):
    """Its cut cannot be marked: the first write after it might go into another database."""
    primary = make("primary", rename_command="PUBLISH hidden\nrename-command SPUBLISH hidden-too")
    replica = make("replica", module=False, replicaof=f"127.0.0.1 {primary.port}")
    wait_for(lambda: replica.value("replication", "master_link_status") == "up", "the link")
    primary.bgsave()
    assert primary.image_made()["rdbeam_replid"] == ""
    done = cli("pull", "--from", f"127.0.0.1:{primary.port}", "--discard", check=1)
    assert "PUBLISH and SPUBLISH are renamed" in done.stderr


def test_cluster_of_several_databases_marks_no_cut(make):
    """Messages do not go the way of a cluster's stream, so it would not say which database is meant."""
    primary = make("primary", cluster_enabled="yes", run=False)
    primary.conf["cluster-databases"] = 4
    try:
        primary.start()
    except AssertionError:
        pytest.skip("a cluster of this server has one database")
    primary.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_for(lambda: "cluster_state:ok" in str(primary.client.execute_command("CLUSTER", "INFO")),
             "the cluster's state")
    primary.connect(db=3).set("key", "value")
    done = cli("pull", "--from", f"127.0.0.1:{primary.port}", "--discard", check=1)
    assert "cluster-databases" in done.stderr
    assert primary.value("replication", "repl_backlog_active") == "1"
    primary.bgsave()
    assert primary.image_made()["rdbeam_replid"] == ""


def test_more_databases_than_anyone_has(make, loads):
    server = make("primary", databases=20000)
    fill_two_databases(server)
    server.connect(db=19999).set("last", "database")
    server.bgsave()
    assert server.image_made()["rdbeam_snapshot_keys"] == "101"
    assert loads(server.dump(), databases=20000).digest() == server.digest()


def test_titles_of_redict_are_known(make):
    """Its children have names of their own. What saves to the disk is saved by the table, what sends is its own."""
    server = make("saves", proc_title_template='"redict-rdb-bgsave {title}"')
    fill_two_databases(server)
    server.bgsave()
    assert server.fallbacks() == 0 and server.generation().endswith("-1")
    server = make("sends", proc_title_template='"redict-rdb-to-slaves {title}"')
    server.bgsave()
    assert server.fallbacks() == 0 and not server.generation()


def test_title_without_a_space_behind_it_is_known(make):
    server = make("server", proc_title_template='"{title}:{port}"')
    fill_two_databases(server)
    server.bgsave()
    assert server.fallbacks() == 0 and server.generation().endswith("-1")


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


# ---- targets that do not let themselves be asked --------------------------------------------

def without_config(make, name="target", **kwargs):
    return make(name, module=False, rename_command='CONFIG ""', **kwargs)


def test_target_without_config_that_has_masterauth_is_pulled(make):
    primary = make("primary", requirepass="secret")
    fill_two_databases(primary)
    target = without_config(make, masterauth="secret")
    said = pull(primary, target, env={"RDBEAM_FROM_PASS": "secret"})
    assert said["full_resyncs"] == 0, said
    same_data(primary, target)


def test_target_without_config_and_without_masterauth_is_left_alone(make):
    """Its link could not come up, so it keeps its data."""
    primary = make("primary", requirepass="secret")
    fill_two_databases(primary)
    target = without_config(make)
    data.fill_strings(target.client, 10, 10)
    before = target.digest()
    done = pull(primary, target, "--force", check=3, env={"RDBEAM_FROM_PASS": "secret"})
    assert "it has no masterauth" in done.stderr, done.stderr
    assert target.value("replication", "role") == "master" and target.digest() == before


def test_target_without_config_and_with_few_databases_is_left_alone(make):
    primary = make("primary")
    fill_two_databases(primary)
    done = pull(primary, without_config(make, databases=9), check=3)
    assert "raise 'databases'" in done.stderr
    said = pull(primary, without_config(make, "larger", databases=10))
    assert said["full_resyncs"] == 0, said


def test_remedy_for_a_hidden_command_is_no_acl_rule(make):
    primary = make("primary", rename_command='PSYNC ""')
    target = make("target", module=False, rename_command='REPLICAOF ""')
    for source, sink in ((primary, None), (make("other"), target)):
        done = pull(source, sink, *([] if sink else ["--discard"]), check=1)
        assert "rename-command" in done.stderr and "ACL" not in done.stderr, done.stderr


def test_masterauth_that_the_primary_refuses_is_noticed_before_the_load(make):
    closed, opened = make("closed", requirepass="secret"), make("opened")
    fill_two_databases(closed)
    for primary, masterauth in ((closed, "of-another-primary"), (opened, "where-none-is-wanted")):
        target = make(f"target-of-{primary.name}", module=False, masterauth=masterauth)
        data.fill_strings(target.client, 10, 10)
        before = target.digest()
        done = pull(primary, target, "--force", check=3, env={"RDBEAM_FROM_PASS": "secret"})
        assert "CONFIG SET masterauth" in done.stderr, done.stderr
        assert target.value("replication", "role") == "master" and target.digest() == before


def test_password_that_the_primary_does_not_want_is_not_given_on(make):
    """REDISCLI_AUTH serves for both servers, of which one has a password."""
    primary = make("primary")
    fill_two_databases(primary)
    target = make("target", module=False, requirepass="secret")
    said = pull(primary, target, env={"REDISCLI_AUTH": "secret"})
    assert said["full_resyncs"] == 0 and not target.client.config_get("masterauth")["masterauth"], said
    same_data(primary, target)


def test_copy_without_memory_names_maxmemory(make):
    primary = make("primary")
    data.fill_strings(primary.client, 100, 1000)
    target = make("target", module=False, maxmemory="1", maxmemory_policy="noeviction")
    done = pull(primary, target, "--as", "copy", check=1)
    assert "raise its maxmemory" in done.stderr and "older" not in done.stderr, done.stderr


# ---- a name server that takes its time ------------------------------------------------------

class NameServer(threading.Thread):
    """Answers when it is let to: each name is 127.0.0.1."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.start()

    def run(self):
        while True:
            query, client = self.socket.recvfrom(512)
            self.asked.set()
            threading.Thread(target=self.answer, args=(query, client), daemon=True).start()

    def answer(self, query, client):
        self.may_answer.wait()
        end = query.index(b"\0", 12) + 5
        is_a = query[end - 4:end - 2] == b"\0\1"
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_a), 0, 0)
        found = struct.pack(">HHHIH4s", 0xc00c, 1, 1, 60, 4, socket.inet_aton("127.0.0.1"))
        self.socket.sendto(head + query[12:end] + (found if is_a else b""), client)


def asks(root, binary, address):
    """A program that is this server in a mount namespace with a resolv.conf of its own."""
    (root / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:30\n")
    program = root / "asking-server"
    program.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {root}/resolv.conf /etc/resolv.conf &&"
                       f" exec {shutil.which(binary)} \"$@\"' sh \"$@\"\n")
    program.chmod(0o755)
    if subprocess.run([program, "--version"], capture_output=True).returncode:
        pytest.skip("no mount namespace of its own here")
    return program


def with_proc(root, binary, how):
    """A program that is this server in a mount namespace with another /proc."""
    program = root / "server-with-proc"
    program.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount {how} /proc && exec {shutil.which(binary)} \"$@\"'"
                       " sh \"$@\"\n")
    program.chmod(0o755)
    if subprocess.run([program, "--version"], capture_output=True).returncode:
        pytest.skip(f"mount {how} /proc is not possible here")
    return program


def test_proc_of_processes_alone(make, root, loads, binary):
    """ProcSubset=pid of a unit: there is no /proc/meminfo to tell how much memory there is."""
    server = make("primary", binary=with_proc(root, binary, "-t proc -o subset=pid proc"))
    fill_two_databases(server)
    server.bgsave()
    server.image_made()
    assert loads(server.dump()).digest() == server.digest()


@pytest.mark.skipif(harness.ASAN, reason="the sanitizer's runtime reads /proc")
def test_without_proc_saves_are_the_servers_own(make, root, loads, binary):
    server = make("primary", binary=with_proc(root, binary, "-t tmpfs tmpfs"))
    fill_two_databases(server)
    server.bgsave()
    assert "/proc is not mounted" in server.info("rdbeam")["rdbeam_last_fallback_reason"]
    assert loads(server.dump()).digest() == server.digest()


def test_slow_name_server_holds_nothing_up(make, root, binary):
    """rdbeamd looks up the names of rdbeam.bind, and saves go through the table meanwhile."""
    address = f"127.0.53.{os.getpid() % 250 + 1}"
    try:
        names = NameServer(address)
    except OSError:
        pytest.skip("port 53 is not to be had")
    server = make("primary", binary=asks(root, binary, address), options={"bind": "rdbeam.test"})
    assert names.asked.wait(20), "the name server is asked"
    data.fill_strings(server.client, 1000, 100)
    server.bgsave()
    server.image_made()
    names.may_answer.set()
    pull(server, None, "--discard")


# ---- another module ---------------------------------------------------------------------------

@pytest.fixture
def beside(make):
    """A server with another module, too."""
    def start(name, argument="", also=None, **kwargs):
        server = make(name, run=False, **kwargs)
        other = harness.artifact("rdbeam-other.so")
        server.conf["loadmodule"] = f"{other} {argument}" + (f"\nloadmodule {other} {also}" if also else "")
        return server.start()
    return start


def saved_by_the_server(server, reason):
    before = server.fallbacks()
    server.bgsave()
    assert server.fallbacks() == before + 1
    assert reason in server.info("rdbeam")["rdbeam_last_fallback_reason"]


def loads_aux(server, nbytes, ntypes):
    """Once each, before and behind the keys."""
    log = server.log()
    return [log.count(f"given AUX data {when} of {nbytes} bytes") for when in (1, 2)] == [ntypes, ntypes]


@pytest.mark.parametrize("nbytes,ntypes", [(10, 20), (20_000_000, 1)])
def test_aux_data_of_another_module_is_in_the_image(beside, nbytes, ntypes):
    """With it keys of a third module, by a table that is loaded by server and module, and copied into one without."""
    server = beside("server", f"aux {nbytes} {ntypes}", also="keys")
    fill_two_databases(server)
    server.client.execute_command("KEYS.KEEP", "kept", "42")
    server.client.execute_command("FUNCTION", "LOAD", "#!lua name=one\nredis.register_function('f', function() return 1 end)")
    server.bgsave()
    assert server.fallbacks() == 0, server.info("rdbeam")
    log = server.log()
    assert [log.count(f"asked for AUX data {when}") for when in (1, 2)] == [ntypes, ntypes], "as by the server's own dump"
    checked = harness.cli("verify", server.dump())
    assert checked.returncode == 0, checked.stdout
    harness.check_rdb(server.dump(), server.binary)
    digest = server.digest()
    for loader in "stock", "module":
        replica = beside(f"replica-{loader}", f"aux 0 {ntypes}", also="keys")
        pull(server, replica, "--loader", loader, "--buffer", "16mb")  # which the longer header does not fit
        assert replica.digest() == digest and loads_aux(replica, nbytes, ntypes)
        replica.stop()
    copied = beside("copied", "keys")
    pull(server, copied, "--as", "copy")
    assert copied.digest() == digest and copied.client.execute_command("FUNCTION", "LIST")
    server.stop()
    server.start()
    assert server.digest() == digest and loads_aux(server, nbytes, ntypes)


def test_server_that_loads_by_way_of_its_disk_is_not_loaded_by_module(beside):
    """Redis does so beside a module that does not handle read errors: the pull waited half a minute for it, and ended."""
    server = beside("server", "keys")
    data.fill_strings(server.client, 1000, 100)
    server.client.execute_command("KEYS.KEEP", "kept", "42")
    replica = beside("replica", "careless")
    refused = pull(server, replica, "--loader", "module", check=None)
    assert refused.returncode and "does not handle read errors" in refused.stderr
    assert not replica.client.dbsize()
    loaded = pull(server, replica)
    assert loaded["loader"] == "stock" and replica.digest() == server.digest()


@pytest.mark.parametrize("held", [0, 100])
def test_file_of_a_stock_server_that_loads_by_way_of_its_disk_is_an_image(make, beside, held):
    """Whatever repl-diskless-load says, beside a module that does not handle read errors. It keeps that file."""
    server = make("server")
    data.fill_strings(server.client, 1000, 100)
    replica = beside("replica", "careless", module=False)
    data.fill_strings(replica.client, held, 100)
    said = pull(server, replica, *(["--force"] if held else []))
    assert "Skipping diskless-load" in replica.log() and replica.digest() == server.digest()
    assert replica.dump().stat().st_size == said["image_bytes"]
    harness.cli("verify", replica.dump(), check=0)


@pytest.mark.parametrize("held", [0, 100])
@pytest.mark.parametrize("argument", ["keys", "aux 10", ""])
def test_target_without_the_primarys_module(make, beside, argument, held):
    """A server exits when it is fed what a module keeps that it does not have: a target was lost, with its data. Where
    the image has nothing of modules, the target takes it."""
    server = beside("server", argument)
    data.fill_strings(server.client, 1000, 100)
    target = make("target", module=False)
    data.fill_strings(target.client, held, 100, prefix="held")
    if argument == "keys":
        server.client.execute_command("KEYS.KEEP", "kept", "42")
    if argument:
        refused = pull(server, target, "--force", check=3)
        assert f"lacks the module {'keys' if argument == 'keys' else 'other'}" in refused.stderr
        assert target.client.dbsize() == held and target.value("replication", "role") == "master"
        server.client.delete("kept")
    if argument != "aux 10":
        assert pull(server, target, "--force", "--fresh")["loader"] == "stock"
        assert target.digest() == server.digest()


def test_keys_of_a_module_with_aux_data_are_saved_by_the_server(beside):
    """What it writes of a key may stand on what it has written before, and keys are read by several processes."""
    server = beside("server", "aux")
    fill_two_databases(server)
    server.client.execute_command("OTHER.KEEP", "kept", "42")
    saved_by_the_server(server, "keeps AUX data and keys")
    saved_by_the_server(server, "keeps AUX data and keys")
    digest = server.digest()
    server.stop()
    server.start()
    assert server.digest() == digest


@pytest.mark.parametrize("place", ["before", "behind"])
def test_other_modules_are_told_that_a_save_begins(make, beside, place):
    """RedisTimeSeries leaves the rules of compaction out of what DUMP says, unless it was told: they were lost."""
    server = make("server", run=False)
    loads = f"loadmodule {harness.artifact('rdbeam-other.so')} told"
    if place == "before":
        server.conf["#"] = f"\n{loads}"
    else:
        server.arguments = [*server.arguments, f"\n{loads}"]
    server.start()
    server.client.execute_command("KEYS.KEEP", "kept", "42")
    reader = beside("reader", "keys")
    reader.client.execute_command("KEYS.KEEP", "wanted", "42")
    wanted = reader.client.dump("wanted")
    image = lambda: server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
    for save in server.bgsave, image:
        before = server.log().count("told:")
        save()
        assert server.log().count("told:") == server.log().count("told: a save begins, 1 under way") == before + 1
        pull(server, reader, "--as", "copy", "--force")
        assert reader.client.dump("kept") == wanted
        reader.client.delete("kept")
    assert server.fallbacks() == 0


def test_module_with_threads_is_not_told_of_forks_of_the_child(beside):
    """The server's children do not fork. valkey-search waits after a fork for its threads, which a child has not: a save never ended."""
    server = beside("server", "threads")
    fill_two_databases(server)
    server.client.execute_command("KEYS.KEEP", "kept", "42")
    server.bgsave()
    server.image_made()
    server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
    assert server.value("rdbeam", "rdbeam_state") == "ready" and server.fallbacks() == 0


def test_much_aux_data_is_saved_by_the_server(beside):
    server = beside("server", "aux 70000000")
    fill_two_databases(server)
    saved_by_the_server(server, "more than 64 MiB of AUX data")


def test_what_another_module_saves_in_its_own_child_is_no_failure(beside):
    server = beside("server")
    fill_two_databases(server)
    server.client.execute_command("OTHER.SAVE")
    server.childless()
    assert harness.cli("verify", server.dump()).returncode == 0
    assert server.fallbacks() == 0 and "stock saving" not in server.log()


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_no_module_is_told_by_a_save_that_a_key_has_expired(beside, fast_path):
    """It would do what it does then once more, in the child, where its locks may be held for ever."""
    server = beside("server", options={"fast-path": fast_path})
    server.client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    server.client.rpush("list", *range(5000))
    for key in "kept", "short", "last":
        server.client.set(key, "value")
    for key in "list", "short", "last":
        server.client.pexpire(key, 1)
    wait_for(lambda: server.client.pttl("last") == -2, "the keys are expired")
    wait_for(lambda: server.log().count("told: expired") == 1, "the server tells of the one that it has deleted")
    server.bgsave()
    server.image_made()
    assert server.log().count("told: expired") == 1


@pytest.mark.parametrize("fast_path", ["yes", "no"])
@pytest.mark.parametrize("kind", ["short", "long", "hash", "list", "array"])
def test_what_a_module_keeps_of_a_key_is_saved_by_the_server(beside, kind, fast_path):
    """Redis 8.6: no command shows it, and it stands in front of a key's type."""
    server = beside("server", options={"fast-path": fast_path})
    fill_two_databases(server)
    server.client.set("short", "value")
    server.client.set("long", "v" * 1000)
    server.client.hset("hash", "field", "value")
    server.client.rpush("list", *range(5000))
    try:
        if kind == "array":
            data.fill_array(server.client, "array")
        server.bgsave()
        server.image_made()
        server.client.execute_command("OTHER.NOTE", kind, 12345)
    except redis.ResponseError as error:
        pytest.skip(f"this server has no metadata of keys, or no arrays: {error}")
    saved_by_the_server(server, "a module keeps data of a key")
    assert harness.cli("verify", server.dump()).returncode == 0
    server.client.execute_command("OTHER.NOTE", kind, 0)
    server.bgsave()
    assert server.fallbacks() == 1 and server.generation()
