# SPDX-License-Identifier: BSD-3-Clause
"""What goes on while a fault strikes: each scenario does one thing, then checks what it has promised.

run(rig, arm) calls arm() at the moment from which the fault may strike. A server that dies of it is
restarted by the checks. `only` matches the points that a scenario is there for: it passes others, too,
which are struck sooner elsewhere."""
import contextlib
import json
import pathlib
import signal
import time

import redis

import confine
import harness
import rig as rigs
from harness import alive, kill, wait_for
from rig import Violation, sha

GONE = (redis.ConnectionError, redis.TimeoutError)
# Points at which an error is reported by the puller for what it is, not repaired.
PATIENCE_S = 90
REGION = "64mb"
LITTLE_REGION = "16mb"  # of eight segments; two workers need seven, the image ten


def until_over(rig, done, what):
    """Waits for done(), or for the server's end. True if the server lives."""
    def over():
        if rig.server_died():
            return True
        try:
            return done()
        except GONE:
            return False
    wait_for(over, what, PATIENCE_S)
    return not rig.server_died()


def note(rig):
    return {"sha": sha(rig.primary.dump()),
            "lastsave": rig.primary.client.lastsave(), "daemon": rig.primary.daemon()}


def after(rig, before):
    """What holds after every fault that the server survived."""
    rig.disarm()  # what was not reached by now would strike the checks
    rig.primary.childless()
    rig.check_family()
    if rig.primary.daemon() != before["daemon"]:
        rig.deaths += 1
    if rig.deaths >= rigs.DEATHS_BEFORE_RESTART:
        rig.restart()
        return
    rig.clean_save()
    if not rig.deaths:
        rig.check_leaks()
    else:
        rig.note_baseline()


def fresh_region(rig, size):
    """The region begins from nothing, with another most: what it holds by now would stay."""
    client = rig.primary.client
    client.config_set("rdbeam.retain", 0)
    wait_for(lambda: rig.primary.number("rdbeam", "rdbeam_region_bytes") == 0,
             lambda: f"the region is given back: {rig.primary.info('rdbeam')}", PATIENCE_S)
    client.config_set("rdbeam.region-size", size)
    client.config_set("rdbeam.retain", 300)


class Save:
    """BGSAVE, with a write right after the fork, which the dump must not have."""
    name = "bgsave"
    only = ""
    more = False  # data than a little region holds

    def settings(self, rig):
        pass

    def strike(self, rig, arm):
        arm()
        rig.primary.client.execute_command("BGSAVE")
        rig.primary.client.set("after the fork", rig.serial)

    def undo(self, rig):
        pass

    def run(self, rig, arm):
        digest = rig.change_data(self.more)
        old_digest, before = rig.dump_digest(), note(rig)
        self.settings(rig)
        try:
            self.strike(rig, arm)
        except GONE:
            pass
        if not until_over(rig, lambda: not rig.primary.saving(), "the save ends"):
            rig.check_dead_server({digest, old_digest})
            return
        self.undo(rig)
        rig.check_save(before, digest)
        after(rig, before)


class Rescue(Save):
    """The daemon dies while a slow flush is under way: the waiter writes the file."""
    name = "rescue"

    def settings(self, rig):
        rig.primary.client.config_set("rdbeam.flush-rate-limit", 65536)

    def strike(self, rig, arm):
        rig.primary.client.execute_command("BGSAVE")
        wait_for(lambda: rig.primary.value("rdbeam", "rdbeam_state") == "flushing",
                 lambda: f"flushing: {rig.primary.info('rdbeam')}")
        arm()
        daemon = rig.primary.daemon()
        kill(daemon)
        # Its sockets close last: until then the server takes it for alive.
        wait_for(lambda: not alive(daemon), "the daemon is gone")

    def undo(self, rig):
        rig.primary.client.config_set("rdbeam.flush-rate-limit", 0)


class OldKernel(Save):
    """A server whose memory comes by fallocate, and whose new dump has a name from the beginning."""
    name = "old-kernel"
    only = r"^(extent\.allocate|file\.create)$"

    def settings(self, rig):
        fresh_region(rig, REGION)

    def run(self, rig, arm):
        other = rig.beside()

        def arm_both():
            arm()
            other.fired, other.traced = False, rig.traced
        try:
            super().run(other, arm_both)
        except (redis.RedisError, AssertionError):
            time.sleep(0.05)  # as in Torture.run_scenario
            if not other.server_died():
                raise
            other.disarm()
            other.check_dead_server(set(other.forked))
        finally:
            rig.fired, rig.traced = rig.fired or other.fired, other.traced


class Reuse(Save):
    """The region is smaller than the image: its slots are used again while the disk takes them."""
    name = "reuse"
    more = True

    def settings(self, rig):
        fresh_region(rig, LITTLE_REGION)

    def undo(self, rig):
        rig.primary.client.config_set("rdbeam.region-size", REGION)


class ReuseRescue(Reuse):
    """The daemon dies when part of the image is in the file only: the waiter reads it back."""
    name = "reuse-rescue"
    only = r"^rescue\."
    # What does not fit must be written before the copy ends, and the rest takes seconds after it.
    rate = 4 << 20

    def settings(self, rig):
        super().settings(rig)
        rig.primary.client.config_set("rdbeam.flush-rate-limit", self.rate)

    def strike(self, rig, arm):
        Rescue.strike(self, rig, arm)

    def undo(self, rig):
        super().undo(rig)
        Rescue.undo(self, rig)


class Memory:
    """RDBEAM.SNAPSHOT: the dump stays as it is."""
    name = "snapshot"
    only = ""
    more = False

    def settings(self, rig):
        pass

    def undo(self, rig):
        pass

    def run(self, rig, arm):
        rig.change_data(self.more)
        self.settings(rig)
        before, old_digest = note(rig), rig.dump_digest()
        arm()
        try:
            rig.primary.client.execute_command("RDBEAM.SNAPSHOT", "WAIT", 20000)
        except redis.ResponseError:
            pass
        except GONE:
            pass
        busy = lambda: rig.primary.number("persistence", "module_fork_in_progress") == 0
        if not until_over(rig, busy, "the snapshot's child ends"):
            rig.check_dead_server({old_digest})
            return
        self.undo(rig)
        if sha(rig.primary.dump()) != before["sha"]:
            raise Violation("a snapshot in memory has changed the dump")
        after(rig, before)


class MemoryFull(Memory):
    """The region does not hold the image: the child gives up and says so to the daemon."""
    name = "snapshot-full"
    more = True
    only = r"^lane\.abort$"

    def run(self, rig, arm):
        rig.change_data()
        rig.primary.bgsave()  # what the module expects of the next one, which is larger
        super().run(rig, arm)

    def settings(self, rig):
        fresh_region(rig, LITTLE_REGION)

    def undo(self, rig):
        rig.primary.client.config_set("rdbeam.region-size", REGION)


class HugeHeap:
    """rdbeam.fork-thp: its self-test is another program, which says whether the heap may change."""
    name = "fork-thp"
    only = r"thp\."

    def run(self, rig, arm):
        before, digest = note(rig), rig.dump_digest()
        arm()
        with contextlib.suppress(*GONE):
            rig.primary.client.config_set("rdbeam.fork-thp", "yes")
        if not until_over(rig, rig.primary.client.ping, "the server answers"):
            rig.check_dead_server({digest})
            return
        state = rig.primary.value("rdbeam", "rdbeam_fork_thp")
        if state != "on" and not state.startswith("unavailable: "):
            raise Violation(f"rdbeam.fork-thp is '{state}' after its self-test")
        rig.primary.client.config_set("rdbeam.fork-thp", "no")
        after(rig, before)


class Restart:
    """The daemon is killed and started again."""
    name = "daemon"
    only = ""

    def run(self, rig, arm):
        before, digest = note(rig), rig.dump_digest()
        arm()
        kill(before["daemon"])
        back = lambda: rig.primary.value("rdbeam", "rdbeam_daemon_state") == "up" \
            and rig.primary.daemon() != before["daemon"]
        if not until_over(rig, back, "the daemon comes back"):
            rig.check_dead_server({digest})
            return
        rig.deaths = rigs.DEATHS_BEFORE_RESTART  # each start that failed makes the next wait longer
        after(rig, before)


class Expire:
    """The retained image goes, its memory is given back, and the next save begins from nothing."""
    name = "expire"
    only = ""

    def run(self, rig, arm):
        before, digest = note(rig), rig.dump_digest()
        arm()
        try:
            rig.primary.client.config_set("rdbeam.retain", 0)
            given = lambda: rig.primary.number("rdbeam", "rdbeam_region_bytes") == 0 \
                or rig.primary.daemon() != before["daemon"]
            lives = until_over(rig, given, lambda: f"trimmed: {rig.primary.info('rdbeam')}")
        except GONE:
            lives = until_over(rig, lambda: True, "the server ends")
        if not lives:
            rig.check_dead_server({digest})
            return
        rig.primary.client.config_set("rdbeam.retain", 300)
        Save().run(rig, lambda: None)


class Pull:
    """A pull; the target ends as a replica with the same data, or as it was."""
    name = "pull"
    only = ""
    keys = False  # in the target before
    options = ()
    image = "pulled.rdb"

    def prepare(self, rig):
        target = rig.target(self.name)
        target.client.execute_command("REPLICAOF", "NO", "ONE")
        wait_for(lambda: target.info("replication")["role"] == "master", "role")
        target.client.flushall()
        if self.keys:
            target.client.set("old", "data of the target")
        return target

    def arguments(self, rig, target):
        return ["--to", f"127.0.0.1:{target.port}", *self.options]

    def run(self, rig, arm):
        rig.change_data()
        # Of an image that is there, or of one that is made for it: the data is the same.
        fresh = rig.dice.random() < 0.5
        if not fresh:
            rig.primary.bgsave()
        target, before = self.prepare(rig), note(rig)
        old, old_digest = self.state(rig, target), rig.dump_digest()
        arm()
        mark = f"puller-{rig.serial}-{id(self)}"
        process = rigs.run_cli(["pull", "--timeout", "5", "--from",
                                f"127.0.0.1:{rig.primary.port}", *self.arguments(rig, target),
                                *(["--fresh"] if fresh else [])],
                               {"RDBEAM_FAULT": f"@{rig.primary.fault.path}", "RDBEAM_PULL": mark,
                                **({"RDBEAM_FAULT_TRACE": str(rig.primary.trace)}
                                   if rig.primary.trace else {})})
        self.meanwhile(rig, target, process)
        try:
            said = process.communicate(timeout=PATIENCE_S)[1].decode(errors="replace")
        except Exception as error:
            process.kill()
            raise Violation(f"the pull does not end: {error}") from None
        found = harness.CRASHES.search(said)
        if found and process.returncode != -signal.SIGABRT:
            raise Violation(f"the puller crashed: {said[-2000:]}")
        wait_for(lambda: not holders(mark), "the pull and its guard have ended", PATIENCE_S)
        digest = rig.primary.digest() if until_over(rig, rig.primary.client.ping, "ping") else None
        self.check(rig, target, process.returncode, digest, old, said)
        self.release(target)
        if rig.server_died():
            rig.check_dead_server({old_digest})
            return
        rig.pulls += 1
        after(rig, before)

    def meanwhile(self, rig, target, process):
        pass

    def state(self, rig, target):
        return target.digest()

    def release(self, target):
        """A replica left behind would resync when the server has restarted: in the way of a save."""
        target.client.execute_command("REPLICAOF", "NO", "ONE")

    def check(self, rig, target, code, digest, old, said):
        def steady():
            try:
                return target.client.ping()
            except redis.BusyLoadingError:
                return False
        wait_for(steady, "the target answers", PATIENCE_S)
        info = target.info("replication")
        followed = info["role"] == "slave" and info["master_port"] == str(rig.primary.port)
        if code == 0 and not followed:
            raise Violation(f"the pull succeeded, and its target is no replica: {info}\n{said}")
        if followed and digest is not None:
            wait_for(lambda: target.info("replication")["master_link_status"] == "up" and
                     target.digest() == rig.primary.digest(), lambda: "the replica has diverged: "
                     f"{target.info('replication')} {rig.primary.info('replication')}", PATIENCE_S)
            return
        if not followed and info["role"] != "master":
            raise Violation(f"the target is left with a primary that is gone: {info}\n{said}")
        empty = "0" * 40
        allowed = {old, digest, empty if not self.keys else old}
        if not followed and digest and target.digest() not in allowed:
            raise Violation(f"a failed pull (exit {code}) left mixed data in its target\n{said}")


class PullStaged(Pull):
    """Onto a server with keys: the image is verified before any of it is fed."""
    name = "pull-staged"
    keys = True
    options = ("--force",)


class PullCopy(Pull):
    """--as copy: keys are added to a server that stays independent."""
    name = "pull-copy"
    options = ("--as", "copy")

    def check(self, rig, target, code, digest, old, said):
        if target.info("replication")["role"] != "master":
            raise Violation("--as copy has made a replica")
        if code == 0 and digest and target.digest() != digest:
            raise Violation(f"--as copy is another data set\n{said}")


class PullFile(Pull):
    """--to-file: a whole new file or the old one."""
    name = "pull-file"

    def prepare(self, rig):
        place = rig.root / "files"
        place.mkdir(exist_ok=True)
        (place / self.image).write_bytes(b"old file")
        return place

    def state(self, rig, target):
        return None

    def release(self, target):
        pass

    def arguments(self, rig, target):
        return ["--to-file", target / self.image]

    def check(self, rig, target, code, digest, old, said):
        names = sorted(path.name for path in target.iterdir())
        if names != [self.image] and code >= 0:
            raise Violation(f"--to-file leaves {names}")
        for name in names:
            if name != self.image:  # of a puller that was killed between link and rename
                (target / name).unlink()
        text = (target / self.image).read_bytes()
        if text == b"old file":
            if code == 0:
                raise Violation("--to-file succeeded without a file")
            return
        done = harness.cli("verify", "--json", target / self.image)
        if done.returncode != 0 or not json.loads(done.stdout)["keys"]:
            raise Violation(f"--to-file left a broken file (exit {code}): {done.stdout}")


class PullLoad(Pull):
    """The target has the module, too, which makes its values: whoever is struck is the target."""
    name = "pull-load"
    only = r"^load-"

    def prepare(self, rig):
        target = rig.target(self.name, module=True)
        if target.process.poll() is not None:
            self.restart(target)
        return super().prepare(rig)

    @staticmethod
    def restart(target):
        target.gone(target.family())
        target.start()

    def check(self, rig, target, code, digest, old, said):
        def over():
            if target.process.poll() is not None:
                return True
            try:
                return target.client.ping()
            except redis.BusyLoadingError:
                return False
            except GONE:
                return False
        wait_for(over, "the target answers, or has ended", PATIENCE_S)
        if target.process.poll() is None:
            super().check(rig, target, code, digest, old, said)
            return
        if code == 0:
            raise Violation(f"the pull succeeded, and its target is dead\n{said}")
        self.restart(target)


class Stale:
    """A reader stands still in mid-pull, and its image's memory is needed for the next save."""
    name = "stale"
    only = r"^tcp_revoke$"

    def run(self, rig, arm):
        fresh_region(rig, rig.primary.number("rdbeam", "rdbeam_snapshot_bytes") * 3 // 2)
        old_digest = rig.change_data()
        rig.primary.bgsave()
        path, before = rig.root / "stale.rdb", note(rig)
        path.unlink(missing_ok=True)
        # A fault of its own, so that the one that is armed is left for the others.
        process = rigs.run_cli(["pull", "--timeout", "5", "--from", f"127.0.0.1:{rig.primary.port}",
                                "--to-file", path], {"RDBEAM_FAULT": "tcp_pull_recv:3:stop"})
        wait_for(lambda: stopped(process.pid) or process.poll() is not None, "the reader stands still")
        digest = rig.change_data()
        arm()
        with contextlib.suppress(*GONE):
            rig.primary.client.execute_command("BGSAVE")
        lives = until_over(rig, lambda: not rig.primary.saving(), "the save ends")
        kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=PATIENCE_S)
        rig.pulls += 1
        if process.returncode == 0 and rig.file_digest(path) not in (old_digest, digest):
            raise Violation("the reader got what is no image")
        if not lives:
            rig.check_dead_server({old_digest, digest})
            return
        rig.primary.client.config_set("rdbeam.region-size", REGION)
        rig.check_save(before, digest)
        after(rig, before)


def stopped(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] == "T"


class PullKilled(Pull):
    """The puller is killed while the target follows it: the guard puts the target back."""
    name = "pull-killed"

    def meanwhile(self, rig, target, process):
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            if target.info("replication")["role"] == "slave":
                kill(process.pid)
                return


def holders(mark):
    """Processes that have a mark in their environment."""
    found = []
    for pid in map(int, filter(str.isdigit, harness.os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark.encode() in file.read() and alive(pid):
                    found.append(pid)
        except OSError:
            continue
    return found


# The short form of ctest has no time for the others, each of which is there for a point or two.
QUICK = [Save(), Rescue(), Memory(), Restart(), Expire(), Pull(), PullStaged(), PullCopy(), PullFile(),
         PullKilled()]
OLD = [OldKernel()] if confine.MADVISE else []  # numbers of calls are known of some processors only
ALL = [*QUICK, *OLD, Reuse(), ReuseRescue(), MemoryFull(), HugeHeap(), PullLoad(), Stale()]
