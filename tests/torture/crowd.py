# SPDX-License-Identifier: BSD-3-Clause
"""Redis's latency beside 10,000 connections to the pull port: half-open ones, and such as say nonsense and
are refused. What they cost the machine is not the question: every quarter of a second the crowd turns from
the pull port to a listener that is none of ours, or back, and only the two are compared. Where there are two
processors, the crowd has one of them, as if it were another host, and Redis has the others; rdbeamd and that
listener may have any.

As a program: `crowd.py KIND ORDER BEGIN PORTS PROCESSORS` is the crowd, `crowd.py listen PROCESSORS` the other
listener."""
import collections
import contextlib
import math
import os
import pathlib
import random
import resource
import socket
import statistics
import subprocess
import sys
import time

CONNECTIONS = 10000
KINDS = ("half-open", "refused")
ROUND_S = 12.0  # of one kind, with CONNECTIONS / 3 a second
RATE = CONNECTIONS / 3
TURN_S = 0.25
SETTLE_S = 0.02  # of a turn: what the one before has left to do
PING_S = 0.0005
ROUNDS_MIN, ROUNDS_MAX = 3, 60  # 24 pairs of turns each
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


def storm(kind, order, begin, ports):
    """Opens them evenly, those of a turn at the port that `order` says, holds the last CONNECTIONS of each
    port as far as it may, and stays until it is killed."""
    most = min(hold_many(), 2 * CONNECTIONS)
    held = collections.deque()
    for number in range(int(RATE * TURN_S * len(order))):
        due = begin + number / RATE
        pause = due - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        turn = min(int((due - begin) / TURN_S), len(order) - 1)
        with contextlib.suppress(OSError):
            held.append(knock(ports[int(order[turn])], number, NONSENSE if kind == "refused" else b""))
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

def latencies(client, begin, turns):
    """By turn: of a PING every half millisecond, from when it should have been sent."""
    taken, due = [[] for _ in range(turns)], begin
    while True:
        pause = due - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        turn, into = divmod(due - begin, TURN_S)
        if turn >= turns:
            return taken
        client.ping()
        if into >= SETTLE_S:
            taken[int(turn)].append(time.perf_counter() - due)
        due += PING_S


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


def beside_crowd(client, kind, ports, cpus, dice):
    """Pairs of latencies: of a turn elsewhere, and of the one beside it at the pull port."""
    firsts = [dice.choice("01") for _ in range(int(ROUND_S / TURN_S / 2))]
    order = "".join(first + "10"[int(first)] for first in firsts)
    begin = time.perf_counter() + 1
    crowd = program(19, kind, order, begin, words(ports), words(cpus))
    try:
        taken = latencies(client, begin, len(order))
        if crowd.poll() is not None:
            raise AssertionError(f"the crowd has ended: {crowd.returncode}")
    finally:
        crowd.kill()
        crowd.wait()
    pairs = [(taken[i], taken[i + 1]) for i in range(0, len(order), 2)]
    return [pair if first == "0" else pair[::-1] for first, pair in zip(firsts, pairs)]


def p99(turns):
    return statistics.quantiles([value for turn in turns for value in turn], n=100)[98]


def likely(ratios):
    """The middle of such ratios and where it lies, in 19 of 20 cases: by Hodges, Lehmann and Wilcoxon, of
    their logarithms. These lie evenly about that middle, as neither place is always the first."""
    logs, n = sorted(map(math.log, ratios)), len(ratios)
    means = sorted((logs[i] + logs[j]) / 2 for i in range(n) for j in range(i, n))
    skip = max(0, int(n * (n + 1) / 4 - 1.96 * (n * (n + 1) * (2 * n + 1) / 24) ** 0.5))
    return [math.exp(value) for value in (statistics.median(means), means[skip], means[-1 - skip])]


def judge(torture, kind, pairs):
    """A verdict only where all that is likely lies on one side of the bound. It is of each turn's p99 against
    its neighbour's: where the machine stands still for a hundredth of the time, that of all turns together
    is either side of a cliff."""
    elsewhere, here = (p99([pair[i] for pair in pairs]) for i in (0, 1))
    ratio, low, high = likely([p99([second]) / p99([first]) for first, second in pairs])
    within = True if high <= BOUND else False if low > BOUND else None
    said = {"connections_per_s": round(RATE), "pings": sum(len(turn) for pair in pairs for turn in pair),
            "p99_us_elsewhere": round(elsewhere * 1e6), "p99_us_here": round(here * 1e6), "turns": 2 * len(pairs),
            "ratio": round(ratio, 3), "likely": [round(low, 3), round(high, 3)],
            "within_5_percent": within}
    torture.result.setdefault("crowd", {})[kind] = said
    torture.say(f"crowd, {kind}: {said}")
    if within is None:
        torture.result["not_run"].append(
            f"p99 within 5 % beside {kind} connections: it is between {low:.2f} and {high:.2f} times; "
            "give more minutes, and the machine nothing else to do")
    elif not within:
        torture.broken.append(f"Redis's p99 beside {round(RATE)} {kind} connections a second is {low:.2f} times "
                              "or more that without them at the pull port")


def run(torture, rig, share):
    port = rig.primary.number("rdbeam", "rdbeam_port")
    client = rig.primary.connect()
    every, of_crowd, of_redis = processors()
    # Of rdbeamd's own priority, or what a process costs its neighbours would count as what ours costs.
    other = program(0, "listen", words(every), stdout=subprocess.PIPE, text=True)
    pairs, dice = {kind: [] for kind in KINDS}, random.Random(torture.opts.seed)
    rounds = 0
    try:
        for pid in (rig.primary.pid, os.getpid()):
            confine(pid, of_redis)
        ports = (int(other.stdout.readline()), port)
        while rounds < ROUNDS_MAX and (rounds < ROUNDS_MIN or torture.left_s(share) > 0):
            for kind in KINDS:
                pairs[kind] += beside_crowd(client, kind, ports, of_crowd, dice)
            rounds += 1
    finally:
        confine(os.getpid(), every)
        other.kill()
        other.wait()
    for kind in KINDS:
        judge(torture, kind, pairs[kind])


def main(kind, *args):
    *rest, cpus = args
    os.sched_setaffinity(0, set(map(int, cpus.split(","))))
    if kind == "listen":
        listen()
    order, begin, ports = rest
    storm(kind, order, float(begin), [int(port) for port in ports.split(",")])


if __name__ == "__main__":
    main(*sys.argv[1:])
