# SPDX-License-Identifier: BSD-3-Clause
"""Redis's latency beside 10,000 connections to the pull port: half-open ones, and such as say nonsense and
are refused. What they cost the machine is not the question: in each second round the same crowd goes to a
listener that is none of ours. Where there are two processors, the crowd has one of them, as if it were another
host, and Redis has the others; rdbeamd and that listener may have any.

As a program: `crowd.py KIND PORT PROCESSORS` is the crowd, `crowd.py listen PROCESSORS` the other listener."""
import collections
import contextlib
import math
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import time

CONNECTIONS = 10000
KINDS = ("half-open", "refused")
ROUND_S = 3.0
ROUNDS_MIN, ROUNDS_MAX = 6, 60
BOUND = 1.05
NONSENSE = bytes(range(256))


# ---- the crowd, a process of the lowest priority ---------------------------------------------

def hold_many():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - 100


def knock(port, number, words):
    """One connection, begun and not waited for. On this host it is there at once, or never."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((f"127.0.{number % 200 + 1}.1", 0))
    with contextlib.suppress(BlockingIOError):
        sock.connect(("127.0.0.1", port))
    if words:
        with contextlib.suppress(OSError):
            sock.send(words)
    return sock


def storm(kind, port):
    """Opens them evenly over a round, holds as many as it may, and stays until it is killed."""
    most = hold_many()
    held = collections.deque()
    began = time.monotonic()
    for number in range(CONNECTIONS):
        pause = began + number * ROUND_S / CONNECTIONS - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        with contextlib.suppress(OSError):
            held.append(knock(port, number, NONSENSE if kind == "refused" else b""))
        if len(held) > most:
            held.popleft().close()
    time.sleep(3600)


def listen():
    """Does as little as rdbeamd: keeps 64 of those that are silent, and answers others by closing."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    held = collections.deque()
    while True:
        sock = listener.accept()[0]
        sock.setblocking(False)
        try:
            sock.recv(4096)
            sock.close()
        except BlockingIOError:
            held.append(sock)
        except OSError:
            sock.close()
        if len(held) > 64:
            held.popleft().close()


# ---- the measurement -------------------------------------------------------------------------

def latencies(client, seconds):
    """Of a PING every millisecond, from when it should have been sent."""
    taken, due = [], time.perf_counter()
    end = due + seconds
    while due < end:
        pause = due - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        client.ping()
        taken.append(time.perf_counter() - due)
        due += 0.001
    return statistics.quantiles(taken, n=100)[98] * 1e6


def program(nice, *args, **kwargs):
    return subprocess.Popen(["nice", "-n", str(nice), sys.executable, "-B", __file__, *map(str, args)],
                            **kwargs)


def processors():
    """(all, the crowd's, Redis's)"""
    every = sorted(os.sched_getaffinity(0))
    return set(every), set(every[-1:]), set(every[:-1] or every)


def words(cpus):
    return ",".join(map(str, cpus))


def confine(pid, cpus):
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cpus)


def beside_crowd(client, kind, port, cpus):
    crowd = program(19, kind, port, words(cpus))
    try:
        return latencies(client, ROUND_S)
    finally:
        crowd.kill()
        crowd.wait()


def likely(ratios):
    """The middle of such ratios and where it lies, in 19 of 20 cases: by Hodges, Lehmann and Wilcoxon, of
    their logarithms. These lie evenly about that middle, as neither place is always the first."""
    logs, n = sorted(map(math.log, ratios)), len(ratios)
    means = sorted((logs[i] + logs[j]) / 2 for i in range(n) for j in range(i, n))
    skip = max(0, int(n * (n + 1) / 4 - 1.96 * (n * (n + 1) * (2 * n + 1) / 24) ** 0.5))
    return [math.exp(value) for value in (statistics.median(means), means[skip], means[-1 - skip])]


def judge(torture, kind, elsewhere, here):
    """A verdict only where all that is likely lies on one side of the bound."""
    ratios = [b / a for a, b in zip(elsewhere, here)]
    middle, low, high = likely(ratios)
    within = True if high <= BOUND else False if low > BOUND else None
    said = {"connections": CONNECTIONS, "rounds": len(here),
            "p99_us_elsewhere": round(statistics.median(elsewhere)),
            "p99_us_here": round(statistics.median(here)),
            "ratio": round(middle, 3), "likely": [round(low, 3), round(high, 3)],
            "within_5_percent": within}
    torture.result.setdefault("crowd", {})[kind] = said
    torture.say(f"crowd, {kind}: {said}")
    if within is None:
        torture.result["not_run"].append(
            f"p99 within 5 % beside {kind} connections: it is between {low:.2f} and {high:.2f} times; "
            "give more minutes, and the machine nothing else to do")
    elif not within:
        torture.broken.append(f"Redis's p99 beside {CONNECTIONS} {kind} connections is {low:.2f} times "
                              "or more that without them at the pull port")


def run(torture, rig, share):
    port = rig.primary.number("rdbeam", "rdbeam_port")
    client = rig.primary.connect()
    every, of_crowd, of_redis = processors()
    # Of rdbeamd's own priority, or what a process costs its neighbours would count as what ours costs.
    other = program(0, "listen", words(every), stdout=subprocess.PIPE, text=True)
    elsewhere, here = ({kind: [] for kind in KINDS} for _ in range(2))
    rounds = 0
    try:
        for pid in (rig.primary.pid, os.getpid()):
            confine(pid, of_redis)
        nowhere = int(other.stdout.readline())
        while rounds < ROUNDS_MAX and (rounds < ROUNDS_MIN or torture.left_s(share) > 0):
            for kind in KINDS:
                # Neither is always the first: what changes slowly falls upon both alike.
                for place in (0, 1) if rounds % 2 else (1, 0):
                    found = beside_crowd(client, kind, (nowhere, port)[place], of_crowd)
                    (elsewhere, here)[place][kind].append(found)
            rounds += 1
    finally:
        confine(os.getpid(), every)
        other.kill()
        other.wait()
    for kind in KINDS:
        judge(torture, kind, elsewhere[kind], here[kind])


if __name__ == "__main__":
    os.sched_setaffinity(0, set(map(int, sys.argv[-1].split(","))))
    listen() if sys.argv[1] == "listen" else storm(sys.argv[1], int(sys.argv[2]))
