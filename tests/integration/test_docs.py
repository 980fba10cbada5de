# SPDX-License-Identifier: BSD-3-Clause
"""What the documents quote is what the programs say: messages of the FAQ, names in the monitoring
files, and the command blocks of the operator's pages, which run here as they stand."""
import json
import os
import re
import shutil
import subprocess

import pytest

import harness
from harness import cli, wait_for

DOCS = harness.REPO / "docs"
MONITORING = DOCS / "monitoring"


def sources():
    """All text that the programs can print: literals of C that stand side by side are one."""
    text = "\n".join(path.read_text() for path in sorted((harness.REPO / "src").glob("*/*.c")))
    return re.sub(r'"\s*\n\s*"', "", text)


def messages():
    """Quoted messages: the first column of the FAQ's tables."""
    return re.findall(r"^\| `([^`]+)` \|", (DOCS / "faq.md").read_text(), re.M)


def pieces(message):
    return [piece.strip(" :") for piece in message.split("...") if len(piece.strip(" :")) > 2]


@pytest.mark.parametrize("message", messages())
def test_messages_are_in_the_sources(message):
    text = sources()
    for piece in pieces(message):
        assert piece in text, piece


def blocks(name):
    return re.findall(r"^```sh\n(.*?)^```", (DOCS / name).read_text(), re.M | re.S)


def test_command_blocks_run(make, root):
    """All blocks but the one that builds packages, which the package test does."""
    server = make("server")
    cli("fill", "-p", server.port, "--keys", 100, check=0)
    server.bgsave()
    bins = root / "bin"
    bins.mkdir()
    (bins / "rdbeam").write_text(f'#!/bin/sh\ncmd=$1; shift\n[ $cmd = pull ] || set -- -p '
                                 f'{server.port} "$@"\nexec {harness.artifact("rdbeam")} $cmd "$@"\n')
    (bins / "redis-cli").write_text(f'#!/bin/sh\nexec {shutil.which("redis-cli")} -e -p '
                                    f'{server.port} "$@"\n')
    for path in bins.iterdir():
        path.chmod(0o755)
    node = root / "node"
    node.mkdir()
    env = dict(os.environ, PATH=f"{bins}:{os.environ['PATH']}", NODE_DIR=str(node),
               PRIMARY=f"127.0.0.1:{server.port}", **harness.sanitizer_env(leaks=False))
    ran = 0
    for name in ("operations.md", "monitoring/README.md"):
        for block in blocks(name):
            if block.startswith("cmake "):
                continue
            server.childless()
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], env=env,
                                  cwd=harness.REPO, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0 and done.stdout.strip(), (block, done.stdout, done.stderr)
            ran += 1
    assert ran >= 8
    assert server.info("rdbeam")["rdbeam_mode"] == "off"
    wait_for(lambda: not server.saving(), "the stock save ends")


def test_monitoring_names_are_what_the_script_returns(make, binary):
    server = make("server")
    server.client.set("key", "value")
    server.bgsave()
    server.image_made()
    reply = server.client.execute_command("EVAL", (MONITORING / "rdbeam.lua").read_text(), 0, 0)
    assert all(isinstance(one, bytes) for one in reply)  # what the exporter takes
    found = {key.decode(): float(value) for key, value in zip(reply[::2], reply[1::2])}
    assert found["rdbeam_state"] == 3 and found["rdbeam_daemon_state"] == 2
    assert found["rdbeam_snapshot_keys"] == 1 and found["rdbeam_last_durable_unixtime"] > 0
    dashboard = (MONITORING / "grafana-rdbeam.json").read_text()
    panels = json.loads(dashboard)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    used = set(re.findall(r"rdbeam_\w+",
                          dashboard + (MONITORING / "rdbeam-alerts.yml").read_text()))
    assert used <= set(found), used - set(found)
