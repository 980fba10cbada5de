# SPDX-License-Identifier: BSD-3-Clause
"""Strikes every process at every fault point, damages images, pulls under writes: see --help."""
import argparse
import collections
import fcntl
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rig as rigs  # noqa: E402
import crowd  # noqa: E402
import harness  # noqa: E402
import lanes  # noqa: E402
import load  # noqa: E402
import scenarios  # noqa: E402
import soak  # noqa: E402

ERRORS = ("EIO", "ENOMEM", "ENOSPC", "EAGAIN", "EPERM")
# Points that know more than failing, and those at which only some actions make sense.
SPECIAL = {"disk.write": ("short",), "tcp_serve_send": ("short",), "pull-segment": ("flip",),
           "tcp_pull_recv": ("flip",), "pull-verify": ("flip",)}
# A guard that is killed too is a second fault: nobody is left to put the target back.
ONLY = {"guard-put-back": ("stop",), "target-restore": ("stop", "errno=EIO")}
STOPS_S = (0.05, 0.3, 1.0)
LONG_STOP_S = 6.5  # longer than waiter and lane wait for the daemon


def options():
    parser = argparse.ArgumentParser(
        prog="tools/torture", description="Kills, stops and fails redis-server, its saving child, "
        "the workers, the waiter, rdbeamd and the puller at each fault point and checks after each "
        "what docs/reliability.md promises.")
    parser.add_argument("--seed", type=int, default=1, help="random seed; default 1")
    parser.add_argument("--minutes", type=float, default=10, help="time limit; default 10")
    parser.add_argument("--soak", type=float, metavar="MIN",
                        help="instead: writes, saves, pulls and kills for MIN minutes, then growth")
    parser.add_argument("--seeds", type=int, metavar="N",
                        help="instead: SIGKILL and SIGSTOP at each point, once for each of N seeds "
                        "from --seed on, or as often as --minutes allow")
    parser.add_argument("--pulls", type=int, metavar="N",
                        help="instead: N pulls under writes to 16 databases, or as --minutes allow")
    parser.add_argument("--generations", type=int, metavar="N",
                        help="instead: N images one after the other through an rdbeamd's memory, and "
                        "readers that stop in mid-pull, or as --minutes allow")
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="lanes of --seeds and --pulls, each with servers of its own; default 1")
    parser.add_argument("--pause-for", type=pathlib.Path, metavar="FILE",
                        help="stand still while somebody holds FILE by flock(1), as a benchmark on "
                        "the same machine may: --seeds, --pulls, --generations")
    parser.add_argument("--crowd", action="store_true",
                        help="instead: Redis's latency beside crowds at the pull port, for --minutes")
    parser.add_argument("--interval", type=float, default=60, metavar="SEC",
                        help="between the saves of --soak; default 60")
    parser.add_argument("--corruptions", type=int, default=100000, metavar="N",
                        help="payload bytes to damage, before the minutes begin; default 100000")
    parser.add_argument("--json", action="store_true", help="print one object, last")
    parser.add_argument("--points", action="store_true", help="list the fault points and exit")
    parser.add_argument("--only", metavar="REGEX", help="only points that match")
    parser.add_argument("--ctest", choices=("sweep", "corrupt"), help="the short forms for ctest")
    opts = parser.parse_args()
    if opts.jobs < 1:
        parser.error("--jobs is 1 or more")
    if opts.pause_for and not opts.pause_for.exists():
        parser.error(f"--pause-for {opts.pause_for}: no such file; touch(1) makes one")
    return opts


class Torture:
    def __init__(self, opts, root):
        self.opts, self.root = opts, root
        self.dice = random.Random(opts.seed)
        self.began = time.monotonic()
        self.result = collections.OrderedDict(
            points=0, runs=0, violations=0, corruptions_tried=0, corruptions_accepted=0, pulls=0,
            diverged=0, full_resyncs=0, generations=0, mixed_images=0, leaks=0, not_run=[])
        self.struck = collections.Counter()  # (point, action)
        self.broken = []
        self.passes = {}  # point: [(scenario, passages)]

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", file=sys.stderr, flush=True)

    def left_s(self, share=1.0):
        return self.opts.minutes * 60 * share - (time.monotonic() - self.began)

    def pause(self):
        """While somebody measures."""
        if self.opts.pause_for:
            with open(self.opts.pause_for) as file:
                fcntl.flock(file, fcntl.LOCK_SH)

    # ---- what a lane tells ------------------------------------------------------------------

    def only_new(self):
        """Gives away what has come in, and begins to count anew."""
        news = (self.struck, self.broken, {key: value for key, value in self.result.items() if value})
        self.struck, self.broken = collections.Counter(), []
        self.result = type(self.result)((key, type(value)()) for key, value in self.result.items())
        return news

    def add(self, news):
        struck, broken, result = news
        self.struck.update(struck)
        self.broken += broken
        for key, value in result.items():
            self.result[key] = self.result.get(key, type(value)()) + value

    # ---- what can be struck ---------------------------------------------------------------

    def learn(self):
        """Runs each scenario once, undisturbed, to see which points it passes and how often."""
        trace = self.root / "trace"
        rig = rigs.Rig(self.root / "learn", self.dice, trace=trace).open()

        def begin():
            trace.write_text("")
            rig.traced = None
        try:
            for scenario in (scenarios.QUICK if self.opts.ctest else scenarios.ALL):
                scenario.run(rig, begin)
                counts = collections.Counter(rig.traced.split("\n"))
                most = collections.defaultdict(int)
                for line, count in counts.items():
                    if line:
                        name = line.split(" ", 1)[1]
                        most[name] = max(most[name], count)
                for name, count in most.items():
                    if not re.search(scenario.only, name):
                        continue
                    self.passes.setdefault(name, []).append((scenario, count))
        finally:
            rig.close()
        self.say(f"{len(self.passes)} of {len(rigs.point_names())} points are passed")

    def points(self):
        return [p for p in sorted(self.passes) if re.search(self.opts.only or ".", p)]

    def trials(self):
        """Endless (point, action), every point killed and stopped before any twice."""
        points = self.points()
        while points:
            round_ = []
            for point in points:
                actions = ONLY.get(point) or \
                    ("kill", "stop", self.error(), self.dice.choice(("abort", self.error())),
                     *SPECIAL.get(point, ()))
                round_ += [(point, action) for action in actions]
            self.dice.shuffle(round_)
            # Kill and stop first: a short run has then seen each point at least once.
            round_.sort(key=lambda trial: trial[1] not in ("kill", "stop"))
            yield from round_

    def cells(self):
        """What --seeds counts: (point, action), without those that are no promise."""
        return [(point, action) for point in self.points() for action in ("kill", "stop")
                if action in ONLY.get(point, (action,))]

    def error(self):
        return f"errno={self.dice.choice(ERRORS)}"

    # ---- the sweep ------------------------------------------------------------------------

    @staticmethod
    def run_scenario(rig, scenario, arm):
        """A server struck late dies under the hands of whoever asks it something."""
        try:
            scenario.run(rig, arm)
        except (scenarios.redis.RedisError, AssertionError):
            time.sleep(0.05)  # a killed process is a zombie a moment after its sockets are closed
            if not rig.server_died():
                raise
            rig.disarm()
            rig.check_dead_server(set(rig.forked))

    def strike(self, rig, point, action):
        scenario, passages = self.dice.choice(self.passes[point])
        nth = self.dice.randint(1, min(passages, 12))
        stop_s = LONG_STOP_S if self.dice.random() < 0.03 else self.dice.choice(STOPS_S)
        fault = rig.primary.fault
        text = f"{scenario.name}: {point}:{nth}:{action}"
        rig.fired = False
        try:
            self.run_scenario(rig, scenario, lambda: fault.arm(point, nth, action, stop_s))
            rig.disarm()
        except (rigs.Violation, AssertionError, scenarios.redis.RedisError) as error:
            fault.disarm()
            self.broken.append(f"{text}: {error}")
            self.say(f"VIOLATION {text}: {error}")
            return False
        if rig.fired:
            self.struck[point, action.split("=")[0]] += 1
            self.result["runs"] += 1
        return True

    def sweep(self, share):
        rig = None
        try:
            for point, action in self.trials():
                if self.left_s(share) <= 0:
                    break
                if rig is None:
                    rig = self.new_rig("sweep")
                if not self.strike(rig, point, action):
                    self.keep_logs(rig)
                    self.end_rig(rig)  # whatever it is in: the next trial gets a fresh one
                    rig = None
        finally:
            if rig:
                self.end_rig(rig)

    def new_rig(self, name):
        rig = rigs.Rig(pathlib.Path(tempfile.mkdtemp(prefix=name, dir=self.root)), self.dice)
        return rig.open()

    def end_rig(self, rig):
        self.result["pulls"] += rig.pulls
        self.result["leaks"] += len(rig.leaks)
        self.result["generations"] += load.generations_of(rig)
        try:
            rig.close()
        except AssertionError as error:
            self.broken.append(f"at the end: {error}")

    def keep_logs(self, rig):
        for server in (rig.primary, *rig.targets.values()):
            tail = "\n".join(server.log().splitlines()[-12:])
            print(f"---- {server.name}\n{tail}", file=sys.stderr)

    # ---- damage ---------------------------------------------------------------------------

    def corrupt(self, payload):
        rig = self.new_rig("corrupt")
        try:
            rig.primary.client.config_set("rdbeam.workers", 1)
            images = []
            for number in range(2):
                rig.change_data()
                rig.primary.bgsave()
                image = self.root / f"image{number}.rdb"
                shutil.copyfile(rig.primary.dump(), image)
                images.append(image)
        finally:
            self.end_rig(rig)
        tool = harness.BUILD / "tests/torture/torture-corrupt"
        done = subprocess.run([tool, "--payload", str(payload), "--seed", str(self.opts.seed),
                               *images], capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"torture: {done.stderr}")
        said = json.loads(done.stdout)
        self.result["corruptions_tried"] += said["tried"]
        self.result["corruptions_accepted"] += said["accepted"]
        self.say(f"corruptions: {said}")

    # ---- the end --------------------------------------------------------------------------

    def unreached(self):
        hit = {point for point, _ in self.struck}
        reasons = []
        for name in rigs.point_names():
            if name in hit or not re.search(self.opts.only or ".", name):
                continue
            if name in self.passes:
                why = "passed, but not struck within --minutes"
            elif name.startswith("verbs"):
                why = "needs an RDMA device: struck in the lab's guest (asan-rdma-contract)"
            elif name == "file.create":
                why = "only where the file system has no O_TMPFILE: contract-disk-faults stands in"
            elif name == "extent.allocate":
                why = "only where free 2 MiB hugetlb pages are, or a kernel older than 5.14"
            else:
                why = "no scenario passes it"
            reasons.append(f"{name}: {why}")
        return reasons

    def count_seeds(self):
        """How much of {points} x {KILL, STOP} x {seeds} there was."""
        cells, wanted = self.cells(), self.opts.seeds
        done = [min(self.struck[cell], wanted) for cell in cells]
        self.result["seeds"] = {
            "wanted": wanted, "points": len(self.points()), "cells": len(cells),
            "cells_with_all": sum(n == wanted for n in done), "least": min(done, default=0),
            "kills": sum(n for (_, action), n in self.struck.items() if action == "kill"),
            "stops": sum(n for (_, action), n in self.struck.items() if action == "stop")}
        if sum(done) < len(cells) * wanted:
            self.result["not_run"].append(
                f"{len(cells) * wanted - sum(done)} of {len(cells) * wanted} strikes of "
                f"{len(self.points())} points x KILL, STOP x {wanted} seeds")

    def finish(self):
        if self.opts.seeds:
            self.count_seeds()
        hit = {point for point, _ in self.struck}
        self.result["points"] = len(hit)
        self.result["violations"] = len(self.broken)
        self.result["not_run"] += self.unreached()
        kills = sum(n for (_, action), n in self.struck.items() if action == "kill")
        stops = sum(n for (_, action), n in self.struck.items() if action == "stop")
        self.say(f"struck {len(hit)} points: {kills} kills, {stops} stops, "
                 f"{sum(self.struck.values()) - kills - stops} others")
        for text in self.broken:
            self.say(f"violation: {text[:400]}")
        for key, value in self.result.items():
            if key != "not_run":
                print(f"{key:22} {value}")
        for text in self.result["not_run"]:
            print(f"not run                {text}")
        if self.opts.json:
            print(json.dumps(self.result))
        bad = ("violations", "corruptions_accepted", "diverged", "full_resyncs", "mixed_images", "leaks")
        return 1 if any(self.result[key] for key in bad) else 0


FAILURES = (AssertionError, OSError, rigs.Violation, scenarios.redis.RedisError,
            subprocess.SubprocessError)


def one_part(torture, part, share):
    """A part that fails is a violation: what the others count is told all the same."""
    rig = torture.new_rig(part.__name__)
    try:
        part(torture, rig, share)
    except FAILURES as error:
        torture.broken.append(f"{part.__module__}.{part.__name__}: {type(error).__name__}: {error}")
        torture.keep_logs(rig)
    finally:
        torture.end_rig(rig)


def long_run(torture):
    torture.corrupt(torture.opts.corruptions)
    torture.began = time.monotonic()  # the damage has a number to reach, not a time
    torture.learn()
    torture.sweep(share=0.75)
    for part, share in ((load.pulls, 0.86), (load.generations, 0.96), (crowd.run, 1.0)):
        one_part(torture, part, share)
    return torture.finish()


def crowd_run(torture):
    one_part(torture, crowd.run, 1.0)
    return end_of_part(torture)


def seeds_run(torture):
    torture.learn()
    lanes.run(torture, lanes.Strikes(torture))
    torture.result["not_run"].append("errors of calls, corruptions, pulls under writes, slow readers: "
                                     "see tools/torture without --seeds")
    return torture.finish()


def pulls_run(torture):
    lanes.run(torture, lanes.Pulls(torture))
    missing = torture.opts.pulls - torture.result["pulls"]
    if missing > 0:
        torture.result["not_run"].append(f"{missing} of {torture.opts.pulls} pulls: give more minutes")
    return end_of_part(torture)


def generations_run(torture):
    """By a played module and played children, a thousand times faster than by BGSAVE."""
    opts = torture.opts
    done = subprocess.run([harness.BUILD / "tests/torture/torture-generations", "--seed", str(opts.seed),
                           "--generations", str(opts.generations), "--seconds",
                           str(round(opts.minutes * 60)),
                           *(["--pause-for", opts.pause_for] if opts.pause_for else [])],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        torture.broken.append("generations: it ended early, see what it said above")
        return end_of_part(torture)
    said = json.loads(done.stdout)
    torture.result["generations"], torture.result["mixed_images"] = said["generations"], said["mixed"]
    torture.result["readers"] = said
    if said["broken"]:
        torture.broken.append(f"generations: {said['broken']} readers ended for no good reason")
    if said["generations"] < opts.generations:
        torture.result["not_run"].append(f"{opts.generations - said['generations']} of "
                                         f"{opts.generations} generations: give more minutes")
    return end_of_part(torture)


def end_of_part(torture):
    torture.result["not_run"].append("fault points and what else tools/torture does without this option")
    torture.opts.only = "$^"  # no point is expected
    return torture.finish()


def short_run(torture, part):
    if part == "corrupt":
        torture.corrupt(payload=20000)
        return 1 if torture.result["corruptions_accepted"] else 0
    torture.opts.minutes = 0.7
    torture.learn()
    torture.sweep(share=1.0)
    torture.result["not_run"].append("corruptions, pulls, generations: see tools/torture")
    return torture.finish()


def main():
    opts = options()
    if opts.points:
        print("\n".join(rigs.point_names()))
        return 0
    if not harness.servers():
        print("SKIP: no redis-server in PATH")
        return 77
    if not harness.FAULTS and opts.ctest != "corrupt":
        print("SKIP: needs a build with RDBEAM_FAULTS")
        return 77
    if harness.SANITIZE and opts.ctest:
        print("SKIP: a sanitized server takes too long for the short form")
        return 77
    root = pathlib.Path(tempfile.mkdtemp(prefix="rdbeam-torture-"))
    try:
        torture = Torture(opts, root)
        if opts.soak:
            return soak.run(torture)
        for wanted, run in ((opts.seeds, seeds_run), (opts.crowd, crowd_run),
                            (opts.pulls, pulls_run), (opts.generations, generations_run)):
            if wanted:
                return run(torture)
        return short_run(torture, opts.ctest) if opts.ctest else long_run(torture)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
