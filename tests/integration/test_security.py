# SPDX-License-Identifier: BSD-3-Clause
"""docs/security.md: the users it gives suffice, secrets stay secret, protected mode holds."""
import pathlib
import re
import socket
import struct
import threading

import pytest
import redis

import data
import harness
from harness import cli, cli_start, wait_for
from test_pull import last_json, same_data

DOC = (harness.REPO / "docs/security.md").read_text()


def user_line(name, password):
    """The arguments of the ACL SETUSER line that the document gives for a user."""
    found = re.search(rf"^ACL (SETUSER {name} .*)$", DOC, re.M)
    assert found, f"docs/security.md has no line for {name}"
    return ["ACL"] + found.group(1).replace("PASSWORD", password).split()


def test_documented_users_suffice_for_a_pull(make, binary):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 1000)
    replica = make("replica", module=False)
    primary.client.execute_command(*user_line("puller", "secret-one"))
    replica.client.execute_command(*user_line("filler", "secret-two"))
    env = {"RDBEAM_FROM_PASS": "secret-one", "RDBEAM_TO_PASS": "secret-two"}
    said = last_json(cli("pull", "--json", "--from", f"127.0.0.1:{primary.port}", "--from-user",
                         "puller", "--to", f"127.0.0.1:{replica.port}", "--to-user", "filler",
                         env=env, check=0).stdout)
    assert said["full_resyncs"] == 0, said
    assert replica.client.config_get("masteruser")["masteruser"] == "puller"
    same_data(primary, replica)


@pytest.mark.parametrize("way", ["--listen", "--follow"])
def test_documented_user_suffices_for_a_relay(make, root, way):
    primary = make("primary")
    primary.client.execute_command(*user_line("relay", "secret-four"))
    where = ["--listen", f"127.0.0.2:{harness.free_port()}"] if way == "--listen" else ["--follow", "--dir", root]
    relay = cli_start("relay", "--json", "--from", f"127.0.0.1:{primary.port}", "--from-user", "relay", *where,
                      env={"RDBEAM_FROM_PASS": "secret-four"})
    try:
        wait_for(lambda: "rdbeam.relay" in primary.client.execute_command("CLIENT", "LIST").decode(), "it is there")
        primary.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 5000)
        line = relay.stdout.readline()
    finally:
        relay.terminate()
        _, err = relay.communicate(timeout=harness.DEADLINE_S)
    assert primary.generation() in line and "error" not in line, line + err


def test_documented_user_suffices_for_watching(make):
    server = make("server")
    server.client.execute_command(*user_line("watcher", "secret-three"))
    env = {"REDISCLI_AUTH": "secret-three"}
    cli("status", "-p", server.port, "--user", "watcher", env=env, check=0)
    refused = cli("pull", "--from", f"127.0.0.1:{server.port}", "--from-user", "watcher",
                  "--discard", env=env, check=3)
    assert "rdbeam.ticket" in refused.stderr


def test_user_without_dangerous_commands_gets_nothing(make, binary):
    """Also on Redis 7.0, where commands of modules are in no category."""
    server = make("server")
    server.client.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all",
                                  "-@dangerous", "-@admin")
    app = server.connect(username="app", password="secret")
    for command in (["TICKET"], ["SNAPSHOT"], ["RELAY", "JOIN", "7000"], ["LOAD"],
                    ["FOLLOW", "127.0.0.1", "7000"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            app.execute_command(f"RDBEAM.{command[0]}", *command[1:])
    assert server.value("rdbeam", "rdbeam_generation") in ("", "0000000000000000-0")


def test_secrets_are_in_no_log_and_no_command_line(make):
    primary = make("primary", requirepass="a-very-secret-password", loglevel="debug",
                   options={"rate-limit": "10mb"})
    data.fill_strings(primary.client, 40, 1 << 20)
    process = cli_start("pull", "--from", f"redis://:a-very-secret-password@127.0.0.1:{primary.port}",
                        "--discard")
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_active") == 1, "the pull runs")
    line = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert b"pull" in line and b"a-very-secret-password" not in line
    out, err = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 0, err
    ticket = primary.client.execute_command("RDBEAM.TICKET")
    fields = dict(zip(ticket[::2], ticket[1::2]))
    words = [fields[b"key"].decode(), fields[b"id"].decode(), "a-very-secret-password"]
    for text in (primary.log(), str(out), str(err)):
        assert not [word for word in words if word in text]


def test_flood_of_wrong_tickets_does_not_fill_the_log(make):
    server = make("primary", options={"transport": "tcp"})
    wait_for(lambda: server.number("rdbeam", "rdbeam_port"), "the pull port")
    hello = struct.pack("<HHI", 1, 0, 56) + struct.pack("<IHH", 0x6d616562, 2, 0) + bytes(48)
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", int(server.options["port"]))) as sock:
            sock.sendall(hello)
            sock.settimeout(harness.DEADLINE_S)
            assert b"ticket" in sock.recv(4096)
    wait_for(lambda: server.log().count("refused: its ticket is") == 10, server.log)


def test_words_of_a_server_do_not_steer_the_terminal(make):
    """An evil primary's error is shown in one plain line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            sock, _ = listener.accept()
            with sock:
                while sock.recv(4096):
                    sock.sendall(b"-ERR \x1b]0;title\x07\x1b[2J\tbad\r\n")
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        done = cli("pull", "--from", f"127.0.0.1:{listener.getsockname()[1]}", "--discard")
    assert done.returncode == 1 and "bad" in done.stderr and "\x1b" not in done.stderr, done.stderr
    assert len(done.stderr.strip().split("\n")) == 1


def other_address():
    """An address of this host that is not loopback."""
    for line in pathlib.Path("/proc/net/fib_trie").read_text().splitlines():
        found = re.match(r"\s+\|-- (\d+\.\d+\.\d+\.\d+)", line)
        if found and not found.group(1).startswith(("127.", "0.")):
            with socket.socket() as sock:
                try:
                    sock.bind((found.group(1), 0))
                    return found.group(1)
                except OSError:
                    continue
    return None


def hangs_up(address, port):
    """Whether the pull port closes the connection at once (without a HELLO it has 2 s)."""
    with socket.create_connection((address, port), timeout=harness.DEADLINE_S) as sock:
        sock.settimeout(1)
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False


def test_server_without_an_address_has_no_pull_port(make):
    """bind "" leaves a server its unix socket. The pull port was open to everybody."""
    server = make("server")
    data.fill_strings(server.client, 10, 10)
    listens = lambda: wait_for(lambda: server.number("rdbeam", "rdbeam_port"), "the pull port")
    listens()
    server.client.config_set("bind", "")
    wait_for(lambda: not server.number("rdbeam", "rdbeam_port"), "no pull port")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.options["port"])).close()
    with pytest.raises(redis.ResponseError, match="no address"):
        server.client.execute_command("RDBEAM.TICKET")
    server.client.config_set("rdbeam.bind", "127.0.0.1")
    listens()


def test_protected_mode_holds_for_the_pull_port(make):
    address = other_address()
    if not address:
        pytest.skip("this host has no address but loopback")
    server = make("server", bind=f"127.0.0.1 {address}", protected_mode="yes")
    port = server.options["port"]
    wait_for(lambda: server.number("rdbeam", "rdbeam_port"), "the pull port")
    assert not hangs_up("127.0.0.1", port)
    assert hangs_up(address, port)
    # A password ends it; the first ticket after that tells the daemon.
    server.client.execute_command("ACL", "SETUSER", "default", ">open-sesame")
    user = server.connect(password="open-sesame")
    user.execute_command("INFO", "server")
    user.execute_command("RDBEAM.SNAPSHOT", "WAIT", "10000")
    try:
        user.execute_command("RDBEAM.TICKET")
    except Exception as error:  # without a backlog there is no ticket, and the news is told
        assert "NOBACKLOG" in str(error)
    wait_for(lambda: not hangs_up(address, port), "the pull port hears others")
