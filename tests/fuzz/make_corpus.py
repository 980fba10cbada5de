#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the seed corpus: dumps of a real server with every value type in each of its encodings, and
chunks, manifests and compact images laid out by hand from the format's description.

    make_corpus.py [--server PATH]... [--out DIR]

With no server, only what is made by hand is written. Dumps are named after the server's version, so
several servers can add theirs to one corpus.
"""
import argparse
import os
import shutil
import struct
import subprocess
import tempfile

import redis

GEN = (0x1122334455667788, 7)
LUA = "#!lua name={name}\nredis.register_function('{name}', function() return 1 end)"

COMPACT = []
TABLES = ["hash-max-listpack-entries 0", "zset-max-listpack-entries 0", "set-max-intset-entries 0",
          "list-max-listpack-size 4", "stream-node-max-entries 3"]
PLAIN = ["rdbcompression no", "rdbchecksum no"]
VARIANTS = {
    "compact": COMPACT,
    "tables": TABLES,
    "plain": PLAIN,
    "lfu": ["maxmemory-policy allkeys-lfu"],
    "lru": ["maxmemory-policy allkeys-lru"],
}

CONFIGS = {
    "numbers": ["--workers", "64", "--port", "0", "--max-pulls", "1024", "--retain", "0"],
    "bytes": ["--region-size", "3gb", "--segment-size", "512mb", "--rate-limit", "64tb"],
    "words": ["--mode", "MIRROR", "--tls", "auto", "--transport", "verbs", "--hugepages", "require",
              "--durable", "no", "--fast-path", "YES"],
    "texts": ["--bind", "127.0.0.1 -::1 * ::*  - a b c d e", "--daemon", "/usr/lib/rdbeam/rdbeamd"],
    "no-value": ["--port"],
    "unknown": ["port", "1", "--ports", "1"],
    "bounds": ["--segment-size", "3mb", "--port", "65536", "--workers", "-1", "99999999999999999999"],
    "not-a-number": ["--port", "0x10", "--retain", " 1", "--rate-limit", "1e9"],
}
OPTIONS = {
    "all": ["-f", "-h", "host", "--port", "6379", "--number=-5", "--size", "64mb", "--transport=tcp"],
    "rest": ["first", "--", "--flag", "-", "last"],
    "no-value": ["word", "--port"],
    "flag-with-value": ["--flag=yes"],
    "short-equals": ["-h=host", "-n=1", "-nh"],
    "bounds": ["18446744073709551615gb", "--size", "15", "--port", "0"],
    "url": ["redis://user:p%40ss@host:7000/3", "--transport", "udp"],
    "v6": ["[fe80::1%25eth0]:65535"],
    "socket": ["/run/redis.sock", "--unknown=secret"],
    "bytes": ["4gb", "--size=1GB"],
}


def crc64(data, crc=0):
    """CRC-64/Jones, bit by bit: slow, and independent of the code under test."""
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95ac9329ac4bc9b5 if crc & 1 else 0)
    return crc


def crc64_append(crc, nzeros):
    """The CRC after `nzeros` more zero bytes, by squaring."""
    def multiply(a, b):
        product = 0
        for bit in range(63, -1, -1):
            if a >> bit & 1:
                product ^= b
            b = b >> 1 ^ (0x95ac9329ac4bc9b5 if b & 1 else 0)
        return product

    square = 1 << 55
    while nzeros:
        if nzeros & 1:
            crc = multiply(crc, square)
        square = multiply(square, square)
        nzeros >>= 1
    return crc


def fill(r):
    """A few keys of every type and encoding, over two databases."""
    r.set("short", "value")
    r.set("number", 12345)
    r.set("negative", -7)
    r.set("wide", 2**31 - 1)
    r.set(b"binary\x00\xff", bytes(range(64)))
    r.set("a-key-long-enough-to-be-compressed-" + "k" * 40, "compressible " * 20)
    r.set("expiring", "x", ex=100000)
    r.rpush("list", *range(6), *("element-%d" % i for i in range(6)))
    r.rpush("biglist", *("y" * 60 for _ in range(8)), "z" * 300)
    r.sadd("intset", 1, 2, 300, 70000)
    r.sadd("set", "a", "b", 3)
    r.zadd("zset", {"one": 1, "half": 0.5, "inf": float("inf"), "low": float("-inf")})
    r.hset("hash", mapping={"field": "value", "n": 1, "long": "v" * 80})
    fill_stream(r)
    fill_newer(r)


def fill_db_3(r):
    r.set("in-db-3", "x")
    r.set("in-db-3-expiring", "x", px=10**9)


def fill_stream(r):
    for i in range(1, 9):
        r.xadd("stream", {"f": "v%d" % i, "n": i}, id="%d-1" % i)
    r.xdel("stream", "2-1")
    r.xgroup_create("stream", "group", id="0")
    r.xgroup_create("stream", "idle", id="$")
    r.xreadgroup("group", "alice", {"stream": ">"}, count=3)
    r.xreadgroup("group", "bob", {"stream": ">"}, count=2)
    r.xack("stream", "group", "3-1")
    r.xgroup_create("emptystream", "g", id="$", mkstream=True)


def fill_newer(r):
    r.execute_command("FUNCTION", "LOAD", "REPLACE", LUA.format(name="one"))
    r.execute_command("FUNCTION", "LOAD", "REPLACE", LUA.format(name="two"))
    try:
        r.execute_command("HEXPIRE", "hash", 100000, "FIELDS", 1, "field")
        r.hset("hash-without-ttl", "f", "v")
    except redis.ResponseError:
        pass  # field expiry is Redis 7.4's


def dump(server, lines):
    """Runs `server` with the configuration lines, fills it, and returns (version, dump bytes)."""
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "s")
        conf = ["port 0", "unixsocket %s" % path, "dir %s" % home, 'save ""', "daemonize no"]
        with subprocess.Popen([server, "-"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            process.stdin.write("\n".join(conf + lines).encode())
            process.stdin.close()
            wait_ready(process)
            try:
                r = redis.Redis(unix_socket_path=path)
                fill(r)
                fill_db_3(redis.Redis(unix_socket_path=path, db=3))
                r.save()
                info = r.info("server")
            finally:
                process.terminate()
        with open(os.path.join(home, "dump.rdb"), "rb") as f:
            return info.get("valkey_version", info["redis_version"]), f.read()


def wait_ready(process):
    """The server logs to its standard output; it is ready when it says so."""
    for line in process.stdout:
        if b"eady to accept connections" in line:
            return
    raise SystemExit("server ended with status %d before it listened" % process.wait())


def chunk(first, items, length=None, body=None):
    """A chunk of one segment, as short as `length` allows."""
    body = body if body is not None else b"".join(items)
    index = b"".join(varint(len(i)) for i in items)
    length = length or len(body) + 7 + len(index) + 56
    value = length - len(body) - 7
    footer = b"rdbmCHK1" + struct.pack("<QQIIIIQ", *GEN, first, 1, len(items), len(index), len(body))
    data = body + b"\xfa\x00\x80" + struct.pack(">I", value)
    data += bytes(length - len(data) - len(index) - 56) + index + footer
    return data + struct.pack("<Q", crc64(data))


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def string(data):
    return bytes([len(data)]) + data


ITEMS = [
    b"\xfe\x00" + b"\x00" + string(b"key") + string(b"value"),
    b"\xfc" + struct.pack("<q", 2000000000000) + b"\x00" + string(b"expiring") + b"\xc0\x05",
    b"\xf8\x10" + b"\x00" + b"\xc1\x39\x30" + string(b"integer key"),
    b"\xf9\xff" + b"\x01" + string(b"list") + b"\x02" + string(b"a") + string(b"b"),
    b"\xfe\x03" + b"\x05" + string(b"zset") + b"\x01" + string(b"m") + struct.pack("<d", 1.5),
    b"\x63" + string(b"a type of tomorrow") + b"\x01\x02\x03",
]
# Of two modules, behind the keys.
MODULE_AUX = (b"\xf7\x81" + bytes(range(8)) + b"\x02\x02\x05" + string(b"text") + b"\x02\x07\x00" +
              b"\xf7\x81" + bytes(8) + b"\x02\x02\x00")
HEADER = (b"REDIS0010" + b"\xfa" + string(b"redis-ver") + string(b"7.0.15") +
          b"\xfa" + string(b"repl-id") + string(b"0123456789abcdef0123456789abcdef01234567") +
          b"\xfa" + string(b"repl-offset") + b"\xc2\x40\xe2\x01\x00" + b"\xfe\x00\xfb\x03\x01")


def manifest(crcs, segment_bytes, nitems):
    value = b"".join(struct.pack("<Q", c) for c in crcs)
    value += struct.pack("<QQIIQQ", nitems, 0, len(crcs) + 1, segment_bytes, *GEN) + b"rdbmEND1"
    data = b"\xfa\x00\x80" + struct.pack(">I", len(value)) + value + b"\xff"
    crc = 0
    for c in crcs:
        crc = crc64_append(crc, segment_bytes) ^ c
    return data + struct.pack("<Q", crc64(data, crc))


def compact_image(chunks, patches=b""):
    """What fuzz_image inflates: see the head of fuzz_image.c."""
    out = bytes([len(chunks)])
    for body, items, padding in chunks:
        index = b"".join(varint(len(i)) for i in items)
        out += struct.pack("<BHBH", padding, len(body), len(items), len(index)) + body + index
    return out + patches


def write(folder, name, data):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def make_by_hand(out):
    body = b"".join(ITEMS)
    write(out + "/chunk", "items", chunk(1, ITEMS))
    write(out + "/chunk", "padded", chunk(1, ITEMS[:2], 300))
    write(out + "/chunk", "empty", chunk(5, []))
    write(out + "/chunk", "header", chunk(0, [], 400, HEADER))
    write(out + "/chunk", "module-aux", chunk(2, [], 300, MODULE_AUX))
    write(out + "/manifest", "two", manifest([1], 2 << 20, 0))
    write(out + "/manifest", "five", manifest([1, 2, 3, 2**64 - 1], 4 << 20, 99))
    header = (HEADER, [], 0)
    write(out + "/image", "one-chunk", compact_image([header, (body, ITEMS, 0)]))
    write(out + "/image", "two-chunks", compact_image([header, (body, ITEMS, 0),
                                                       (ITEMS[0], ITEMS[:1], 1)]))
    write(out + "/image", "patched", compact_image([header, (body, ITEMS, 0)],
                                                   struct.pack("<IB", 2 << 20, 1)))
    write(out + "/image", "module-aux", compact_image([header, (ITEMS[0], ITEMS[:1], 0), (MODULE_AUX, [], 0)]))
    write(out + "/rdb", "empty", b"REDIS0009\xff" + struct.pack("<Q", crc64(b"REDIS0009\xff")))
    module = (b"REDIS0009\xf7\x81" + bytes(range(8)) + b"\x02\x01\x05" + string(b"aux") + b"\x00" +
              b"\x07" + string(b"module") + b"\x81" + bytes(8) + b"\x02\x07\x01\x08\x03" + bytes(4) +
              b"\x04" + bytes(8) + b"\x05" + string(b"text") + b"\x00\xff")
    write(out + "/rdb", "module", module + struct.pack("<Q", crc64(module)))
    for name, line in CONFIGS.items():
        write(out + "/config", name, "\0".join(line).encode())
    for name, line in OPTIONS.items():
        write(out + "/options", name, "\0".join(line).encode())
    old = (b"REDIS0005\xfd" + bytes(4) + b"\x03" + string(b"zset") + b"\x02" + string(b"a") +
           b"\x031.5" + string(b"b") + b"\xfe" + b"\x09" + string(b"zipmap") + string(b"\x00\xff") +
           b"\xf4\x01\x02\x03\xff")
    write(out + "/rdb", "old-types", old + struct.pack("<Q", crc64(old)))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", default=[], help="a server binary")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                      "corpus"))
    args = parser.parse_args()
    make_by_hand(args.out)
    for server in args.server:
        server = shutil.which(server) or server
        for name, lines in VARIANTS.items():
            version, data = dump(server, lines)
            write(args.out + "/rdb", "%s-%s" % (version, name), data)


if __name__ == "__main__":
    main()
