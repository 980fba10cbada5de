# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam(1) against stock servers: fill, snapshot, status, verify, help, and its refusals."""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

import harness
from harness import cli, cli_start, wait_for

COMMANDS = ["snapshot", "pull", "relay", "status", "verify", "fill", "bench", "doctor", "help"]
TYPES = ["string", "hash", "list", "set", "zset", "stream"]


@pytest.fixture
def stock(make):
    """A server without the module."""
    return make("stock", module=False)


def at(server, *args):
    """Command and options for a server."""
    return [args[0], "-p", server.port, *args[1:]]


def error_line(done):
    """The one line of the error; progress and remarks may stand before it."""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("rdbeam: "), done.stderr
    assert line.count(": ") >= 3, f"not what: value: remedy: {line}"
    return line


def dumped(server, root):
    """A copy of a dump of the server's data."""
    server.client.save()
    path = root / "copy.rdb"
    shutil.copyfile(server.dump(), path)
    return path


# ---- fill -----------------------------------------------------------------------------------

def test_fill_makes_what_it_is_told(stock):
    done = cli(*at(stock, "fill", "--keys", 600, "--types", ",".join(TYPES), "--fields", 7,
                   "--value-size", 50, "--dbs", 3, "--db", 2, "--ttl", 1000, "--prefix", "p:",
                   "--json"), check=0)
    said = json.loads(done.stdout)
    assert said["keys"] == 600 and said["keys_per_s"] > 0 and said["seconds"] >= 0
    assert said["bytes"] >= 100 * 50 * (1 + 5 * 7)
    for db in (2, 3, 4):
        client = stock.connect(db=db)
        assert client.dbsize() == 200
        assert 0 < client.ttl(client.randomkey()) <= 1000
    client = stock.connect(db=2)
    assert [client.type(f"p:{n}").decode() for n in range(6)] == TYPES
    assert [client.strlen("p:0"), client.hlen("p:1"), client.llen("p:2"), client.scard("p:3"),
            client.zcard("p:4"), client.xlen("p:5")] == [50, 7, 7, 7, 7, 7]
    assert len(client.lindex("p:2", 3)) == 50


def test_fill_is_repeatable_unless_random(stock):
    digests = []
    for options in (["--seed", 5], ["--seed", 5], ["--seed", 6], ["--random"], ["--random"]):
        cli(*at(stock, "fill", "--keys", 300, "--types", ",".join(TYPES), *options), check=0)
        assert stock.client.dbsize() == 300
        digests.append(stock.digest())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


@pytest.mark.parametrize("options", [[], ["--random"]])
def test_filled_values_are_not_of_one_byte(stock, options):
    cli(*at(stock, "fill", "--keys", 100, "--value-size", 1000, *options), check=0)
    values = [stock.client.get(f"key:{n}") for n in range(100)]
    assert len(set(values)) == 100
    assert min(len(set(value)) for value in values) > 40


def test_fill_splits_large_collections(stock):
    cli(*at(stock, "fill", "--keys", 5, "--types", "hash,list,set,zset,stream", "--fields", 5000,
            "--value-size", 3), check=0)
    client = stock.client
    assert [client.hlen("key:0"), client.llen("key:1"), client.scard("key:2"), client.zcard("key:3"),
            client.xlen("key:4")] == [5000] * 5


def test_fill_tells_a_full_server(make):
    server = make("small", module=False, maxmemory="3mb")
    done = cli(*at(server, "fill", "--keys", 10000, "--json"), check=1)
    assert "maxmemory" in error_line(done)
    assert json.loads(done.stdout)["code"] == "SERVER"


def test_fill_into_a_database_that_is_not_there(stock):
    assert "out of range" in error_line(cli(*at(stock, "fill", "--db", 99, "--keys", 5), check=1))


# ---- snapshot -------------------------------------------------------------------------------

def test_snapshot_without_the_module_is_a_stock_bgsave(stock):
    cli(*at(stock, "fill", "--keys", 1000), check=0)
    stamp = stock.dump().stat().st_mtime_ns if stock.dump().exists() else 0
    done = cli(*at(stock, "snapshot"), check=0)
    assert "not loaded" in done.stdout and "stock" in done.stdout
    assert "1,000 keys" in done.stdout and str(stock.dump()) in done.stdout
    assert stock.dump().stat().st_mtime_ns > stamp
    said = json.loads(cli(*at(stock, "snapshot", "--json", "--quiet"), check=0).stdout)
    assert (said["method"], said["state"], said["module"]) == ("stock", "durable", False)
    assert said["keys"] == 1000 and said["file"] == str(stock.dump())


def test_snapshot_begins_well_within_a_second(stock):
    """INFO has the second of the last save, by a clock that may be some ticks late."""
    stock.bgsave()
    last = stock.number("persistence", "rdb_last_save_time")
    cli(*at(stock, "snapshot", "--quiet"), check=0)
    begun = re.findall(r":(\d\d)\.(\d{3}) \* Background saving started", stock.log())[-1]
    ms = (int(begun[0]) - last) % 60 * 1000 + int(begun[1])
    assert 1200 <= ms < 30000, begun


def test_snapshot_tells_the_hook(stock, root):
    out = root / "hook.txt"
    hook = f"env | grep ^RDBEAM_ | sort >> {out}; echo said"
    done = cli(*at(stock, "snapshot", "--json", "--quiet", "--hook", hook), check=0)
    said = dict(line.split("=", 1) for line in out.read_text().splitlines() if "TEST" not in line)
    assert said["RDBEAM_STATE"] == "durable" and said["RDBEAM_FILE"] == str(stock.dump())
    assert set(said) >= {"RDBEAM_GENERATION", "RDBEAM_KEYS", "RDBEAM_BYTES", "RDBEAM_REPLID",
                         "RDBEAM_OFFSET"}
    json.loads(done.stdout)  # the hook's own output is not in it
    assert "said" in done.stderr


def test_hook_has_no_connection_to_the_server(stock, root):
    """One that leaves a process behind would keep it open."""
    out = root / "hook.txt"
    cli(*at(stock, "snapshot", "--quiet", "--hook", f"ls -l /proc/self/fd >> {out}"), check=0)
    assert "/proc/" in out.read_text() and "socket:" not in out.read_text()


def test_json_is_utf8_whatever_is_told(root):
    path = os.fsencode(root) + b"/dump-\xc3\xbc-\xff\xe2\x82.rdb"
    with open(path, "wb") as out:
        out.write(b"REDIS0010\xfa\x09redis-ver\x087.0-\xed\xa0\x80\xe4\xff" + bytes(8))
    done = subprocess.run([harness.artifact("rdbeam"), "verify", "--json", path], check=True, capture_output=True)
    said = json.loads(done.stdout.decode())
    assert said["file"].endswith("/dump-\u00fc-???.rdb")
    assert said["server_version"] == "7.0-????"


def test_snapshot_with_a_failing_hook_fails(stock):
    done = cli(*at(stock, "snapshot", "--hook", "exit 7"), check=1)
    assert "status 7" in error_line(done) and "durable" in error_line(done)


def test_hook_that_fails_is_seen_where_ended_children_are_ignored(stock):
    """As by a supervisor that ignores SIGCHLD, which its children inherit."""
    done = subprocess.run([harness.artifact("rdbeam"), "snapshot", "-p", str(stock.port), "--hook", "exit 7"],
                          preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
                          capture_output=True, text=True, timeout=harness.DEADLINE_S * 4)
    assert done.returncode == 1 and "status 7" in error_line(done)


def test_snapshot_where_info_tells_nothing_of_saves_is_refused():
    with harness.played_server({b"INFO": b"$0\r\n\r\n", b"PING": b"+PONG\r\n", b"BGSAVE": b"+OK\r\n"}) as port:
        done = cli("snapshot", "-p", port, check=3)
    assert "rdb_last_save_time" in error_line(done)


def test_snapshot_while_another_save_runs_is_refused(stock):
    stock.hold()
    child = stock.begin_held_save()
    done = cli(*at(stock, "snapshot", "--json"), check=3)
    assert "in progress" in error_line(done) and str(stock.port) in error_line(done)
    assert json.loads(done.stdout)["code"] == "BUSY"
    stock.client.flushall()
    wait_for(lambda: not harness.alive(child), "the held save ends")


def test_snapshot_while_the_aof_is_rewritten_is_refused(stock):
    stock.hold()
    stock.client.bgrewriteaof()
    wait_for(lambda: stock.number("persistence", "aof_rewrite_in_progress"), "it rewrites")
    assert "AOF" in error_line(cli(*at(stock, "snapshot"), check=3))
    stock.client.config_set("rdb-key-save-delay", 0)


def test_snapshot_that_the_server_cancels_fails(stock):
    stock.hold()
    process = cli_start(*at(stock, "snapshot"))
    wait_for(stock.saving, "it saves")
    stock.client.flushall(asynchronous=False)
    _, err = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 1 and "cancelled" in err, err


def test_snapshot_that_fails_says_so(stock):
    stock.client.set("key", "value")
    assert cli(*at(stock, "snapshot"), check=0)
    stock.client.config_set("rdb-key-save-delay", 20000)
    process = cli_start(*at(stock, "fill", "--keys", 300))
    process.communicate(timeout=harness.DEADLINE_S)
    process = cli_start(*at(stock, "snapshot"))
    os.kill(stock.child(), 9)
    _, err = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 1 and "save failed" in err, err


def test_snapshot_stops_waiting_at_its_timeout(stock):
    stock.hold()
    done = cli(*at(stock, "snapshot", "--timeout", 1), check=1)
    assert "--timeout" in error_line(done)
    assert stock.saving()
    stock.client.flushall()


def test_snapshot_need_not_wait(stock):
    stock.hold()
    assert "save started" in cli(*at(stock, "snapshot", "--no-wait"), check=0).stdout
    assert stock.saving()
    stock.client.flushall()


def test_memory_snapshot_needs_the_module(stock):
    assert "rdbeam.so" in error_line(cli(*at(stock, "snapshot", "--memory"), check=3))


def test_snapshot_by_the_module(make, root):
    server = make("primary")
    cli(*at(server, "fill", "--keys", 2000), check=0)
    out = root / "hook.txt"
    hook = f"echo $RDBEAM_STATE $RDBEAM_GENERATION $RDBEAM_KEYS $RDBEAM_BYTES >> {out}"
    said = json.loads(cli(*at(server, "snapshot", "--json", "--hook", hook), check=0).stdout)
    assert (said["method"], said["state"], said["fallback_reason"]) == ("rdbeam", "durable", "")
    assert said["generation"] == server.generation() and said["keys"] == 2000
    assert said["bytes"] == server.dump().stat().st_size
    told = f"{said['generation']} 2000 {said['bytes']}"
    assert out.read_text().splitlines() == [f"ready {told}", f"durable {told}"]
    text = cli(*at(server, "status"), check=0).stdout
    assert "mode replace" in text and server.generation() in text and "2,000 keys" in text


def test_hook_of_the_help_copies_the_dump(make, root):
    server = make("primary")
    (root / "backup").mkdir()
    hook = re.search(r"--hook '(.+)'", cli("help", "snapshot", check=0).stdout)[1].replace("/backup", f"{root}/backup")
    cli(*at(server, "snapshot", "--hook", hook), check=0)
    assert (root / "backup/dump.rdb").read_bytes() == server.dump().read_bytes()


def test_status_shows_stages_as_bars(make):
    server = make("primary", options={"flush-rate-limit": "4mb"})
    cli(*at(server, "fill", "--keys", 20000, "--value-size", 1000), check=0)
    server.client.bgsave()
    wait_for(lambda: server.value("rdbeam", "rdbeam_state") == "flushing", "the flush")
    process = cli_start(*at(server, "status", "--watch"))
    try:
        wait_for(lambda: re.search(r"^flush +\[#*\.+\] +\d+%  [\d.]+ [KM]iB/s  ETA ",
                                   process.stdout.readline()), "a bar with rate and ETA")
    finally:
        process.kill()
        process.communicate()
    server.saved()
    text = cli(*at(server, "status"), check=0).stdout
    assert re.search(r"^copy +\[#+\] 100%  in .* MB/s$", text, re.M), text
    assert re.search(r"^flush +\[#+\] 100%  in .* MB/s$", text, re.M), text
    assert re.search(r"^durable +\d+ s ago$", text, re.M), text


def test_status_shows_a_line_for_each_pull(make):
    server = make("primary", options={"rate-limit": "4mb", "segment-size": "2mb"})
    cli(*at(server, "fill", "--keys", 20000, "--value-size", 1000), check=0)
    assert json.loads(cli(*at(server, "status", "--json"), check=0).stdout)["rdbeam"]["pulls"] == []
    running = [cli_start("pull", "--from", f"127.0.0.1:{server.port}", "--discard", "--quiet")
               for _ in range(2)]
    running.append(cli_start(*at(server, "status", "--watch")))
    line = re.compile(r"^  127\.0\.0\.1 +\[#*\.+\] +\d+%  tcp  [\d.]+ [KM]iB  [\d.]+ [KM]iB/s  ETA ")
    try:
        seen = 0
        while seen < 2:  # one behind the other on one screen
            seen = seen + 1 if line.match(running[2].stdout.readline()) else 0
        said = json.loads(cli(*at(server, "status", "--json"), check=0).stdout)["rdbeam"]
        assert said["pulls_active"] == len(said["pulls"]) == 2
        for pull in said["pulls"]:
            assert 0 < pull["bytes"] <= pull["image_bytes"] == said["snapshot_bytes"]
            assert pull["ms"] > 0 and (pull["peer"], pull["transport"]) == ("127.0.0.1", "tcp")
        assert len({pull["number"] for pull in said["pulls"]}) == 2
        assert sum(pull["bytes"] for pull in said["pulls"]) <= said["pull_bytes_total"]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    wait_for(lambda: "  127.0.0.1 " not in cli(*at(server, "status"), check=0).stdout, "both ended")


def test_memory_snapshot_leaves_the_dump_alone(make, root):
    server = make("primary")
    cli(*at(server, "fill", "--keys", 500), check=0)
    for _ in range(2):  # the second begins as soon as the first has ended
        done = cli(*at(server, "snapshot", "--memory", "--json"), check=0)
        said = json.loads(done.stdout)
        assert said["state"] == "ready" and said["file"] == "" and said["keys"] == 500
        assert said["generation"] == server.generation()
    assert not server.dump().exists()


def test_snapshot_without_a_file_is_ready_not_durable(make):
    server = make("primary", options={"durable": "no"})
    server.client.set("key", "value")
    said = json.loads(cli(*at(server, "snapshot", "--json"), check=0).stdout)
    assert (said["method"], said["state"], said["file"]) == ("rdbeam", "ready", "")


def test_snapshot_tells_why_it_fell_back(make):
    server = make("primary", options={"region-size": "8mb"})
    cli(*at(server, "fill", "--keys", 40000, "--random"), check=0)
    done = cli(*at(server, "snapshot"), check=0)
    assert server.fallbacks() == 1
    assert "saved by stock Redis" in done.stdout and "fell back" in done.stdout
    assert server.value("rdbeam", "rdbeam_last_fallback_reason") in done.stdout
    text = cli(*at(server, "status"), check=0).stdout
    assert re.search(r"^fallbacks  1, last: \S", text, re.M), text


def test_snapshot_with_the_module_off(make):
    server = make("primary", options={"mode": "off"})
    assert "rdbeam.mode is off" in cli(*at(server, "snapshot"), check=0).stdout


# ---- status ---------------------------------------------------------------------------------

def test_status_does_not_take_the_servers_start_for_a_dump(make):
    server = make("server", module=False)
    server.client.set("key", "value")
    text = cli(*at(server, "status"), check=0).stdout
    assert re.search(r"^saving +idle; no dump since its start, 1 change since$", text, re.M), text
    server.bgsave()
    server.client.config_resetstat()
    server.client.save()
    text = cli(*at(server, "status"), check=0).stdout
    assert re.search(r"^saving +idle; last BGSAVE ok, dump of \d+ s ago, 0 changes since$", text, re.M), text


def test_one_of_a_thing_is_no_plural(make):
    server = make("primary", options={"workers": 1})
    server.client.set("key", "value")
    saved = cli(*at(server, "snapshot"), check=0)
    assert re.search(r"durable: 1 key, ", saved.stdout), saved.stdout
    server.client.set("key", "new")
    text = cli(*at(server, "status"), check=0).stdout
    for part in ("primary of 0 replicas", " 1 key\n", ", 1 change since\n", ", 1 worker\n", " 1 key, "):
        assert part in text, (part, text)


def test_status_of_a_stock_server(stock):
    cli(*at(stock, "fill", "--keys", 1234, "--value-size", 10), check=0)
    done = cli(*at(stock, "status"), check=0)
    assert f"127.0.0.1:{stock.port}" in done.stdout and "1,234 keys" in done.stdout
    assert "not loaded" in done.stdout and "loadmodule" in done.stdout
    said = json.loads(cli(*at(stock, "status", "--json"), check=0).stdout)
    assert said["rdbeam"] is None
    assert said["server"]["keys"] == 1234 and said["server"]["role"] == "master"


def test_status_watch_shows_it_again(stock):
    process = cli_start(*at(stock, "status", "--watch", "--json"))
    try:
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    finally:
        process.terminate()
        process.wait()
    assert first["server"]["name"] == second["server"]["name"] == f"127.0.0.1:{stock.port}"


def test_status_watch_ends_with_its_reader(stock):
    process = cli_start(*at(stock, "status", "--watch"))
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(harness.DEADLINE_S) == 1


# ---- connecting -----------------------------------------------------------------------------

@pytest.fixture
def locked(make):
    return make("locked", module=False, requirepass="right@password:x")


def test_no_password_is_told(locked):
    for command in ("status", "snapshot", "fill"):
        assert "REDISCLI_AUTH" in error_line(cli(*at(locked, command), check=3))


def test_wrong_password_is_told_and_not_repeated(locked):
    done = cli(*at(locked, "status", "-a", "wrong-password", "--json"), check=3)
    assert "password" in error_line(done) and "wrong-password" not in done.stderr
    assert json.loads(done.stdout)["code"] == "DENIED"


@pytest.mark.parametrize("options, env", [
    (["-a", "right@password:x"], {}), (["--pass=right@password:x"], {}),
    (["--user", "default", "--pass", "right@password:x"], {}),
    ([], {"REDISCLI_AUTH": "right@password:x"}),
    (["-u", "redis://:right%40password%3Ax@127.0.0.1:{port}"], {}),
])
def test_ways_to_give_the_password(locked, options, env):
    options = [option.format(port=locked.port) for option in options]
    cli(*at(locked, "status", *options), check=0, env=env)


def test_password_that_is_not_asked_for_does_no_harm(stock):
    cli(*at(stock, "status"), check=0, env={"REDISCLI_AUTH": "anything"})


@pytest.mark.parametrize("options", [["--pass", "secret-word"], ["--pass=secret-word"],
                                     ["-u", "redis://default:secret-word@127.0.0.1:{port}"]])
def test_password_leaves_the_command_line(make, options):
    server = make("locked", module=False, requirepass="secret-word")
    options = [option.format(port=server.port) for option in options]
    process = cli_start(*at(server, "status", "--watch", *options))
    try:
        process.stdout.readline()
        line = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"status" in line and b"secret-word" not in line
    finally:
        process.terminate()
        process.wait()


def test_unknown_host_is_told():
    assert "no-such-host.invalid" in error_line(
        cli("status", "-h", "no-such-host.invalid", check=1))


def test_server_that_is_not_there_is_told():
    port = harness.free_port()
    line = error_line(cli("status", "-p", port, check=1))
    assert f"127.0.0.1:{port}" in line and "refused" in line


@pytest.mark.parametrize("words", [["status", "--nonsense"], ["nonsense"], ["status", "-p", "x"],
                                   ["pull"], ["verify"], ["help", "nonsense"]])
def test_usage_is_told_as_json_too(words):
    done = cli(*words, "--json", check=2)
    said = json.loads(done.stdout)
    assert said["code"] == "USAGE" and said["error"] in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_says_so(make, number):
    server = make("primary", options={"rate-limit": "1mb", "segment-size": "2mb"})
    cli(*at(server, "fill", "--keys", 20000, "--value-size", 1000), check=0)
    process = cli_start("pull", "--from", f"127.0.0.1:{server.port}", "--discard", "--json")
    wait_for(lambda: server.value("rdbeam", "rdbeam_pulls_active") == "1", "the pull runs")
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == -number and err.endswith("rdbeam: interrupted\n")
    assert json.loads(out) == {"error": "interrupted", "code": "ABORTED"}


def test_status_watch_ends_well_when_interrupted(stock):
    process = cli_start(*at(stock, "status", "--watch"))
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "" and process.returncode == 0


def test_fill_without_the_right_is_refused(stock):
    stock.client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+ping", "+info")
    line = error_line(cli(*at(stock, "fill", "--user", "reader", "-a", "pw", "--keys", 1), check=3))
    assert "NOPERM" in line and "ask for the right" in line


def test_unix_socket(make, root):
    path = root / "server.sock"
    make("socket", module=False, unixsocket=path)
    assert str(path) in cli("status", "-s", path, check=0).stdout
    assert str(path) in cli("status", "-u", path, check=0).stdout


def test_access_that_an_acl_denies_is_told(stock):
    stock.client.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+ping", "+get")
    line = error_line(cli(*at(stock, "status", "--user", "guest", "-a", "pw"), check=3))
    assert "info" in line.lower()


# ---- verify ---------------------------------------------------------------------------------

def test_verify_counts_a_stock_dump(stock, root):
    cli(*at(stock, "fill", "--keys", 600, "--types", ",".join(TYPES), "--dbs", 2, "--ttl", 500),
        check=0)
    path = dumped(stock, root)
    text = cli("verify", path, check=0).stdout
    assert "plain RDB" in text and "600 in 2 databases" in text
    said = json.loads(cli("verify", path, "--json", check=0).stdout)
    assert said["ok"] and said["kind"] == "rdb" and said["crc_ok"] and not said["crc_absent"]
    assert said["keys"] == said["expires"] == 600 and said["dbs"] == 2
    assert said["bytes"] == path.stat().st_size and said["problems"] == []
    assert {said["keys_by_type"][name] for name in TYPES} == {100}


def test_verify_tells_types_databases_and_the_largest_keys(stock, root):
    stock.client.set("small", "x")
    stock.client.set("large", os.urandom(9000), ex=1000)
    stock.client.config_set("rdbcompression", "yes")
    stock.connect(db=3).rpush("k" * 60, *range(100))  # a key that is stored compressed
    stock.client.set("bell \a", os.urandom(5000))
    stock.client.save()
    path = stock.dir / "dump.rdb"
    said = json.loads(cli("verify", path, "--json", check=0).stdout)
    assert said["types"]["string"]["keys"] == 3 and said["types"]["string"]["expires"] == 1
    assert said["types"]["list"]["keys"] == 1
    assert [(db["db"], db["keys"], db["expires"]) for db in said["databases"]] == [(0, 3, 1),
                                                                                   (3, 1, 0)]
    assert sum(db["bytes"] for db in said["databases"]) == sum(
        kind["bytes"] for kind in said["types"].values())
    assert [key["key"] for key in said["largest"]] == ["large", "bell \\x07", "k" * 60, "small"]
    assert said["largest"][0]["bytes"] > 9000 and said["largest"][0]["expire_ms"] > 0
    text = cli("verify", path, "--keys", check=0).stdout
    assert re.search(r"by database.*\n +0 +3 +1 .*\n +3 +1 +0 ", text), text
    assert "k" * 60 in text and "\a" not in text
    assert "largest" not in cli("verify", path, check=0).stdout


def test_verify_finds_a_flipped_bit_anywhere(stock, root):
    cli(*at(stock, "fill", "--keys", 50, "--value-size", 20), check=0)
    path = dumped(stock, root)
    good = path.read_bytes()
    for at_byte in range(0, len(good), max(1, len(good) // 40)):
        bad = bytearray(good)
        bad[at_byte] ^= 1 << (at_byte % 8)
        path.write_bytes(bad)
        done = cli("verify", path, check=4)
        assert str(path) in error_line(done)
        assert "problem" in done.stdout


def test_verify_finds_a_cut_file(stock, root):
    cli(*at(stock, "fill", "--keys", 50, "--value-size", 20), check=0)
    path = dumped(stock, root)
    good = path.read_bytes()
    for length in (1, 8, 9, 100, len(good) // 2, len(good) - 9, len(good) - 1):
        path.write_bytes(good[:length])
        done = cli("verify", "--json", path, check=4)
        said = json.loads(done.stdout)
        assert not said["ok"] and said["error"] and said["problems"]
        assert len(said["problems"]) <= 20
    path.write_bytes(b"")
    assert "empty" in error_line(cli("verify", path, check=4))


def test_verify_refuses_what_is_no_rdb_file(root):
    path = root / "text"
    path.write_text("REDIT0011 is not what such a file begins with\n" * 10)
    cli("verify", path, check=4)


@pytest.mark.parametrize("path", ["/no/such/file.rdb", "/", "/dev/null"])
def test_verify_of_what_cannot_be_read(path):
    assert path in error_line(cli("verify", path, check=1))


# ---- usage, help, man pages -----------------------------------------------------------------

@pytest.mark.parametrize("args", [
    ["no-such-command"], ["fill", "--keys"], ["fill", "--keys", "0"], ["fill", "--keys", "many"],
    ["fill", "--types", "string,tree"], ["fill", "--types", ""], ["fill", "--value-size", "0"],
    ["fill", "extra"], ["fill", "--prefix", "x" * 2000], ["verify"], ["verify", "a", "b"],
    ["status", "-p", "0"], ["status", "-u", "ftp://host"], ["status", "-h", "h" * 300],
    ["status", "--no-such"], ["status", "--json=1"], ["snapshot", "--no-wait", "--hook", "true"],
    ["pull"], ["pull", "--from", "a:1"], ["pull", "--from", "a:1", "--to", "b:1", "--discard"],
    ["pull", "--from", "a:1", "--to-file", "f", "--discard"],
    ["pull", "--from", "a:1", "--to", "b:1", "--as", "primary"],
    ["pull", "--from", "a:99999", "--discard"], ["pull", "--from", "a:1", "--buffer", "1"],
    ["pull", "--from", "a:1", "--transport", "pigeon"], ["help", "no-such-command"],
    ["help", "pull", "sync"], ["help", "bench", "no-such-bench"],
])
def test_usage_errors_exit_2_with_one_line(args):
    done = cli(*args, check=2)
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    error_line(done)


def test_usage_error_in_json():
    done = cli("fill", "--json", "--keys", "none", check=2)
    assert json.loads(done.stdout)["code"] == "USAGE"


def test_program_help_lists_all_commands():
    text = cli("--help", check=0).stdout
    assert re.findall(r"^  (\w+) ", text, re.M) == COMMANDS
    assert cli("help", check=0).stdout == text
    assert cli(check=2).stderr == text
    assert re.fullmatch(r"rdbeam \d+\.\d+\.\d+\n", cli("--version", check=0).stdout)


def options_of(command):
    """What the parser knows, out of the sources of its tables."""
    cli_dir = harness.REPO / "src" / "cli"
    text = (cli_dir / f"{command}_cmd.c").read_text()
    names = set(re.findall(r'\.name = "(-[^"]+)"', text))
    names |= set(re.findall(r'\.name = "(-[^"]+)"', (cli_dir / "command.h").read_text()))
    if "BEAM_CONNECT_OPTIONS(" in text:
        names |= set(re.findall(r'\.name = "(-[^"]+)"', (cli_dir / "connect.h").read_text()))
    return names


def test_slips_are_answered_with_what_is_meant():
    for words, meant in ((["snaphsot"], "snapshot"), (["help", "stauts"], "status"),
                         (["pull", "--transprot=tcp"], "--transport"), (["pull", "--file", "x"], "--to-file")):
        assert error_line(cli(*words, check=2)).endswith(f": did you mean {meant}?")
    assert "did you mean" not in error_line(cli("no-such-command", check=2))


def test_help_of_a_bench_is_the_command_s():
    assert cli("help", "bench", "sync", check=0).stdout == cli("help", "bench", check=0).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_man_page_have_every_option(command):
    shown = cli(command, "--help", check=0).stdout
    assert cli("help", command, check=0).stdout == shown
    assert max(map(len, shown.splitlines())) <= 100
    page = cli("help", "--man", command, check=0).stdout
    names = options_of(command)
    assert {"--json", "--quiet", "--help"} <= names
    for name in names:
        assert re.search(rf"^  (-\w, )?{name}( |$)", shown, re.M), name
        assert f"\\fB{name}\\fR".replace("-", "\\-") in page, name
    assert page.startswith(".TH ") and ".SH EXIT STATUS" in page


def test_man_pages_are_built_and_are_good_roff():
    for name in ["rdbeam"] + [f"rdbeam-{command}" for command in COMMANDS if command != "help"]:
        page = harness.artifact(f"man/{name}.1")
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-ww", "-z", page], capture_output=True,
                                  text=True)
            assert done.returncode == 0 and done.stderr == "", done.stderr


def test_output_that_cannot_be_written_is_a_failure(stock):
    with open("/dev/full", "w") as full:
        done = subprocess.run([harness.artifact("rdbeam"), "status", "-p", str(stock.port)],
                              stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left" in done.stderr


@pytest.mark.parametrize("args", [["help"], ["pull", "--help"], ["status", "--watch"]])
def test_reader_that_has_seen_enough(stock, args):
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as closed:
        done = subprocess.run([harness.artifact("rdbeam"), *args, *(["-p", str(stock.port)] if "status" in args else [])],
                              stdout=closed, stderr=subprocess.PIPE, text=True, timeout=harness.DEADLINE_S)
    assert (done.returncode, done.stderr) == (1, "")


# ---- progress -------------------------------------------------------------------------------

def on_terminal(*args):
    """Runs rdbeam with a terminal as its stderr; returns what it drew there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([harness.artifact("rdbeam"), *map(str, args)], stderr=theirs,
                               stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    os.close(theirs)
    drawn = b""
    deadline = time.monotonic() + harness.DEADLINE_S
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    assert process.wait(harness.DEADLINE_S) == 0, drawn
    return drawn.decode()


def test_bars_are_drawn_in_place_on_a_terminal_only(stock):
    drawn = on_terminal(*at(stock, "fill", "--keys", 50000, "--value-size", 500))
    assert "\r" in drawn and "100%" in drawn and "50,000 keys" in drawn
    assert drawn.count("\n") == 1
    piped = cli(*at(stock, "fill", "--keys", 50000, "--value-size", 500), check=0)
    assert "\r" not in piped.stderr and "100%" in piped.stderr
    quiet = cli(*at(stock, "fill", "--keys", 1000, "--quiet"), check=0)
    assert quiet.stderr == ""


def test_stages_that_are_done_end_at_100_percent(make, root):
    """Also where the last report came long before the end, and off a terminal."""
    server = make("primary")
    cli(*at(server, "fill", "--keys", 20000, "--value-size", 1000), check=0)
    saved = cli(*at(server, "snapshot"), check=0)
    pulled = cli("pull", "--from", f"127.0.0.1:{server.port}", "--to-file", root / "image.rdb", check=0)
    shown = re.findall(r"^(\w+) +\[[#.]+\] +(\d+)%", saved.stderr + pulled.stderr, re.M)
    assert {stage for stage, percent in shown if percent == "100"} >= {"copy", "flush"}, shown
    # The lines of every second may show less; the last line of each stage does not.
    assert set(dict(shown).values()) == {"100"}, shown
