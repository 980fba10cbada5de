# SPDX-License-Identifier: BSD-3-Clause
"""Real servers for the integration tests: start, watch, stop, compare.

A Server lives in a directory of its own, listens on a free port, and is stopped by its pid. All
that it starts (fork child, workers, daemon, waiter) is found through an environment mark, the
working directory, or the parent's pid, so that a test can kill one of them and so that the harness
can prove that nothing was left behind.
"""
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import uuid

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RDBEAM_BUILD_DIR") or REPO / "build").resolve()
PLACES = ("", "src/module", "src/daemon", "src/cli")


def artifact(name):
    """Path of something that the build makes."""
    for place in PLACES:
        path = BUILD / place / name
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is not under {BUILD}: build it, or set RDBEAM_BUILD_DIR")


def cached(name):
    """A value of the build's CMakeCache.txt, "" when it is not there."""
    try:
        text = (BUILD / "CMakeCache.txt").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}:[A-Z]+=(.*)$", text, re.M)
    return found.group(1) if found else ""


SANITIZE = cached("RDBEAM_SANITIZE")
ASAN = "address" in SANITIZE
FAULTS = cached("RDBEAM_FAULTS").upper() in ("ON", "1", "YES", "TRUE")
SLOWER = 4 if SANITIZE else 1  # deadlines of a sanitized build
DEADLINE_S = 30 * SLOWER


def wait_for(predicate, what, timeout_s=None):
    """Polls until the predicate is true and returns its value; fails with `what` at the deadline."""
    deadline = time.monotonic() + (DEADLINE_S if timeout_s is None else timeout_s)
    pause = 0.002
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            text = what() if callable(what) else what
            raise AssertionError(f"not within the deadline: {text}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def free_port(taken=set()):
    """A TCP port nobody listens on, not one given out before, of RDBEAM_PORTS=first-last. Else of those that the
    kernel gives to nobody who connects: until the server listens, another suite's connection could have it."""
    first, last = map(int, (os.environ.get("RDBEAM_PORTS") or "13000-32000").split("-"))
    for _ in range(2000):
        if len(taken) > (last - first) // 2:
            taken.clear()  # a small range comes round again
        port = random.randint(first, last)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in taken:
            taken.add(port)
            return port
    raise RuntimeError("no free TCP port on 127.0.0.1")


def servers():
    """[(name, path)] of the servers to test: redis-server, and RDBEAM_SERVERS="name=path,..."."""
    found = []
    stock = shutil.which("redis-server")
    if stock:
        found.append(("redis", stock))
    for item in filter(None, os.environ.get("RDBEAM_SERVERS", "").split(",")):
        name, _, path = item.partition("=")
        found.append((name, path))
    return found


def sanitizer_env(leaks):
    """What a process needs to run code of a sanitized build."""
    if not SANITIZE:
        return {}
    return {
        "ASAN_OPTIONS": f"detect_leaks={int(leaks)}:exitcode=99:allocator_may_return_null=1:verify_asan_link_order=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }


def runtime_libraries():
    """LD_PRELOAD of a stock server that is to load a sanitized module: what servers call of jemalloc beside
    malloc, and ASan's runtime."""
    compiler = cached("CMAKE_C_COMPILER") or "cc"
    name = "libclang_rt.asan-x86_64.so" if "clang" in compiler else "libasan.so"
    path = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True,
                          check=True).stdout.strip()
    return f"{artifact('rdbeam-jemalloc-shim.so')}:{os.path.realpath(path)}"


def children(pid):
    """Pids of a process's living children."""
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split() if alive(int(word))]


@contextlib.contextmanager
def played_server(answers):
    """A server that knows these commands alone, by their first words; gives its port."""
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while line := self.rfile.readline():
                words = [self.rfile.readline() for _ in range(2 * int(line[1:]))][1::2]
                self.wfile.write(answers.get(words[0].strip().upper(), b"-ERR unknown command\r\n"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


class Between(threading.Thread):
    """Stands before a server; what that one says goes through `change`, and what it is asked through `asked`, as it
    comes."""

    def __init__(self, port, change=bytes, asked=bytes):
        super().__init__(daemon=True)
        self.behind, self.change, self.asked = port, change, asked
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.behind))
            for ways in ((client, server, self.asked), (server, client, self.change)):
                threading.Thread(target=self.forward, args=ways, daemon=True).start()

    def refuse(self):
        """Lets nobody in any more."""
        self.sock.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def forward(source, target, change):
        try:
            while chunk := source.recv(65536):
                target.sendall(change(chunk))
        except OSError:
            pass
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def alive(pid):
    """True for a process that runs; a zombie is gone."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(
            errors="replace").strip()
    except OSError:
        return ""


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


CRASHES = re.compile(
    r"(AddressSanitizer|LeakSanitizer|runtime error:|REDIS BUG REPORT|VALKEY BUG REPORT"
    r"|Assertion .* failed|ASSERTION FAILED)")


class Server:
    """One server in one directory. `module` loads rdbeam.so; `options` are rdbeam.* settings of the
    configuration file, without the prefix."""

    def __init__(self, root, name, binary, module=True, options=None, arguments=(), **conf):
        self.name = name
        self.binary = str(binary)
        self.dir = pathlib.Path(root) / name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = conf.pop("port", None) or free_port()
        self.host = conf.get("bind", "127.0.0.1").split()[0]
        self.module = module
        self.arguments = arguments  # of loadmodule
        self.mark = uuid.uuid4().hex
        self.process = None
        self.password = conf.get("requirepass")
        self.confined = conf.pop("confined", None)  # arguments of confine.py
        self.may_crash = False
        self.conf = {
            "port": self.port, "bind": "127.0.0.1", "dir": str(self.dir),
            "logfile": str(self.dir / "server.log"),
            "save": '""', "appendonly": "no", "daemonize": "no", "loglevel": "notice",
            "enable-debug-command": "yes", "enable-module-command": "yes",
            "enable-protected-configs": "yes",
            "repl-diskless-sync-delay": "0", "repl-backlog-size": "64mb",
            "rdbcompression": "no",
        }
        self.conf.update({key.replace("_", "-"): value for key, value in conf.items()})
        self.options = {"port": free_port()} if module else {}
        self.options.update({key.replace("_", "-"): value
                             for key, value in (options or {}).items()})

    # ---- life -----------------------------------------------------------------------------

    def place_module(self):
        """Module, daemon and waiter by links in the server's directory: the daemon's command line then
        tells whose it is, even where /proc shows nothing else of it. Returns the module's path."""
        for name in ("rdbeam.so", "rdbeamd", "rdbeam-wait"):
            link = self.dir / name
            if not link.is_symlink():
                link.symlink_to(artifact(name))
        return self.dir / "rdbeam.so"

    def write_config(self):
        lines = [f"{key} {value}" for key, value in self.conf.items()]
        if self.module:
            lines.append(" ".join(["loadmodule", str(self.place_module()), *self.arguments]))
            lines += [f"rdbeam.{key} {value}" for key, value in self.options.items()]
        path = self.dir / "server.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self, ready=True):
        env = dict(os.environ, RDBEAM_TEST_MARK=self.mark)
        if self.module and ASAN:
            env.update(sanitizer_env(leaks=False), LD_PRELOAD=runtime_libraries())
        with open(self.dir / "stderr.log", "ab") as stderr:
            self.process = subprocess.Popen([*self.confinement(), self.binary,
                                             str(self.write_config())], env=env,
                                            stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                            cwd=self.dir)
        self.client = self.connect()
        if ready:
            self.wait_ready()
        return self

    def confinement(self):
        if not self.confined:
            return []
        return [sys.executable, "-B", str(pathlib.Path(__file__).with_name("confine.py")),
                *map(str, self.confined)]

    def connect(self, db=0, **kwargs):
        kwargs.setdefault("password", self.password)
        kwargs.setdefault("retry", Retry(NoBackoff(), 0))  # redis-py 6 does, for seconds, also while a server loads
        client = redis.Redis(self.host, self.port, db=db, socket_timeout=DEADLINE_S * 2, **kwargs)
        for name in ("INFO", "COMMAND", "OBJECT"):  # their replies as the server sent them
            client.response_callbacks.pop(name, None)
        return client

    def wait_ready(self):
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} exited with {self.process.returncode}:\n"
                                     f"{self.log()[-3000:]}")
            try:
                return self.client.ping()
            except (redis.ConnectionError, redis.BusyLoadingError, redis.TimeoutError):
                return False
        wait_for(answers, lambda: f"{self.name} answers PING\n{self.log()[-2000:]}", DEADLINE_S * 2)
        if self.module and self.options.get("mode") != "off" and "daemon" not in self.options:
            wait_for(lambda: self.info("rdbeam").get("rdbeam_daemon_state") == "up",
                     lambda: f"daemon is up: {self.info('rdbeam')}\n{self.log()[-2000:]}")
        if ASAN:
            wait_for(self.threads_rest, f"{self.name}: its threads have come up")

    def threads_rest(self):
        """The sanitizer's runtime does not survive a fork while another thread of the server is
        being registered: the child would wait for a lock that nobody holds any more."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task")
        waits = [(task / "wchan").read_text() for task in tasks.iterdir() if task.name != str(self.pid)]
        return len(waits) >= 3 and all("futex" in name for name in waits)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """Ends the server and proves that nothing of it is left."""
        if self.process is None:
            return
        mine = set(self.family())
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.name} does not end on SIGTERM\n{self.log()[-2000:]}")
        self.gone(mine)
        self.process = None
        found = CRASHES.search(self.log())
        if found and not self.may_crash:
            raise AssertionError(f"{self.name} logged {found.group(1)}:\n{self.log()[-6000:]}")

    def kill(self):
        """kill -9, then waits until the server (not what it started) is gone."""
        self.process.kill()
        self.process.wait()

    def gone(self, pids=(), timeout_s=5):
        """All processes of this server, and `pids`, end within the time that rule 16 gives."""
        left = lambda: [pid for pid in set(pids) | set(self.family()) if alive(pid)]
        try:
            wait_for(lambda: not left(), lambda: [(pid, command_line(pid)) for pid in left()],
                     timeout_s * SLOWER)
        finally:
            for pid in left():
                kill(pid)

    def family(self):
        """Pids of all living processes that this server started, itself excluded."""
        own = {os.getpid(), self.process.pid if self.process else None}
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
        return [pid for pid in pids if pid not in own and self.started(pid) and alive(pid)]

    def started(self, pid):
        """By its command line, its working directory or its environment."""
        if f"{self.dir}/" in command_line(pid):
            return True
        try:
            return os.readlink(f"/proc/{pid}/cwd") == str(self.dir) or \
                f"RDBEAM_TEST_MARK={self.mark}".encode() in \
                pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False

    def daemon(self):
        """The daemon's pid (not a waiter's), or None."""
        for pid in self.family():
            line = command_line(pid)
            if "rdbeamd" in line.split(" ")[0] and "--wait" not in line:
                return pid
        return None

    def child(self, timeout_s=None):
        """Pid of the saving child; waits for it to be forked."""
        def saving():
            return [pid for pid in children(self.pid)
                    if "bgsave" in command_line(pid) or "--wait" in command_line(pid)]
        return wait_for(saving, lambda: f"{self.name} has a saving child\n{self.log()[-2000:]}",
                        timeout_s)[0]

    def workers(self, child):
        return wait_for(lambda: children(child), f"{self.name}: child {child} has workers")

    # ---- looking --------------------------------------------------------------------------

    def log(self):
        text = ""
        for name in ("server.log", "stderr.log"):
            try:
                text += (self.dir / name).read_text(errors="replace")
            except OSError:
                pass
        return text

    info_command = "INFO"  # unless it is renamed

    def info(self, section):
        found = {}
        for line in self.client.execute_command(self.info_command, section).split(b"\r\n"):
            key, colon, value = line.decode(errors="replace").partition(":")
            if colon:
                found[key] = value
        return found

    def value(self, section, field):
        return self.info(section)[field]

    def number(self, section, field):
        return int(self.info(section)[field])

    def unloads_modules(self):
        """Those that have a data type; from Redis 7.2 on none."""
        return tuple(map(int, self.value("server", "redis_version").split(".")[:2])) < (7, 2)

    def digest(self):
        return self.client.execute_command("DEBUG", "DIGEST").decode()

    def dump(self):
        return self.dir / "dump.rdb"

    def temp_files(self):
        known = {"server.log", "stderr.log", "server.conf", "dump.rdb", "rdbeam.so", "rdbeamd", "rdbeam-wait"}
        return [path.name for path in self.dir.iterdir()
                if path.is_file() and path.name not in known]

    # ---- doing ----------------------------------------------------------------------------

    def saving(self):
        return self.info("persistence")["rdb_bgsave_in_progress"] == "1"

    def bgsave(self, status="ok", timeout_s=None):
        """BGSAVE to its end, with the status that it must have."""
        self.childless()
        self.client.execute_command("BGSAVE")
        self.saved(status, timeout_s)

    def childless(self):
        """A child that has ended is still in the way until the server's cron has seen it."""
        wait_for(lambda: not self.saving()
                 and self.number("persistence", "module_fork_in_progress") == 0,
                 f"{self.name}: no child")

    def saved(self, status="ok", timeout_s=None):
        wait_for(lambda: not self.saving(), f"{self.name}: BGSAVE ends", timeout_s)
        got = self.value("persistence", "rdb_last_bgsave_status")
        assert got == status, f"BGSAVE is {got}, not {status}:\n{self.log()[-3000:]}"

    def generation(self):
        return self.value("rdbeam", "rdbeam_generation")

    def fallbacks(self):
        return self.number("rdbeam", "rdbeam_fallback_total")

    def image_made(self):
        """The last BGSAVE went through the table, not the stock path. The daemon's news may reach
        the server a moment after the save is booked."""
        assert self.fallbacks() == 0, self.info("rdbeam")
        wait_for(lambda: self.value("rdbeam", "rdbeam_state") in ("ready", "failed"),
                 lambda: self.info("rdbeam"))
        info = self.info("rdbeam")
        assert info["rdbeam_state"] == "ready", info
        return info

    def hold(self, keys=200):
        """Data and a delay that keep a save under way for many seconds."""
        pipe = self.client.pipeline(transaction=False)
        for number in range(keys):
            pipe.set(f"hold:{number}", "v" * 100)
        pipe.execute()
        self.client.config_set("rdb-key-save-delay", 1000000)

    def begin_held_save(self):
        """Starts a save that does not end by itself; returns the child's pid once it copies."""
        self.client.execute_command("BGSAVE")
        pid = self.child()
        if self.module:
            wait_for(lambda: self.value("rdbeam", "rdbeam_state") == "copying",
                     lambda: f"{self.name} copies: {self.info('rdbeam')}\n{self.log()[-2000:]}")
        return pid


def check_rdb(path, binary=None):
    """The checker that belongs to the server (redis-server unless told) accepts the file."""
    server = pathlib.Path(binary or servers()[0][1])
    checker = server.with_name(server.name.replace("-server", "-check-rdb"))
    done = subprocess.run([str(checker), str(path)], capture_output=True, text=True, errors="replace")
    assert done.returncode == 0 and "RDB looks OK" in done.stdout, done.stdout + done.stderr


def cli(*args, timeout_s=None, check=None, env=None):
    """Runs rdbeam(1). check: the exit code it must have."""
    full = {**os.environ, **sanitizer_env(leaks=True), **(env or {})}
    done = subprocess.run([str(artifact("rdbeam")), *map(str, args)], capture_output=True, text=True,
                          env=full, timeout=timeout_s or DEADLINE_S * 4,
                          stdin=subprocess.DEVNULL)
    if check is not None:
        assert done.returncode == check, \
            f"rdbeam {args} exits {done.returncode}, not {check}:\n{done.stdout}\n{done.stderr}"
    assert not CRASHES.search(done.stderr), done.stderr
    return done


def cli_start(*args, env=None):
    """Starts rdbeam(1) and returns the process; stdout and stderr are pipes."""
    full = {**os.environ, **sanitizer_env(leaks=False), **(env or {})}
    return subprocess.Popen([str(artifact("rdbeam")), *map(str, args)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=full)
