# SPDX-License-Identifier: BSD-3-Clause
"""Every command block of the documents runs, as it stands.

The place is a network of its own (a namespace that only this process is in), so that the pages'
addresses and ports are real: 127.0.0.1:6379 is this host's server, `primary` (10.7.0.1) is the host
of a primary. A comment above a block, which readers do not see, says what else is to know of it:

    <!-- block: replica -->         127.0.0.1:6379 is an empty server, the primary is on its host
    <!-- block: stays -->           the same, and it runs until it is ended, beside the page's next
    <!-- block: run by PATH -->     that test runs it
    <!-- block: not run: REASON --> nothing runs it; shown as skipped, with the reason

What is large is made small by options that are added behind those of the page: see SMALLER. Blocks
of one page run in their order, and share its directory and variables; those of SEPARATE pages have
nothing in common and run side by side.
"""
import concurrent.futures
import contextlib
import ctypes
import os
import re
import signal
import subprocess

import pytest

import harness
from harness import cli, wait_for

PAGES = ["README.md", *sorted(str(path.relative_to(harness.REPO))
                              for path in (harness.REPO / "docs").rglob("*.md"))]
SEPARATE = {"docs/performance.md"}
STOCK_ONLY = {"docs/getting-started.md", *SEPARATE}  # they start what they need
PASSWORDS = {"README.md": "password"}
OUTPUT = {"docs/getting-started.md": "partial resync", "README.md": "partial resync"}

HERE, PRIMARY, REPLICA, SENTINEL = "127.0.0.1", "10.7.0.1", "10.7.0.3", "10.7.0.9"
SMALLER = """#!/bin/sh
case "$1 $2" in
'bench snapshot') set -- "$@" --data H --scale 1 --runs 1 ;;
'bench sync') set -- "$@" --data M --scale 1 --runs 1 --slow-disk 0 --methods \
	stock-disk,rdbeam-stock-loader,rdbeam-retained ;;
esac
exec %s "$@"
"""
BLOCK = re.compile(r"^(?:<!-- block: (.*?) -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^(\w*[$#] )?(sudo|cmake|cpack|rdbeam|redis-\w+|tools/|tests/|systemctl|git|apt|"
                     r"ctest|perf|ib_\w+|ACL|CONFIG) ?", re.M)


class Block:
    def __init__(self, page, number, mark, language, text):
        self.page, self.name, self.text = page, f"{page}:{number}", text
        self.mark, self.language = mark or "", language
        self.place = self.reason = None
        if self.mark.startswith("run by "):
            self.place = self.mark[len("run by "):]
        if self.mark.startswith("not run: "):
            self.reason = self.mark[len("not run: "):]

    @property
    def runs(self):
        return self.language == "sh" and not self.place and not self.reason


def blocks(page):
    text = (harness.REPO / page).read_text()
    return [Block(page, number, *match.groups())
            for number, match in enumerate(BLOCK.finditer(text), 1)]


ALL = [block for page in PAGES for block in blocks(page)]


def test_all_commands_are_in_blocks_that_run():
    assert sum(block.runs for block in ALL) > 20
    for page in PAGES:
        fences = len(re.findall(r"^```", (harness.REPO / page).read_text(), re.M))
        assert fences == 2 * sum(block.page == page for block in ALL), page
    for block in ALL:
        assert block.language in ("", "sh"), block.name
        assert block.mark in ("", "replica", "stays") or block.place or block.reason, block.name
        assert block.runs or block.place or block.reason or not COMMAND.search(block.text), \
            f"{block.name} has commands and is not marked as sh: {block.text}"
        assert not block.place or (harness.REPO / block.place).exists(), block.place


@pytest.mark.parametrize("block", [block for block in ALL if block.reason], ids=lambda one: one.name)
def test_not_run(block):
    pytest.skip(f"{block.name}: {block.reason}")


# ---- the place --------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def network():
    """This process in a network and a view of mounts of its own, with the pages' addresses."""
    libc = ctypes.CDLL(None, use_errno=True)
    both = 0x40000000 | 0x00020000  # CLONE_NEWNET, CLONE_NEWNS
    with contextlib.ExitStack() as stack:
        before = [stack.enter_context(open(f"/proc/self/ns/{kind}")) for kind in ("net", "mnt")]
        root, here = os.open("/", os.O_PATH), os.getcwd()
        stack.callback(os.close, root)
        if os.geteuid() != 0 or libc.unshare(both) != 0:
            pytest.skip("needs root, and namespaces, for a network with the pages' addresses")
        hosts = stack.enter_context(open("/dev/shm/rdbeam-hosts", "w"))
        hosts.write(f"127.0.0.1 localhost\n{PRIMARY} primary\n")
        hosts.flush()
        for command in (["mount", "--make-rprivate", "/"],
                        ["mount", "--bind", hosts.name, "/etc/hosts"],
                        ["ip", "link", "set", "lo", "up"],
                        ["ip", "addr", "add", "10.7.0.1/24", "dev", "lo"]):
            subprocess.run(command, check=True)
        yield
        for space in before:
            assert libc.setns(space.fileno(), 0) == 0
        os.fchdir(root)  # in a chroot setns has left it
        os.chroot(".")
        os.chdir(here)
        os.unlink(hosts.name)


class Page:
    """Where the blocks of one page run: directory, variables, servers."""

    def __init__(self, root, page, make):
        self.root, self.page, self.make = root, page, make
        self.work = root / "work"
        self.servers = {}
        self.staying = []
        bins = root / "bin"
        for place in (self.work, bins, root / "node", root / "backup"):
            place.mkdir()
        (bins / "rdbeam").write_text(SMALLER % harness.artifact("rdbeam"))
        (bins / "rdbeam").chmod(0o755)
        self.env = dict(
            os.environ, PATH=f"{bins}:{os.environ['PATH']}", WORK=str(self.work),
            MODULE=str(harness.artifact("rdbeam.so")), A="7001", B="7002", PULLS="27001",
            NODE_DIR=str(root / "node"), BACKUP_DIR=str(root / "backup"),
            PRIMARY=f"{PRIMARY}:6379", REPLICA=f"{REPLICA}:6379", ADDRESS="10.7.0.7",
            SENTINEL_HOST=SENTINEL)

    def server(self, name, address, **kwargs):
        if name not in self.servers:
            password = PASSWORDS.get(self.page)
            if password:
                kwargs["requirepass" if kwargs.get("module", True) else "masterauth"] = password
            self.servers[name] = self.make(name, port=6379, bind=address, protected_mode="no",
                                           **kwargs)
        return self.servers[name]

    def end(self, name):
        if name in self.servers:
            self.servers.pop(name).stop()

    def set_up(self, block):
        """Servers as the block expects them."""
        if self.page in STOCK_ONLY:
            return
        if not block.mark:
            if "local" not in self.servers:
                self.end("empty")
                fill(self.server("local", HERE, options={"port": 26379}))
            self.servers["local"].childless()
            return
        self.end("local")
        self.end("empty")
        primary = self.server("primary", PRIMARY, options={"port": 26379})
        if not primary.client.dbsize():
            fill(primary)
        if "$REPLICA" in block.text:
            replica = self.server("replica", REPLICA, options={"port": 26379},
                                  replicaof=f"{PRIMARY} 6379")
            wait_for(lambda: replica.value("replication", "master_link_status") == "up", "its link")
        if "SENTINEL" in block.text:
            self.start_sentinel()
        self.server("empty", HERE, module=False)

    def start_sentinel(self):
        config = self.root / "sentinel.conf"
        config.write_text(f"bind {SENTINEL}\nport 26379\nprotected-mode no\nlogfile sentinel.log\n"
                          f"sentinel monitor mymaster {PRIMARY} 6379 1\n")
        self.staying.append(subprocess.Popen(
            ["redis-server", config, "--sentinel", "--dir", self.root], stdin=subprocess.DEVNULL))
        wait_for(lambda: subprocess.run(
            ["redis-cli", "-h", SENTINEL, "-p", "26379", "PING"],
            capture_output=True).returncode == 0, "Sentinel answers")

    def tree(self, number):
        """A directory in which the source tree's files seem to lie, and new ones do no harm."""
        place = self.work / f"tree{number}"
        place.mkdir(exist_ok=True)
        for name in ("docs", "tools", "tests", "src"):
            if not (place / name).exists():
                (place / name).symlink_to(harness.REPO / name)
        return place

    def run(self, block, number=0):
        self.set_up(block)
        script = ["bash", "-euo", "pipefail", "-c", block.text]
        if block.mark == "stays":
            self.staying.append(subprocess.Popen(script, env=self.env, cwd=self.tree(number),
                                                 stdin=subprocess.DEVNULL, start_new_session=True))
            return ""
        done = subprocess.run(script, env=self.env, cwd=self.tree(number), capture_output=True,
                              text=True, timeout=240, stdin=subprocess.DEVNULL)
        if done.returncode == 77:  # as a test: what this machine lacks
            print(block.name, done.stdout)
        else:
            assert done.returncode == 0, (block.name, block.text, done.stdout, done.stderr)
        assert done.stdout.strip() or block.page in STOCK_ONLY, (block.name, done.stderr)
        return done.stdout

    def close(self):
        for process in self.staying:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM) if os.getpgid(process.pid) == process.pid \
                    else process.terminate()
        codes = [process.wait(harness.DEADLINE_S) for process in self.staying]
        assert all(code in (0, -signal.SIGTERM) for code in codes), codes


def fill(server):
    secret = ["-a", server.password] if server.password else []
    cli("fill", "-h", server.host, "-p", 6379, *secret, "--keys", 100, check=0)
    server.bgsave()


@pytest.mark.parametrize("page", [page for page in PAGES if any(
    block.runs for block in ALL if block.page == page)])
def test_page(page, network, root, make):
    mine = [block for block in blocks(page) if block.runs]
    place = Page(root, page, make)
    try:
        if page in SEPARATE:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                said = list(pool.map(place.run, mine, range(len(mine))))
        else:
            said = [place.run(block) for block in mine]
    finally:
        place.close()
    assert OUTPUT.get(page, "") in "".join(said)
