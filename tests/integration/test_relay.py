# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam relay: hosts that serve a primary's image on, and followers that keep it as files."""
import ctypes
import hashlib
import hmac
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import data
import harness
from harness import check_rdb, wait_for
from test_pull import MIB, last_json, one_line, pull, same_data, slow_primary, stats


class Relay:
    """rdbeam relay on an address of its own; its lines are kept."""

    def __init__(self, primary, address="127.0.0.2", *more):
        self.primary = primary
        self.address, self.port = address, harness.free_port()
        where = () if "--follow" in more else ("--listen", f"{address}:{self.port}")
        self.process = harness.cli_start("relay", "--from", f"127.0.0.1:{primary.port}", *where, *more)
        self.lines = []
        for pipe in (self.process.stdout, self.process.stderr):
            threading.Thread(target=self.read, args=(pipe,), daemon=True).start()

    def read(self, pipe):
        for line in pipe:
            self.lines.append(line.rstrip())

    @property
    def name(self):
        return f"{self.address}:{self.port}"

    def holds(self, generation):
        """It has the whole image of this generation."""
        wait_for(lambda: any(generation in line and "keys" in line for line in self.lines),
                 lambda: f"relay holds {generation}: {self.lines}")

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(harness.DEADLINE_S)
        return self.process.returncode


@pytest.fixture
def relay(make):
    started = []

    def start(primary, *args):
        count = primary.number("rdbeam", "rdbeam_relays")
        started.append(Relay(primary, *args))
        wait_for(lambda: primary.number("rdbeam", "rdbeam_relays") > count,
                 lambda: f"it joins: {started[-1].lines}")
        return started[-1]

    yield start
    for one in started:
        one.kill()
        text = "\n".join(one.lines)
        assert not harness.CRASHES.search(text), text


def image_of(primary):
    """Makes an image that a pull can go on from; its generation and size."""
    size = pull(primary, None, "--discard")["image_bytes"]
    settled(primary, 1)
    return primary.generation(), size


def settled(primary, pulls):
    """Bytes sent, once so many pulls of the primary's own are over: the daemon's news come late."""
    def over():
        info = primary.info("rdbeam")
        return int(info["rdbeam_pulls_total"]) >= pulls and info["rdbeam_pulls_active"] == "0"
    wait_for(over, lambda: primary.info("rdbeam"))
    return sent(primary)


def sent(primary):
    return primary.number("rdbeam", "rdbeam_pull_bytes_total")


# ---- serving --------------------------------------------------------------------------------

def test_one_relay_feeds_three_replicas(make, relay, binary):
    """The primary sends the image once, to the relay, however many replicas join under writes."""
    primary = make("primary", options={"segment-size": "2mb"})
    data.fill_mixed(primary)
    data.fill_strings(primary.client, 20, MIB)
    generation, size = image_of(primary)
    before = sent(primary)
    one = relay(primary)
    one.holds(generation)
    replicas = [make(f"replica{n}", module=False) for n in range(3)]
    with data.Load(primary, pause_s=0.002):
        running = [harness.cli_start("pull", "--json", "--from", f"127.0.0.1:{primary.port}",
                                     "--to", f"127.0.0.1:{replica.port}") for replica in replicas]
        for process in running:
            out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
            assert process.returncode == 0, err
            said = last_json(out)
            assert said["relay"] == one.name and said["full_resyncs"] == 0, said
    assert size / 2 < settled(primary, 2) - before <= size, "filler is not sent"
    assert primary.number("rdbeam", "rdbeam_relay_tickets_total") == 3
    for replica in replicas:
        same_data(primary, replica)
    assert one.kill(signal.SIGTERM) == 0
    wait_for(lambda: primary.number("rdbeam", "rdbeam_relays") == 0, "it has left")


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("fault,words", [("daemon.sign:1:errno=ENOMEM", "signing segment"),
                                         ("daemon.signer:1:errno=EAGAIN", "no thread to sign")])
def test_segment_that_could_not_be_signed_is_tried_again(make, relay, monkeypatch, fault, words):
    """For want of memory, or of a thread: the relay would wait until its time is over."""
    monkeypatch.setenv("RDBEAM_FAULT", fault)
    primary = make("primary")
    data.fill_mixed(primary)
    generation, _ = image_of(primary)
    relay(primary).holds(generation)
    assert words in primary.log()


def test_new_image_is_sent_at_most_fanout_times(make, relay):
    """All ask at once for an image that nobody has yet: readers are sent to relays that still pull."""
    primary = slow_primary(make, megabytes=24, rate=0, options={"fanout": 2})
    image_of(primary)
    relays = [relay(primary, f"127.0.0.{n}") for n in (2, 3, 4)]
    generation = primary.generation()
    for one in relays:
        one.holds(generation)
    primary.client.set("more", "data")
    before = settled(primary, 2)
    running = [harness.cli_start("pull", "--json", "--discard", "--fresh", "--from",
                                 f"127.0.0.1:{primary.port}") for _ in range(6)]
    for process in running:
        out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
        assert process.returncode == 0, err
        assert last_json(out)["relays_failed"] == 0, out
    made = {line.split()[1].rstrip(":") for one in relays for line in one.lines
            if line.startswith("generation ")} - {generation}
    size = primary.number("rdbeam", "rdbeam_snapshot_bytes")
    # Those who ask while a fork is under way share it; who comes later asks for one more.
    assert settled(primary, 2) - before <= size * 2 * max(1, len(made)), (made, size)


def test_killed_relay_is_left_in_mid_pull(make, relay):
    """What is missing comes from the primary; what was read stays."""
    primary = slow_primary(make, megabytes=40, rate=0)
    generation, size = image_of(primary)
    one = relay(primary, "127.0.0.2", "--rate-limit", "8mb")
    one.holds(generation)
    before = settled(primary, 2)
    replica = make("replica", module=False)
    with data.Load(primary, pause_s=0.01):
        process = harness.cli_start("pull", "--json", "--from", f"127.0.0.1:{primary.port}",
                                    "--to", f"127.0.0.1:{replica.port}")
        wait_for(lambda: replica.info("persistence")["loading"] == "1"
                 or replica.info("replication").get("master_sync_in_progress") == "1", "fed")
        one.kill()
        out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode == 0, err
    said = last_json(out)
    assert said["relays_failed"] == 1 and said["relay"] == "" and said["full_resyncs"] == 0, said
    assert 0 < settled(primary, 3) - before < size, "only what was missing"
    same_data(primary, replica)


def test_relays_follow_to_new_images(make, relay):
    primary = make("primary")
    data.fill_strings(primary.client, 1000, 1000)
    first, _ = image_of(primary)
    one = relay(primary)
    one.holds(first)
    primary.client.set("later", "value")
    primary.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 30000)
    second = primary.generation()
    assert second != first
    one.holds(second)
    replica = make("replica", module=False)
    said = pull(primary, replica)
    assert said["relay"] == one.name and said["generation"] == second
    same_data(primary, replica)


def test_relay_joins_again_after_a_restart_of_the_primary(make, relay):
    primary = make("primary", save='""')
    data.fill_strings(primary.client, 1000, 1000)
    generation, _ = image_of(primary)
    one = relay(primary)
    one.holds(generation)
    primary.stop()
    primary.start()
    wait_for(lambda: primary.number("rdbeam", "rdbeam_relays") == 1, lambda: one.lines)
    data.fill_strings(primary.client, 500, 1000)
    generation, _ = image_of(primary)
    one.holds(generation)
    assert pull(primary, None, "--discard")["relay"] == one.name


def test_primary_that_refuses_is_asked_ever_less_often(make):
    """It lets the relay join, and then makes no images: pauses grow, and the line says why."""
    primary = make("primary", options={"mode": "off"})
    one = Relay(primary)
    try:
        wait_for(lambda: any("again in 2 s" in line for line in one.lines), lambda: one.lines)
        assert all("rdbeam.mode is off" in line for line in one.lines), one.lines
    finally:
        one.kill()


def test_primary_that_closes_idle_connections(make, relay, root):
    """A relay stays one while it pulls for longer than `timeout`, and so do the tickets to it."""
    place = root / "backup"
    place.mkdir()
    primary = slow_primary(make, megabytes=24, rate=6 * MIB)
    primary.client.config_set("timeout", 2)
    one = relay(primary)
    follower = Relay(primary, "127.0.0.2", "--follow", "--dir", place)
    try:
        primary.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", harness.DEADLINE_S * 1000)
        generation = primary.generation()
        one.holds(generation)
        wait_for(lambda: any(generation in name for name in files(place)), lambda: follower.lines)
    finally:
        follower.kill()
    assert primary.log().count("has joined") == 1 and "has gone" not in primary.log()
    assert not any("trying the primary again" in line for line in one.lines + follower.lines), one.lines + follower.lines


def test_image_that_only_relays_hold(make, relay):
    """The primary has given its own image up, and need not fork for what a relay still has."""
    primary = make("primary", options={"retain": 1})
    data.fill_strings(primary.client, 1000, 1000)
    generation, _ = image_of(primary)
    one = relay(primary)
    one.holds(generation)
    wait_for(lambda: primary.number("rdbeam", "rdbeam_region_bytes") == 0, "it is given up")
    forks, before = stats(primary)["total_forks"], sent(primary)
    replica = make("replica", module=False)
    said = pull(primary, replica)
    assert said["relay"] == one.name and said["full_resyncs"] == 0
    assert stats(primary)["total_forks"] == forks and sent(primary) == before
    same_data(primary, replica)


# ---- trust ----------------------------------------------------------------------------------

class Proxy(threading.Thread):
    """What makes a relay an evil one: it stands before it, and changes what goes to the pulls."""

    def __init__(self, address, change):
        super().__init__(daemon=True)
        self.address, self.change = address, change
        self.sock = socket.create_server((address, 0))
        self.port = self.sock.getsockname()[1]
        self.behind = None  # (address, port) of the relay
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = socket.create_connection(self.behind)
        threading.Thread(target=self.forward, args=(client, server), daemon=True).start()
        stream = server.makefile("rb")
        try:
            while True:
                head = stream.read(8)
                if len(head) < 8:
                    break
                kind, _, length = struct.unpack("<HHI", head)
                body = bytearray(stream.read(length))
                payload = bytearray()
                if kind == 7:  # DATA
                    payload = bytearray(stream.read(struct.unpack_from("<I", body, 4)[0]))
                self.change(kind, body, payload)
                client.sendall(head + body + payload)
        except OSError:
            pass
        client.close()
        server.close()

    @staticmethod
    def forward(source, target):
        try:
            while chunk := source.recv(65536):
                target.sendall(chunk)
        except OSError:
            pass


class Gates:
    """For a Proxy: holds each of its readers up in mid-pull until let_go."""

    def __init__(self):
        self.gates = {}

    def __call__(self, kind, _body, _payload):
        if kind == 7:
            self.gates.setdefault(threading.get_ident(), threading.Event()).wait()

    def wait_for_readers(self, count):
        wait_for(lambda: len(self.gates) == count, "readers are in mid-pull")

    def let_go(self, number):
        list(self.gates.values())[number].set()


def gated_relay(make, relay):
    """A primary, and a relay whose readers stand still."""
    primary = slow_primary(make, megabytes=24, rate=0)
    generation, _ = image_of(primary)
    gates = Gates()
    proxy = Proxy("127.0.0.2", gates)
    one = relay(primary, "127.0.0.2", "--announce", f"127.0.0.2:{proxy.port}")
    proxy.behind = (one.address, one.port)
    one.holds(generation)
    return primary, one, gates, proxy


def start_reader(primary):
    return harness.cli_start("pull", "--json", "--discard", "--from", f"127.0.0.1:{primary.port}")


def new_image(primary):
    primary.client.set("new", os.urandom(8).hex())
    primary.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", harness.DEADLINE_S * 1000)
    return primary.generation()


def read_to_the_end(process, generation, proxy):
    """That pull ended with the image it began with, all of it from the relay."""
    out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode == 0, err
    said = last_json(out)
    assert said["generation"] == generation and said["relays_failed"] == 0, said
    assert said["relay"] == f"127.0.0.2:{proxy.port}", said


def test_readers_of_a_relay_get_to_the_end(make, relay):
    """However many images the relay has gone on to meanwhile: who is slower than the saves is not cut off."""
    primary, one, gates, proxy = gated_relay(make, relay)
    first = primary.generation()
    slow = start_reader(primary)
    gates.wait_for_readers(1)
    for _ in range(3):
        one.holds(new_image(primary))
    gates.let_go(0)
    read_to_the_end(slow, first, proxy)
    assert primary.number("rdbeam", "rdbeam_relay_complaints_total") == 0
    proxy.sock.close()


def test_relay_holds_three_images_at_most(make, relay):
    """With two older ones in use it waits for one of them; who wants the newest gets it elsewhere."""
    primary, one, gates, proxy = gated_relay(make, relay)
    first = primary.generation()
    slow = [start_reader(primary)]
    gates.wait_for_readers(1)
    second = new_image(primary)
    one.holds(second)
    slow.append(start_reader(primary))
    gates.wait_for_readers(2)
    one.holds(new_image(primary))
    fourth = new_image(primary)
    said = pull(primary, None, "--discard")
    assert said["generation"] == fourth and said["relay"] == "" and said["relays_failed"] == 0, said
    gates.let_go(0)
    read_to_the_end(slow[0], first, proxy)
    one.holds(fourth)
    gates.let_go(1)
    read_to_the_end(slow[1], second, proxy)
    proxy.sock.close()


POLYNOMIAL = 0xAD93D23594C935A9 | 1 << 64  # of the CRC64 that Redis uses; bytes go low bit first


def crc64(data):
    crc = 0
    for byte in data:
        for bit in range(8):
            out = (crc >> 63 ^ byte >> bit) & 1
            crc = (crc << 1 ^ (POLYNOMIAL if out else 0)) & (1 << 64) - 1
    return crc


def forgery(payload):
    """XORs the polynomial itself into the bytes: no CRC sees that."""
    mask = sum(1 << bit for bit in range(65) if POLYNOMIAL >> (64 - bit) & 1)
    at = len(payload) // 2
    for number, byte in enumerate(mask.to_bytes(9, "little")):
        payload[at + number] ^= byte


def flip(kind, _body, payload):
    if kind == 7 and len(payload) > 1000:
        payload[len(payload) // 2] ^= 1


def forge(kind, _body, payload):
    if kind == 7 and len(payload) > 1000:
        forgery(payload)


def lie(kind, body, _payload):
    if kind == 4:  # SEALED: another CRC
        body[8] ^= 1


def resize(kind, body, _payload):
    if kind == 2:  # WELCOME: another segment size
        struct.pack_into("<I", body, 48, 2 * struct.unpack_from("<I", body, 48)[0])


def shorten(kind, body, _payload):
    if kind == 5:  # COMPLETE: a segment less
        struct.pack_into("<I", body, 0, struct.unpack_from("<I", body, 0)[0] - 1)


@pytest.mark.parametrize("change", [flip, forge, lie, resize, shorten])
def test_evil_relay_is_found_out(make, relay, change):
    """Nothing of it gets in; what is missing comes from the primary."""
    sample = bytearray(os.urandom(100))
    before = crc64(sample)
    forgery(sample)
    assert crc64(sample) == before, "a forgery that CRCs do not see"
    primary = slow_primary(make, megabytes=12, rate=0)
    generation, _ = image_of(primary)
    proxy = Proxy("127.0.0.2", change)
    one = relay(primary, "127.0.0.2", "--announce", f"127.0.0.2:{proxy.port}")
    proxy.behind = (one.address, one.port)
    one.holds(generation)
    replica = make("replica", module=False)
    said = pull(primary, replica)
    assert said["relays_failed"] == 1 and said["relay"] == "" and said["full_resyncs"] == 0, said
    assert primary.number("rdbeam", "rdbeam_relay_complaints_total") == 1
    same_data(primary, replica)
    proxy.sock.close()


def test_reader_goes_from_an_evil_relay_to_a_good_one(make, relay):
    primary = slow_primary(make, megabytes=12, rate=0)
    generation, _ = image_of(primary)
    proxy = Proxy("127.0.0.2", forge)
    evil = relay(primary, "127.0.0.2", "--announce", f"127.0.0.2:{proxy.port}")
    proxy.behind = (evil.address, evil.port)
    evil.holds(generation)
    good = relay(primary, "127.0.0.3")
    good.holds(generation)
    before = settled(primary, 3)
    said = [pull(primary, None, "--discard") for _ in range(2)]
    assert {one["relay"] for one in said} == {good.name}, said
    assert primary.number("rdbeam", "rdbeam_relay_complaints_total") >= 1
    assert sent(primary) == before, "the primary was not needed"
    proxy.sock.close()


def test_reader_that_reaches_none_of_many_relays_goes_to_the_primary(make):
    primary = make("primary")
    data.fill_strings(primary.client, 100, 1000)
    generation, _ = image_of(primary)
    relays = [primary.connect() for _ in range(10)]
    for one in relays:  # nobody listens there
        one.execute_command("RDBEAM.RELAY", "JOIN", harness.free_port(), "127.0.0.1")
        one.execute_command("RDBEAM.RELAY", "HOLD", generation)
    said = pull(primary, None, "--discard")
    assert (said["relay"], said["relays_failed"]) == ("", 8)
    assert primary.number("rdbeam", "rdbeam_relays") == len(relays)


def hello(ticket, proof=None):
    """A HELLO that proves the ticket, as wire.h has it."""
    ident, key = bytes.fromhex(ticket[b"id"].decode()), bytes.fromhex(ticket[b"key"].decode())
    nonce = os.urandom(8)
    proof = proof or hmac.new(key, b"rdbeam hello" + ident + nonce, hashlib.sha256).digest()
    body = struct.pack("<IHH", 0x6D616562, 2, 1) + ident + nonce + proof
    return struct.pack("<HHI", 1, 0, len(body)) + body


def answer(one, message, source="127.0.0.1"):
    """Type of the relay's first message: 2 WELCOME, 3 REFUSED."""
    with socket.create_connection((one.address, one.port), source_address=(source, 0)) as sock:
        sock.sendall(message)
        sock.settimeout(harness.DEADLINE_S)
        return struct.unpack("<H", sock.recv(2))[0]


def test_tickets_for_relays(make, relay):
    """One use, one address, a few seconds; known to the relay without a word of the primary's."""
    primary = make("primary")
    data.fill_strings(primary.client, 100, 1000)
    generation, _ = image_of(primary)
    one = relay(primary)
    one.holds(generation)

    def ticket():
        words = primary.client.execute_command("RDBEAM.TICKET", "RELAYED")
        found = dict(zip(words[::2], words[1::2]))
        assert found[b"relay"].decode() == one.name and found[b"port"] == one.port
        return found

    good = ticket()
    assert answer(one, hello(good)) == 2
    assert answer(one, hello(good)) == 3, "used before"
    assert answer(one, hello(ticket(), os.urandom(32))) == 3, "not proven"
    assert answer(one, hello(ticket()), source="127.0.0.9") == 3, "another address"
    forged = ticket()
    forged[b"id"] = (b"ffff" + forged[b"id"])[:16]
    assert answer(one, hello(forged)) == 3, "another id has another key"
    secrets = [good[b"key"].decode()]
    assert not [s for s in secrets if s in primary.log() or s in "\n".join(one.lines)]
    # The relay's own key went over its connection only.
    assert good[b"key"].decode() not in harness.command_line(one.process.pid)


def test_relay_commands_are_checked(make):
    primary = make("primary")
    for words in (["JOIN", "0"], ["JOIN", "70000"], ["JOIN", "7000", "not-an-address"],
                  ["HOLD", "nonsense"], ["HOLD", "0123456789abcdef-1"], ["WAIT", "-", "x"],
                  ["DANCE", "1"]):
        with pytest.raises(harness.redis.ResponseError):
            primary.client.execute_command("RDBEAM.RELAY", *words)
    with pytest.raises(harness.redis.ResponseError):
        primary.client.execute_command("RDBEAM.TICKET", "FOR", "never")
    assert primary.client.execute_command("RDBEAM.RELAY", "WAIT", "-", 50) is None


def test_relay_usage():
    for args, word in ((["--listen", "x"], "--from"), (["--from", "h:1"], "--listen"),
                       (["--from", "h:1", "--listen", "nowhere"], "--listen"),
                       (["--from", "h:1", "--follow"], "--dir"),
                       (["--from", "h:1", "--listen", "*:1", "--dir", "/"], "--follow")):
        one_line(harness.cli("relay", *args, check=2), word)


def test_relay_of_a_primary_without_the_module(make, root):
    primary = make("primary", module=False)
    for where in (["--listen", f"127.0.0.2:{harness.free_port()}"], ["--follow", "--dir", root]):
        one_line(harness.cli("relay", "--quiet", "--from", f"127.0.0.1:{primary.port}", *where, check=3), "rdbeam module")


# ---- following ------------------------------------------------------------------------------

def files(place):
    return sorted(path.name for path in place.iterdir())


def test_follow_into_a_directory_that_may_not_be_written(make, root):
    """Told at its start: what it cannot write would show with the first image only."""
    primary, place = make("primary"), root / "backup"
    place.mkdir(mode=0o555)
    drop, cap_dac_override = 24, 1  # root may write anyway
    done = subprocess.run([str(harness.artifact("rdbeam")), "relay", "--from", f"127.0.0.1:{primary.port}", "--follow",
                           "--dir", str(place)], preexec_fn=lambda: ctypes.CDLL(None).prctl(drop, cap_dac_override),
                          capture_output=True, text=True, timeout=harness.DEADLINE_S)
    assert done.returncode == 1
    one_line(done, f"--dir {place}", "Permission denied", "write")


def test_follow_keeps_the_newest_files(make, loads, root):
    primary = make("primary")
    data.fill_mixed(primary)
    place = root / "backup"
    place.mkdir()
    process = harness.cli_start("relay", "--quiet", "--from", f"127.0.0.1:{primary.port}",
                                "--follow", "--dir", place, "--keep", 2)
    try:
        digests, generations = [], []
        for number in range(4):
            primary.client.set("round", number)
            primary.bgsave()
            primary.image_made()
            generations.append(primary.generation())
            digests.append(primary.digest())
            wait_for(lambda: any(generations[-1] in name for name in files(place)),
                     lambda: (generations, files(place)))
        wait_for(lambda: len(files(place)) == 2, lambda: files(place))
        kept = files(place)
        for generation, digest in zip(generations[-2:], digests[-2:]):
            name = next(name for name in kept if generation in name)
            assert re.fullmatch(rf"rdbeam-\d{{8}}T\d{{6}}Z-{generation}\.rdb", name), name
            check_rdb(place / name)
            harness.cli("verify", place / name, check=0)
            assert loads(place / name).digest() == digest
    finally:
        process.terminate()
        process.communicate()
    assert files(place) == kept, "nothing half-written stays"


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("fault", ["to-file-fsync:1:errno=EIO", "pull-valid:1:errno=EIO"])
def test_image_that_failed_is_tried_again(make, root, fault):
    """Of a backup the next one may be a day away."""
    primary = make("primary")
    data.fill_mixed(primary)
    primary.bgsave()
    primary.image_made()
    place = root / "backup"
    place.mkdir()
    process = harness.cli_start("relay", "--from", f"127.0.0.1:{primary.port}", "--follow", "--dir", place,
                                env={"RDBEAM_FAULT": fault})
    try:
        wait_for(lambda: any(primary.generation() in name for name in files(place)), lambda: files(place))
    finally:
        process.terminate()
        assert "Input/output error" in process.communicate()[1]


def test_follow_removes_what_is_old_and_its_own(make, root):
    """Not by a clock that was put back, and nothing that is only named alike."""
    primary = make("primary")
    place = root / "backup"
    place.mkdir()
    nonce, others = "0123456789abcdef", ["rdbeam-before-the-upgrade.rdb", "rdbeam-20260101T000000Z-.rdb"]
    ahead = [f"rdbeam-2999010{day}T000000Z-{nonce}-{day}.rdb" for day in (1, 2)]
    for name in [*others, *ahead]:
        (place / name).write_text("")
    process = harness.cli_start("relay", "--quiet", "--from", f"127.0.0.1:{primary.port}",
                                "--follow", "--dir", place, "--keep", 2)
    try:
        for left in (ahead[1:], []):
            primary.bgsave()
            primary.image_made()
            wait_for(lambda: len(mine := set(files(place)) - set(others)) == 2 and
                     any(primary.generation() in name for name in mine),
                     lambda: (primary.generation(), files(place)))
            assert set(files(place)) >= {*others, *left}
    finally:
        process.terminate()
        process.communicate()


def test_follow_keeps_what_came_last_in_a_second(make, root):
    """Also of an rdbeamd that counts from 1 again, while the one before it had come further."""
    primary = make("primary")
    place, now = root / "backup", time.time()
    place.mkdir()
    for ahead in range(30):
        name = time.strftime("rdbeam-%Y%m%dT%H%M%SZ-0123456789abcdef-99.rdb", time.gmtime(now + ahead))
        (place / name).write_text("")
    process = harness.cli_start("relay", "--quiet", "--from", f"127.0.0.1:{primary.port}",
                                "--follow", "--dir", place, "--keep", 1)
    try:
        primary.bgsave()
        primary.image_made()
        wait_for(lambda: len(files(place)) == 1, lambda: files(place))
        assert primary.generation() in files(place)[0]
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.skipif(harness.ASAN, reason="the sanitizer wants to be loaded first")
def test_follow_keeps_what_came_while_the_clock_was_put_back(make, root):
    """By more than the pull took: its file has the time of its beginning."""
    primary = make("primary", options={"rate-limit": 4 << 20})
    data.fill_strings(primary.client, 20, 100000)
    place, clock, now = root / "backup", root / "clock", time.time()
    place.mkdir()
    clock.write_bytes(struct.pack("=q", 0))
    older = [time.strftime(f"rdbeam-%Y%m%dT%H%M%SZ-0123456789abcdef-{ago}.rdb", time.gmtime(now - ago))
             for ago in (900, 600)]
    for name in older:
        (place / name).write_text("")
    process = harness.cli_start("relay", "--quiet", "--from", f"127.0.0.1:{primary.port}",
                                "--follow", "--dir", place, "--keep", 2,
                                env={"LD_PRELOAD": str(harness.artifact("rdbeam-clock-shim.so")),
                                     "RDBEAM_CLOCK": str(clock)})
    try:
        primary.bgsave()
        wait_for(lambda: primary.number("rdbeam", "rdbeam_pull_bytes_total") > 0, "bytes flow")
        with clock.open("r+b") as file:
            file.write(struct.pack("=q", -300))
        wait_for(lambda: older[0] not in files(place), lambda: files(place))
        assert files(place)[0] == older[1] and primary.generation() in files(place)[1]
    finally:
        process.terminate()
        process.communicate()


def test_follow_waits_for_the_primary(make, root):
    primary = make("primary")
    data.fill_strings(primary.client, 100, 1000)
    place = root / "backup"
    place.mkdir()
    process = harness.cli_start("relay", "--from", f"127.0.0.1:{primary.port}", "--follow",
                                "--dir", place)
    try:
        primary.bgsave()
        wait_for(lambda: len(files(place)) == 1, lambda: files(place))
        primary.stop()
        primary.start()
        primary.bgsave()
        wait_for(lambda: len(files(place)) == 2, lambda: files(place))
    finally:
        process.terminate()
        process.communicate()


def test_follow_goes_on_when_rdbeamd_has_died(make, root):
    """On its first connection to the primary, too. Its ticket waits for the next one, which lacks the image."""
    primary = make("primary")
    place = root / "backup"
    place.mkdir()
    process = harness.cli_start("relay", "--from", f"127.0.0.1:{primary.port}", "--follow", "--dir", place)
    state = lambda: primary.value("rdbeam", "rdbeam_daemon_state")
    try:
        primary.bgsave()
        wait_for(lambda: len(files(place)) == 1, lambda: files(place))
        process.send_signal(signal.SIGSTOP)
        primary.bgsave()  # news that it gets when there is no rdbeamd
        for _ in range(4):  # each restart takes longer
            wait_for(lambda: state() == "up", "rdbeamd is back")
            harness.kill(primary.daemon())
            wait_for(lambda: state() != "up", "rdbeamd is gone")
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: state() == "up", "rdbeamd is back")
        primary.bgsave()
        wait_for(lambda: any(primary.generation() in name for name in files(place)),
                 lambda: (process.poll(), files(place)))
    finally:
        process.kill()
        assert "generation is gone" in process.communicate()[1]
