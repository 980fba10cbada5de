# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam bench: small data sets, the shape of what it reports, its refusals, and that nothing is
left behind. The figures themselves are not judged here."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import xml.etree.ElementTree

import pytest

import harness
from harness import cli, wait_for

SUMMARY = ["stock_ms", "tuned_ms", "rdbeam_ms", "x_stock", "x_tuned", "gb_per_s", "cow_window_ms",
           "stock_child_ms", "flush_mb_per_s", "rdbeam_durable_ms", "tuned_disk_ms", "keys_per_s",
           "keys", "image_bytes"]
METHODS = {"stock", "tuned", "tuned_disk", "rdbeam"}
MEMORY = pathlib.Path("/dev/shm")


@pytest.fixture(autouse=True)
def needs_a_server():
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server in PATH")


@pytest.fixture
def disk(tmp_path):
    """Where the benchmark may write; it must be as empty afterwards, and so must /dev/shm."""
    place = tmp_path / "disk"
    place.mkdir()
    before = set(MEMORY.glob("rdbeam-bench-*"))
    yield place
    assert list(place.iterdir()) == []
    assert set(MEMORY.glob("rdbeam-bench-*")) == before


def command(disk, *options, what="snapshot"):
    return ["bench", what, "--disk", disk, "--module", harness.artifact("rdbeam.so"), *options]


def environment():
    """What stock servers need to load a module of a sanitized build."""
    if not harness.ASAN:
        return {}
    return dict(harness.sanitizer_env(leaks=False), LD_PRELOAD=harness.runtime_libraries())


def bench(disk, *options, what="snapshot", **kwargs):
    return cli(*command(disk, *options, what=what), timeout_s=250 * harness.SLOWER,
               env=environment(), **kwargs)


def check_latencies(latencies):
    assert set(latencies) == {"no_save", "stock", "tuned", "rdbeam"}
    for seen in latencies.values():
        assert seen["requests"] > 0
        assert 0 < seen["p50"] <= seen["p99"] <= seen["p99_9"] <= seen["max"]
    assert latencies["no_save"]["requests"] >= 2000  # two seconds at the rate given


def test_json_has_the_shape_that_was_promised(disk):
    done = bench(disk, "--data", "S,X", "--scale", 1, "--runs", 1, "--rate", 1000, "--json",
                 check=0)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["memcpy_gb_per_s"] > 0 and said["runs"] == 1 and said["scale_percent"] == 1
    assert list(said["data"]) == ["S", "X"]
    for name, keys in (("S", 2), ("X", 3500 + 5000 + 3000 + 1 + 4000 + 12 + 100)):
        data = said["data"][name]
        assert [field for field in SUMMARY if not data[field] > 0] == []
        assert data["keys"] == keys
        assert data["x_stock"] == pytest.approx(data["stock_ms"] / data["rdbeam_ms"], rel=0.01)
        assert data["x_tuned"] == pytest.approx(data["tuned_ms"] / data["rdbeam_ms"], rel=0.01)
        assert set(data["alone"]) == METHODS
        assert set(data["loaded"]) == METHODS - {"tuned_disk"}
        assert data["alone"]["rdbeam"]["saves"] == 2 and data["alone"]["stock"]["saves"] == 1
        # Incompressible values: only lengths and the checksum differ between the two.
        assert data["alone"]["tuned"]["dump_bytes"] == data["alone"]["tuned_disk"]["dump_bytes"]
        check_latencies(data["latency_us"])
    assert said["data"]["S"]["image_bytes"] >= 2 * 3660000


def test_tables_and_plot(disk, tmp_path):
    plot = tmp_path / "it's a plot.svg"
    options = ["--plot", plot] if shutil.which("gnuplot") else []
    done = bench(disk, "--data", "H", "--scale", 1, "--runs", 2, "--rate", 0, *options, check=0)
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("H ")]
    assert rows[0][-3] == "10000"  # keys
    assert rows[1][1:] and "x stock" in done.stdout and "GB/s" in done.stdout
    assert {row[1] for row in rows[2:]} == METHODS
    if not options:
        pytest.skip("no gnuplot: the tables were tested, the plot was not")
    svg = xml.etree.ElementTree.parse(plot).getroot()
    assert svg.tag.endswith("svg")
    assert "1M hashes" in "".join(svg.itertext())


STOCK = ["stock-disk", "stock-diskless-load-tuned"]
RDBEAM = ["rdbeam-stock-loader", "rdbeam-retained"]
IN_ALL = ["ready_ms", "primary_cpu_ms", "replica_cpu_ms"]


def test_sync_measures_every_method_the_same_way(disk):
    methods = ["stock-dual-channel", "get-set-loop", *STOCK, *RDBEAM]
    done = bench(disk, "--data", "S,X", "--scale", 1, "--runs", 1, "--replicas", "1,2",
                 "--slow-disk", 0, "--methods", ",".join(methods), "--json", what="sync", check=0)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["runs"] == 1 and said["scale_percent"] == 1 and list(said["data"]) == ["S", "X"]
    for name, data in said["data"].items():
        assert set(data["methods"]) == set(methods)
        assert set(data["replicas"]) == {"1", "2"} and "slow_disk" not in data
        assert data["replicas"]["1"]["methods"] == data["methods"]
        for table in data["replicas"].values():
            ran = table["methods"]
            assert not [field for method in STOCK + RDBEAM for field in IN_ALL
                        if not ran[method][field] >= 0]
            assert not [method for method in STOCK + RDBEAM if not ran[method]["ready_ms"] > 0]
            fresh = ran["rdbeam-stock-loader"]["ready_ms"]
            assert table["x_shipped"] == pytest.approx(ran["stock-disk"]["ready_ms"] / fresh,
                                                       rel=0.01)
            assert table["x_best_tuned"] == pytest.approx(
                ran["stock-diskless-load-tuned"]["ready_ms"] / fresh, rel=0.01)
            assert ran["rdbeam-retained"]["image_bytes"] == \
                ran["rdbeam-stock-loader"]["image_bytes"] > 0
            assert ran["get-set-loop"].get("ready_ms", 0) > 0 if name == "S" else \
                "strings only" in ran["get-set-loop"]["not_run"]


def test_sync_on_a_slow_disk_is_slow_or_says_why_not(disk):
    """10 MB of incompressible text as shipped, at 5 MB/s: more than a second on each side."""
    done = bench(disk, "--data", "S", "--scale", 1, "--runs", 1, "--replicas", 1, "--slow-disk", 5,
                 "--methods", "stock-disk,rdbeam-stock-loader", "--json", what="sync", check=0)
    data = json.loads(done.stdout.splitlines()[-1])["data"]["S"]
    slow = data["slow_disk"]["methods"]
    if "not_run" in slow["stock-disk"]:
        assert "no slow disk: " in slow["stock-disk"]["not_run"]
        pytest.skip(slow["stock-disk"]["not_run"])
    assert slow["stock-disk"]["ready_ms"] > 1500
    assert slow["stock-disk"]["ready_ms"] > 2 * slow["rdbeam-stock-loader"]["ready_ms"]
    assert not [line for line in open("/proc/mounts") if str(disk) in line]


def test_sync_tables_and_plot(disk, tmp_path):
    plot = tmp_path / "sync.svg"
    options = ["--plot", plot] if shutil.which("gnuplot") else []
    done = bench(disk, "--data", "H", "--scale", 1, "--runs", 1, "--replicas", 1, "--slow-disk", 0,
                 "--checksum", "no", "--methods", "stock-disk,rdbeam-stock-loader", *options,
                 what="sync", check=0)
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()
            if line.startswith("  stock-") or line.startswith("  rdbeam-")}
    assert set(rows) == {"stock-disk", "rdbeam-stock-loader"} and "rdbchecksum no" in done.stdout
    assert float(rows["stock-disk"][1]) > 0 and rows["stock-disk"][5] == "1.00"
    if not options:
        pytest.skip("no gnuplot: the tables were tested, the plot was not")
    assert "rdbeam-stock-loader" in "".join(xml.etree.ElementTree.parse(plot).getroot().itertext())


@pytest.mark.parametrize("options, word", [
    (["--methods", "stock-disk,nonsense"], "--methods: nonsense: "),
    (["--methods", "stock-disk,stock-disk"], "--methods: stock-disk a second time: "),
    (["--replicas", "0"], "--replicas: 0: "), (["--replicas", "2,1"], "--replicas: 1: "),
    (["--replicas", "9"], "--replicas: 9: "), (["--data", "Q"], "--data: Q: ")])
def test_sync_refuses_what_is_not_there(disk, options, word):
    assert word in bench(disk, *options, what="sync", check=2).stderr


@pytest.mark.parametrize("data", ["Q", "", "S,", "SM", "s", "S,M,S"])
def test_data_that_is_not_there_is_refused(disk, data):
    done = bench(disk, "--data", data, check=2)
    assert "--data: " in done.stderr and "give some of S,M,T,E,H,X" in done.stderr


def test_other_benchmarks_are_refused(disk):
    assert "unknown benchmark: nonsense" in cli("bench", "nonsense", check=2).stderr


def test_a_missing_gnuplot_is_told_before_anything_is_measured(disk, tmp_path, monkeypatch):
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "redis-server").symlink_to(shutil.which("redis-server"))
    monkeypatch.setenv("PATH", str(bin_dir))
    done = bench(disk, "--plot", tmp_path / "plot.svg", check=1)
    assert "no gnuplot in PATH" in done.stderr and not (tmp_path / "plot.svg").exists()


def test_what_cannot_start_is_told(disk, tmp_path):
    assert "cannot run: /no/server" in bench(disk, "--server", "/no/server", check=1).stderr
    broken = tmp_path / "broken.conf"
    broken.write_text("no-such-setting 1\n")
    done = bench(disk, "--config", broken, check=1)
    assert "server ended at once" in done.stderr
    assert "--disk: /no/dir" in cli("bench", "snapshot", "--disk", "/no/dir", check=1).stderr


def living_in(place):
    """Pids of the processes whose working directory is below a place."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{entry}/cwd").startswith(f"{place}/"):
                found.append(int(entry))
        except OSError:
            pass  # it is gone
    return [pid for pid in found if harness.alive(pid)]


def test_an_interrupt_leaves_nothing_behind(disk):
    """Its servers, their daemons, and all files go; the exit is a failure that says why."""
    argv = [str(harness.artifact("rdbeam")), *map(str, command(disk, "--data", "M"))]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               env=dict(os.environ, **environment()))
    try:
        wait_for(lambda: living_in(disk), "a server of the benchmark runs")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=harness.DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 1 and "interrupted: by Interrupt" in stderr
    wait_for(lambda: not living_in(disk), lambda: f"its servers are gone: {living_in(disk)}", 10)
