# SPDX-License-Identifier: BSD-3-Clause
"""A process of its own that writes to a server at a rate, over many databases in random order:
writes.py PORT WRITES_PER_S DBS VALUE_BYTES. Ends at the end of its input, and prints how many."""
import random
import select
import socket
import sys
import time

BATCH = 250
KEYS = 5000  # in each database


def command(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def write(dice, size):
    key = dice.randrange(KEYS)
    return dice.choices([
        command("SET", f"w:{key}", dice.randbytes(size)),
        command("INCR", f"n:{key}"),
        command("HSET", f"h:{key % 50}", key % 20, dice.randbytes(8)),
        command("SET", f"t:{key}", key, "EX", 100000),
        command("DEL", f"w:{key}"),
    ], [60, 20, 10, 5, 5])[0]


def batches(dice, dbs, size, count=400):
    """Made beforehand: making them is slower than sending them."""
    for _ in range(count):
        words, replies = [], 0
        for number in range(BATCH):
            if number % dice.randint(1, 20) == 0:
                words.append(command("SELECT", dice.randrange(dbs)))
                replies += 1
            words.append(write(dice, size))
            replies += 1
        yield b"".join(words), replies


def main(port, rate, dbs, size):
    sock = socket.create_connection(("127.0.0.1", port))
    ready = list(batches(random.Random(port), dbs, size))
    print("ready", flush=True)
    began, sent = time.monotonic(), 0
    while True:
        due = began + sent * BATCH / rate - time.monotonic()
        if select.select([sys.stdin], [], [], max(due, 0))[0]:
            break
        data, replies = ready[sent % len(ready)]
        sock.sendall(data)
        while replies > 0:
            got = sock.recv(1 << 20)
            assert got and b"-" not in got.replace(b":-", b""), got[:200]
            replies -= got.count(b"\n")
        sent += 1
    print(sent * BATCH, round(time.monotonic() - began, 2), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]))
