"""Several hosts on one machine: daemons with state of their own over one store, always taken down; what
they ask of the storage, counted with strace; and a filesystem that can be made cold."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measure import BenchmarkError, run, unmount_by_force
from store import end_daemon

STRACE_LIMIT_SECONDS = 20
IMAGE_BYTES = 8 << 30


class ClusterHost:
    """What one host has: an id and a mount of its own. Made by hosts_of()."""

    def __init__(self, quoin, folder, store):
        self.quoin = quoin
        self.store = store
        self.mount_point = folder / "mount"
        self.mount_point.mkdir(parents=True)
        self._environment = {"QUOIN_STATE_DIR": str(folder / "state"),
                             "QUOIN_RUN_DIR": str(folder / "run"),
                             "QUOIN_LOG_DIR": str(folder / "log")}
        self.pid = None

    def command(self, *arguments, limit_seconds=120):
        return run(self.quoin, "--store", self.store, *arguments, limit_seconds=limit_seconds,
                   environment=self._environment)

    def mount(self):
        # Killing the daemon is to be what a power cut is; a keeper would start it again.
        run(self.quoin, "mount", "--no-keeper", self.store, self.mount_point,
            environment=self._environment)
        self.pid = self._find_daemon()

    def unmount(self):
        run(self.quoin, "unmount", self.mount_point, environment=self._environment)
        self.pid = None

    def _find_daemon(self):
        for record in (Path(self._environment["QUOIN_RUN_DIR"])).glob("*.json"):
            found = re.search(r'"daemon_pid":\s*(\d+)', record.read_text(encoding="utf-8"))
            if found:
                return int(found[1])
        raise BenchmarkError(f"no daemon serves {self.mount_point}")

    def vdi(self, name):
        return self.mount_point / "vdis" / name

    def make_vdis(self, names, size_bytes):
        for name in names:
            descriptor = os.open(self.vdi(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                os.ftruncate(descriptor, size_bytes)
            finally:
                os.close(descriptor)

    def kill(self):
        """What a power cut does to the daemon; the dead mount goes with it."""
        os.kill(self.pid, signal.SIGKILL)
        end_daemon(self.pid, os.fspath(self.quoin))
        unmount_by_force(self.mount_point)
        self.pid = None

    def take_down(self):
        if self.pid is None:
            unmount_by_force(self.mount_point)
            return
        pid = self.pid
        os.kill(pid, signal.SIGCONT)
        try:
            self.unmount()
        except BenchmarkError as error:
            print(f"benchmark: unmounting by force: {error}")
        unmount_by_force(self.mount_point)
        end_daemon(pid, os.fspath(self.quoin))


@contextmanager
def hosts_of(quoin, folder, count):
    """Makes a store under `folder` and mounts it on so many hosts; all is taken down at the end."""
    store = folder / "store"
    run(quoin, "init", store)
    with ExitStack() as stack:
        hosts = []
        for number in range(count):
            host = ClusterHost(quoin, folder / f"host{number}", store)
            stack.callback(host.take_down)
            host.mount()
            hosts.append(host)
        yield hosts


class ColdFilesystem:
    """ext4 in a file, through a loop device with direct I/O: mounted anew, nothing of it is in memory."""

    def __init__(self, folder):
        self.folder = folder / "filesystem"
        self.folder.mkdir()
        self._image = folder / "image"
        with open(self._image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._image)
        self._device = run("losetup", "--find", "--show", "--direct-io=on", self._image).strip()

    def mount(self):
        run("mount", self._device, self.folder)

    def unmount(self):
        run("umount", self.folder)

    def take_down(self):
        unmount_by_force(self.folder)
        subprocess.run(["losetup", "--detach", self._device], check=False, capture_output=True)


@contextmanager
def cold_filesystem(folder):
    filesystem = ColdFilesystem(folder)
    try:
        filesystem.mount()
        yield filesystem
    finally:
        filesystem.take_down()


@contextmanager
def counted_calls(hosts, seen):
    """Fills `seen`, one Counter a host, with the system calls that its daemon makes on the store's
    files while the block runs. Only what names such a file, or a descriptor of one, counts."""
    with tempfile.TemporaryDirectory(prefix="quoin-strace-") as folder, ExitStack() as stack:
        outputs = [Path(folder) / str(number) for number in range(len(hosts))]
        for host, output in zip(hosts, outputs):
            process = subprocess.Popen(
                ["strace", "-f", "-y", "-s", "4096", "-e", "signal=none", "-o", str(output), "-p",
                 str(host.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True)
            stack.callback(end_strace, process)
            line = process.stderr.readline()
            if "attached" not in line:
                raise BenchmarkError(f"strace does not attach: {line.strip()}")
        yield
        stack.close()
        for host, output in zip(hosts, outputs):
            seen.append(count_calls(output, host.store))


def count_calls(output, store):
    call = re.compile(r"^\d+\s+(?:<\.\.\. )?(\w+)")
    counts = Counter()
    with open(output, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if str(store) in line and "resumed>" not in line:
                found = call.match(line)
                if found:
                    counts[found[1]] += 1
    return counts


def end_strace(process):
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STRACE_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stderr.close()


def timed(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
