# SPDX-License-Identifier: BSD-3-Clause
"""Redis's latency beside 10,000 half-open connections to the pull port. What they cost the machine
is not the question: between the rounds the same crowd goes to a listener that is none of ours.

As a program: `crowd.py storm PORT` is the crowd, `crowd.py listen` the other listener."""
import collections
import resource
import socket
import statistics
import subprocess
import sys
import time

CONNECTIONS = 10000
ROUND_S = 3.0
ROUNDS_MIN, ROUNDS_MAX = 4, 30
BOUND = 1.05
NOISE_MAX = 1.25


# ---- the crowd, a process of the lowest priority ---------------------------------------------

def hold_many():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - 100


def storm(port):
    """Opens them evenly over a round, says nothing, and holds as many as it may until it is killed."""
    most = hold_many()
    held = collections.deque()
    began = time.monotonic()
    for number in range(CONNECTIONS):
        pause = began + number * ROUND_S / CONNECTIONS - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.0.{number % 200 + 1}.1", 0))
        try:
            sock.connect(("127.0.0.1", port))
        except BlockingIOError:
            pass
        except OSError:
            sock.close()
            continue
        held.append(sock)
        if len(held) > most:
            held.popleft().close()
    time.sleep(3600)


def listen():
    """Keeps as few as rdbeamd does."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    held = collections.deque()
    while True:
        held.append(listener.accept()[0])
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


def beside_crowd(client, port):
    crowd = program("storm", port)
    try:
        return latencies(client, ROUND_S)
    finally:
        crowd.kill()
        crowd.wait()


def judge(torture, elsewhere, here):
    """A verdict only where the rounds do not differ by much more among themselves."""
    ratio = statistics.median(b / a for a, b in zip(elsewhere, here))
    quarters = statistics.quantiles(elsewhere, n=4)
    noise = quarters[2] / quarters[0]
    within = None if noise > NOISE_MAX else ratio <= BOUND
    torture.result["crowd"] = {
        "connections": CONNECTIONS, "rounds": len(here),
        "p99_us_elsewhere": round(statistics.median(elsewhere)),
        "p99_us_here": round(statistics.median(here)), "ratio": round(ratio, 3),
        "noise": round(noise, 3), "within_5_percent": within}
    torture.say(f"crowd: {torture.result['crowd']}")
    if within is None:
        torture.result["not_run"].append(
            f"p99 within 5 %: from round to round it changes {noise:.2f}-fold by itself here")
    elif not within:
        torture.broken.append(f"Redis's p99 beside {CONNECTIONS} half-open connections is "
                              f"{ratio:.2f} times that without them at the pull port")


def run(torture, rig, share):
    port = rig.primary.number("rdbeam", "rdbeam_port")
    client = rig.primary.connect()
    other = program("listen", stdout=subprocess.PIPE, text=True)
    elsewhere, here = [], []
    try:
        nowhere = int(other.stdout.readline())
        while len(here) < ROUNDS_MAX and (len(here) < ROUNDS_MIN or torture.left_s(share) > 0):
            elsewhere.append(beside_crowd(client, nowhere))
            here.append(beside_crowd(client, port))
    finally:
        other.kill()
        other.wait()
    judge(torture, elsewhere, here)


if __name__ == "__main__":
    storm(int(sys.argv[2])) if sys.argv[1] == "storm" else listen()
