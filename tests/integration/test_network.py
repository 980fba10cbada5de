# SPDX-License-Identifier: BSD-3-Clause
"""Names with several addresses, and hosts that fall silent. What is called a host here is a network namespace."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

import data
import harness

NEAR, FAR = "198.18.77.1", "198.18.77.2"


def run(*words):
    return subprocess.run(words, capture_output=True, text=True)


def in_world(root, names, *words):
    """Runs rdbeam(1) where /etc/hosts says `names`: [(address, name)]."""
    hosts = root / "hosts"
    hosts.write_text("".join(f"{address} {name}\n" for address, name in names))
    program = root / "rdbeam-there"
    program.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {hosts} /etc/hosts && "
                       f"exec {harness.artifact('rdbeam')} \"$@\"' sh \"$@\"\n")
    program.chmod(0o755)
    began = time.monotonic()
    done = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True, timeout=120)
    return done, time.monotonic() - began


@pytest.fixture
def mounts():
    if not shutil.which("unshare") or run("unshare", "-m", "true").returncode:
        pytest.skip("no mount namespaces here")


@pytest.fixture
def other_host():
    """Words that run a program on a host whose address is FAR, where we are NEAR; and what takes our cable out."""
    name = f"rdbeam{os.getpid()}"
    ours, theirs = f"rb{os.getpid()}a", f"rb{os.getpid()}b"
    there = ["ip", "netns", "exec", name]
    if not shutil.which("ip") or run("ip", "netns", "add", name).returncode:
        pytest.skip("no network namespaces here")
    try:
        steps = [["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name],
                 ["ip", "addr", "add", f"{NEAR}/30", "dev", ours], ["ip", "link", "set", ours, "up"],
                 [*there, "ip", "addr", "add", f"{FAR}/30", "dev", theirs],
                 [*there, "ip", "link", "set", theirs, "up"], [*there, "ip", "link", "set", "lo", "up"]]
        if any(run(*step).returncode for step in steps):
            pytest.skip("no pairs of network devices here")
        yield there, lambda: run("ip", "link", "set", ours, "down")
    finally:
        run("ip", "netns", "del", name)
        run("ip", "link", "del", ours)


def test_name_of_both_families(make, root, mounts):
    """The ticket is good for the address that asked for it: the image must be pulled by the same family."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    primary = make("primary", bind="127.0.0.1 ::1")
    names = [("::1", "both"), ("127.0.0.1", "both")]
    for address in ("both", "[::1]", "127.0.0.1"):
        done, _ = in_world(root, names, "pull", "--from", f"{address}:{primary.port}", "--discard")
        assert done.returncode == 0, done.stderr


def test_each_address_of_the_server_hears_pulls(make):
    """A server has up to sixteen. Pulls were heard at the first eight alone."""
    last = "127.0.0.16"
    primary = make("primary", bind=" ".join(f"127.0.0.{n}" for n in range(1, 17)))
    harness.cli("pull", "--from", f"{last}:{primary.port}", "--discard", check=0)


@contextlib.contextmanager
def silent(address, port):
    """Who connects there gets no answer: the queue of the listener is full."""
    with socket.create_server((address, port), backlog=0), contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


def test_first_address_of_a_name_says_nothing(make, root, mounts):
    primary = make("primary", bind="127.0.0.2")
    with silent("127.0.0.1", primary.port):
        done, took_s = in_world(root, [("127.0.0.1", "half"), ("127.0.0.2", "half")], "pull", "--from",
                                f"half:{primary.port}", "--discard", "--timeout", 6)
    assert done.returncode == 0 and 2 < took_s < 8, (took_s, done.stderr)  # it was waited for once


def test_pull_port_that_is_shut(make, root):
    """It says which port, and what to do about it."""
    primary = make("primary", options={"bind": "127.0.0.3"})
    port = int(primary.options["port"])
    with silent("127.0.0.1", port):
        done = harness.cli("pull", "--from", f"127.0.0.1:{primary.port}", "--discard", "--timeout", 1, check=1)
    assert f"127.0.0.1 port {port}" in done.stderr and "through the firewalls" in done.stderr, done.stderr


def connecting_to(port):
    return any(words[2].endswith(f":{port:04X}") and words[3] == "02"
               for words in map(str.split, open("/proc/net/tcp")))


def test_link_that_is_down_while_it_connects(make):
    """As in all later stages it goes on when the primary answers again."""
    primary = make("primary", options={"bind": "127.0.0.3"})
    data.fill_strings(primary.client, 100, 100)
    port = int(primary.options["port"])
    with silent("127.0.0.1", port):
        pull = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--discard", "--timeout", 2)
        harness.wait_for(lambda: pull.poll() is not None or connecting_to(port), "it connects")
        time.sleep(1.3)  # the kernel's next attempt is at 3 s
    primary.client.config_set("rdbeam.bind", "127.0.0.1")
    _, err = pull.communicate(timeout=30)
    assert pull.returncode == 0, err


def test_host_that_vanishes_before_it_gives_a_ticket(make, other_host):
    """A primary may take a minute to begin an image, but its host's kernel is asked meanwhile whether it is there."""
    there, take_cable_out = other_host
    primary = make("primary", bind=f"127.0.0.1 {NEAR}", protected_mode="no")
    primary.client.config_set("rdbeam.mode", "off")
    primary.hold()
    primary.client.execute_command("BGSAVE")  # another child, for whose end a ticket waits
    primary.child()
    primary.client.config_set("rdbeam.mode", "replace")
    pull = subprocess.Popen([*there, str(harness.artifact("rdbeam")), "pull", "--from", f"{NEAR}:{primary.port}",
                             "--discard", "--fresh", "--timeout", "2"], stderr=subprocess.PIPE, text=True)
    harness.wait_for(lambda: "rdbeam.ticket" in primary.client.execute_command("CLIENT", "LIST").decode(),
                     "the ticket is asked for")
    take_cable_out()
    began = time.monotonic()
    _, err = pull.communicate(timeout=60)
    assert pull.returncode == 1 and "its host does not answer any more" in err, err
    assert time.monotonic() - began < 15


def test_relay_that_says_nothing_gets_no_readers(make):
    """Its host may be gone without a word, which the server's own keepalive sees after ten minutes."""
    primary = make("primary")
    harness.cli("pull", "--from", f"127.0.0.1:{primary.port}", "--discard", check=0)
    relay = primary.connect(single_connection_client=True)
    relay.execute_command("RDBEAM.RELAY", "JOIN", 7000, "127.0.0.9")
    relay.execute_command("RDBEAM.RELAY", "HOLD", primary.generation())
    relay.execute_command("RDBEAM.RELAY", "WAIT", primary.generation(), 10)

    def sent_to():
        reply = primary.client.execute_command("RDBEAM.TICKET", "RELAYED")
        return dict(zip(reply[::2], reply[1::2]))[b"relay"]

    assert sent_to() == b"127.0.0.9:7000"
    harness.wait_for(lambda: not sent_to(), "no reader is sent there", 15)
    assert "relay 127.0.0.9:7000 is silent" in primary.log()
    relay.execute_command("RDBEAM.RELAY", "HOLD", primary.generation())
    assert sent_to() == b"127.0.0.9:7000"


def test_target_whose_host_vanishes_while_it_loads(make, root, other_host):
    """One that is only stopped takes nothing either; it is waited for, as its host's kernel answers."""
    there, take_cable_out = other_host
    primary = make("primary", bind=f"127.0.0.1 {NEAR}", protected_mode="no")
    data.fill_strings(primary.client, 30, 1 << 20)  # more than the kernels' buffers take
    program = root / "server-there"
    program.write_text(f"#!/bin/sh\nexec {' '.join(there)} {primary.binary} \"$@\"\n")
    program.chmod(0o755)
    target = make("target", binary=program, module=False, bind=FAR, protected_mode="no", key_load_delay="100000")
    pull = subprocess.Popen([str(harness.artifact("rdbeam")), "pull", "--from", f"{NEAR}:{primary.port}", "--to",
                             f"{FAR}:{target.port}", "--timeout", "1"], stderr=subprocess.PIPE, text=True)
    try:
        harness.wait_for(lambda: target.info("persistence")["loading"] == "1", "it loads")
        target.process.send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            pull.wait(8)
        take_cable_out()
        began = time.monotonic()
        _, err = pull.communicate(timeout=60)
        assert pull.returncode == 1 and "its host does not answer any more" in err, err
        assert "could not be restored" in err and time.monotonic() - began < 15, err
    finally:
        pull.kill()
        target.kill()
