# SPDX-License-Identifier: BSD-3-Clause
"""The main job on one machine: a primary with the module, BGSAVE, and pulls by empty replicas
while writes go on. Called by tools/demo, which installs and builds first."""
import argparse
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MB = 1000 * 1000
LONG_S = 600
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def bring_in():
    """The tests' own servers and load. Not before the arguments are understood: they need packages
    that tools/demo installs, and --help has to work without."""
    global data, harness
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "integration"))
    data, harness = importlib.import_module("data"), importlib.import_module("harness")


class Failed(Exception):
    """A stage did not do its work; the text is one line."""


def number(text):
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a number from 1 up")
    return value


def arguments():
    parser = argparse.ArgumentParser(
        prog="tools/demo", allow_abbrev=False, description="Starts a primary with rdbeam.so and empty replicas on "
        "loopback, fills a data set, runs BGSAVE, pulls under a write load, hands over, compares "
        "digests, and cleans up.")
    parser.add_argument("--size", type=number, default=937, metavar="MB",
                        help="size of the data set, in 256 values unless --keys is given (937, or "
                        "less on a machine with little memory)")
    parser.add_argument("--keys", type=number, metavar="N", help="number of keys (256)")
    parser.add_argument("--replicas", type=number, default=1, metavar="N",
                        help="empty servers that pull at the same time (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, last")
    parser.add_argument("--keep", action="store_true", help="leave the servers running")
    parser.add_argument("--parse-only", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class Demo:
    def __init__(self, args):
        self.args = args
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="rdbeam-demo-"))
        self.servers = []
        self.load = None
        self.pulls = []
        self.out = {}

    def say(self, text):
        print(f"== {text}", file=sys.stderr if self.args.json else sys.stdout, flush=True)

    def server(self, name, **kwargs):
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        server = harness.Server(self.root, name, binary, **kwargs)
        self.servers.append(server)
        return server.start()

    def room(self):
        """Each server holds the data once, the table too, and two dumps lie on the disk."""
        need = self.args.size * MB
        meminfo = pathlib.Path("/proc/meminfo").read_text()
        amount = lambda name: int(re.search(rf"{name}: +(\d+)", meminfo).group(1))
        free = (amount("MemAvailable") + 2048 * amount("HugePages_Free")) * 1024
        for what, have, times in (("memory", free, 2 + self.args.replicas),
                                  (f"disk space in {self.root.parent}",
                                   shutil.disk_usage(self.root).free, 2 + self.args.replicas)):
            if have < need * times:
                raise Failed(f"{have // MB} MB of {what} are free, this takes {need * times // MB}: "
                             f"give --size {max(1, have // times // MB)} or less")

    # ---- stages ---------------------------------------------------------------------------

    def fill(self, primary):
        keys = self.args.keys or 256
        size = max(1, self.args.size * MB // keys)
        self.say(f"filling {keys} values of {size} bytes")
        run = subprocess.run(
            [str(harness.artifact("rdbeam")), "fill", "-h", "127.0.0.1", "-p", str(primary.port),
             "--keys", str(keys), "--value-size", str(size), "--random", "--quiet"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONG_S)
        if run.returncode:
            raise Failed(f"rdbeam fill: {run.stderr.strip()}")
        self.out["keys"] = primary.client.dbsize()
        self.out["dataset_bytes"] = keys * size

    def bgsave(self, primary):
        self.say("BGSAVE")
        digest = primary.digest()
        primary.bgsave(timeout_s=LONG_S)
        info = primary.info("rdbeam")
        if info["rdbeam_fallback_total"] != "0":
            raise Failed(f"BGSAVE was saved by stock Redis: {info['rdbeam_last_fallback_reason']}")
        self.out.update(
            image_bytes=int(info["rdbeam_snapshot_bytes"]), transport=info["rdbeam_transport"],
            page_bytes=int(info["rdbeam_region_page_bytes"]),
            workers=int(self.status(primary)["workers"]),
            copy_ms=int(info["rdbeam_snapshot_copy_ms"]),
            cow_window_ms=int(info["rdbeam_cow_window_ms"]), flush_ms=int(info["rdbeam_flush_ms"]),
            durable=int(info["rdbeam_last_durable_unixtime"]) > 0 and primary.dump().exists())
        self.out["dump_loads"] = self.loads_plain(primary, digest)

    def status(self, primary):
        reply = primary.client.execute_command("RDBEAM.STATUS")
        text = lambda value: value.decode() if isinstance(value, bytes) else value
        return {text(key): text(value) for key, value in zip(reply[::2], reply[1::2])}

    def loads_plain(self, primary, digest):
        """dump.rdb in a server without the module has the digest of the fork point."""
        self.say("loading dump.rdb in a plain server")
        place = self.root / "plain"
        place.mkdir()
        os.link(primary.dump(), place / "dump.rdb")
        plain = self.server("plain", module=False)
        same = plain.digest() == digest
        plain.stop()
        self.servers.remove(plain)
        return same

    def pull(self, primary, replicas):
        self.say(f"pulling into {len(replicas)} empty server(s) under a write load")
        self.load = data.Load(primary, dbs=4)
        with self.load:
            before = self.load.writes
            self.pulls = [harness.cli_start("pull", "--json", "--from",
                                            f"127.0.0.1:{primary.port}", "--to",
                                            f"127.0.0.1:{replica.port}") for replica in replicas]
            said = [self.ended(process) for process in self.pulls]
            self.out["writes_during"] = self.load.writes - before
        self.pulls = []
        slowest = max(said, key=lambda each: each["total_ms"])
        self.out.update({key: slowest[key] for key in
                         ("transport", "transfer_ms", "load_ms", "catchup_ms", "total_ms")})
        self.out["partial_resyncs"] = sum(each["partial_resyncs"] for each in said)
        # The primary's own log is the second witness: it names each full resync it was asked for.
        asked = sum(len(re.findall(rf"Full resync requested by replica 127\.0\.0\.1:{replica.port}\b",
                                   primary.log())) for replica in replicas)
        self.out["full_resyncs"] = max(asked, sum(each["full_resyncs"] for each in said))

    def ended(self, process):
        out, err = process.communicate(timeout=LONG_S)
        if process.returncode:
            raise Failed(f"rdbeam pull exits {process.returncode}: {err.strip()}")
        return json.loads(out)

    def compare(self, primary, replicas):
        self.say("comparing digests")
        for replica in replicas:
            def same_offset():
                mine, its = primary.info("replication"), replica.info("replication")
                return its.get("master_link_status") == "up" \
                    and its["slave_repl_offset"] == mine["master_repl_offset"]
            harness.wait_for(same_offset, f"{replica.name} reaches the primary's offset", 60)
        digest = primary.digest()
        self.out["digest_equal"] = all(replica.digest() == digest for replica in replicas)

    # ---- the whole ------------------------------------------------------------------------

    def run(self):
        self.room()
        primary = self.server("primary", repl_diskless_sync_delay=5)  # Redis's default
        self.fill(primary)
        self.bgsave(primary)
        replicas = [self.server(f"replica{count + 1}", module=False)
                    for count in range(self.args.replicas)]
        self.pull(primary, replicas)
        self.compare(primary, replicas)
        self.table()
        wrong = [key for key in ("digest_equal", "dump_loads", "durable") if not self.out[key]]
        wrong += ["full_resyncs"] if self.out["full_resyncs"] else []
        if wrong:
            raise Failed(f"the result is wrong: {', '.join(f'{k} {self.out[k]}' for k in wrong)}")

    def table(self):
        out = self.out
        rate = lambda size, ms: f"{size / 1000 / ms:8.0f} MB/s" if ms else " " * 13
        rows = [
            ("copy to memory", out["copy_ms"], rate(out["image_bytes"], out["copy_ms"])),
            ("copy-on-write window", out["cow_window_ms"], ""),
            ("flush to dump.rdb", out["flush_ms"], rate(out["image_bytes"], out["flush_ms"])),
            ("transfer", out["transfer_ms"], rate(out["image_bytes"], out["transfer_ms"])),
            ("load", out["load_ms"], rate(out["image_bytes"], out["load_ms"])),
            ("catch-up", out["catchup_ms"], ""),
            ("pull, all together", out["total_ms"], rate(out["image_bytes"], out["total_ms"])),
        ]
        lines = [f"{name:<22}{ms:>8} ms {speed}".rstrip() for name, ms, speed in rows]
        lines += [
            f"{out['keys']} keys, {out['image_bytes'] / MB:.0f} MB; transport {out['transport']}, "
            f"pages of {out['page_bytes'] // 1024} KiB, {out['workers']} worker(s)",
            f"{out['writes_during']} writes during the pull; digests "
            f"{'equal' if out['digest_equal'] else 'DIFFER'}; {out['partial_resyncs']} partial, "
            f"{out['full_resyncs']} full resync(s); dump.rdb "
            f"{'loads' if out['dump_loads'] else 'DOES NOT LOAD'} in a plain server",
        ]
        print("\n".join(lines), file=sys.stderr if self.args.json else sys.stdout, flush=True)

    def keep(self):
        for server in self.servers:
            self.say(f"{server.name} runs: port {server.port}, pid {server.pid}, {server.dir}")
        self.say(f"to end it: kill {' '.join(str(server.pid) for server in self.servers)}; "
                 f"rm -r {self.root}")

    def clean(self):
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)  # a second Ctrl-C would leave servers behind
        if self.load:
            self.load.ended.set()
        for process in self.pulls:
            if process.poll() is None:
                process.terminate()
                process.wait()
        for server in reversed(self.servers):
            try:
                server.stop()
            except AssertionError as error:
                print(f"tools/demo: {error}", file=sys.stderr)
        shutil.rmtree(self.root, ignore_errors=True)


def stop(signum, frame):
    raise Failed(f"stopped by {signal.Signals(signum).name}")


def main():
    args = arguments()
    if args.parse_only:
        return 0
    bring_in()
    for signum in SIGNALS:
        signal.signal(signum, stop)
    start = time.monotonic()
    demo = Demo(args)
    status = 0
    try:
        demo.run()
    except (Failed, AssertionError, OSError, subprocess.SubprocessError,
            harness.redis.RedisError) as error:
        print(f"tools/demo: {error}", file=sys.stderr)
        demo.out["error"] = str(error)
        for server in demo.servers:
            print(f"-- log of {server.name}, its end:\n{server.log()[-1500:]}", file=sys.stderr)
        status = 1
    if args.keep and status == 0:
        demo.keep()
    else:
        demo.clean()
    demo.say(f"done in {time.monotonic() - start:.0f} s")
    if args.json:
        print(json.dumps(demo.out), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
