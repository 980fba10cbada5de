# SPDX-License-Identifier: BSD-3-Clause
"""The servers that are tortured, one fault at a time, and what must be true afterwards."""
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402
from harness import alive, kill, wait_for  # noqa: E402

SOURCES = harness.REPO / "src"
DEATHS_BEFORE_RESTART = 2  # the module waits longer before each new start of a daemon that dies


LARGE_BYTES = 1 << 20
MORE = [f"large:{number}" for number in range(3)]  # keys that make an image larger than a little region


class Violation(Exception):
    """A promise of reliability.md was broken."""


def point_names():
    """Every fault point of the sources, by name."""
    names = set()
    for path in SOURCES.glob("*/*.c"):
        for call in re.findall(r"BEAM_FAULT\(([^;]*?)\)", path.read_text()):
            names.update(re.findall(r'"([^"]+)"', call))
    return sorted(names)


sums = {}  # digests by what changes with each write to a file


def sha(path):
    try:
        stat = os.stat(path)
        state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if state not in sums:
            if len(sums) >= 64:
                sums.clear()
            sums[state] = hashlib.blake2b(path.read_bytes()).hexdigest()
        return sums[state]
    except FileNotFoundError:
        return None


def fds(pid):
    """Open descriptors by kind; memory of the region is counted apart, it comes and goes."""
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            kind = "memfd" if "memfd:rdbeam" in target else re.sub(r"[:\[(].*", "", target)
            found[kind] = found.get(kind, 0) + 1
    except OSError:
        pass
    return found


def fill(client, dice):
    """Every type, in as little as makes a few segments: the digest is taken thousands of times."""
    pipe = client.pipeline(transaction=False)
    for number in range(300):
        pipe.set(f"s:{number}", dice.randbytes(number))
        pipe.hset(f"h:{number % 9}", f"field{number}", number)
        pipe.rpush(f"l:{number % 9}", number)
        pipe.sadd(f"set:{number % 9}", number, f"member{number}")
        pipe.zadd(f"z:{number % 9}", {f"m{number}": number / 7})
        pipe.xadd("stream", {"n": number}, id=f"{number + 1}-1")
        pipe.set(f"ttl:{number}", number, ex=100000)
    pipe.set("large", dice.randbytes(LARGE_BYTES))
    pipe.execute()
    client.close()


class Fault:
    """The file that the processes of one server look into at each fault point."""

    def __init__(self, path):
        self.path = path
        self.fired_path = path.with_name(path.name + ".fired")
        self.serial = 0
        self.stop_after = None
        self.pid = self.name = None
        self.thread = None

    def arm(self, name, nth, action, stop_s=0.3):
        self.disarm()
        self.serial += 1
        self.action = action
        self.pid = self.name = None
        temp = self.path.with_name("fault.new")
        temp.write_text(f"{name}:{nth}:{action} {self.serial}\n")
        temp.rename(self.path)
        self.watching = True
        self.thread = threading.Thread(target=self.watch, args=(action, stop_s), daemon=True)
        self.thread.start()

    def watch(self, action, stop_s):
        """Notes who was hit; a process that was stopped goes on after a while."""
        while self.watching and not self.fired_path.exists():
            time.sleep(0.002)
        if not self.fired_path.exists():
            return
        words = []
        while len(words) < 2:
            words = self.fired_path.read_text().split()
        self.pid, self.name = int(words[0]), words[1]
        if action == "stop":
            time.sleep(stop_s)
            kill(self.pid, signal.SIGCONT)

    def disarm(self):
        """True if it had fired; who was killed is gone then, and who was stopped goes on."""
        self.path.unlink(missing_ok=True)
        self.watching = False
        if self.thread:
            self.thread.join()
            self.thread = None
        fired = self.fired_path.exists()
        self.fired_path.unlink(missing_ok=True)
        if fired and self.action in ("kill", "abort"):
            wait_for(lambda: not alive(self.pid), f"{self.name} ends {self.pid}")
        return fired


class Server(harness.Server):
    """A server whose family reads faults from a file of its own."""

    def __init__(self, *args, trace=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.fault = Fault(self.dir.parent / f"{self.name}.fault")
        self.trace = trace
        self.may_crash = True
        self.last_daemon = None

    def start(self, ready=True):
        os.environ["RDBEAM_FAULT"] = f"@{self.fault.path}"
        if self.trace:
            os.environ["RDBEAM_FAULT_TRACE"] = str(self.trace)
        try:
            return super().start(ready)
        finally:
            os.environ.pop("RDBEAM_FAULT")
            os.environ.pop("RDBEAM_FAULT_TRACE", None)


    def daemon(self):
        """The same as before as long as it lives: all processes of the machine are read otherwise. A
        second one is an orphan to check_family."""
        pid = self.last_daemon
        if not (pid and alive(pid) and f"{self.dir}/rdbeamd" in harness.command_line(pid)):
            self.last_daemon = super().daemon()
        return self.last_daemon


class Rig:
    """One primary with the module, a plain server that loads its dumps, and targets for pulls."""

    def __init__(self, root, dice, trace=None, confined=None):
        self.root = pathlib.Path(root)
        self.dice = dice
        binary = harness.servers()[0][1]
        # The table holds two images, so that old ones are retired all the time.
        self.primary = Server(self.root, "primary", binary, trace=trace,
                              options={"segment-size": "2mb", "workers": 2, "region-size": "64mb"},
                              repl_timeout=20, confined=confined)
        self.loader = harness.Server(self.root, "loader", binary, module=False)
        self.targets = {}
        self.old_kernel = None  # a rig of its own
        self.digests = {}  # of dumps, by their sha
        self.deaths = 0
        self.serial = 0
        self.leaks = []
        self.fired = False
        self.pulls = 0
        self.forked = []  # digests of what was saved last
        self.traced = None  # points passed while a fault could strike, of a rig that traces
        self.baseline = None

    def open(self):
        self.primary.start()
        self.loader.start()
        for db in range(2):
            fill(self.primary.connect(db=db), self.dice)
        self.primary.bgsave()
        self.primary.bgsave()
        self.settled()
        self.note_baseline()
        return self

    def close(self):
        if self.old_kernel:
            self.old_kernel.close()
        for server in (self.primary, self.loader, *self.targets.values()):
            if server.process:
                kill(server.pid, signal.SIGCONT)
                server.stop()

    def target(self, name, module=False):
        """A server of its own; one with the module looks into the primary's file of faults."""
        if name not in self.targets:
            binary = harness.servers()[0][1]
            if module:
                server = Server(self.root, name, binary, trace=self.primary.trace)
                server.fault = self.primary.fault
            else:
                server = harness.Server(self.root, name, binary, module=False)
            self.targets[name] = server.start()
        return self.targets[name]

    def beside(self):
        """The rig whose server finds a kernel and a file system that know less. Its processes look into
        this one's file of faults."""
        if not self.old_kernel:
            rig = Rig(self.root / "old-kernel", self.dice, self.primary.trace, ["--old-kernel"])
            rig.primary.fault = self.primary.fault
            self.old_kernel = rig.open()
        self.old_kernel.dice = self.dice
        return self.old_kernel

    # ---- state ----------------------------------------------------------------------------

    def change_data(self, more=False):
        """A data set that no dump holds yet, large if need be; returns its digest."""
        self.serial += 1
        for db in range(2):
            client = self.primary.connect(db=db)
            client.set("serial", self.serial)
            client.set(f"slot:{self.serial % 50}", self.dice.randbytes(3000))
            if more:
                client.mset({key: self.dice.randbytes(LARGE_BYTES) for key in MORE})
            else:
                client.delete(*MORE)
            client.close()
        self.forked = [*self.forked[-3:], self.primary.digest()]
        return self.forked[-1]

    def disarm(self):
        self.fired |= self.primary.fault.disarm()
        if self.primary.trace and self.traced is None:
            self.traced = self.primary.trace.read_text()

    def dump_digest(self):
        """The digest of what a plain server loads from the dump, or None without a dump."""
        return self.file_digest(self.primary.dump())

    def file_digest(self, path):
        name = sha(path)
        if name and name not in self.digests:
            shutil.copyfile(path, self.loader.dump())
            try:
                self.loader.client.execute_command("DEBUG", "RELOAD", "NOSAVE")
                self.digests[name] = self.loader.digest()
            except Exception as error:
                raise Violation(f"the dump does not load: {error}; {self.loader.log()[-500:]}")
        return self.digests.get(name)

    def settled(self):
        """Waits until nothing of a save is under way and the daemon is there."""
        self.primary.childless()
        self.primary.client.ping()  # the server has seen by now whose socket was closed
        wait_for(self.listens, lambda: f"the daemon comes back: {self.primary.info('rdbeam')}")

    def listens(self):
        info = self.primary.info("rdbeam")
        # One that is dying has no command line any more, while the server may take it for alive.
        return info["rdbeam_daemon_state"] == "up" and info["rdbeam_port"] != "0" and \
            self.primary.daemon() == int(info["rdbeam_daemon_pid"])

    def descriptors(self):
        """Of the server, without those of its clients, and of the daemon."""
        server = fds(self.primary.pid)
        server["socket"] -= len(self.primary.client.client_list())
        return server, fds(self.primary.daemon())

    def note_baseline(self):
        self.baseline = self.descriptors()

    # ---- what must be true ----------------------------------------------------------------

    def server_died(self):
        return self.primary.process.poll() is not None

    def check_dead_server(self, digests):
        """Row 3: a server that was killed takes everything along; what is left loads."""
        mine = set(self.primary.family())
        self.primary.gone(mine)
        left = [n for n in self.primary.temp_files() if not re.match(r"temp-\d+\.rdb$", n)]
        if left:
            raise Violation(f"files left by a dead server: {left}")
        if self.dump_digest() not in digests:
            raise Violation("the dump of a dead server is neither old nor new")
        self.restart(clean=False)

    def restart(self, clean=True):
        """The server anew; with `clean` it ends by itself and must leave nothing."""
        if clean:
            self.primary.stop()
        for name in self.primary.temp_files():  # stock leaves these behind, too
            (self.primary.dir / name).unlink()
        self.deaths = 0
        self.primary.start()
        self.primary.bgsave()
        self.settled()
        self.note_baseline()

    def check_save(self, before, digest):
        """After a BGSAVE that was hit: status, LASTSAVE and the file tell one story."""
        primary = self.primary
        now = sha(primary.dump())
        if primary.value("persistence", "rdb_last_bgsave_status") == "ok":
            if self.dump_digest() != digest:
                raise Violation("BGSAVE succeeded, but the dump is not the fork point")
        elif now != before["sha"]:
            # The rename was done when the waiter was hit: the new dump must be whole.
            if self.dump_digest() != digest:
                raise Violation("BGSAVE failed, and the old dump is gone")
        elif primary.client.lastsave() != before["lastsave"]:
            raise Violation("LASTSAVE moved without a save")
        if primary.temp_files():
            raise Violation(f"temporary files are left: {primary.temp_files()}")

    def check_family(self):
        """Nobody but the daemon is left, and nobody holds more than before."""
        primary = self.primary

        def orphans():
            daemon = primary.daemon()
            return [harness.command_line(pid) for pid in primary.family() if pid != daemon]
        try:
            wait_for(lambda: not orphans(), lambda: f"{orphans()}", 5)
        except AssertionError as error:
            raise Violation(f"orphans: {error}")

    def check_leaks(self):
        """After a clean save the same descriptors are open as at first."""
        def grown():
            found = []
            for who, before, now in zip(("server", "daemon"), self.baseline, self.descriptors()):
                for kind, count in now.items():
                    if kind != "memfd" and count > before.get(kind, 0):
                        found.append(f"{who}: {count} {kind} instead of {before.get(kind, 0)}")
                if now.get("memfd", 0) > before.get("memfd", 0) + 8:
                    found.append(f"{who}: {now['memfd']} extents")
            return found
        try:
            wait_for(lambda: not grown(), lambda: "; ".join(grown()), 3)
        except AssertionError as error:
            self.leaks.append(str(error))
            raise Violation(f"leak: {error}")

    def clean_save(self):
        """After whatever happened the next save goes through the table."""
        self.settled()
        before = self.primary.fallbacks()
        digest = self.primary.digest()
        self.forked.append(digest)
        self.primary.bgsave()
        if self.primary.fallbacks() != before:
            raise Violation(f"the next save falls back: {self.primary.info('rdbeam')}")
        if self.dump_digest() != digest:
            raise Violation("the next save is wrong")


def run_cli(args, env=None):
    """rdbeam(1) as a process with pipes to files, so that nobody blocks on them."""
    out = open(os.devnull, "wb")
    return subprocess.Popen([str(harness.artifact("rdbeam")), *map(str, args)],
                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                            env={**os.environ, **harness.sanitizer_env(leaks=True), **(env or {})})
