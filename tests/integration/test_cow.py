# SPDX-License-Identifier: BSD-3-Clause
"""The child copies next to nothing of Redis's memory while it reads short strings."""
import re
import subprocess

import pytest

import harness

LIMIT_BYTES = 2 << 20


def private_dirty(pid):
    """Bytes of private dirty memory of a process, the region's mappings left out."""
    total, ours = 0, False
    try:
        with open(f"/proc/{pid}/smaps") as smaps:
            for line in smaps:
                if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    ours = "memfd:" in line or "hugepage" in line
                elif line.startswith("Private_Dirty:") and not ours:
                    total += int(line.split()[1]) * 1024
    except OSError:
        return None
    return total


def watch(server):
    """Most private dirty bytes of the child and of each worker, while the save lasts."""
    server.client.execute_command("BGSAVE")
    child = server.child()
    most, samples = {}, 0
    while harness.alive(child) and "--wait" not in harness.command_line(child):
        for pid in [child, *harness.children(child)]:
            value = private_dirty(pid)
            if value is not None and "--wait" not in harness.command_line(pid):
                most[pid] = max(most.get(pid, 0), value)
                samples += pid == child
    server.saved(timeout_s=harness.DEADLINE_S * 4)
    return most, samples


def fill(server, keys, size):
    subprocess.run([str(harness.artifact("rdbeam")), "fill", "-h", "127.0.0.1", "-p",
                    str(server.port), "--keys", str(keys), "--value-size", str(size), "--quiet"],
                   check=True, stdin=subprocess.DEVNULL, timeout=600)
    assert server.client.dbsize() == keys


def settle(server):
    """Ends what makes the server itself give memory back: pages that it drops while the child
    lives become the child's alone, though nothing was copied."""
    harness.wait_for(
        lambda: b"rehashing target" not in server.client.execute_command("DEBUG", "HTSTATS", 0),
        "the dictionary is rehashed")
    server.client.execute_command("MEMORY", "PURGE")


@pytest.mark.parametrize("size", [20, 100])
def test_short_strings_are_not_copied(make, full, size):
    if harness.SANITIZE:
        pytest.skip("a sanitizer's shadow memory is dirty memory of its own")
    server = make("primary")
    fill(server, 5000000 if full else 1000000, size)
    settle(server)
    most, samples = watch(server)
    server.image_made()
    assert samples >= 3, f"the save was too short to be watched: {samples} samples"
    assert max(most.values()) < LIMIT_BYTES, most


def test_long_strings_are_not_copied(make):
    """By the coordinator and its threads, which wait for the disk so that they can be watched."""
    if harness.SANITIZE:
        pytest.skip("a sanitizer's shadow memory is dirty memory of its own")
    server = make("primary", options={"workers": 3, "region-size": "64mb",
                                      "flush-rate-limit": "150mb"})
    fill(server, 700, 300000)
    settle(server)
    most, samples = watch(server)
    server.image_made()
    assert len(most) == 1, f"workers were forked for long strings: {most}"
    assert samples >= 3, f"the save was too short to be watched: {samples} samples"
    assert max(most.values()) < LIMIT_BYTES, most
