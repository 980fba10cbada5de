# SPDX-License-Identifier: BSD-3-Clause
"""tools/demo: what it says, and that nothing of it stays, also if it is interrupted. Its part behind
the build runs here, with this build; its first lines run up to where they would install something."""
import json
import os
import re
import signal
import subprocess

import pytest

import harness
from harness import wait_for

pytestmark = pytest.mark.skipif(not harness.servers(), reason="no redis-server in PATH")


def environment(place):
    return dict(os.environ, TMPDIR=str(place), RDBEAM_BUILD_DIR=str(harness.BUILD))


def demo(place, *args):
    return subprocess.Popen(
        ["/usr/bin/python3", "-B", str(harness.REPO / "tools/demo.py"), *map(str, args)],
        env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True)


def processes(place):
    """Those that work below the directory."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if harness.alive(pid) and f"{place}/" in harness.command_line(pid)]


def nothing_is_left(place):
    assert list(place.glob("rdbeam-demo-*")) == []
    wait_for(lambda: not processes(place), lambda: processes(place))


def test_summary(tmp_path):
    out, err = demo(tmp_path, "--json", "--size", 20, "--keys", 2000, "--replicas", 2).communicate()
    said = json.loads(out.splitlines()[-1])
    assert said["keys"] == 2000 and said["dataset_bytes"] == 20000000, err
    assert said["digest_equal"] and said["dump_loads"] and said["durable"]
    assert (said["full_resyncs"], said["partial_resyncs"]) == (0, 2)
    assert said["writes_during"] > 0 and "error" not in said
    for line in ("copy to memory", "flush to dump.rdb", "transfer", "load", "digests equal"):
        assert line in err
    nothing_is_left(tmp_path)


@pytest.mark.parametrize("stage", ["filling", "pulling"])
def test_interrupted(tmp_path, stage):
    """Ctrl-C reaches all processes of the terminal, not the demo alone."""
    process = demo(tmp_path, "--json", "--size", 60)
    seen = ""
    while stage not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 1, err
    assert json.loads(out.splitlines()[-1])["error"]
    nothing_is_left(tmp_path)


def test_kept_servers_end_as_it_says(tmp_path):
    process = demo(tmp_path, "--size", 5, "--keep")
    out, err = process.communicate()
    assert process.returncode == 0, err
    ports = re.findall(r"^== (?:primary|replica1) runs: port (\d+), pid \d+", out, re.M)
    assert len(ports) == 2
    for port in ports:
        assert harness.redis.Redis("127.0.0.1", int(port)).ping()
    how = re.search(r"^== to end it: (.*)$", out, re.M).group(1)
    first, second = how.split("; ")
    subprocess.run(["sh", "-ec", first], check=True)
    wait_for(lambda: not processes(tmp_path), lambda: processes(tmp_path))
    subprocess.run(["sh", "-ec", second], check=True)
    nothing_is_left(tmp_path)


def test_more_than_the_machine_holds(tmp_path):
    process = demo(tmp_path, "--size", 10**9)
    out, err = process.communicate()
    assert process.returncode == 1
    assert re.search(r"^tools/demo: \d+ MB of memory are free, .*: give --size \d+ or less$", err, re.M)
    nothing_is_left(tmp_path)


def first_lines(place, *args, **commands):
    """tools/demo with some commands of the system replaced by scripts."""
    bins = place / "bin"
    bins.mkdir()
    for name, text in commands.items():
        path = bins / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    env = dict(environment(place), RDBEAM_BUILD_ROOT=str(place / "build"),
               PATH=f"{bins}:{os.environ['PATH']}")
    return subprocess.run([str(harness.REPO / "tools/demo"), *args], env=env, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=harness.DEADLINE_S)


@pytest.mark.parametrize("args, words", [
    (["--size", "much"], "--size: much: give a number"), (["--size"], "--size"),
    (["--replicas=0"], "--replicas: 0"), (["--sise", "9"], "--sise"),
])
def test_arguments_are_looked_at_first(tmp_path, args, words):
    done = first_lines(tmp_path, *args, dpkg_query="exit 1", apt_get="exit 9")
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "build").exists()


def test_help_needs_nothing(tmp_path):
    done = first_lines(tmp_path, "--help", dpkg_query="exit 1", apt_get="exit 9")
    assert done.returncode == 0 and "--keep" in done.stdout


def test_user_who_may_not_install(tmp_path):
    done = first_lines(tmp_path, dpkg_query="exit 1", id="echo 1000", apt_get="exit 9")
    assert done.returncode == 1
    assert re.search(r"^tools/demo: packages are missing \(.*redis-server.*\): run it with sudo once$",
                     done.stderr, re.M)


def test_build_directory_of_somebody_else(tmp_path):
    (tmp_path / "build").write_text("not a directory")
    done = first_lines(tmp_path, dpkg_query="echo installed")
    assert done.returncode == 1
    assert f"cannot write in {tmp_path}/build/release" in done.stderr and "sudo" in done.stderr
