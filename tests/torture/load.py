# SPDX-License-Identifier: BSD-3-Clause
"""Pulls while a client writes into 16 databases, and slow readers of images that are replaced."""
import random
import re
import signal
import socket
import threading
import time

import harness
import rig as rigs
from harness import kill, wait_for
from writes import command

DATABASES = 16
WRITES_PER_S = 2000
BATCH = 20


def batch(dice, keys):
    """Commands whose replies are a line each, as they go over the wire, and their number."""
    words = []
    for _ in range(BATCH):
        number = dice.randrange(keys)
        words += [command("SELECT", dice.randrange(DATABASES)), dice.choice((
            command("SET", f"load:{number}", dice.randbytes(64)),
            command("HSET", f"load:h{number % 20}", number, dice.randbytes(8)),
            command("ZADD", "load:z", dice.randrange(1000), number % 100),
            command("INCR", f"load:n{number}"),
            command("SET", f"load:ttl{number}", number, "EX", 100000),
            command("DEL", f"load:{number}")))]
    return b"".join(words), len(words)


class Writer:
    """One client that writes to databases at random until it is stopped. Its keys are a fixed set:
    the data changes and does not grow."""

    def __init__(self, server, seed, keys=500):
        dice = random.Random(seed)
        # Made beforehand: making them takes longer than sending them.
        self.batches = [batch(dice, keys) for _ in range(100)]
        self.server, self.sock = server, None
        self.stopped = threading.Event()
        self.written = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        due = time.monotonic()
        while not self.stopped.wait(max(due - time.monotonic(), 0)):
            due = max(due + BATCH / WRITES_PER_S, time.monotonic() - 1)
            try:
                self.send(*self.batches[self.written // BATCH % len(self.batches)])
                self.written += BATCH
            except OSError:
                self.hang_up()
                time.sleep(0.05)  # the server is being struck; its next answer ends the wait

    def send(self, data, replies):
        if not self.sock:
            self.sock = socket.create_connection(("127.0.0.1", self.server.port), timeout=60)
        self.sock.sendall(data)
        while replies > 0:
            got = self.sock.recv(65536)
            if not got or got[:1] == b"-" or b"\n-" in got:
                raise ConnectionError(got[:200])
            replies -= got.count(b"\n")

    def hang_up(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def stop(self):
        self.stopped.set()
        self.thread.join()
        self.hang_up()


def generations_of(rig):
    """Of all its daemons: each begins at 1."""
    total = last = 0
    for number in map(int, re.findall(r"snapshot [0-9a-f]{16}-(\d+):", rig.primary.log())):
        total += last if number <= last else 0
        last = number
    return total + last


def in_sync(primary, replica):
    mine, its = primary.info("replication"), replica.info("replication")
    return its.get("master_link_status") == "up" and \
        its["slave_repl_offset"] == mine["master_repl_offset"]


def one_pull(torture, rig, target, dice):
    """A pull under writes. "" or what is wrong with the replica."""
    target.client.execute_command("REPLICAOF", "NO", "ONE")
    target.client.flushall()
    writer = Writer(rig.primary, dice.random())
    wait_for(lambda: writer.written, "the writer writes")
    try:
        # Of a new image, or of one that is there and of all that was written since.
        done = harness.cli("pull", "--json", "--from", f"127.0.0.1:{rig.primary.port}", "--to",
                           f"127.0.0.1:{target.port}", *dice.choice((["--fresh"], [])))
    finally:
        writer.stop()
        torture.result["writes"] = torture.result.get("writes", 0) + writer.written
    if done.returncode != 0:
        return f"exit {done.returncode}: {done.stderr}"
    try:
        wait_for(lambda: in_sync(rig.primary, target), "in sync")
    except AssertionError as error:
        return str(error)
    if target.digest() != rig.primary.digest():
        return "digests differ"
    return ""


def count_pull(torture, rig, dice):
    """One of --pulls, or of a torture's share of them."""
    target = rig.target("replica")
    full = rig.primary.number("stats", "sync_full")
    wrong = one_pull(torture, rig, target, dice)
    # The pull's own stream is a partial one; the first of all makes the backlog by a full one.
    more = rig.primary.number("stats", "sync_full") - full - (0 if rig.pulls else 1)
    if more > 0:
        torture.result["full_resyncs"] += more
        wrong = wrong or "a stock full synchronisation took place"
    rig.pulls += 1
    if wrong:
        torture.result["diverged"] += 1
        torture.say(f"VIOLATION pull {rig.pulls}: {wrong}")
        torture.keep_logs(rig)


def pulls(torture, rig, share):
    while torture.left_s(share) > 0:
        count_pull(torture, rig, torture.dice)
    torture.say(f"{rig.pulls} pulls under writes")


def generations(torture, rig, share):
    """A reader is stopped in mid-pull, images come and go, the reader goes on: it has one image."""
    digests = {rig.dump_digest()}
    stale = whole = 0
    # Room for one image and a half: whoever reads the old one stands in the way of the new one.
    image_bytes = rig.primary.number("rdbeam", "rdbeam_snapshot_bytes")
    rig.primary.client.config_set("rdbeam.region-size", int(image_bytes * 1.5))
    place = rig.root / "slow"
    place.mkdir()
    while torture.left_s(share) > 0:
        path = place / "slow.rdb"
        path.unlink(missing_ok=True)
        fault = rig.primary.fault
        fault.arm("tcp_pull_recv", torture.dice.randint(2, 40), "stop", stop_s=3600)
        process = rigs.run_cli(["pull", "--from", f"127.0.0.1:{rig.primary.port}", "--to-file", path],
                               {"RDBEAM_FAULT": f"@{fault.path}"})
        wait_for(lambda: fault.fired_path.exists() or process.poll() is not None, "a slow reader")
        for _ in range(torture.dice.randint(1, 5)):
            digests.add(rig.change_data())
            rig.primary.bgsave()
        kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=scenarios_patience())
        fault.watching = False
        fault.fired_path.unlink(missing_ok=True)
        fault.path.unlink(missing_ok=True)
        fault.thread = None
        if process.returncode == 0:
            whole += 1
            if not one_image(rig, path, digests):
                torture.result["mixed_images"] += 1
                torture.say("VIOLATION: an image of two generations was accepted")
        else:
            stale += 1
        rig.pulls += 1
    torture.say(f"slow readers: {whole} got a whole image, {stale} were told that it is gone")


def scenarios_patience():
    return 90


def one_image(rig, path, digests):
    """The file is an image that was made, as a plain server loads it."""
    if harness.cli("verify", "--json", path).returncode != 0:
        return False
    path.replace(rig.loader.dump())
    rig.loader.client.execute_command("DEBUG", "RELOAD", "NOSAVE")
    return rig.loader.digest() in digests
