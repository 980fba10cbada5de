# SPDX-License-Identifier: BSD-3-Clause
"""tools/fanout-sim: what it must get right by arithmetic."""
import json
import subprocess
import sys

import pytest

import harness

SIM = harness.REPO / "tools" / "fanout-sim"


def sim(*options, check=0):
    done = subprocess.run([sys.executable, "-B", str(SIM), *map(str, options)], capture_output=True,
                          text=True)
    assert done.returncode == check, done.stderr
    return json.loads(done.stdout) if check == 0 and "--json" in options else done


def rows(*options):
    return {row["replicas"]: row for row in sim("--json", *options)["rows"]}


def test_one_replica_is_the_sum_of_its_stages():
    """Fork 0.05, then the slowest of copy, card and load, then the hand-over."""
    plain = ["--replicas", 1, "--image-gb", 2, "--handover-ms", 100]
    loads = rows(*plain, "--copy-gbps", 10, "--load-gbps", 0.5)[1]["star"]["ready_s"]
    assert loads == pytest.approx(0.05 + 2 / 0.5 + 0.1)
    card = rows(*plain, "--copy-gbps", 10, "--load-gbps", 9, "--nic-gbps", 1)[1]["star"]["ready_s"]
    assert card == pytest.approx(0.05 + 2 / 1 + 0.1)
    copy = rows(*plain, "--copy-gbps", 0.25, "--load-gbps", 9)[1]["star"]["ready_s"]
    assert copy == pytest.approx(0.05 + 2 / 0.25 + 0.1)


def test_relays_bound_what_the_primary_sends():
    for fanout in (2, 4):
        found = rows("--fanout", fanout)
        assert set(found) == {1, 2, 3, 10, 30, 100, 300, 1000, 3000, 10000}
        for count, row in found.items():
            assert row["star"]["primary_sent_bytes"] == count * 1e9
            assert row["relay"]["primary_sent_bytes"] == min(count, fanout) * 1e9
            assert row["relay"]["most_sent_bytes"] <= fanout * 1e9
        assert found[10000]["star"]["ready_s"] > 100 * found[10000]["relay"]["ready_s"]


def test_a_card_is_never_asked_for_more_than_it_has():
    for count, row in rows("--load-gbps", 100, "--copy-gbps", 100).items():
        for kind in ("star", "relay"):
            least = row[kind]["primary_sent_bytes"] / 1.25e9
            assert row[kind]["ready_s"] >= least, (count, kind)


def test_the_seed_decides():
    noisy = ["--json", "--jitter", 0.2, "--replicas", "3,50"]
    assert sim(*noisy, "--seed", 7) == sim(*noisy, "--seed", 7) != sim(*noisy, "--seed", 8)


@pytest.mark.parametrize("options, word", [
    (["--replicas", "0"], "--replicas: 0"), (["--replicas", "10001"], "--replicas: 10001"),
    (["--replicas", "x"], "--replicas: x"), (["--compare"], "--rates"),
    (["--load-gbps", "0"], "above 0")])
def test_wrong_options_are_refused(options, word):
    assert word in sim(*options, check=2).stderr


def test_a_file_that_is_no_report_is_told(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert "fanout-sim: " in sim("--rates", path, check=1).stderr


def report(path, ready_ms=(2200, 5100)):
    """As bench sync writes it: 1 GB, fed from 0.1 s on, copied in 1 s, loaded in 2 s, handed over in 0.1 s."""
    fresh = {"ready_ms": 2200, "primary_cpu_ms": 1200, "replica_cpu_ms": 2000, "image_bytes": 10**9,
             "copy_ms": 1000, "load_ms": 2000, "handover_ms": 100}
    retained = {"ready_ms": 2100, "primary_cpu_ms": 200, "replica_cpu_ms": 2000, "load_ms": 2000,
                "transfer_ms": 1000, "image_bytes": 10**9, "handover_ms": 100}
    one, four = ({"methods": {"rdbeam-stock-loader": {**fresh, "ready_ms": ms}}} for ms in ready_ms)
    path.write_text(json.dumps({"cpus": 2, "data": {"M": {
        "methods": {"rdbeam-stock-loader": fresh, "rdbeam-retained": retained},
        "replicas": {"1": one, "4": four}}}}))
    return path


def test_rates_and_comparison_come_from_a_report(tmp_path):
    """The load goes on beside the copy, so one replica is ready after 0.1 + 2 + 0.1 s. Four on one host of
    two processors are not before its 1 + 4 * 2.2 CPU seconds are spent, the copy's among them."""
    said = sim("--json", "--rates", report(tmp_path / "sync.json", (3100, 6200)), "--compare",
               "--nic-gbps", 50, "--shared-cpus", 2, "--replicas", 1)
    one, four = said["measured"]
    assert one == {"replicas": 1, "measured_s": 3.1, "computed_s": 2.2,
                   "off_percent": pytest.approx(-29)}
    assert four["computed_s"] == pytest.approx(0.1 + (1 + 4 * 2.2) / 2 + 0.1)


def test_the_model_agrees_with_what_was_measured(tmp_path):
    """The committed report of one, two and three replicas; and one that is a fifth off is told."""
    measured = sim("--json", "--check", harness.REPO / "docs" / "performance" / "fanout.json")
    assert {row["replicas"] for row in measured["rows"]} == {1, 2, 3} and measured["off"] == []
    assert sim("--json", "--check", report(tmp_path / "right.json"))["off"] == []
    off = sim("--check", report(tmp_path / "off.json", (2200, 5100 * 1.3)), check=1)
    assert "M, 4 replicas: more than 20 % off" in off.stderr
