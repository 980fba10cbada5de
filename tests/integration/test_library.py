# SPDX-License-Identifier: BSD-3-Clause
"""librdbeam against real servers, by its example programs: images, stock dumps, and pulls."""
import os
import subprocess

import pytest

import harness
from harness import cli


def example(name, *args, code=0):
    done = subprocess.run([str(harness.BUILD / "tests/contract" / f"example-{name}"),
                           *map(str, args)], capture_output=True, text=True,
                          env={**os.environ, **harness.sanitizer_env(leaks=True)},
                          timeout=harness.DEADLINE_S)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert not harness.CRASHES.search(done.stderr), done.stderr
    return done


@pytest.fixture
def primary(make):
    server = make("primary")
    cli("fill", "-p", server.port, "--keys", 3000, "--value-size", 200, "--types",
        "string,hash,list,set,zset,stream", check=0)
    server.client.set("with a ttl", "x", ex=1000)
    server.client.set("7", "number")
    other = server.connect(db=5)
    other.set(b"binary \x00\xff", "x")
    return server


def expected(server):
    """What list-keys prints of a key, but the size: from the server itself."""
    lines = set()
    for db in (0, 5):
        client = server.connect(db=db)
        for key in client.scan_iter(count=1000):
            name = "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\x{c:02x}" for c in key)
            lines.add((str(db), client.type(key).decode(), client.pttl(key) > 0, name))
    return lines


def listed(text):
    return {(db, kind, bool(ttl), name)
            for db, kind, ttl, _, name in (line.split("\t") for line in text.splitlines())}


def test_all_keys_of_an_image_and_of_a_stock_dump(primary, binary):
    primary.bgsave()
    primary.image_made()
    image = primary.dir / "dump.rdb"
    keys = expected(primary)
    assert len(keys) == 3003
    assert listed(example("list-keys", image).stdout) == keys
    counts = example("type-counts", image).stdout
    assert "is an image of rdbeam" in counts and "3003, 1 with a TTL" in counts
    primary.client.config_set("rdbeam.mode", "off")
    primary.client.config_set("rdbcompression", "yes")
    primary.client.save()
    assert listed(example("list-keys", image).stdout) == keys
    assert "is an RDB file" in example("type-counts", image).stdout


def test_pull_to_memory_and_to_a_file(primary, root):
    address = f"127.0.0.1:{primary.port}"
    assert example("pull-image", address).stdout == "3003 keys\n"
    path = root / "pulled.rdb"
    example("pull-image", address, path)
    assert listed(example("list-keys", path).stdout) == expected(primary)
    cli("verify", path, check=0)


def test_what_fails_is_told(make, root):
    stock = make("stock", module=False)
    done = example("pull-image", f"127.0.0.1:{stock.port}", root / "none", code=1)
    assert "module is not loaded" in done.stderr and not (root / "none").exists()
    assert "list-keys: /does/not/exist: No such file" in example(
        "list-keys", "/does/not/exist", code=1).stderr
