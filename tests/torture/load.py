# SPDX-License-Identifier: BSD-3-Clause
"""Pulls while a client writes into 16 databases, and slow readers of images that are replaced."""
import collections
import random
import re
import signal
import threading
import time

import redis

import harness
import rig as rigs
from harness import kill, wait_for

DATABASES = 16
WRITES_PER_S = 2000


class Writer:
    """One client that writes to databases at random until it is stopped. Its keys are a fixed set:
    the data changes and does not grow."""

    def __init__(self, server, seed, keys=2000):
        self.client = server.connect()
        self.dice = random.Random(seed)
        self.keys = keys
        self.stopped = threading.Event()
        self.written = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped.wait(20 / WRITES_PER_S):
            try:
                pipe = self.client.pipeline(transaction=False)
                for _ in range(20):
                    pipe.execute_command("SELECT", self.dice.randrange(DATABASES))
                    pipe.set(f"load:{self.dice.randrange(self.keys)}", self.dice.randbytes(64))
                    pipe.zincrby("load:z", 1, self.dice.randrange(100))
                pipe.execute()
                self.written += 20
            except redis.RedisError:
                if self.stopped.is_set():
                    return
                time.sleep(0.05)  # the server is being struck; its next answer ends the wait

    def stop(self):
        self.stopped.set()
        self.thread.join()
        self.client.close()


def generations_of(rig):
    """Of all its daemons: each begins at 1 with a random number of its own."""
    last = collections.Counter()
    for nonce, number in re.findall(r"snapshot ([0-9a-f]{16})-(\d+):", rig.primary.log()):
        last[nonce] = max(last[nonce], int(number))
    return sum(last.values())


def in_sync(primary, replica):
    mine, its = primary.info("replication"), replica.info("replication")
    return its.get("master_link_status") == "up" and \
        its["slave_repl_offset"] == mine["master_repl_offset"]


def one_pull(rig, target, seed):
    """A pull under writes. "" or what is wrong with the replica."""
    target.client.execute_command("REPLICAOF", "NO", "ONE")
    target.client.flushall()
    full = rig.primary.number("stats", "sync_full")
    writer = Writer(rig.primary, seed)
    done = harness.cli("pull", "--json", "--from", f"127.0.0.1:{rig.primary.port}", "--to",
                       f"127.0.0.1:{target.port}", "--fresh")
    writer.stop()
    if done.returncode != 0:
        return f"exit {done.returncode}: {done.stderr}"
    try:
        wait_for(lambda: in_sync(rig.primary, target), "in sync")
    except AssertionError as error:
        return str(error)
    if target.digest() != rig.primary.digest():
        return "digests differ"
    # The pull's own stream is a partial one; the first of all makes the backlog by a full one.
    if rig.pulls and rig.primary.number("stats", "sync_full") != full:
        return "a stock full synchronisation took place"
    return ""


def pulls(torture, rig, share):
    target = rig.target("replica")
    count = 0
    while torture.left_s(share) > 0:
        wrong = one_pull(rig, target, torture.opts.seed + count)
        rig.pulls += 1
        count += 1
        if wrong:
            torture.result["diverged"] += 1
            torture.say(f"VIOLATION pull {count}: {wrong}")
    torture.say(f"{count} pulls under writes")


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
