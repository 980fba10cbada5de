# SPDX-License-Identifier: BSD-3-Clause
"""rdbeam doctor: a server that is well, and broken set-ups, each of which must name its cause."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest

import harness
from harness import cli, free_port, wait_for

# Of the host, and not for a test to change: these may warn, they may not fail.
HOST = {"hugepages", "shmem-thp", "memlock", "overcommit", "io_uring", "rdma", "rdma-files"}


def look(server, check, *args, **kwargs):
    """{check: (level, text, remedy)} of a run that exits with `check`."""
    done = cli("doctor", "-p", server.port, "--json", *args, check=check, **kwargs)
    said = json.loads(done.stdout)
    checks = said["checks"]
    for level in ("ok", "warn", "fail"):
        assert said[level] == sum(one["level"] == level for one in checks)
    for one in checks:
        assert one["text"] and (one["level"] == "ok") == (one["remedy"] == ""), one
        assert "\n" not in one["text"] + one["remedy"]
    return {one["check"]: (one["level"], one["text"], one["remedy"]) for one in checks}


def failed(found):
    return {name for name, (level, _, _) in found.items() if level == "fail"}


def only_failure(server, name, *words):
    """One check fails; its line has the words. Returns what was found."""
    found = look(server, 1)
    assert failed(found) == {name}, found
    level, text, remedy = found[name]
    for word in words:
        assert str(word) in f"{text}: {remedy}", found[name]
    shown = cli("doctor", "-p", server.port, check=1).stdout
    line = re.sub(r"\d+", r"\\d+", f"{re.escape(text)}: {re.escape(remedy)}")  # memory may have moved
    assert re.search(rf"^fail  {name} +{line}$", shown, re.M), shown
    return found


# ---- a server that is well ------------------------------------------------------------------

def test_a_good_server_passes(make, binary):
    server = make("good", enable_module_command="no")
    found = look(server, 0)
    assert not failed(found)
    for name in ("version", "last-save", "backlog", "output-buffer", "min-replicas", "proc-title",
                 "module-command", "module", "mode", "fallbacks", "daemon", "region", "dump-dir",
                 "disk-space"):
        assert name in found
        if name not in ("dump-dir", "disk-space"):  # tmpfs in TMPDIR has no O_DIRECT everywhere
            assert found[name][0] == "ok", (name, found[name])
    assert str(server.daemon()) in found["daemon"][1]
    assert cli("--version").stdout.split()[-1] in found["module"][1]
    assert str(server.options["port"]) in found["listener"][1]
    assert str(server.dir) in found["dump-dir"][1]
    assert "RDMA" not in found["listener"][1] and found["listener"][0] == "warn"  # 127.0.0.1
    text = cli("doctor", "-p", server.port, check=0).stdout
    assert re.search(r"^\d+ ok, \d+ to improve, 0 to repair$", text, re.M)
    assert len(text.splitlines()) == len(found) + 1


def test_looking_changes_nothing(make):
    server = make("good")
    server.client.set("key", "value")
    dirty = server.value("persistence", "rdb_changes_since_last_save")
    config = server.client.config_get("*")
    look(server, 0)
    assert server.client.config_get("*") == config
    assert server.value("persistence", "rdb_changes_since_last_save") == dirty
    assert server.temp_files() == [] and not server.saving()


# ---- broken set-ups -------------------------------------------------------------------------

def test_no_module(make):
    only_failure(make("stock", module=False), "module", "not loaded", "loadmodule", "rdbeam.so")


def test_daemon_that_is_not_there(make):
    server = make("nodaemon", options={"daemon": "/no/such/rdbeamd"})
    found = only_failure(server, "daemon", "/no/such/rdbeamd", "rdbeam.daemon")
    assert "listener" not in found  # it would be the same cause twice


def test_port_of_pulls_taken_by_another_program(make):
    port = free_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        server = make("taken", options={"port": port})
        wait_for(lambda: server.value("rdbeam", "rdbeam_last_error"), "the daemon says it")
        only_failure(server, "listener", port, "rdbeam.port")


def test_dump_directory_that_is_gone(make):
    server = make("gone")
    away = server.dir / "dumps"
    away.mkdir()
    server.client.config_set("dir", str(away))
    away.rmdir()
    only_failure(server, "dump-dir", "was removed", "CONFIG SET dir")
    server.client.config_set("dir", str(server.dir))


def test_title_that_hides_what_a_child_is_for(make):
    server = make("title", proc_title_template='"{listen-addr} {title}"')
    only_failure(server, "proc-title", "{listen-addr} {title}", "begin with {title}")


def test_region_that_is_too_small(make):
    server = make("small", options={"region-size": "8mb"})
    cli("fill", "-p", server.port, "--keys", 24000, "--value-size", 1000, check=0)
    found = only_failure(server, "region", "8.00 MiB", "rdbeam.region-size")
    server.bgsave()
    wait_for(lambda: server.fallbacks() == 1, lambda: server.info("rdbeam"))
    assert found["fallbacks"][0] == "ok"
    level, text, _ = look(server, 1)["fallbacks"]  # what it foretold
    assert level == "warn" and server.value("rdbeam", "rdbeam_last_fallback_reason") in text


def test_region_smaller_than_a_segment(make):
    server = make("small", options={"region-size": "16mb", "segment-size": "64mb"})
    only_failure(server, "region", "16.0 MiB, which is 0 of rdbeam.segment-size", "rdbeam.region-size")


def test_renamed_config(make):
    server = make("hidden", rename_command='CONFIG ""')
    if server.value("rdbeam", "rdbeam_hidden_commands") == "":
        pytest.skip("this server answers a module by its API")
    found = look(server, 1)
    assert sorted(failed(found)) == ["listener", "options"]
    for name in failed(found):
        assert "CONFIG is renamed" in found[name][1] and "rdbeam.bind" in found[name][2], found


def test_region_that_is_used_again(make):
    server = make("again", options={"region-size": "16mb"})
    cli("fill", "-p", server.port, "--keys", 24000, "--value-size", 1000, check=0)
    level, text, remedy = look(server, 0)["region"]
    assert level == "warn" and "16.0 MiB" in text and "rdbeam.region-size" in remedy
    server.bgsave()
    server.image_made()


def test_mode_off(make):
    server = make("off", options={"mode": "off"})
    wait_for(lambda: server.number("rdbeam", "rdbeam_port"), "the listener")
    only_failure(server, "mode", "off", "CONFIG SET rdbeam.mode")


def test_failed_save(make):
    server = make("unsaved")
    away = server.dir / "dumps"
    away.mkdir()
    server.client.config_set("dir", str(away))
    (away / "dump.rdb").mkdir()
    server.bgsave(status="err")
    only_failure(server, "last-save", "err", "log")


def test_options_that_only_warn(make):
    server = make("warns", repl_backlog_size="1mb", min_replicas_to_write=1,
                  client_output_buffer_limit="replica 1mb 1mb 60", repl_backlog_ttl=10)
    found = look(server, 0)
    for name in ("backlog", "min-replicas", "output-buffer", "module-command", "backlog-ttl",
                 "diskless-load", "port"):
        if name == "port" and found[name][0] == "ok":
            continue  # the tests' ports may lie outside of the kernel's range
        assert found[name][0] == "warn", (name, found[name])


@pytest.mark.parametrize("transport", ["tcp", "off"])
def test_no_rdma_is_wanted_where_none_is_asked_for(make, transport):
    """A network card that can do RDMA is in many a host that never does."""
    server = make("quiet", options={"transport": transport})
    found = look(server, 0)
    assert found["rdma"] == ("ok", f"not used: rdbeam.transport is {transport}", "") and "rdma-files" not in found


def test_memlock_that_is_too_small(make, root):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to take a capability away")
    wrapper = root / "wrapper.sh"
    wrapper.write_text("#!/bin/sh\nexec prlimit --memlock=65536 setpriv --bounding-set=-ipc_lock "
                       f"--inh-caps=-ipc_lock {harness.servers()[0][1]} \"$@\"\n")
    wrapper.chmod(0o755)
    level, text, remedy = look(make("limited", binary=wrapper), 0)["memlock"]
    assert level == "warn" and "64.0 KiB" in text and "LimitMEMLOCK=infinity" in remedy


def test_dump_directory_without_direct_writes(make):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        try:
            os.close(os.open(f"{place}/probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
            pytest.skip("this kernel writes to tmpfs directly")
        except OSError:
            pass
        found = look(make("tmpfs", dir=place), 0)
    level, text, remedy = found["dump-dir"]
    assert level == "warn" and "O_DIRECT" in text + remedy, found["dump-dir"]


def test_stock_options_that_cost(make):
    found = look(make("disk", repl_diskless_sync="no", repl_diskless_load="disabled"), 0)
    for name in ("diskless-sync", "diskless-load"):
        if name in found and found[name][0] != "ok":
            assert name.replace("diskless-", "repl-diskless-") in " ".join(found[name]), found[name]
    assert found["diskless-load"][0] == "warn"
    # A pull cannot fill a node of a cluster.
    assert "diskless-load" not in look(make("node", cluster_enabled="yes", repl_diskless_load="disabled"), 0)


def test_protected_mode_that_keeps_replicas_out(make):
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    if not address:
        pytest.skip("this host has no address but loopback")
    server = make("protected", bind=f"127.0.0.1 {address[0]}", protected_mode="yes")
    level, text, remedy = look(server, 0)["protected-mode"]
    assert level == "warn" and "no password" in text and "requirepass" in remedy
    server.client.execute_command("ACL", "SETUSER", "default", ">word")
    assert look(server, 0, "-a", "word")["protected-mode"][0] == "ok"


# ---- a host that lacks something ------------------------------------------------------------

def doctor(server, **kwargs):
    """As `look`, in a process that was prepared."""
    done = subprocess.run([str(harness.artifact("rdbeam")), "doctor", "-p", str(server.port), "--json"],
                          capture_output=True, text=True, **kwargs)
    assert done.returncode in (0, 1), done.stderr
    return {one["check"]: (one["level"], one["text"], one["remedy"])
            for one in json.loads(done.stdout)["checks"]}


def refuse_io_uring():
    """As a seccomp profile of a container does: io_uring_setup (425) gives EPERM."""
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
    raw = b"".join(struct.pack("HBBI", *line) for line in code)
    program = ctypes.create_string_buffer(raw, len(raw))
    filter_of = struct.pack("HxxxxxxP", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter_of, 0, 0) == 0


def test_io_uring_that_is_refused(make):
    server = make("server")
    assert doctor(server)["io_uring"][0] == "ok"
    level, text, remedy = doctor(server, preexec_fn=refuse_io_uring)["io_uring"]
    assert level == "warn" and "refused" in text
    assert "seccomp" in remedy and "pwrite" in remedy and "io_uring_disabled" in remedy


@pytest.mark.parametrize("setting, expected", [("require", "fail"), ("try", "warn"), ("no", "ok")])
def test_hugepages_with_an_empty_pool(make, root, setting, expected):
    """/proc/meminfo as of a host without any: a file in its place, in a view of mounts of its own."""
    mount = shutil.which("unshare")
    if os.geteuid() != 0 or not mount or subprocess.run([mount, "-m", "true"]).returncode:
        pytest.skip("needs root and mount namespaces")
    server = make("server", options={"hugepages": setting})
    empty = root / "meminfo"
    empty.write_text(re.sub(r"(HugePages_\w+: +)\d+", r"\g<1>0",
                            pathlib.Path("/proc/meminfo").read_text()))
    rdbeam = harness.artifact("rdbeam")
    done = subprocess.run([mount, "-m", "sh", "-ec", 'mount --bind "$1" /proc/meminfo; shift; exec "$@"',
                           "sh", empty, rdbeam, "doctor", "-p", str(server.port), "--json"],
                          capture_output=True, text=True)
    assert done.returncode == (1 if expected == "fail" else 0), done.stderr
    checks = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    found = checks["hugepages"]
    assert found["level"] == expected, found
    assert expected == "ok" or "vm.nr_hugepages=32" in found["remedy"], found
    assert expected == "ok" or found["text"] == "0 of 2 MiB free, the next image takes up to 32"
    assert expected != "fail" or "require" in found["remedy"], found
    instead = "gets transparent huge pages" in found["remedy"]
    assert instead == (expected == "warn" and checks["shmem-thp"]["level"] == "ok"), checks


def test_server_that_is_too_old():
    info = b"redis_version:6.2.6\x1b[2J\r\nprocess_id:1\r\ntcp_port:1\r\n"
    with harness.played_server({b"INFO": b"$%d\r\n%s\r\n" % (len(info), info)}) as port:
        done = cli("doctor", "-p", port, "--json", check=1)
        shown = [cli(what, "-p", port).stdout for what in ("doctor", "status")]
    for text in shown:  # what it says does not steer the terminal
        assert "6.2.6" in text and "\x1b" not in text
    found = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert found["version"]["level"] == "fail" and "6.2.6" in found["version"]["text"]
    assert "7.0" in found["version"]["text"] + found["version"]["remedy"]


# ---- no server, no rights -------------------------------------------------------------------

def test_no_server():
    port = free_port()
    found = json.loads(cli("doctor", "-p", port, "--json", check=1).stdout)["checks"]
    assert [one["check"] for one in found if one["level"] == "fail"] == ["server"]
    assert str(port) in found[0]["text"]
    assert {one["check"] for one in found[1:]} <= HOST


def test_wrong_password(make):
    server = make("closed", requirepass="right")
    found = look(server, 1, "-a", "gu3ss")
    assert failed(found) == {"server"} and "gu3ss" not in str(found)
    assert not failed(look(server, 0, "-a", "right"))


def test_user_without_rights(make):
    server = make("acl")
    server.client.execute_command("ACL", "SETUSER", "eye", "on", ">p", "~*", "+info",
                                  "+rdbeam.status")
    found = look(server, 0, "--user", "eye", "-a", "p")
    assert found["options"][0] == "warn" and "config|get" in found["options"][1]
    server.client.execute_command("ACL", "SETUSER", "eye", "-info")
    assert failed(look(server, 1, "--user", "eye", "-a", "p")) == {"access"}


# ---- bash completion ------------------------------------------------------------------------

def completions(words, place):
    quoted = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(
        ["bash", "-c", f"source {harness.artifact('completion/rdbeam')} && COMP_WORDS=({quoted}) "
         f"COMP_CWORD={len(words) - 1} && _rdbeam && printf '%s\\n' \"${{COMPREPLY[@]}}\""],
        cwd=place, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return set(done.stdout.split())


def test_completion_knows_every_command_and_option(tmp_path):
    commands = re.findall(r"^  (\w+)  ", cli("help", check=0).stdout, re.M)
    assert len(commands) == 9 and completions(["rdbeam", ""], tmp_path) >= set(commands)
    for command in commands:
        options = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", cli("help", command, check=0).stdout, re.M))
        assert options and completions(["rdbeam", command, "--"], tmp_path) == options, command


@pytest.mark.parametrize("line, has, has_not", [
    ("rdbeam do", ["doctor"], ["pull"]),
    ("rdbeam ", ["snapshot", "pull", "status", "verify", "fill", "doctor", "help"], []),
    ("rdbeam pull --t", ["--to", "--to-file", "--transport"], ["--from"]),
    ("rdbeam pull --as ", ["replica", "copy"], ["--as"]),
    ("rdbeam help ver", ["verify"], ["pull"]),
    ("rdbeam verify serv", ["server.conf"], []),
    ("rdbeam pull --to-file serv", ["server.conf"], []),
    ("rdbeam status -p ", [], ["--json", "server.conf"]),
])
def test_completion(tmp_path, line, has, has_not):
    (tmp_path / "server.conf").touch()
    found = completions(line.split(" "), tmp_path)
    assert set(has) <= found and not set(has_not) & found, found
