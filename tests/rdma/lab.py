# SPDX-License-Identifier: BSD-3-Clause
"""Guests with a real verbs device: Debian's stock kernel in QEMU (software emulation), soft-RoCE over
virtio-net, an initramfs of busybox and of the programs under test. Nothing is installed for it but
packages of tools/packages; the kernel package is unpacked beside the build.

A guest runs a shell on a virtio port; Guest.run sends it one command and returns status and output.
Its serial port is the kernel's console, kept in a file for post-mortems.
"""

import base64
import glob
import lzma
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("RDBEAM_BUILD_DIR") or os.path.join(HERE, "..", "..", "build", "gcc")
CACHE = os.path.join(BUILD, "rdma-lab")
SKIPPED = 77
PATIENCE_S = 120  # for one step in a guest; emulation is some 15 times slower than the machine

MODULES = """virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover
net_failover virtio_net virtio_blk virtio_console crc32c_generic crc16 mbcache jbd2 ext4 udp_tunnel ip6_udp_tunnel ib_core ib_uverbs crc32_generic rdma_rxe
configfs ib_cm iw_cm rdma_cm rdma_ucm""".split()
PROGRAMS = "redis-server redis-cli rdma ib_read_bw ibv_devinfo".split()
SHIM = "rdbeam-jemalloc-shim.so"  # of a sanitized build
BUILT = "rdbeam rdbeamd rdbeam-wait rdbeam.so tests/rdma/rdma-probe tests/contract/contract-transport".split()
# What ldd does not show: loaded by name.
EXTRA_FILES = ["/etc/libibverbs.d/rxe.driver"]
EXTRA_GLOBS = ["/usr/lib/*/libibverbs/librxe-rdmav*.so", "/lib/*/libgcc_s.so.1"]


class Skip(Exception):
    """The machine lacks something."""


class LabError(Exception):
    """A guest did not do what it was told."""


def say(text):
    print(f"   {text}", flush=True)


# ---- kernel -------------------------------------------------------------------------------------


def _download_kernel(into):
    """Debian's stock kernel, by apt and by package name only; the cloud flavour has no soft-RoCE."""
    if not shutil.which("apt-get"):
        raise Skip("no apt-get to fetch a kernel package with")
    depends = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True)
    names = re.findall(r"Depends: (linux-image-\S+-amd64)$", depends.stdout, re.M)
    if not names:
        raise Skip("apt knows no package linux-image-amd64 (run apt-get update)")
    with tempfile.TemporaryDirectory(dir=CACHE) as temp:
        got = subprocess.run(["apt-get", "-q", "download", names[0]], cwd=temp, capture_output=True, text=True)
        debs = glob.glob(os.path.join(temp, "*.deb"))
        if got.returncode or not debs:
            raise Skip(f"apt-get download {names[0]} failed: {got.stderr.strip().splitlines()[-1:]}")
        unpacked = into + ".part"
        shutil.rmtree(unpacked, ignore_errors=True)
        subprocess.run(["dpkg", "-x", debs[0], unpacked], check=True)
        os.rename(unpacked, into)


def _vmlinux(bzimage, out):
    """The kernel proper, which QEMU boots twice as fast as the compressed one; that one where there is no way to
    unpack it (zstd, from Debian 13 on)."""
    data = open(bzimage, "rb").read()
    at = data.find(b"\xfd7zXZ\0")
    if at >= 0:
        raw = lzma.LZMADecompressor().decompress(data[at:])
    else:
        at = data.find(b"\x1f\x8b\x08")
        raw = zlib.decompressobj(31).decompress(data[at:]) if at >= 0 else b""
    if raw[:4] != b"\x7fELF":
        raw = data
    with open(out + ".part", "wb") as file:
        file.write(raw)
    os.rename(out + ".part", out)


def kernel():
    """Paths of vmlinux and of the modules' directory."""
    os.makedirs(CACHE, exist_ok=True)
    tree = os.path.join(CACHE, "kernel")
    if not os.path.isdir(tree):
        _download_kernel(tree)
    vmlinux = os.path.join(CACHE, "vmlinux")
    if not os.path.exists(vmlinux):
        _vmlinux(glob.glob(os.path.join(tree, "boot", "vmlinuz-*"))[0], vmlinux)
    return vmlinux, glob.glob(os.path.join(tree, "**", "modules", "*"), recursive=True)[0]


# ---- initramfs ----------------------------------------------------------------------------------

INIT = """#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs trace /sys/kernel/tracing
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /tmp /data
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
for m in $(cat /modules/order); do insmod /modules/$m.ko || echo "insmod $m failed"; done
ip link set lo up
ulimit -l unlimited
echo 1 >/proc/sys/vm/overcommit_memory
export PATH=/bin:/usr/bin HOME=/tmp TERM=dumb
until [ -e /dev/vport0p1 ]; do usleep 1000; done
exec 3<>/dev/vport0p1
exec <&3 >&3 2>&1
echo "@@0 0"
while read -r line; do eval "$(echo $line | base64 -d)"; done
poweroff -f
"""


def _libraries(path):
    listing = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return set(re.findall(r"(/\S+) \(0x", listing))


def _place(root, path, to=None):
    target = root + (to or path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(os.path.realpath(path), target)


def _place_module(root, path, to):
    """Packed from Debian 13 on."""
    if path.endswith(".xz"):
        with lzma.open(path) as packed, open(root + to, "wb") as out:
            shutil.copyfileobj(packed, out)
    else:
        _place(root, path, to)


def _fill_root(root, modules_dir):
    files = set(EXTRA_FILES)
    for pattern in EXTRA_GLOBS:
        files.update(glob.glob(pattern))
    for name in PROGRAMS:
        path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if not path:
            raise Skip(f"{name} is not installed: see tools/packages")
        _place(root, path, f"/bin/{name}")
        files |= _libraries(path)
    for name in BUILT:
        path = os.path.join(BUILD, name)
        if not os.path.exists(path):
            raise Skip(f"{name} was not built (libibverbs-dev and librdmacm-dev missing?)")
        _place(root, path, f"/bin/{os.path.basename(name)}")
        files |= _libraries(path)
    if os.path.exists(os.path.join(BUILD, SHIM)):
        _place(root, os.path.join(BUILD, SHIM), f"/bin/{SHIM}")
    for path in list(files):
        if ".so" in path:
            files |= _libraries(path)
    for path in files:
        _place(root, path)
    found = {}
    for path in glob.glob(os.path.join(modules_dir, "**", "*.ko*"), recursive=True):
        found[os.path.basename(path).partition(".ko")[0]] = path
    present = [m for m in MODULES if m in found]
    if "rdma_rxe" not in present:
        raise Skip("the kernel package has no rdma_rxe")
    for module in present:
        _place_module(root, found[module], f"/modules/{module}.ko")
    with open(root + "/modules/order", "w", encoding="ascii") as file:
        file.write("\n".join(present) + "\n")


def _sanitizer():
    """The environment in which a guest runs what was built here, and the server that loads it: "" unless
    the build is sanitized. What is found goes to /tmp/report.PID."""
    for path in _libraries(os.path.join(BUILD, "rdbeam.so")):
        if "libasan" in path:
            return (f"LD_PRELOAD={path}:/bin/{SHIM} ASAN_OPTIONS=detect_leaks=0:exitcode=99:log_path=/tmp/report "
                    "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=/tmp/report")
    return ""


def initramfs(out):
    """Built anew each time: the programs under test are in it. Uncompressed, as unpacking costs more."""
    busybox = shutil.which("busybox")
    if not busybox or not shutil.which("cpio"):
        raise Skip("busybox-static or cpio is not installed: see tools/packages")
    _, modules_dir = kernel()
    with tempfile.TemporaryDirectory(dir=CACHE) as root:
        for name in ("bin", "proc", "sys", "dev", "etc", "usr", "modules"):
            os.makedirs(os.path.join(root, name))
        _place(root, busybox, "/bin/busybox")
        os.symlink("busybox", root + "/bin/sh")
        _fill_root(root, modules_dir)
        with open(root + "/init", "w", encoding="ascii") as file:
            file.write(INIT)
        os.chmod(root + "/init", 0o755)
        with open(root + "/etc/passwd", "w", encoding="ascii") as file:
            file.write("root:x:0:0:root:/:/bin/sh\n")
        names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
        with open(out, "wb") as file:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, stdout=file,
                           stderr=subprocess.DEVNULL, check=True)


# ---- guests -------------------------------------------------------------------------------------


class Guest:
    """One virtual machine. `port` is its number at the switch, None for a guest alone."""

    def __init__(self, lab, name, memory_mb=640, port=None, cpus=1, disk_bytes=0, kernel_options=""):
        self.name = name
        self.lab = lab
        self.seq = 0
        self.pending = b""
        path = os.path.join(lab.dir, name)
        self.console = path + ".console"
        vmlinux, _ = kernel()
        net = "user,id=n0,restrict=on"
        if port is not None:
            net = (f"dgram,id=n0,local.type=unix,local.path={lab.dir}/guest{port},"
                   f"remote.type=unix,remote.path={lab.dir}/switch{port}")
        args = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(cpus),
                "-name", f"{name},debug-threads=on",  # for hold_cpu
                "-m", str(memory_mb), "-nographic", "-nodefaults", "-no-user-config", "-monitor", "none",
                "-no-reboot", "-kernel", vmlinux, "-initrd", lab.initrd,
                # An emulated timer may come late where QEMU is not scheduled: the kernel would panic over it.
                "-append", f"console=ttyS0 panic=-1 quiet no_timer_check mitigations=off {kernel_options}",
                "-serial", f"file:{self.console}",
                # Not a second UART: that drops bytes where QEMU is not scheduled in time.
                "-chardev", f"socket,id=shell,path={path}.shell,server=on,wait=on",
                "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=shell,nr=1",
                "-netdev", net,
                "-device", f"virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:00:00:{(port or 0) + 16:02x}"]
        if disk_bytes:
            with open(path + ".disk", "wb") as file:
                file.truncate(disk_bytes)
            subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", path + ".disk"], check=True)
            args += ["-drive", f"file={path}.disk,if=none,id=d0,format=raw,cache=unsafe,"
                     "throttling.bps-write=97000000", "-device", "virtio-blk-pci,drive=d0"]
        with open(path + ".qemu", "wb") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.shell = self._connect(path + ".shell")

    def booted(self):
        """Waits for the shell. What is sent before it is there is lost."""
        self.finish()
        return self

    def _connect(self, path):
        shell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                shell.connect(path)
                return shell
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise LabError(f"{self.name}: QEMU did not start: see {path[:-6]}.qemu") from None
                time.sleep(0.02)  # no event tells that another process has bound a socket

    def start(self, command):
        """Sends a command; finish() takes its end. One at a time."""
        self.seq += 1
        text = f"( {command}\n) </dev/null 2>&1; echo \"@@{self.seq} $?\""
        self.shell.sendall(base64.b64encode(text.encode()) + b"\n")

    def finish(self, timeout_s=PATIENCE_S):
        """Status and output of the command started last."""
        deadline = time.monotonic() + timeout_s
        mark = re.compile(rb"@@%d (\d+)\r?\n" % self.seq)
        while True:
            found = mark.search(self.pending)
            if found:
                output = self.pending[:found.start()].decode(errors="replace").replace("\r", "")
                self.pending = self.pending[found.end():]
                return int(found.group(1)), output
            self.shell.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self.shell.recv(65536)
            except (socket.timeout, TimeoutError):
                data = b""
            if not data:
                tail = self.pending.decode(errors="replace")[-2000:]
                raise LabError(f"{self.name}: no end of its command within {timeout_s} s; so far: {tail}\n"
                               f"{self.console_tail()}")
            self.pending += data

    def run(self, command, timeout_s=PATIENCE_S):
        self.start(command)
        return self.finish(timeout_s)

    def check(self, command, timeout_s=PATIENCE_S):
        """Output of a command that must succeed."""
        status, output = self.run(command, timeout_s)
        if status:
            raise LabError(f"{self.name}: status {status} of: {command}\n{output}\n{self.console_tail()}")
        return output

    def console_tail(self):
        try:
            with open(self.console, encoding="utf-8", errors="replace") as file:
                return "console: " + file.read()[-1500:]
        except OSError:
            return ""

    def network(self, number, mtu=9000):
        self.ip = f"10.7.0.{number}"
        self.check("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad && "
                   f"ip link set eth0 mtu {mtu} up && ip addr add {self.ip}/24 dev eth0 && "
                   f"ip -6 addr add fd07::{number}/64 dev eth0 && "
                   "rdma link add rxe0 type rxe netdev eth0")

    def hold_cpu(self, number):
        """The host takes this processor away for nothing else, where it lets us say so: what the guest measures on it is
        what it did. False where it does not."""
        for comm in glob.glob(f"/proc/{self.process.pid}/task/*/comm"):
            with open(comm, encoding="utf-8") as file:
                if not file.read().startswith(f"CPU {number}/"):
                    continue
            try:
                os.sched_setscheduler(int(comm.split("/")[-2]), os.SCHED_FIFO, os.sched_param(1))
                return True
            except PermissionError:
                return False
        return False

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.shell.close()


class Lab:
    """Guests, a switch between them, and the directory of their files."""

    def __init__(self):
        if not shutil.which("qemu-system-x86_64"):
            raise Skip("qemu-system-x86 is not installed: see tools/packages")
        self.dir = tempfile.mkdtemp(prefix="rdbeam-rdma.")
        self.guests = []
        self.switch = None
        self.initrd = os.path.join(self.dir, "initramfs")
        initramfs(self.initrd)
        self.sanitizer = _sanitizer()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for guest in self.guests:
            guest.kill()
        if self.switch:
            self.switch.stdin.close()
            self.switch.wait()
        if kind and issubclass(kind, (LabError, AssertionError)) and os.environ.get("RDBEAM_LAB_KEEP"):
            say(f"kept: {self.dir}")
            return
        shutil.rmtree(self.dir, ignore_errors=True)

    def guest(self, name, **options):
        guest = Guest(self, name, **options)
        self.guests.append(guest)
        return guest

    def connect(self, ports):
        """A switch of `ports` ports; a guest's option port names its own."""
        command = [sys.executable, os.path.join(HERE, "switch.py"), self.dir, str(ports)]
        self.switch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.switch.stdout.readline()

    def link(self, port, up):
        self.switch.stdin.write(f"{'join' if up else 'cut'} {port}\n")
        self.switch.stdin.flush()
        self.switch.stdout.readline()
