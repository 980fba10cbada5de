# SPDX-License-Identifier: BSD-3-Clause
"""The cases of the RDMA lab, one function each; the name is the function's with dashes."""

import argparse
import json
import re
import sys
import time

from lab import Lab, LabError, Skip, SKIPPED, say

PORT = 7000
PULL_S = 120


def check(holds, what):
    if not holds:
        raise LabError(what)


# ---- servers in guests --------------------------------------------------------------------------


def start_server(guest, port=PORT, module=True, options="", prefix="", transports="verbs,tcp"):
    command = (f"mkdir -p /data/{port} && {prefix} redis-server --port {port} --daemonize yes --save '' --bind '* -::*' "
               f"--dir /data/{port} --protected-mode no --enable-debug-command yes --logfile /tmp/redis-{port}.log ")
    if module:
        command += "--loadmodule /bin/rdbeam.so --rdbeam.segment-size 2mb "
    guest.check(f"{command}{options} && until redis-cli -p {port} ping >/dev/null; do usleep 50000; done")
    if module:
        guest.check(f"until redis-cli -p {port} info rdbeam | grep -q 'transports:{transports}'; do usleep 50000; done")


def cli(guest, command, port=PORT, timeout_s=60):
    return guest.check(f"redis-cli --raw -p {port} {command}", timeout_s).strip()


def info(guest, field, port=PORT, section="everything"):
    found = re.search(rf"^{field}:(.*?)\r?$", guest.check(f"redis-cli -p {port} info {section} | tr -d '\\r'"), re.M)
    check(found, f"INFO has no field {field}")
    return found.group(1)


def fill(guest, keys, value_bytes=2000, port=PORT):
    guest.check(f"rdbeam fill --quiet -p {port} --keys {keys} --value-size {value_bytes} --random", 120)


def pull_command(address, options):
    return f"rdbeam pull --quiet --json --from {address} {options} 2>/tmp/pull.err || cat /tmp/pull.err"


def pull_result(output):
    lines = [line for line in output.splitlines() if line.startswith("{")]
    check(lines, f"a pull told nothing: {output}")
    result = json.loads(lines[-1])
    check("error" not in result, f"a pull failed: {lines[-1]}")
    return result


def pull(guest, address, options, timeout_s=PULL_S):
    return pull_result(guest.run(pull_command(address, options), timeout_s)[1])


def digest(guest, port=PORT):
    return cli(guest, "debug digest", port)


def wait_info(guest, field, wanted, timeout_s=30):
    """Follows INFO in the guest until a field has a value."""
    guest.check(f"for i in $(seq {timeout_s * 10}); do redis-cli -p {PORT} info everything | tr -d '\\r' | "
                f"grep -q '^{field}:{wanted}$' && exit 0; usleep 100000; done; exit 1", timeout_s * 3)


def log_of(guest, port=PORT):
    return guest.check(f"cat /tmp/redis-{port}.log")


# ---- cases --------------------------------------------------------------------------------------


def one_guest(_):
    """A pull over the device's loopback: tcp, verbs, IPv6, a name of both; every byte of 512 MiB by 8 queue pairs."""
    with Lab() as lab:
        guest = lab.guest("one", memory_mb=2800, cpus=2).booted()
        guest.network(1)
        guest.check("echo 350 >/proc/sys/vm/nr_hugepages")
        start_server(guest, options="--rdbeam.region-size 700mb")
        start_server(guest, PORT + 1, module=False)
        fill(guest, 10000)
        for transport in ("tcp", "verbs"):
            result = pull(guest, f"{guest.ip}:{PORT}", f"--discard --transport {transport}")
            check(result["transport"] == transport, f"asked for {transport}, got {result['transport']}")
        result = pull(guest, f"[fd07::1]:{PORT}", "--discard --transport verbs")
        say(f"verbs over IPv6: {result['image_bytes']} bytes in {result['transfer_ms']} ms")
        guest.check("echo multi on >/etc/host.conf && echo hosts: files >/etc/nsswitch.conf && "
                    f"printf 'fd07::1 both\\n{guest.ip} both\\n' >/etc/hosts")
        result = pull(guest, f"both:{PORT}", "--discard")
        check(result["transport"] == "verbs", f"a name of both families: auto took {result['transport']}")
        result = pull(guest, f"{guest.ip}:{PORT}", f"--to 127.0.0.1:{PORT + 1}")
        check(result["transport"] == "verbs", f"auto took {result['transport']}")
        check(result["full_resyncs"] == 0, "the hand-over was a full resync")
        check(digest(guest) == digest(guest, PORT + 1), "digests differ")
        wait_info(guest, "rdbeam_rdma_registered_bytes", 0)
        _device_is_told(guest)
        cli(guest, "shutdown nosave", PORT + 1)
        _moved_port(guest)
        _doctor(guest)
        _compare_every_byte(guest)


def _device_is_told(guest):
    """What was negotiated with the last reader, in INFO and on rdbeam's screen."""
    told = {name: info(guest, f"rdbeam_rdma_{name}") for name in ("device", "port", "gid", "mtu", "depth")}
    check(told["device"] == "rxe0" and told["port"] == "1" and told["gid"] == f"::ffff:{guest.ip}", f"INFO tells {told}")
    check(told["mtu"] == "4096" and int(told["depth"]) > 0, f"INFO tells {told}")
    screen = guest.check(f"rdbeam status -p {PORT}")
    line = (f"device     rxe0 port 1, GID {told['gid']}, MTU {told['mtu']}, depth {told['depth']}, ")
    check(line in screen and "registered" in screen, f"rdbeam status lacks: {line}\n{screen}")


def _compare_every_byte(guest):
    """512 MiB in 2 MiB pages, 8 queue pairs with 128 READs each, against the same image read over TCP."""
    fill(guest, 490, 1 << 20)
    pull(guest, f"{guest.ip}:{PORT}", "--to-file /tmp/image.rdb --transport tcp --fresh")
    page = int(info(guest, "rdbeam_region_page_bytes"))
    check(page == 2 << 20, f"the region has pages of {page} bytes, not of hugetlb")
    output = guest.check(f"rdma-probe {guest.ip}:{PORT} queues 8 128 /tmp/image.rdb", 200)
    say(f"pages of {page}; {output.strip()}")
    check(int(re.search(r": (\d+) bytes right", output).group(1)) >= 512 << 20, "too few bytes were compared")
    guest.check("rm /tmp/image.rdb")


def _moved_port(guest):
    """The port changes in mid-pull: that pull goes on, and the server serves at the new one."""
    cli(guest, "config set rdbeam.rate-limit 4mb")
    guest.check(f"({pull_command(f'{guest.ip}:{PORT}', '--discard')}; touch /tmp/moved) >/tmp/moved.out 2>&1 &")
    wait_info(guest, "rdbeam_pulls_active", "1")
    cli(guest, f"config set rdbeam.port {PORT + 2000}")
    check(cli(guest, "ping") == "PONG", "Redis does not answer")
    cli(guest, "config set rdbeam.rate-limit 0")
    wait_info(guest, "rdbeam_port", str(PORT + 2000))
    guest.check("until [ -e /tmp/moved ]; do usleep 50000; done", PULL_S)
    went_on = pull_result(guest.check("cat /tmp/moved.out"))
    result = pull(guest, f"{guest.ip}:{PORT}", "--discard --transport verbs")
    check(result["transport"] == "verbs", "no pull over verbs at the new port")
    say(f"port changed in mid-pull: it went on over {went_on['transport']}, the next over {result['transport']}")


def _doctor(guest):
    """What it says of a listener that TCP does not reach, and of files that the server lacks."""
    cli(guest, "config set rdbeam.transport verbs")
    wait_info(guest, "rdbeam_transports", "verbs")
    found = guest.run(f"rdbeam doctor -p {PORT}")[1]
    check(re.search(r"^ok    listener .*over RDMA only", found, re.M), f"the doctor takes a verbs listener for none:\n{found}")
    cli(guest, "config set rdbeam.transport auto")
    wait_info(guest, "rdbeam_transports", "verbs,tcp")
    found = guest.run(f"mv /dev/infiniband/rdma_cm /dev/; rdbeam doctor -p {PORT}; mv /dev/rdma_cm /dev/infiniband/")[1]
    check(re.search(r"^warn  rdma-files .*rdma_cm", found, re.M), f"the doctor does not miss rdma_cm:\n{found}")


def three_guests(_):
    """Two replicas pull at once under write load; then a link is cut and a guest is killed in mid-pull."""
    with Lab() as lab:
        lab.connect(3)
        guests = [lab.guest(name, memory_mb=700, port=i) for i, name in enumerate(("primary", "left", "right"))]
        for number, guest in enumerate(guests):
            guest.booted().network(number + 1)
        primary, replicas = guests[0], guests[1:]
        start_server(primary, options="--rdbeam.stall-timeout 2 --repl-backlog-size 64mb --repl-diskless-sync-delay 0")
        for replica in replicas:
            start_server(replica, module=False)
        fill(primary, 15000)
        primary.check("(n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); redis-cli -p 7000 set load:$n $n; "
                      "redis-cli -p 7000 select 3 >/dev/null; redis-cli -p 7000 -n 3 incr count; done; touch /tmp/stopped) "
                      ">/dev/null 2>&1 &")
        # The backlog is made by a first pull, so that what counts below are the replicas' own resyncs.
        pull(replicas[0], f"{primary.ip}:{PORT}", "--discard --transport verbs")
        full = int(info(primary, "sync_full"))
        for replica in replicas:
            replica.start(pull_command(f"{primary.ip}:{PORT}", f"--to 127.0.0.1:{PORT} --transport verbs"))
        results = [pull_result(replica.finish(PULL_S)[1]) for replica in replicas]
        say(", ".join(f"{r['image_bytes']} bytes in {r['transfer_ms']} ms" for r in results))
        primary.check("touch /tmp/stop; until [ -e /tmp/stopped ]; do usleep 50000; done")
        check(int(cli(primary, "wait 2 20000")) == 2, "the replicas do not follow")
        digests = [digest(guest) for guest in guests]
        check(len(set(digests)) == 1, f"digests differ: {digests}")
        check(int(info(primary, "sync_full")) == full, "a replica needed a full resync")
        check(all(r["full_resyncs"] == 0 for r in results), "a pull ended in a full resync")
        _cut_and_kill(lab, primary, replicas)


def _cut_and_kill(lab, primary, replicas):
    cli(primary, "config set rdbeam.rate-limit 8mb")
    replicas[1].start(pull_command(f"{primary.ip}:{PORT}", "--discard"))
    wait_info(primary, "rdbeam_pulls_active", "1")
    lab.link(2, False)
    time.sleep(2)  # the outage itself: shorter than what the retries bear
    lab.link(2, True)
    result = pull_result(replicas[1].finish(PULL_S)[1])
    say(f"link cut for 2 s: {result['transport']}, {result['transfer_ms']} ms")
    wait_info(primary, "rdbeam_pulls_active", "0")
    replicas[0].start(pull_command(f"{primary.ip}:{PORT}", "--discard --transport verbs"))
    wait_info(primary, "rdbeam_pulls_active", "1")
    replicas[0].kill()
    wait_info(primary, "rdbeam_pulls_active", "0", 40)
    wait_info(primary, "rdbeam_rdma_registered_bytes", "0", 40)
    check(cli(primary, "ping") == "PONG", "the primary is gone")


DENIED = r"pull from {ip} asked for what it was not granted: remote access error, session closed"
FAILED = r"pull of generation \d+ by {ip} failed"
# What each case must leave in the log, of its own.
HOSTILE = {name: (DENIED, FAILED) for name in ("unsealed wrong-key past-end before-begin write atomic other-session "
                                               "ended-key fenced-key".split())}
HOSTILE["after-end"] = (r"pull of generation \d+ by {ip} done",)


def hostile(_):
    """Every access that was not granted: a remote access error, a closed session, a line in the log."""
    with Lab() as lab:
        guest = lab.guest("one", memory_mb=800).booted()
        guest.network(1)
        start_server(guest, options="--rdbeam.region-size 64mb")
        fill(guest, 20000)
        for name, lines in HOSTILE.items():
            _hostile_case(guest, name, [line.format(ip=re.escape(guest.ip)) for line in lines])
        result = pull(guest, f"{guest.ip}:{PORT}", "--discard --transport verbs")
        check(result["transport"] == "verbs", "nothing goes over verbs any more")
        check(int(info(guest, "rdbeam_tickets_denied")) == 0, "a good ticket was denied")


def _hostile_case(guest, name, lines):
    before = int(guest.check(f"wc -c </tmp/redis-{PORT}.log"))
    status, output = guest.run(f"rdma-probe {guest.ip}:{PORT} {name}")
    check(status == 0, f"{name}: status {status}, {output}")
    # Both are the daemon's, which may learn of it a moment later.
    wait_info(guest, "rdbeam_pulls_active", "0")
    wait_info(guest, "rdbeam_rdma_registered_bytes", "0")
    log = guest.check(f"tail -c +{before + 1} /tmp/redis-{PORT}.log")
    for line in lines:
        check(len(re.findall(line, log)) >= 1, f"{name}: the log does not say: {line}\n{log}")
    check(len(re.findall(DENIED.format(ip=re.escape(guest.ip)), log)) == (DENIED.format(ip=re.escape(guest.ip)) in lines),
          f"{name}: another number of sessions was denied\n{log}")
    check(cli(guest, "ping") == "PONG", f"{name}: Redis does not go on")
    say(f"{name}: {'; '.join(output.split(chr(10))).strip('; ')}; logged and closed")


def fence(options):
    """Generations follow each other in the same memory while readers hold on to the old ones."""
    with Lab() as lab:
        guest = lab.guest("one", memory_mb=700, cpus=2).booted()
        guest.network(1)
        start_server(guest, options="--rdbeam.region-size 14mb")
        fill(guest, 2000)
        address = f"{guest.ip}:{PORT}"
        cli(guest, "rdbeam.snapshot wait 30000")
        for name in ("slow", "stopped"):
            guest.check(f"(sh -c 'echo $$ >/tmp/{name}.pid; RDBEAM_VERBS_TIMEOUT=18 RDBEAM_VERBS_RETRIES=3 exec "
                        f"rdma-probe {address} hold /tmp/end' >/tmp/{name} 2>&1; "
                        f"touch /tmp/{name}.done) &")
        wait_info(guest, "rdbeam_pulls_active", "[12]")
        started = time.monotonic()
        for batch in range(options.generations // 10):
            # One client for all: in a guest a process costs more than a snapshot.
            lines = []
            for i in range(10):
                lines.append(f"eval \"for i=1,500,3 do redis.call('set','key:'..i,string.rep(ARGV[1],1500)..i) end\" 0 {batch}x{i}")
                lines.append("rdbeam.snapshot wait 30000")
            half = "\n".join(lines[:10]), "\n".join(lines[10:])
            output = guest.check(f"kill -STOP $(cat /tmp/stopped.pid); redis-cli -p {PORT} <<'END'\n{half[0]}\nEND\n"
                                 f"kill -CONT $(cat /tmp/stopped.pid); redis-cli -p {PORT} <<'END'\n{half[1]}\nEND", 120)
            check(output.count("generation") == 10 and "ERR" not in output, f"snapshots: {output}")
        guest.check("kill -CONT $(cat /tmp/stopped.pid); touch /tmp/end; "
                    "for i in $(seq 500); do [ -e /tmp/slow.done -a -e /tmp/stopped.done ] && exit 0; usleep 100000; done; "
                    "ps; tail -3 /tmp/slow /tmp/stopped /tmp/redis-7000.log; exit 1", 150)
        output = guest.check("grep -v -e connect -e ticket /tmp/slow; grep -v -e connect -e ticket /tmp/stopped")
        generation = int(info(guest, "rdbeam_generation").split("-")[1])
        say(f"{generation} generations in {time.monotonic() - started:.0f} s")
        for line in output.splitlines():
            say(line)
        check(generation >= options.generations, "too few generations")
        check(output.count("none mixed") == 2 and "MIXED" not in output, f"readers: {output}")
        cuts = [int(n) for n in re.findall(r"cut (\d+)", output)]
        check(min(cuts) > 0, "no session was ever cut: nothing was tested")


FAULT = "/tmp/fault"  # is removed by the process that it strikes, which then writes .fired
# What the pull that is struck on its way says of its transport; None: it fails.
STRIKES = (("verbs_register:1:errno=ENOMEM", "verbs+tcp"), ("verbs_register:1:stop", "verbs"), ("verbs_pull_read:2:errno=EIO", "verbs+tcp"),
           ("verbs_pull_register:2:errno=ENOMEM", "verbs+tcp"),
           ("verbs_pull_read:2:flip", "verbs"), ("verbs_pull_read:2:stop", "verbs"), ("verbs_pull_read:2:kill", None),
           ("verbs_register:1:kill", "verbs or verbs+tcp"))  # begins anew with the next daemon


def _struck(guest, sanitizer, fault, transport):
    """A pull with one fault on its way ends as it must, nothing of it stays, and the next one is as ever."""
    daemon = info(guest, "rdbeam_daemon_pid")
    go_on = ("" if not fault.endswith(":stop") else
             f"until [ -e {FAULT}.fired ]; do usleep 20000; done; read pid point <{FAULT}.fired; "
             "until grep -q '^State:.T' /proc/$pid/status; do usleep 20000; done; kill -CONT $pid; ")
    output = guest.check(f"rm -f {FAULT}.fired /tmp/image.rdb /tmp/status; echo '{fault} {time.monotonic_ns()}' >/tmp/f; mv /tmp/f {FAULT}; "
                         f"({sanitizer} RDBEAM_FAULT=@{FAULT} rdbeam pull --quiet --json --from {guest.ip}:{PORT} --to-file /tmp/image.rdb "
                         f">/tmp/pull.out 2>/tmp/pull.err; echo $? >/tmp/status) & {go_on}"
                         f"wait; cat /tmp/pull.out /tmp/pull.err /tmp/status; test -e {FAULT}.fired", PULL_S)
    if transport:
        result = pull_result(output)
        check(result["transport"] in transport.split(" or "), f"{fault}: the way was {result['transport']}")
        check(result["reread_segments"] == fault.endswith(":flip"), f"{fault}: {result['reread_segments']} segments were read again")
        guest.check("rdbeam verify --quiet /tmp/image.rdb")
    else:
        guest.check("test $(cat /tmp/status) -ne 0 && ! test -e /tmp/image.rdb")
    if fault == "verbs_register:1:kill":
        guest.check(f"until redis-cli -p {PORT} info rdbeam | grep -q 'transports:verbs,tcp'; do usleep 50000; done")
        check(info(guest, "rdbeam_daemon_pid") != daemon, f"{fault}: the daemon lives")
    else:
        check(info(guest, "rdbeam_daemon_pid") == daemon, f"{fault}: another daemon")
    wait_info(guest, "rdbeam_pulls_active", "0")
    wait_info(guest, "rdbeam_rdma_registered_bytes", "0")
    result = pull(guest, f"{guest.ip}:{PORT}", "--discard")
    check(result["transport"] == "verbs", f"after {fault} the way was {result['transport']}")
    say(f"struck: {fault}; {transport or 'the pull failed'}, and nothing stayed")


def contract(_):
    """The suite that every transport passes, over verbs; then a pull of a sanitized build, if this is one."""
    with Lab() as lab:
        guest = lab.guest("one", memory_mb=1500 if lab.sanitizer else 800, cpus=2).booted()
        guest.network(1)
        status, output = guest.run(f"{lab.sanitizer} RDBEAM_TEST_VERBS={guest.ip} contract-transport", 250)
        check(status == 0, f"status {status}:\n{output[-6000:]}")
        skipped = set(re.findall(r"SKIPPED \] ([a-z]\w+)", output))
        for line in re.findall(r"^not tested: .*$", output, re.M):
            say(line)
        say(f"{output.count('[       OK ]')} cases passed over verbs, {len(skipped)} are not for it")
        if not lab.sanitizer:
            return
        start_server(guest, prefix=f"RDBEAM_FAULT=@{FAULT} {lab.sanitizer}")
        start_server(guest, PORT + 1, module=False)
        fill(guest, 5000)
        for target in ("--discard", f"--to 127.0.0.1:{PORT + 1}"):
            result = pull(guest, f"{guest.ip}:{PORT}", f"{target} --transport verbs")
            check(result["transport"] == "verbs", f"auto took {result['transport']}")
        check(digest(guest) == digest(guest, PORT + 1), "digests differ")
        for strike in STRIKES:
            _struck(guest, lab.sanitizer, *strike)
        cli(guest, "shutdown nosave")
        guest.check("until ! pidof rdbeamd >/dev/null; do usleep 50000; done")
        check(not guest.check("cat /tmp/report.* 2>/dev/null; true"), "a sanitizer has something to say")
        say("daemon and tool, sanitized: a pull over verbs, digests equal, no report")


def lost(_):
    """A device that comes after the server goes in mid-pull, and comes again: the same generation goes on over TCP, the next
    pull over verbs."""
    with Lab() as lab:
        guest = lab.guest("one", memory_mb=800).booted()
        guest.network(1)
        guest.check("rdma link delete rxe0")
        start_server(guest, transports="tcp")
        fill(guest, 20000)
        # Two of them: rdma_cm lets go of no device that was the only one.
        guest.check("rdma link add rxe1 type rxe netdev lo")
        wait_info(guest, "rdbeam_transports", "verbs,tcp")
        guest.check("rdma link add rxe0 type rxe netdev eth0")
        # Of a device that came when the daemon listened already: it must not wait for what that has to say.
        guest.check(f"rdma-probe {guest.ip}:{PORT} past-end")
        result = pull(guest, f"{guest.ip}:{PORT}", "--discard")  # makes the backlog, and an image that the next one takes
        check(result["transport"] == "verbs", f"over a device that came late the way was {result['transport']}")
        cli(guest, f"config set rdbeam.bind {guest.ip}")
        wait_info(guest, "rdbeam_transports", "verbs,tcp")
        cli(guest, "config set rdbeam.rate-limit 8mb")
        before = info(guest, "rdbeam_generation")
        guest.check(f"(rdbeam pull --quiet --json --from {guest.ip}:{PORT} --to-file /tmp/image.rdb "
                    ">/tmp/pull.out 2>&1; touch /tmp/pull.done) &")
        wait_info(guest, "rdbeam_pulls_active", "1")
        screen = guest.check(f"rdbeam status -p {PORT}")
        check(re.search(rf"^  {re.escape(guest.ip)} .*  verbs  ", screen, re.M), f"no line of that pull:\n{screen}")
        guest.check("usleep 1000000; rdma link delete rxe0 & until [ -e /tmp/pull.done ]; do usleep 100000; done; wait", PULL_S)
        result = pull_result(guest.check("cat /tmp/pull.out"))
        check(result["transport"] == "verbs+tcp", f"the way was {result['transport']}")
        check(result["generation"] == before, "the pull took another generation")
        guest.check("rdbeam verify --quiet /tmp/image.rdb")
        say(f"{result['transport']}, {result['image_bytes']} bytes, same generation {result['generation']}")
        cli(guest, "config set rdbeam.rate-limit 0")
        guest.check("rdma link add rxe0 type rxe netdev eth0")
        wait_info(guest, "rdbeam_transports", "verbs,tcp")
        result = pull(guest, f"{guest.ip}:{PORT}", "--discard --transport verbs")
        say(f"the device is back: {result['transport']}")


def disk(_):
    """BGSAVE to a disk of 97 MB/s while a replica pulls over verbs."""
    with Lab() as lab:
        guest = lab.guest("one", memory_mb=900, disk_bytes=1 << 30).booted()
        guest.network(1)
        guest.check("mkdir -p /data/7000 && mount -t ext4 /dev/vda /data/7000")
        start_server(guest)
        fill(guest, 30000)
        pull(guest, f"{guest.ip}:{PORT}", "--discard")  # makes the backlog: the next takes BGSAVE's image
        cli(guest, "bgsave")
        result = pull(guest, f"{guest.ip}:{PORT}", "--discard --transport verbs")
        wait_info(guest, "rdb_bgsave_in_progress", "0", 60)
        check(info(guest, "rdb_last_bgsave_status") == "ok", "BGSAVE failed")
        guest.check("rdbeam verify --quiet /data/7000/dump.rdb")
        say(f"flushed at {info(guest, 'rdbeam_flush_mb_per_s')} MB/s, pulled {result['image_bytes']} bytes meanwhile")


# ---- bench --------------------------------------------------------------------------------------


def bench_reads(options):
    """Throughput against ib_read_bw on the same device, and the primary's user CPU per GB."""
    with Lab() as lab:
        # The kernel counts the time of a nohz_full processor exactly, not by ticks: there the primary runs.
        guest = lab.guest("one", memory_mb=6000, cpus=2, kernel_options="nohz_full=1").booted()
        guest.network(1)
        if not guest.hold_cpu(1) and not options.json:
            say("no right to hold a processor of the host's: CPU figures have some of its other work")
        # Redis's own timer is subtracted: the less there is of it, the less of its noise.
        start_server(guest, prefix="taskset 2", options="--hz 1 --rdbeam.segment-size 4mb")
        fill(guest, 1000, 1 << 20)
        flag = "--json --quiet" if options.json else ""
        output = guest.check(f"rdbeam bench reads --from {guest.ip}:{PORT} --runs {options.runs} {flag}", 900)
        print(output, end="")


CASES = [one_guest, three_guests, hostile, fence, lost, disk, contract, bench_reads]


def main(args):
    names = {case.__name__.replace("_", "-"): case for case in CASES}
    parser = argparse.ArgumentParser(prog="tests/rdma/run", description=__doc__.split(";")[0] + ".")
    parser.add_argument("case", nargs="?", choices=sorted(names))
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--json", action="store_true", help="bench-reads: nothing but one JSON object")
    parser.add_argument("--runs", type=int, default=5, help="bench-reads: how often (median)")
    parser.add_argument("--generations", type=int, default=200, help="fence: how many")
    options = parser.parse_args(args)
    if options.list or not options.case:
        for name, case in names.items():
            print(f"{name:14} {case.__doc__.splitlines()[0]}")
        return 0 if options.list else 2
    started = time.monotonic()
    try:
        names[options.case](options)
    except Skip as reason:
        print(f"SKIPPED: rdma-{options.case}: {reason}")
        return SKIPPED
    except LabError as error:
        print(f"FAILED: {options.case}: {error}", file=sys.stderr)
        return 1
    if not options.json:
        print(f"{options.case}: passed in {time.monotonic() - started:.0f} s")
    return 0
