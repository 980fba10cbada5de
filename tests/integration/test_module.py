# SPDX-License-Identifier: BSD-3-Clause
"""The module as an administrator meets it: options, INFO, commands, and its daemon's life."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import time

import pytest
import redis

import data
import harness
from harness import alive, check_rdb, children, cli, wait_for

COPIED = re.compile(r"snapshot ([0-9a-f]{16}-\d+): (\d+) keys? \(\d+ expired left out\), (\d+) bytes, "
                    r"\d+ workers?; fork took \d+ us, copied in \d+ ms \(\d+ MB/s\), copy-on-write for \d+ ms, "
                    r"(kept in memory|flushed in \d+ ms \(\d+ MB/s\))")
PULLED = re.compile(r"pull of generation (\d+) by 127\.0\.0\.1 done: (\d+) bytes in \d+ ms "
                    r"\(\d+ MB/s\)")

DEFAULTS = {
    "mode": "replace", "durable": "yes", "region-size": "0", "segment-size": str(4 << 20),
    "hugepages": "try", "workers": "0", "retain": "300", "transport": "auto", "max-pulls": "16",
    "rate-limit": "0", "flush-rate-limit": "0", "stall-timeout": "60", "fork-thp": "no", "auto-pull": "no",
}
CHANGES = {
    "mode": ["mirror", "off", "replace"], "durable": ["no", "yes"], "workers": ["3", "0"],
    "retain": ["10"], "max-pulls": ["4"], "rate-limit": ["1000000"], "flush-rate-limit": ["0"],
    "stall-timeout": ["5"], "hugepages": ["no"], "region-size": [str(1 << 30)],
    "segment-size": [str(2 << 20)],
}
WRONG = {  # option: (value, what the refusal names as allowed)
    "mode": ("sometimes", "replace"),
    "durable": ("maybe", "yes"),
    "segment-size": ("3mb", "2097152"),
    "hugepages": ("always", "require"),
    "workers": ("-1", "0"),
    "transport": ("carrier-pigeon", "verbs"),
    "max-pulls": ("0", "1"),
    "port": ("70000", "65535"),
    "retain": ("soon", "2147483647"),
}
INFO_FIELDS = """mode daemon_state transport region_bytes region_page_bytes generation state
snapshot_keys snapshot_bytes snapshot_copy_ms snapshot_copy_mb_per_s cow_window_ms flush_ms
flush_mb_per_s last_durable_unixtime progress_pct pulls_active pulls_total pull_bytes_total
fork_thp fork_thp_bytes fallback_total last_fallback_reason last_error""".split()
COMMANDS = ["rdbeam.snapshot", "rdbeam.ticket", "rdbeam.load", "rdbeam.follow", "rdbeam.status", "rdbeam.help"]


def daemon_up(server, other_than=None):
    def up():
        pid = server.daemon()
        return pid if pid and pid != other_than \
            and server.value("rdbeam", "rdbeam_daemon_state") == "up" else None
    return wait_for(up, lambda: f"daemon up: {server.info('rdbeam')}\n{server.log()[-2000:]}")


# ---- options --------------------------------------------------------------------------------

def test_defaults_are_those_of_the_docs(make, binary):
    server = make("primary")
    got = {key.removeprefix("rdbeam."): value
           for key, value in server.client.config_get("rdbeam.*").items()}
    assert {key: got.get(key) for key in DEFAULTS} == DEFAULTS


def test_options_can_be_changed_while_running(make):
    server = make("primary")
    for option, values in CHANGES.items():
        for value in values:
            server.client.config_set(f"rdbeam.{option}", value)
            assert server.client.config_get(f"rdbeam.{option}") == {f"rdbeam.{option}": value}
    server.client.set("key", "value")
    server.bgsave()
    check_rdb(server.dump())


@pytest.mark.parametrize("option", WRONG)
def test_wrong_value_is_refused_at_load(make, option):
    value, allowed = WRONG[option]
    server = make("primary", run=False, arguments=[f"--{option}", value])
    server.start(ready=False)
    server.process.wait(harness.DEADLINE_S)
    assert server.process.returncode != 0
    said = [line for line in server.log().splitlines() if option in line and value in line]
    assert said and allowed in said[0], server.log()


def test_wrong_value_in_the_configuration_file_is_refused(make):
    server = make("primary", run=False, options={"workers": -1})
    server.start(ready=False)
    server.process.wait(harness.DEADLINE_S)
    assert server.process.returncode != 0
    assert "workers" in server.log()


@pytest.mark.parametrize("option", ["mode", "segment-size", "workers"])
def test_wrong_value_is_refused_by_config_set(make, option):
    server = make("primary")
    value, _ = WRONG[option]
    before = server.client.config_get(f"rdbeam.{option}")
    with pytest.raises(redis.ResponseError):
        server.client.config_set(f"rdbeam.{option}", value)
    assert server.client.config_get(f"rdbeam.{option}") == before


@pytest.mark.parametrize("value", [" ".join(["127.0.0.1"] * 17), "a" * 64])
def test_addresses_that_would_be_cut_are_refused(make, value):
    server = make("primary")
    server.client.config_set("rdbeam.bind", "127.0.0.1 127.0.0.2")
    with pytest.raises(redis.ResponseError, match="at most 16 addresses"):
        server.client.config_set("rdbeam.bind", value)
    assert server.client.config_get("rdbeam.bind") == {"rdbeam.bind": "127.0.0.1 127.0.0.2"}


def test_second_load_is_refused_with_the_reason(make):
    server = make("server")
    with pytest.raises(redis.ResponseError):
        server.client.execute_command("MODULE", "LOAD", str(harness.artifact("rdbeam.so")))
    assert "rdbeam.so is not loaded once more: a module rdbeam is loaded" in server.log()
    assert server.value("rdbeam", "rdbeam_daemon_state")


def test_arguments_of_loadmodule(make):
    server = make("primary", module=False)
    port = harness.free_port()
    env = harness.sanitizer_env(leaks=False)
    if env:
        pytest.skip("a sanitized module cannot be loaded into a server that runs without its runtime")
    server.client.execute_command("MODULE", "LOAD", str(harness.artifact("rdbeam.so")),
                                  "--mode", "mirror", "--port", str(port))
    assert server.client.config_get("rdbeam.mode") == {"rdbeam.mode": "mirror"}
    assert server.client.config_get("rdbeam.port") == {"rdbeam.port": str(port)}
    server = make("other", module=False)
    with pytest.raises(redis.ResponseError):
        server.client.execute_command("MODULE", "LOAD", str(harness.artifact("rdbeam.so")),
                                      "--mode", "sometimes")
    with pytest.raises(redis.ResponseError):
        server.client.execute_command("MODULE", "LOAD", str(harness.artifact("rdbeam.so")),
                                      "--no-such-option", "1")
    assert "--no-such-option: no such setting" in server.log() and "rdbeam.* after the point" in server.log()
    assert "sometimes" in server.log()


def unloadable(make, **kwargs):
    """A server that lets modules with a data type go."""
    server = make("primary", **kwargs)
    if not server.unloads_modules():
        pytest.skip("from 7.2 on no module with a data type can be unloaded")
    return server


def test_unload_while_the_daemon_is_down(make, root):
    """Its next start is planned; a timer for that would be in the way."""
    server = unloadable(make, options={"daemon": str(root / "no-such-rdbeamd")})
    wait_for(lambda: server.log().count("no-such-rdbeamd") > 1, "it is tried again")
    server.client.execute_command("MODULE", "UNLOAD", "rdbeam")


def test_unload_waits_for_the_child_of_a_snapshot(make):
    """The server calls the module when that child ends: what is not there any more would be called."""
    server = unloadable(make, options={"workers": 1})
    data.fill_strings(server.client, 50000, 100)

    def stopped_child():
        server.client.execute_command("RDBEAM.SNAPSHOT")
        for pid in children(server.pid):
            harness.kill(pid, signal.SIGSTOP)
        return children(server.pid)
    child = wait_for(stopped_child, "a child is stopped before it ends")[0]
    with pytest.raises(redis.ResponseError, match="Error unloading"):
        server.client.execute_command("MODULE", "UNLOAD", "rdbeam")
    assert "not unloaded: the child of a snapshot" in server.log()
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: server.value("persistence", "module_fork_in_progress") == "0", "its end")
    server.client.execute_command("MODULE", "UNLOAD", "rdbeam")
    assert server.client.ping()


def test_unknown_setting_of_loadex_loads_nothing(make):
    server = unloadable(make, module=False)
    if harness.sanitizer_env(leaks=False):
        pytest.skip("a sanitized module cannot be loaded into a server that runs without its runtime")
    loadex = "MODULE", "LOADEX", str(harness.artifact("rdbeam.so")), "CONFIG"
    with pytest.raises(redis.ResponseError):
        server.client.execute_command(*loadex, "rdbeam.retain", "5", "CONFIG", "rdbeam.no-such", "1")
    assert server.client.execute_command("MODULE", "LIST") == []
    server.client.execute_command(*loadex, "rdbeam.retain", "5")
    assert server.client.config_get("rdbeam.retain") == {"rdbeam.retain": "5"}


@pytest.mark.parametrize("setting", ["retain", "no-such"], ids=["loaded", "refused"])
def test_unloaded_module_leaves_no_memory_behind(make, setting):
    """What the module keeps of the server's clients and of shared memory goes with it."""
    server = unloadable(make, module=False)
    if harness.sanitizer_env(leaks=False):
        pytest.skip("a sanitized module cannot be loaded into a server that runs without its runtime")
    loadex = "MODULE", "LOADEX", str(harness.artifact("rdbeam.so")), "CONFIG", f"rdbeam.{setting}", "5"

    def left(rounds):
        for _ in range(rounds):
            with contextlib.suppress(redis.ResponseError):
                server.client.execute_command(*loadex)
                server.client.execute_command("MODULE", "UNLOAD", "rdbeam")
        maps = pathlib.Path(f"/proc/{server.pid}/maps").read_text()
        return server.number("memory", "used_memory"), maps.count("/dev/zero")

    before, after = left(2), left(10)
    assert after[0] - before[0] < 100 << 10, "it was 70 KiB each time"
    assert after[1] == before[1]


# ---- INFO and commands ----------------------------------------------------------------------

def test_info_has_the_documented_fields(make, binary):
    server = make("primary")
    data.fill_strings(server.client, 1000, 100)
    server.bgsave()
    info = server.info("rdbeam")
    assert [field for field in INFO_FIELDS if f"rdbeam_{field}" not in info] == []
    assert info["rdbeam_mode"] == "replace"
    assert info["rdbeam_state"] == "ready"
    assert int(info["rdbeam_region_bytes"]) > 0
    assert int(info["rdbeam_region_page_bytes"]) in (4096, 2 << 20, 1 << 30)
    assert int(info["rdbeam_last_durable_unixtime"]) > 1.6e9
    assert float(info["rdbeam_progress_pct"]) == 100


def test_commands_are_documented(make):
    server = make("primary")
    docs = server.client.execute_command("COMMAND", "DOCS", *COMMANDS)
    names = [bytes(item).decode() for item in docs[::2]]
    assert sorted(names) == sorted(COMMANDS)
    for entry in docs[1::2]:
        fields = dict(zip(entry[::2], entry[1::2]))
        assert fields[b"summary"]


def test_help_names_every_command(make):
    server = make("primary")
    text = "\n".join(item.decode() for item in server.client.execute_command("RDBEAM.HELP")).upper()
    assert [name for name in ("SNAPSHOT", "TICKET", "STATUS", "HELP") if name not in text] == []


def test_commands_are_for_administrators(make):
    server = make("primary")
    for name in COMMANDS:
        flags = server.client.execute_command("COMMAND", "INFO", name)[0][2]
        assert b"admin" in flags, (name, flags)
    server.client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all",
                                  "-rdbeam.ticket")
    client = server.connect(username="app", password="pw")
    with pytest.raises(redis.ResponseError, match="(?i)noperm|no permission"):
        client.execute_command("RDBEAM.TICKET")


def test_commands_are_in_acl_categories(make):
    server = make("primary")
    version = tuple(map(int, server.value("server", "redis_version").split(".")))
    if version < (7, 2):
        pytest.skip(f"Redis {version[0]}.{version[1]} puts no module command into ACL categories")
    for name in COMMANDS:
        categories = server.client.execute_command("COMMAND", "INFO", name)[0][6]
        assert {b"@admin", b"@dangerous"} <= set(categories), (name, categories)


def test_status_is_a_flat_map(make):
    server = make("primary")
    server.bgsave()
    reply = server.client.execute_command("RDBEAM.STATUS")
    assert len(reply) % 2 == 0
    assert b"state" in reply[::2]


def test_snapshot_command_makes_an_image_without_a_disk(make):
    server = make("primary")
    data.fill_strings(server.client, 5000, 100)
    generation = server.generation()
    server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
    assert server.generation() != generation
    assert server.value("rdbeam", "rdbeam_snapshot_keys") == "5000"
    assert not server.dump().exists()
    assert server.number("persistence", "rdb_changes_since_last_save") == 5000


def test_snapshot_says_ready_only_when_it_is(make):
    server = make("primary")
    data.fill_strings(server.client, 5000, 100)
    for _ in range(20):
        words = server.client.execute_command("RDBEAM.SNAPSHOT")
        reply = dict(zip(words[::2], words[1::2]))
        assert reply[b"keys"] == (5000 if reply[b"state"] == b"ready" else 0), reply
        wait_for(lambda: not children(server.pid), "its child is gone")


def said(server, *lines):
    """What the server answers on one connection to these and nothing else, line by line."""
    with socket.create_connection((server.host, server.port), harness.DEADLINE_S) as sock:
        sock.sendall("".join(f"{line}\r\n" for line in (*lines, "ECHO end")).encode())
        answers, file = [], sock.makefile("rb")
        while (line := file.readline().decode().strip()) != "$3":
            assert line, answers
            answers.append(line)
    return answers


NOT_NOW = ["RDBEAM.SNAPSHOT", "RDBEAM.SNAPSHOT WAIT 100", "RDBEAM.TICKET", "RDBEAM.TICKET FRESH",
           "RDBEAM.RELAY WAIT - 100"]


@pytest.mark.parametrize("when, word", [("transaction", "in a transaction"),
                                        ("off", "rdbeam.mode is off"), ("no daemon", "rdbeamd is down")])
def test_refused_once_and_not_done(make, root, when, word):
    """A second answer would be taken for that to the client's next command."""
    options = {"off": {"mode": "off"}, "no daemon": {"daemon": str(root / "no-such-rdbeamd")}}
    server = make("primary", options=options.get(when, {}))
    before = server.value("rdbeam", "rdbeam_generation")
    if when == "transaction":
        answers = said(server, "MULTI", *NOT_NOW, "EXEC")
        assert answers[:-len(NOT_NOW)] == ["+OK", *["+QUEUED"] * len(NOT_NOW), f"*{len(NOT_NOW)}"]
        answers = answers[-len(NOT_NOW):]
    else:
        answers = said(server, *NOT_NOW)
    assert len(answers) == len(NOT_NOW), answers
    assert all(line.startswith("-ERR") and word in line for line in answers), answers
    assert server.value("rdbeam", "rdbeam_generation") == before
    assert server.number("stats", "total_forks") == 0


def test_waits_that_time_out_leave_no_memory_behind(make):
    """The server frees what it keeps of a blocked client when the module says that it may."""
    server = make("primary")
    pools = [server.connect().connection_pool for _ in range(40)]
    clients = [pool.get_connection("PING") for pool in pools]

    def used(rounds):
        for _ in range(rounds):
            for client in clients:
                client.send_command("RDBEAM.RELAY", "WAIT", "-", 1)
            assert [client.read_response() for client in clients] == [None] * len(clients)
        return server.number("memory", "used_memory")

    before = used(2)
    assert used(10) - before < 400 << 10, "it was 35 KiB each time"


# ---- modes ----------------------------------------------------------------------------------

def test_mode_off_saves_stock(make):
    server = make("primary", options={"mode": "off"})
    server.client.set("key", "value")
    server.bgsave()
    check_rdb(server.dump())
    info = server.info("rdbeam")
    assert info["rdbeam_fallback_total"] == "0"
    assert info["rdbeam_snapshot_keys"] == "0"


def test_mode_mirror_makes_both(make, loads):
    server = make("primary", options={"mode": "mirror"})
    keys = data.fill_mixed(server)
    server.bgsave()
    check_rdb(server.dump())
    assert int(server.value("rdbeam", "rdbeam_snapshot_keys")) == keys
    assert loads(server.dump()).digest() == server.digest()
    said = harness.cli("verify", "--json", server.dump(), check=0).stdout
    assert '"keys":' in said.replace(" ", "")


def test_durable_no_makes_the_table_only(make):
    server = make("primary", options={"durable": "no"})
    server.client.set("key", "value")
    server.bgsave()
    assert server.image_made()["rdbeam_snapshot_keys"] == "1"
    assert not server.dump().exists()


@pytest.mark.parametrize("name", ["10.1.2.3", ".".join(["n" * 60] * 4)], ids=["address", "long"])
def test_durable_no_still_serves_a_disk_sync(make, name):
    """Whatever the replica calls itself: with a long name it was not seen to wait, and was synced over and over."""
    server = make("primary", options={"durable": "no"}, repl_diskless_sync="no")
    data.fill_strings(server.client, 1000, 100)
    replica = make("replica", module=False, replicaof=f"127.0.0.1 {server.port}", replica_announce_ip=name)
    wait_for(lambda: replica.info("replication").get("master_link_status") == "up", "synced")
    assert replica.digest() == server.digest()


# ---- everything that can be missing ends in stock saving ------------------------------------

def falls_back(server, *words):
    server.client.set("key", "v" * 1000)
    before = server.fallbacks()
    server.bgsave()
    check_rdb(server.dump())
    info = server.info("rdbeam")
    assert int(info["rdbeam_fallback_total"]) == before + 1, info
    reason = info["rdbeam_last_fallback_reason"]
    assert reason and (not words or any(word in reason.lower() for word in words)), reason


def test_region_too_small_saves_stock(make, loads):
    server = make("primary", options={"region-size": str(4 << 20), "segment-size": "2mb"})
    data.fill_strings(server.client, 40, 1 << 20)
    falls_back(server, "region")
    assert loads(server.dump()).digest() == server.digest()
    server.client.config_set("rdbeam.region-size", 256 << 20)
    fallbacks = server.fallbacks()
    server.bgsave()
    assert server.fallbacks() == fallbacks, "a larger region takes the image"


def test_missing_daemon_saves_stock(make, root):
    server = make("primary", options={"daemon": str(root / "no-such-rdbeamd")})
    falls_back(server, "daemon")
    assert "no-such-rdbeamd" in server.log()


def test_hugepages_required_and_missing_saves_stock(make):
    with open("/proc/meminfo") as meminfo:
        free = int(re.search(r"HugePages_Free:\s+(\d+)", meminfo.read()).group(1))
    if free:
        pytest.skip(f"{free} free hugepages: this needs none")
    server = make("primary", options={"hugepages": "require"})
    falls_back(server, "hugepage", "huge")


def test_port_in_use_is_said_and_saving_goes_on(make):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = harness.free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        server = make("primary", options={"port": port})
        server.client.set("key", "value")
        server.bgsave()
        server.image_made()
        assert str(port) in server.log()
        with pytest.raises(redis.ResponseError, match=str(port)):
            server.client.execute_command("RDBEAM.TICKET")


def test_port_that_is_free_again_is_no_error_any_more(make):
    port = harness.free_port()
    with socket.create_server(("127.0.0.1", port)):
        server = make("primary", options={"port": port})
        wait_for(lambda: str(port) in server.value("rdbeam", "rdbeam_last_error"), lambda: server.info("rdbeam"))
    wait_for(lambda: server.number("rdbeam", "rdbeam_port") == port, "it is listened on")
    wait_for(lambda: not server.value("rdbeam", "rdbeam_last_error"), lambda: server.info("rdbeam"), 3)


def test_port_follows_the_servers_own(make):
    server = make("primary", options={"port": 0})
    port = harness.free_port()
    server.client.config_set("port", port)
    far = port + 20000 if port + 20000 < 65536 else port - 20000
    wait_for(lambda: server.number("rdbeam", "rdbeam_port") == far or str(far) in server.log(),
             lambda: f"pulls go to {far}:\n{server.info('rdbeam')}")


def test_setting_of_the_server_that_is_none_of_ours_asks_it_nothing(make):
    server = make("primary")
    server.client.config_set("slowlog-log-slower-than", 0)
    server.client.slowlog_reset()
    server.client.config_set("maxmemory-samples", 6)
    assert [entry["command"].split()[0] for entry in server.client.slowlog_get()] == [b"CONFIG", b"SLOWLOG"]


def test_address_that_is_not_there_is_said_once(make):
    server = make("primary")
    server.client.config_set("rdbeam.bind", "192.0.2.1")
    wait_for(lambda: "cannot listen on 192.0.2.1" in server.log(), "it is said")
    time.sleep(1.2)  # it is tried twice a second, and nothing tells so
    assert server.log().count("cannot listen on 192.0.2.1") == 1
    server.client.config_set("rdbeam.bind", "192.0.2.1 127.0.0.1")
    wait_for(lambda: server.log().count("cannot listen on 192.0.2.1") == 2, "one of two is said, too")


# ---- the daemon's life ----------------------------------------------------------------------

def test_killed_daemon_comes_back(make):
    """Row 4: stock saving while it is away, a new one with back-off, the table again after."""
    server = make("primary")
    server.client.set("key", "value")
    server.bgsave()
    first = server.daemon()
    os.kill(first, signal.SIGKILL)
    server.bgsave()  # by table or stock, but never an error
    check_rdb(server.dump())
    second = daemon_up(server, other_than=first)
    fallbacks = server.fallbacks()
    server.bgsave()
    assert server.fallbacks() == fallbacks
    assert second != first


def test_stopped_daemon_saves_stock(make):
    server = make("primary")
    daemon = server.daemon()
    os.kill(daemon, signal.SIGSTOP)
    try:
        falls_back(server)
    finally:
        os.kill(daemon, signal.SIGCONT)


def test_daemon_that_keeps_dying_is_started_with_pauses(make):
    server = make("primary")
    pids = set()
    for _ in range(3):
        pid = daemon_up(server)
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the daemon is gone")
    assert len(pids) == 3
    daemon_up(server)
    assert server.client.ping()


def test_daemon_ends_with_its_server(make):
    server = make("primary")
    daemon = server.daemon()
    assert daemon
    server.kill()
    server.gone([daemon])


def test_server_keeps_no_extra_child(make):
    """Redis reaps any child it does not know with a warning: the daemon must not be one."""
    server = make("primary")
    assert harness.children(server.pid) == []
    server.bgsave()
    assert harness.children(server.pid) == []
    assert "unmatched pid" not in server.log()


def test_daemon_holds_none_of_the_servers_sockets(make):
    server = make("primary")
    client = server.connect()
    client.ping()
    own = socket_inodes(server.pid, server.port)
    held = {os.readlink(f"/proc/{server.daemon()}/fd/{fd}")
            for fd in os.listdir(f"/proc/{server.daemon()}/fd")}
    assert own and not own & held


def socket_inodes(pid, port):
    """socket:[inode] of a process's TCP sockets on a port."""
    inodes = set()
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if int(words[1].split(":")[1], 16) == port:
                inodes.add(f"socket:[{words[9]}]")
    return inodes


def test_one_line_for_each_snapshot_and_pull(make, binary):
    server = make("server")
    server.client.execute_command("DEBUG", "POPULATE", 1000, "key", 100)
    server.bgsave()
    server.image_made()
    first = wait_for(lambda: COPIED.findall(server.log()), "the line of the first snapshot")
    info = server.info("rdbeam")
    assert first == [(info["rdbeam_generation"], "1000", info["rdbeam_snapshot_bytes"],
                      first[0][3])] and first[0][3].startswith("flushed in")
    server.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 30000)
    lines = wait_for(lambda: COPIED.findall(server.log())[1:], "the line of the second")
    assert [line[3] for line in lines] == ["kept in memory"]
    cli("pull", "--from", f"127.0.0.1:{server.port}", "--discard", "--quiet", check=0)
    pulls = wait_for(lambda: PULLED.findall(server.log()), "the line of the pull")
    lines = wait_for(lambda: [line for line in COPIED.findall(server.log())
                              if line[0].split("-")[1] == pulls[0][0]], "its image's line")
    assert len(pulls) == len(lines) == 1
    # All of the keys, and less than the image: its padding is not read.
    assert 1000 * 100 < int(pulls[0][1]) < int(lines[0][2])


def test_latency_monitor_has_the_copy(make, binary):
    server = make("server")
    server.client.set("key", "value")
    server.bgsave()
    server.image_made()
    assert server.client.execute_command("LATENCY", "HISTORY", "rdbeam-copy") == []  # it is off
    server.client.config_set("latency-monitor-threshold", 1)
    server.client.config_set("rdb-key-save-delay", 20000)  # one key: the copy takes 20 ms
    server.bgsave()
    samples = wait_for(lambda: server.client.execute_command("LATENCY", "HISTORY", "rdbeam-copy"),
                       "a sample")
    assert len(samples) == 1 and samples[0][1] >= 20
    server.client.config_set("latency-monitor-threshold", 60000)
    server.bgsave()
    wait_for(lambda: len(COPIED.findall(server.log())) == 3, "the third snapshot's line")
    assert len(server.client.execute_command("LATENCY", "HISTORY", "rdbeam-copy")) == 1
