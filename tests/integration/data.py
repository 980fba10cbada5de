# SPDX-License-Identifier: BSD-3-Clause
"""Data sets and write load for the integration tests."""
import random
import threading

FUNCTIONS = """#!lua name=beamlib
redis.register_function('beam_echo', function(keys, args) return args[1] end)
"""


def fill_strings(client, count, size, prefix="s", seed=1):
    """`count` strings of random bytes."""
    dice = random.Random(seed)
    pipe = client.pipeline(transaction=False)
    for number in range(count):
        pipe.set(f"{prefix}:{number}", dice.randbytes(size))
        if number % 1000 == 999 or size > 100000:
            pipe.execute()
    pipe.execute()


def fill_mixed(server, dbs=3, scale=1):
    """Every type and shape, several databases, TTLs, functions. Returns the number of keys."""
    server.client.execute_command("FUNCTION", "LOAD", FUNCTIONS)
    for db in range(dbs):
        client = server.connect(db=db)
        fill_database(client, random.Random(db), scale)
        client.close()
    return sum(server.connect(db=db).dbsize() for db in range(dbs))


def fill_database(client, dice, scale):
    pipe = client.pipeline(transaction=False)
    for size in (0, 1, 19, 20, 21, 43, 44, 45, 46, 63, 64, 100, 16383, 16384, 70000, 3 << 20):
        pipe.set(f"len:{size}", dice.randbytes(size))
        pipe.set(f"text:{size}", b"a" * size)
    for number in (0, -1, 1, 127, 128, -128, -129, 32767, 32768, -32769, 2**31 - 1, 2**31, -2**31,
                   -2**31 - 1, 2**63 - 1, -2**63):
        pipe.set(f"int:{number}", number)
        pipe.set(str(number), "an integer for a key")
    pipe.set(b"", "the key of 0 bytes")
    pipe.set(bytes(range(256)), bytes(reversed(range(256))))
    pipe.set(b"\r\n$5\r\n\xfe\xfa\xff", b"\xff" * 9)
    pipe.set("k" * 20000, "a long key")
    pipe.set("raw", "x")
    pipe.append("raw", "a short string that is RAW, not embedded")
    pipe.execute()
    for number in range(500 * scale):
        pipe.set(f"short:{number}", f"value {number}")
        pipe.hset(f"h:{number % 50}", f"field{number}", dice.randbytes(20))
        pipe.rpush(f"l:{number % 50}", number, dice.randbytes(30))
        pipe.sadd(f"set:{number % 50}", f"member{number}")
        pipe.sadd(f"ints:{number % 50}", number)
        pipe.zadd(f"z:{number % 50}", {f"m{number}": number / 7})
    pipe.zadd("z:odd", {"inf": float("inf"), "-inf": float("-inf"), "tiny": 5e-324})
    pipe.hset("h:empty", "", "")
    pipe.sadd("set:empty", "")
    pipe.rpush("l:large", *[dice.randbytes(9000) for _ in range(30)])
    pipe.execute()
    for start in range(0, 100000, 5000):
        pipe.hset("h:100k", mapping={f"f{n}": n for n in range(start, start + 5000)})
    pipe.zadd("z:10k", {f"member{n}": dice.random() for n in range(10000)})
    pipe.sadd("set:10k", *[f"member{n}" for n in range(10000)])
    pipe.set("bits", "")
    pipe.setbit("bits", 80000, 1)
    pipe.pfadd("hll", *range(1000))
    pipe.geoadd("geo", (13.36, 38.11, "Palermo"))
    fill_streams(pipe)
    for number in range(100):
        pipe.set(f"ttl:{number}", number, ex=100000 + number)
        pipe.pexpire(f"h:{number % 50}", 90000000 + number)
    pipe.execute()


def fill_streams(pipe):
    for number in range(1, 400):
        pipe.xadd("stream", {"n": number, "text": "entry"}, id=f"{number}-1")
    pipe.xgroup_create("stream", "group", id="0")
    pipe.xreadgroup("group", "alice", {"stream": ">"}, count=10)
    pipe.xreadgroup("group", "bob", {"stream": ">"}, count=5)
    pipe.xack("stream", "group", "1-1", "2-1")
    pipe.xgroup_create("stream", "idle", id="$")
    pipe.xdel("stream", "100-1")
    pipe.xadd("stream:empty", {"a": "b"}, id="5-5")
    pipe.xdel("stream:empty", "5-5")


def fill_array(client, key):
    """Each kind of element, with Redis 8.8."""
    client.execute_command("ARSET", key, 0, "short", 7, -2.5, "a longer text of an element" * 9)
    client.execute_command("ARSET", key, 100000, "far away")


def details(server, dbs=3):
    """What DEBUG DIGEST does not cover: TTLs, stream groups, functions."""
    found = {"functions": server.client.execute_command("FUNCTION", "DUMP")[:-10]}
    for db in range(dbs):
        client = server.connect(db=db)
        keys = sorted(client.scan_iter(count=1000))
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.execute_command("PEXPIRETIME", key)
        found.update(zip(((db, key) for key in keys), pipe.execute()))
        if client.exists("stream"):
            found[db, "groups"] = client.execute_command("XINFO", "GROUPS", "stream")
            found[db, "pending"] = client.xpending_range("stream", "group", "-", "+", 100)
            for entry in found[db, "pending"]:
                del entry["time_since_delivered"]
        client.close()
    return found


class Load(threading.Thread):
    """Writes to several databases until stopped; counts what was acknowledged."""

    def __init__(self, server, dbs=4, keys=2000, size=50, pause_s=0.0, seed=7):
        super().__init__(daemon=True)
        self.server, self.dbs, self.keys, self.size = server, dbs, keys, size
        self.pause_s = pause_s
        self.dice = random.Random(seed)
        self.ended = threading.Event()
        self.first = threading.Event()
        self.writes = 0
        self.error = None

    def __enter__(self):
        self.start()
        if not self.first.wait(30):
            raise AssertionError(f"no write was acknowledged: {self.error}")
        return self

    def __exit__(self, *unused):
        self.stop()

    def stop(self):
        self.ended.set()
        self.join(60)
        if self.error:
            raise AssertionError(f"the write load failed: {self.error}")

    def run(self):
        client = self.server.connect()
        try:
            while not self.ended.is_set():
                pipe = client.pipeline(transaction=False)
                for _ in range(16):
                    self.write(pipe)
                answers = pipe.execute(raise_on_error=False)
                wrong = [answer for answer in answers if isinstance(answer, Exception)]
                if wrong:
                    raise wrong[0]
                self.writes += len(answers)
                self.first.set()
                self.ended.wait(self.pause_s)
        except Exception as error:  # told by stop()
            self.error = error
        finally:
            client.close()

    def write(self, pipe):
        dice = self.dice
        if dice.random() < 0.3:
            pipe.execute_command("SELECT", dice.randrange(self.dbs))
        number = dice.randrange(self.keys)
        kind = dice.randrange(8)
        if kind == 0:
            pipe.incr(f"load:counter:{number}")
        elif kind == 1:
            pipe.lpush(f"load:list:{number % 50}", dice.randbytes(self.size))
            pipe.ltrim(f"load:list:{number % 50}", 0, 99)
        elif kind == 2:
            pipe.hset(f"load:hash:{number % 50}", f"f{number}", dice.randbytes(self.size))
        elif kind == 3:
            pipe.sadd(f"load:set:{number % 50}", number)
        elif kind == 4:
            pipe.delete(f"load:string:{number}")
        elif kind == 5:
            pipe.set(f"load:string:{number}", dice.randbytes(self.size), ex=100000)
        else:
            pipe.set(f"load:string:{number}", dice.randbytes(self.size))
