# SPDX-License-Identifier: BSD-3-Clause
"""A slow disk, and rdbeam.flush-rate-limit, make the flush longer and not the copy-on-write window."""
import os
import pathlib
import subprocess

import pytest

import data
from harness import check_rdb

MIB = 1 << 20
RATE = 40_000_000
THROTTLE = pathlib.Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


def run(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def slow_dir(root):
    """ext4 on a loop device over tmpfs that takes RATE bytes per second."""
    if os.geteuid() or not THROTTLE.exists() or not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs root and a v1 blkio control group")
    disk = pathlib.Path(f"/dev/shm/{root.name}.img")
    place = root / "slow"
    place.mkdir()
    disk.touch()
    os.truncate(disk, 400 * MIB)
    device, number, mounted = "", "", False
    try:
        try:
            device = run("losetup", "-f", "--show", str(disk))
            run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", device)
            run("mount", device, str(place))
            mounted = True
            info = os.stat(device).st_rdev
            number = f"{os.major(info)}:{os.minor(info)}"
            THROTTLE.write_text(f"{number} {RATE}\n")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no loop device with a limit here: {error}")
        yield place
    finally:
        if number:
            THROTTLE.write_text(f"{number} 0\n")
        if mounted:
            run("umount", str(place))
        if device:
            run("losetup", "-d", device)
        disk.unlink()


def times(server, place=None):
    server.bgsave(timeout_s=60)
    info = server.image_made()
    check_rdb((place or server.dir) / "dump.rdb")
    return int(info["rdbeam_cow_window_ms"]), int(info["rdbeam_flush_ms"])


def test_slow_disk_does_not_lengthen_the_window(make, slow_dir):
    server = make("primary")
    data.fill_strings(server.client, 120, MIB)
    times(server)  # memory is warm from here on
    server.client.config_set("dir", str(slow_dir))
    window, flush = times(server, slow_dir)
    bytes_per_s = 120 * MIB * 1000 / flush
    assert 0.6 * RATE < bytes_per_s < 1.3 * RATE, (window, flush)
    assert window < flush / 3, (window, flush)
    server.client.config_set("dir", str(server.dir))


def test_flush_rate_limit_is_kept_and_costs_no_window(make):
    limit = 30_000_000
    server = make("primary")
    data.fill_strings(server.client, 90, MIB)
    times(server)
    server.client.config_set("rdbeam.flush-rate-limit", limit)
    window, flush = times(server)
    bytes_per_s = 90 * MIB * 1000 / flush
    assert 0.5 * limit < bytes_per_s < 1.2 * limit, (window, flush)
    assert window < flush / 3, (window, flush)
