# SPDX-License-Identifier: BSD-3-Clause
"""What the documents quote is what the programs say: messages of the FAQ, names in the monitoring
files, settings, messages of the protocols. Their command blocks are test_doc_blocks.py's."""
import json
import re

import pytest

import harness
from harness import cli

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


def test_all_codes_are_explained():
    listed = re.findall(r'X\((\w+), -\d+, \w+, "(.*?)"\)',
                        (harness.REPO / "include/rdbeam/error.h").read_text())
    told = re.findall(r"^\| ([A-Z]+) \| (.*?) \| [^|]+ \| [^|]+ \|$", (DOCS / "faq.md").read_text(), re.M)
    assert told == listed and len(told) > 10


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
    info = server.info("rdbeam")
    for page in (harness.REPO / "README.md", DOCS / "operations.md", MONITORING / "README.md"):
        told = set(re.findall(r"rdbeam_\w+", page.read_text()))
        assert told <= set(info), (page.name, told - set(info))
    for expression in re.findall(r"redis_script_values\{key=\\?\"(\w+)", dashboard):
        assert expression in found, expression


def enumerated(header, prefix):
    """{number: name} of the enumerators in a header that begin with the prefix."""
    found, number = {}, 0
    for name, value in re.findall(rf"^\t{prefix}([A-Z_]+)(?: = (\d+))?,",
                                  (harness.REPO / "src" / header).read_text(), re.M):
        number = int(value) if value else number + 1
        found[number] = name
    return found


@pytest.mark.parametrize("header, prefix, heading", [
    ("transport/wire.h", "BEAM_WIRE_", "## Pulls"),
    ("region/ctl.h", "BEAM_CTL_", "## Inside one host"),
])
def test_protocol_names_all_messages(header, prefix, heading):
    section = (DOCS / "protocol.md").read_text().split(heading)[1].split("\n## ")[0]
    told = {int(number): name for number, name in re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", section,
                                                           re.M)}
    assert told == enumerated(header, prefix) and len(told) > 10


def test_protocol_names_all_fields_of_a_ticket(make):
    server = make("server")
    cli("pull", "--from", f"127.0.0.1:{server.port}", "--discard", "--quiet", check=0)  # a backlog
    reply = server.client.execute_command("RDBEAM.TICKET")
    fields = {key.decode() for key in reply[::2]}
    section = (DOCS / "protocol.md").read_text().split("## The ticket")[1].split("\n## ")[0]
    rows = "".join(re.findall(r"^\| (`.*?) \|", section, re.M))
    assert set(re.findall(r"`(\w+)`", rows)) == fields


def test_readme_has_all_settings(make):
    server = make("server")
    settings = {key.decode() if isinstance(key, bytes) else key
                for key in server.client.config_get("rdbeam.*")}
    rows = set(re.findall(r"^\| (.*?) \|", (harness.REPO / "README.md").read_text(), re.M))
    told = set(re.findall(r"`(rdbeam\.[a-z-]+)`", " ".join(rows)))
    assert told == settings


def test_links_lead_somewhere():
    pages = [harness.REPO / "README.md", *DOCS.glob("*.md"), *DOCS.glob("adr/*.md"),
             *MONITORING.glob("*.md")]
    anchors = {page: {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in
                      re.findall(r"^#+ (.*)$", page.read_text(), re.M)} for page in pages}
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("http"):
                continue
            path, _, anchor = target.partition("#")
            place = (page.parent / path).resolve() if path else page
            assert place.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors[place], f"{page.name}: {target}"
