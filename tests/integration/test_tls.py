# SPDX-License-Identifier: BSD-3-Clause
"""TLS: of the tools' connections to Redis, and of the pulls that follow from them."""
import json
import subprocess

import pytest

import data
import harness
from harness import cli, wait_for
from test_pull import last_json, one_line, same_data, stats


def openssl(root, *args):
    subprocess.run(["openssl", *map(str, args)], cwd=root, check=True, capture_output=True)


def make_authority(root, name):
    openssl(root, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", 2, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")


def make_certificate(root, authority, name):
    openssl(root, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(root, "x509", "-req", "-days", 2, "-in", f"{name}.csr", "-CA", f"{authority}.crt",
            "-CAkey", f"{authority}.key", "-CAcreateserial", "-out", f"{name}.crt")


@pytest.fixture
def tls(root, make):
    """tls(name, **kwargs) starts a server with a TLS port besides the plain one of the harness."""
    for authority in ("ca", "stranger"):
        make_authority(root, authority)
    for name in ("server", "client"):
        make_certificate(root, "ca", name)

    def start(name, **kwargs):
        port = harness.free_port()
        try:
            server = make(name, tls_port=port, tls_cert_file=root / "server.crt",
                          tls_key_file=root / "server.key", tls_ca_cert_file=root / "ca.crt",
                          **kwargs)
        except AssertionError as error:
            if "tls" in str(error).lower() and "FATAL CONFIG" in str(error):
                pytest.skip("this server was built without TLS")
            raise
        server.tls_port = port
        return server

    return start


def options(root):
    return ["--cacert", root / "ca.crt", "--cert", root / "client.crt", "--key",
            root / "client.key"]


def url(server):
    return f"rediss://127.0.0.1:{server.tls_port}"


# ---- the tools' connections -----------------------------------------------------------------

def test_commands_connect_by_tls(tls, root):
    server = tls("primary")
    said = cli("status", "-p", server.tls_port, "--tls", *options(root), "--json", check=0)
    assert json.loads(said.stdout)
    cli("status", "-u", url(server), *options(root), check=0)
    cli("fill", "-u", url(server), *options(root), "--keys", 20000, "--value-size", 2000, check=0)
    assert server.client.dbsize() == 20000
    cli("snapshot", "-u", url(server), *options(root), check=0)


@pytest.mark.parametrize("wrong,words", [
    (["--cacert", "stranger.crt", "--cert", "client.crt", "--key", "client.key"],
     ["not trusted", "--cacert"]),
    (["--cacert", "ca.crt", "--cert", "client.crt"], ["--cert", "--key"]),
    (["--cacert", "missing.crt"], ["missing.crt"]),
    (["--cacert", "ca.crt", "--tls-ciphersuites", "NONSENSE"], ["NONSENSE"]),
    (["--cacert", "ca.crt"], ["wants a certificate", "--cert", "--key"]),
])
def test_what_is_wrong_is_told(tls, root, wrong, words):
    server = tls("primary")
    there = [root / word if word.endswith((".crt", ".key")) else word for word in wrong]
    one_line(cli("status", "-u", url(server), *there, check=None), *words)


def test_plain_text_to_a_tls_port_is_told(tls):
    server = tls("primary")
    one_line(cli("status", "-p", server.tls_port, check=1), "tls-port", "connect by TLS")


def test_port_of_the_pulls_is_told_from_the_servers_own(tls):
    one_line(cli("status", "-p", tls("primary").options["port"], check=1), "rdbeam.port", "own port")


def test_insecure_takes_any_certificate(tls, root):
    server = tls("primary")
    cli("status", "-u", url(server), "--insecure", "--cert", root / "client.crt", "--key",
        root / "client.key", check=0)


# ---- pulls ----------------------------------------------------------------------------------

def test_replica_by_tls(tls, root):
    primary = tls("primary", tls_replication="yes")
    data.fill_mixed(primary)
    data.fill_strings(primary.client, 20000, 500)
    replica = tls("replica", module=False, tls_replication="yes")
    before = stats(primary)
    with data.Load(primary):
        said = last_json(cli("pull", "--json", "--from", url(primary), "--to", url(replica),
                             *options(root), check=0).stdout)
    assert said["full_resyncs"] == 0 and said["partial_resyncs"] == 1, said
    assert stats(primary)["sync_full"] <= before["sync_full"] + 1
    assert replica.client.config_get("tls-replication")["tls-replication"] == "yes"
    assert replica.value("replication", "master_port") == str(primary.tls_port)
    wait_for(lambda: replica.value("replication", "slave_repl_offset")
             == primary.value("replication", "master_repl_offset"), "in sync")
    assert replica.digest() == primary.digest()


def test_image_by_tls_needs_no_certificates(make):
    """rdbeam.tls yes: the ticket's key is the pre-shared one."""
    primary = make("primary", options={"tls": "yes"})
    data.fill_strings(primary.client, 20000, 1000)
    replica = make("replica", module=False)
    assert last_json(cli("pull", "--json", "--from", f"127.0.0.1:{primary.port}", "--to",
                         f"127.0.0.1:{replica.port}", check=0).stdout)["transport"] == "tcp"
    same_data(primary, replica)
    # Not with RDMA, which has no encryption.
    one_line(cli("pull", "--from", f"127.0.0.1:{primary.port}", "--discard", "--transport", "verbs",
                 check=None), "verbs", "tls")


def test_primary_and_target_must_agree_on_tls(tls, root):
    primary = tls("primary")
    plain = tls("plain", module=False)
    secure = tls("secure", module=False, tls_replication="yes")
    one_line(cli("pull", "--from", url(primary), "--to", f"127.0.0.1:{plain.port}", *options(root),
                 check=None), "tls-replication")
    one_line(cli("pull", "--from", f"127.0.0.1:{primary.port}", "--to", url(secure),
                 *options(root), check=None), "rediss://")
