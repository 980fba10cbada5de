# SPDX-License-Identifier: BSD-3-Clause
"""Loading by module: rdbeam.so on the replica, too, makes the string values out of the pull's memory."""
import array
import os
import re
import socket
import threading
import time

import pytest
import redis

import data
import harness
from harness import wait_for
from test_pull import MIB, one_line, pull, same_data, slow_primary


def fill(primary, megabytes=8):
    """Chunks of every kind: mixed, strings alone, small keys alone, a value of several segments and
    one that is longer than the smallest window."""
    data.fill_mixed(primary)
    data.fill_strings(primary.client, megabytes * 1000, 1000)
    data.fill_strings(primary.connect(db=2), 5000, 30, prefix="small")
    large = primary.connect(db=1)
    large.set("large", os.urandom(5 * MIB))
    large.set("larger", os.urandom(17 * MIB), px=10**9)
    primary.client.set("keeps its time", "x" * 300, px=10**9)


def loading(server):
    return server.info("persistence")["loading"] == "1"


def test_module_loads_under_writes(make, binary):
    primary = make("primary", options={"segment-size": "2mb"})
    fill(primary)
    replica = make("replica")
    with data.Load(primary):
        said = pull(primary, replica, "--buffer", "16mb")
    assert said["loader"] == "module" and said["full_resyncs"] == 0, said
    same_data(primary, replica)
    assert replica.info("persistence")["loading"] == "0"
    replica.bgsave()  # the module keeps nothing in the keyspace
    harness.check_rdb(replica.dump(), replica.binary)


@pytest.mark.parametrize("shared", [True, False])
def test_target_waits_for_a_slow_image(make, shared):
    """From one segment to the next it is longer than the repl-timeout: within a value that the window cannot hold,
    and where the module refuses to share the load."""
    primary = make("primary", options={"segment-size": "8mb", "rate-limit": "2mb"})
    if shared:
        primary.client.set("longer than the window", os.urandom(17 * MIB))
    else:
        data.fill_strings(primary.client, 8, MIB)
    replica = make("replica", replica_read_only="yes" if shared else "no", repl_timeout=3)
    said = pull(primary, replica, "--buffer", "16mb", "--loader", "module" if shared else "auto")
    assert said["loader"] == ("module" if shared else "stock") and said["full_resyncs"] == 0, said
    same_data(primary, replica)


def test_ages_of_keys_come_along(make):
    primary = make("primary", maxmemory_policy="allkeys-lru")
    data.fill_strings(primary.client, 1000, 1000)
    primary.client.execute_command("RESTORE", "old", 0, primary.client.dump("s:1")
                                   or primary.client.dump(primary.client.randomkey()), "IDLETIME", 5000)
    replica = make("replica", maxmemory_policy="allkeys-lru")
    assert pull(primary, replica, "--loader", "module")["loader"] == "module"
    assert replica.client.object("idletime", "old") >= 5000
    same_data(primary, replica)


def test_who_loads(make):
    primary = make("primary")
    data.fill_strings(primary.client, 2000, 1000)
    stock = make("stock", module=False)
    assert pull(primary, stock)["loader"] == "stock"
    one_line(pull(primary, make("other", module=False), "--loader", "module", check=3), "rdbeam.so", "not loaded")
    replica = make("replica")
    assert pull(primary, replica, "--loader", "stock")["loader"] == "stock"
    # It holds keys now: they stay until the image is verified, so it is loaded beside them.
    assert pull(primary, replica)["loader"] == "stock"
    one_line(pull(primary, replica, "--loader", "module", check=3), "holds keys", "--loader auto")
    same_data(primary, replica)


def test_replica_that_takes_writes_loads_by_itself(make):
    primary = make("primary")
    data.fill_strings(primary.client, 2000, 1000)
    primary.client.pexpire(primary.client.randomkey(), 10**9)
    replica = make("replica", replica_read_only="no")
    assert "replica-read-only" in pull(primary, replica, "--loader", "module", check=3).stderr
    wait_for(lambda: replica.value("replication", "role") == "master", "the target is put back")
    assert replica.client.dbsize() == 0
    assert pull(primary, replica)["loader"] == "stock"
    same_data(primary, replica)


def test_user_who_may_not_set_how_it_loads(make):
    """repl-diskless-load stays as it is: the file that the server makes first is none for the module."""
    primary = make("primary")
    data.fill_strings(primary.client, 2000, 1000)
    replica = make("replica")
    replica.client.execute_command("ACL", "SETUSER", "filler", "on", "nopass", "~*", "+@all", "-config|set")
    told = ("--to-user", "filler", "--to-pass", "any")
    one_line(pull(primary, replica, *told, "--loader", "module", check=3), "repl-diskless-load", "+config|set")
    assert pull(primary, replica, *told)["loader"] == "stock"
    same_data(primary, replica)


def test_server_answers_while_it_loads(make):
    primary = slow_primary(make)
    replica = make("replica")
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{replica.port}", "--loader", "module")
    silences = []

    def still_loads():
        asked = time.monotonic()
        answer = loading(replica)
        silences.append(time.monotonic() - asked)
        return answer
    wait_for(still_loads, "it loads")
    with pytest.raises(redis.BusyLoadingError):
        replica.client.get("key")
    # A chunk takes seconds to come, and none of them is spent deaf in a read of the link, though the server was
    # started just before.
    wait_for(lambda: not still_loads(), "it has loaded", 4 * harness.DEADLINE_S)
    assert len(silences) > 10, f"{len(silences)} answers while six seconds of data came"
    assert max(silences) < 2 * harness.SLOWER, f"silent for {max(silences)} s"
    out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode == 0, err
    same_data(primary, replica)


@pytest.mark.parametrize("fast_path", ["yes", "no"])
def test_server_does_not_sum_what_is_checked(make, fast_path):
    """Collections go through the server's stream, whose sum nobody compares."""
    primary = make("primary")
    fill(primary)
    for i in range(2000):
        primary.client.hset(f"hash:{i}", mapping={f"field {f}": "value" for f in range(40)})
    replica = make("replica", options={"fast-path": fast_path}, key_load_delay=150,
                   loading_process_events_interval_bytes=1024)
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{replica.port}", "--loader", "module")
    wait_for(lambda: loading(replica), "it loads")
    # Between two records of the module's are thousands of keys, and the server is not deaf for so long.
    answers = []
    wait_for(lambda: answers.append(loading(replica)) or not answers[-1], "it has loaded", 4 * harness.DEADLINE_S)
    assert len(answers) > 20, f"{len(answers)} answers"
    out, err = process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode == 0, err
    version = [int(part) for part in replica.value("server", "redis_version").split(".")[:2]]
    sums = version < [8, 7]  # later ones sum no stream that comes without a file
    assert ("the server computes no checksum" in replica.log()) == (fast_path == "yes" and sums)
    same_data(primary, replica)


@pytest.mark.parametrize("loader, steps", [("stock", 10), ("module", 0)])
def test_the_loading_thread_has_the_processor_first(make, loader, steps):
    """All of a stock load waits for one thread of the target's, and the puller keeps ahead of it."""
    primary = slow_primary(make)
    replica = make("replica")
    process = harness.cli_start("pull", "--stream", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{replica.port}", "--loader", loader)
    wait_for(lambda: loading(replica), "it loads")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    nice = {int(task): os.getpriority(os.PRIO_PROCESS, int(task)) for task in os.listdir(f"/proc/{process.pid}/task")}
    process.kill()
    process.communicate()
    assert nice[process.pid] == own + steps, nice
    # Reading, checking and feeding; the stream has been there before.
    assert sum(one == own + steps for one in nice.values()) >= 3, nice


@pytest.mark.parametrize("old_primary", [False, True])
def test_puller_killed_while_the_module_loads(make, old_primary):
    """Nothing half-loaded is taken as whole: the server goes back to whom it followed."""
    primary = slow_primary(make, repl_diskless_sync="yes")
    replica = make("replica")
    if old_primary:
        first = make("first")
        replica.client.execute_command("REPLICAOF", "127.0.0.1", first.port)
        wait_for(lambda: replica.value("replication", "master_link_status") == "up", "it follows another")
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{replica.port}", "--loader", "module")
    wait_for(lambda: loading(replica), "it loads")
    process.kill()
    process.communicate()
    wait_for(lambda: not loading(replica), "the load has failed", 60 * harness.SLOWER)
    if old_primary:
        same_data(first, replica)
    else:
        wait_for(lambda: replica.value("replication", "role") == "master", "it is its own primary again")
        assert replica.client.dbsize() == 0
    primary.client.config_set("rdbeam.rate-limit", 0)
    assert pull(primary, replica)["loader"] == "module"  # nothing of the dead one is in the way
    same_data(primary, replica)


def test_replica_killed_while_it_loads(make):
    primary = slow_primary(make)
    replica = make("replica")
    process = harness.cli_start("pull", "--from", f"127.0.0.1:{primary.port}", "--to",
                                f"127.0.0.1:{replica.port}", "--loader", "module")
    wait_for(lambda: loading(replica), "it loads")
    replica.kill()
    process.communicate(timeout=harness.DEADLINE_S * 4)
    assert process.returncode == 1
    wait_for(lambda: primary.number("rdbeam", "rdbeam_pulls_active") == 0, "the session is closed")


def test_module_of_another_build_is_not_shared_with(make):
    """Of the same version, but the two speak of the load in another way: the server's own loader does it."""
    primary, replica = make("primary"), make("replica")
    data.fill_strings(primary.client, 1000, 1000)
    other = harness.Between(replica.port, lambda chunk: re.sub(rb"(\d\+)[0-9a-f]{8}\r", rb"\1deadbeef\r", chunk))
    one_line(pull(primary, other, "--loader", "module", check=3), "no loading by module", "is not of version")
    said = pull(primary, other)
    assert said["loader"] == "stock" and said["full_resyncs"] == 0, said
    same_data(primary, replica)


# ---- what others may try ---------------------------------------------------------------------

def offer(server):
    reply = server.client.execute_command("RDBEAM.LOAD")
    fields = dict(zip(reply[::2], reply[1::2])) if isinstance(reply, list) else reply
    return {key.decode(): value.decode() for key, value in fields.items()}


def connect(said):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(harness.DEADLINE_S)
    sock.connect(bytes.fromhex(said["socket"]))
    return sock


def hello(sock, secret, fd, size):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    sock.sendmsg([secret + size.to_bytes(8, "little")], rights)


def memory(seal):
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4 * MIB)
    if seal:
        import fcntl
        fcntl.fcntl(fd, 1033, 2)  # F_ADD_SEALS, F_SEAL_SHRINK
    return fd


def refused(sock):
    try:
        return sock.recv(200) == b""
    except ConnectionResetError:
        return True


def test_socket_takes_only_the_secret_and_memory_that_cannot_shrink(make):
    server = make("server")
    said = offer(server)
    for secret, seal, size in ((bytes(16), True, 4 * MIB), (bytes.fromhex(said["secret"]), False, 4 * MIB),
                               (bytes.fromhex(said["secret"]), True, 8 * MIB),
                               (bytes.fromhex(said["secret"]), True, 0)):
        fd = memory(seal)
        with connect(said) as sock:
            hello(sock, secret, fd, size)
            assert refused(sock), (seal, size)
        os.close(fd)
    fd = memory(True)
    with connect(said) as sock:
        hello(sock, bytes.fromhex(said["secret"]), fd, 4 * MIB)
        wait_for(lambda: not reachable(said), "one use")
        with pytest.raises(redis.ResponseError, match="BUSY"):
            offer(server)
        # A job that points outside the memory ends the link, not the server.
        sock.send((1 << 40).to_bytes(8, "little") + (4 * MIB).to_bytes(8, "little") + bytes(8))
        assert refused(sock)
    os.close(fd)
    wait_for(lambda: offered(server), "the next pull can come")


def offered(server):
    try:
        return offer(server)
    except redis.ResponseError:
        return None


def reachable(said):
    try:
        connect(said).close()
        return True
    except OSError:
        return False


def length(n):
    return bytes([0x80]) + n.to_bytes(4, "big") if n < 1 << 32 else bytes([0x81]) + n.to_bytes(8, "big")


def crafted(nonce):
    """An RDB with the AUX record that a pull would send."""
    symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    type_id = 0
    for letter in "rdbeam-ld":
        type_id = type_id << 6 | symbols.index(letter)
    fields = b"".join(bytes([2, number]) for number in (1, 0, 0))
    aux = b"\xf7" + length(type_id << 10 | 1) + bytes([2, 1]) + fields + bytes([5, 16]) + nonce + b"\0"
    return b"REDIS0010" + aux + b"\xff" + bytes(8)


class FakePrimary(threading.Thread):
    """Answers a replica's handshake and sends one RDB."""

    def __init__(self, rdb):
        super().__init__(daemon=True)
        self.rdb = rdb
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        sock = self.listener.accept()[0]
        words, answered = b"", 0
        while b"\r\nPSYNC\r\n" not in words:
            got = sock.recv(4096)
            if not got:
                return
            words += got.upper()
            asked = words.count(b"\r\nPING\r\n") + words.count(b"\r\nREPLCONF\r\n")
            sock.sendall(b"+OK\r\n" * (asked - answered) if answered else b"+PONG\r\n")
            answered = asked
        sock.sendall(b"+FULLRESYNC " + b"a" * 40 + b" 1\r\n$%d\r\n" % len(self.rdb) + self.rdb)
        while sock.recv(4096):
            pass


def test_crafted_record_opens_nothing(make):
    server = make("server", repl_diskless_load="on-empty-db")
    said = offer(server)
    for nonce in (bytes(16), bytes.fromhex(said["nonce"])):  # nobody has taken the offer up
        primary = FakePrimary(crafted(nonce))
        before = server.log().count("no pull has registered this load")
        server.client.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        wait_for(lambda: server.log().count("no pull has registered this load") > before,
                 lambda: f"the load is refused\n{server.log()[-1500:]}")
        server.client.execute_command("REPLICAOF", "NO", "ONE")
    assert server.client.dbsize() == 0 and server.client.ping()


@pytest.mark.skipif(not harness.FAULTS, reason="needs a build with RDBEAM_FAULTS")
@pytest.mark.parametrize("point", ["load-decode:3:errno=EIO", "load-insert:3:errno=EIO"])
def test_failing_loader_fails_the_load(make, monkeypatch, point):
    primary = make("primary", options={"segment-size": "2mb"})
    fill(primary)
    monkeypatch.setenv("RDBEAM_FAULT", point)
    replica = make("replica")
    monkeypatch.delenv("RDBEAM_FAULT")
    assert pull(primary, replica, check=1).stderr
    wait_for(lambda: replica.value("replication", "role") == "master", "the target is put back")
    assert replica.client.dbsize() == 0
    assert pull(primary, replica)["full_resyncs"] == 0
    same_data(primary, replica)
