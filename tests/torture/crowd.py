# SPDX-License-Identifier: BSD-3-Clause
"""Redis's latency beside 10,000 connections to the pull port: half-open ones, and such as say nonsense and
are refused. What they cost the machine is not the question: in each second round the same crowd goes to a
listener that is none of ours.

As a program: `crowd.py KIND PORT` is the crowd, `crowd.py listen` the other listener."""
import collections
import contextlib
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


def program(*words, **kwargs):
    return subprocess.Popen(["nice", "-n", "19", sys.executable, "-B", __file__, *map(str, words)],
                            **kwargs)


def beside_crowd(client, kind, port):
    crowd = program(kind, port)
    try:
        return latencies(client, ROUND_S)
    finally:
        crowd.kill()
        crowd.wait()


def likely(ratios):
    """Where the median of such ratios lies, in 19 of 20 cases: by their order alone."""
    ratios, n = sorted(ratios), len(ratios)
    skip = max(0, round((n - 1.96 * n ** 0.5) / 2) - 1)
    return ratios[skip], ratios[-1 - skip]


def judge(torture, kind, elsewhere, here):
    """A verdict only where what is likely lies on one side of the bound."""
    ratios = [b / a for a, b in zip(elsewhere, here)]
    low, high = likely(ratios)
    within = True if high <= BOUND else False if low > BOUND else None
    said = {"connections": CONNECTIONS, "rounds": len(here),
            "p99_us_elsewhere": round(statistics.median(elsewhere)),
            "p99_us_here": round(statistics.median(here)),
            "ratio": round(statistics.median(ratios), 3), "likely": [round(low, 3), round(high, 3)],
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
    other = program("listen", stdout=subprocess.PIPE, text=True)
    elsewhere, here = ({kind: [] for kind in KINDS} for _ in range(2))
    rounds = 0
    try:
        nowhere = int(other.stdout.readline())
        while rounds < ROUNDS_MAX and (rounds < ROUNDS_MIN or torture.left_s(share) > 0):
            for kind in KINDS:
                # Neither is always the first: what changes slowly falls upon both alike.
                for place in (0, 1) if rounds % 2 else (1, 0):
                    found = beside_crowd(client, kind, (nowhere, port)[place])
                    (elsewhere, here)[place][kind].append(found)
            rounds += 1
    finally:
        other.kill()
        other.wait()
    for kind in KINDS:
        judge(torture, kind, elsewhere[kind], here[kind])


if __name__ == "__main__":
    listen() if sys.argv[1] == "listen" else storm(sys.argv[1], int(sys.argv[2]))
