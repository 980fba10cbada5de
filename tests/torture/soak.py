# SPDX-License-Identifier: BSD-3-Clause
"""Hours in small: writes, saves, pulls and kills, and whether anything grows."""
import collections
import pathlib
import re
import statistics
import time

import redis

import harness
import load
import rig as rigs
from harness import kill, wait_for

KINDS = ("server_fds", "daemon_fds", "server_rss_kb", "daemon_rss_kb", "region_kb", "pinned_kb")
# A heap's fragments move about; descriptors, region and pins may not grow at all.
RSS_SLACK_KB = 4096


def field_kb(pid, name):
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.M)
    return int(found.group(1)) if found else 0


def sample(rig):
    server, daemon = rig.primary.pid, rig.primary.daemon()
    shared = field_kb(daemon, "RssShmem")
    return {"server_fds": sum(rigs.fds(server).values()),
            "daemon_fds": sum(n for kind, n in rigs.fds(daemon).items() if kind != "memfd"),
            "server_rss_kb": field_kb(server, "VmRSS"),
            "daemon_rss_kb": field_kb(daemon, "VmRSS") - shared,  # the region is counted apart
            "region_kb": rig.primary.number("rdbeam", "rdbeam_region_bytes") // 1024,
            "pinned_kb": field_kb(daemon, "VmPin") + field_kb(daemon, "VmLck")}


def disturb(torture, rig):
    """Kills a process in mid-save; the server itself stays, it is what is watched."""
    rig.primary.client.execute_command("BGSAVE")
    victim = torture.dice.choice(("child", "worker", "daemon"))
    try:
        child = rig.primary.child(timeout_s=2)
        pids = {"child": [child], "worker": harness.children(child), "daemon": [rig.primary.daemon()]}
        for pid in pids[victim][:1]:
            kill(pid)
    except AssertionError:
        pass  # the save was over sooner
    wait_for(lambda: not rig.primary.saving(), "the disturbed save ends", 90)
    wait_for(lambda: rig.primary.value("rdbeam", "rdbeam_daemon_state") == "up", "daemon", 90)
    return victim


def cycle(torture, rig, target, number):
    """A save and a pull, with a kill every third time."""
    killed = disturb(torture, rig) if number % 3 == 2 else None
    rig.primary.bgsave()
    done = harness.cli("pull", "--from", f"127.0.0.1:{rig.primary.port}", "--to",
                       f"127.0.0.1:{target.port}", "--force")
    rig.pulls += 1
    if done.returncode != 0:
        torture.broken.append(f"soak: pull exits {done.returncode}: {done.stderr[-300:]}")
    target.client.execute_command("REPLICAOF", "NO", "ONE")
    return killed


def growth(samples):
    """Medians of the first and the last third; what has grown."""
    third = max(1, len(samples) // 3)
    found = collections.OrderedDict()
    for kind in KINDS:
        first = statistics.median(s[kind] for s in samples[:third])
        last = statistics.median(s[kind] for s in samples[-third:])
        found[kind] = {"first": first, "last": last, "growth": last - first}
    return found


def grown(kind, values):
    return values["growth"] > (RSS_SLACK_KB if "rss" in kind else 0)


def run(torture):
    opts = torture.opts
    rig = torture.new_rig("soak")
    # The server's own buffer would be seen to fill for as long as the soak takes.
    rig.primary.client.config_set("repl-backlog-size", "1mb")
    target = rig.target("replica")
    writer = load.Writer(rig.primary, opts.seed)
    samples, number, deadline = [], 0, time.monotonic() + opts.soak * 60
    try:
        while time.monotonic() < deadline:
            began = time.monotonic()
            cycle(torture, rig, target, number)
            number += 1
            # The first rounds fill pools and buffers, and the writer's keys come into being.
            if number > 4 and time.monotonic() > deadline - opts.soak * 45:
                samples.append(sample(rig))
            pause = min(opts.interval - (time.monotonic() - began), deadline - time.monotonic())
            if pause > 0:
                time.sleep(pause)
    except (AssertionError, redis.RedisError) as error:
        torture.broken.append(f"soak: {error}")
    finally:
        writer.stop()
        torture.end_rig(rig)
    if len(samples) < 3:
        torture.result["not_run"].append("growth: needs seven rounds at least, give more minutes")
    found = growth(samples) if len(samples) >= 3 else {}
    for kind, values in found.items():
        print(f"{kind:16} {values['first']:10.0f} -> {values['last']:10.0f}")
        if grown(kind, values):
            torture.result["leaks"] += 1
            torture.broken.append(f"soak: {kind} grew from {values['first']} to {values['last']}")
    print(f"{number} saves, {rig.pulls} pulls, {writer.written} writes, {len(samples)} samples")
    torture.result["soak"] = {"minutes": opts.soak, "saves": number, "growth": found}
    torture.result["not_run"].append("fault points, corruptions: --soak leaves them out")
    torture.opts.only = "$^"  # no point is expected
    return torture.finish()
