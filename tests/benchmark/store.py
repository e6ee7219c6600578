"""A quoin store that exists as long as one benchmark: made, mounted, and always taken down."""

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from measure import STOP_LIMIT_SECONDS, BenchmarkError, is_mounted, run, unmount_by_force


class Store:
    """A mounted store. Made by mounted_store(), which also removes it."""

    def __init__(self, quoin, folder, mount_point, sealing):
        self.quoin = quoin
        self.folder = folder
        self.mount_point = mount_point
        # In the background it would run beside whatever is measured next.
        self.sealing = ["--seal-after", "0"] if sealing else ["--no-sealing"]

    def mount(self):
        run(self.quoin, "mount", *self.sealing, self.folder, self.mount_point)

    def remount(self):
        """A new daemon, which has nothing in memory yet."""
        run(self.quoin, "unmount", self.mount_point)
        self.mount()

    def command(self, *arguments, limit_seconds=120):
        return run(self.quoin, "--store", self.folder, *arguments, limit_seconds=limit_seconds)

    def vdi(self, name):
        return self.mount_point / "vdis" / name

    def snapshot_file(self, vdi, name):
        return self.mount_point / "snapshots" / vdi / name

    def daemon_pid(self):
        """The daemon's process id, as `quoin status --json` gives it for this mount."""
        answer = json.loads(run(self.quoin, "status", self.mount_point, "--json"))
        mounts = answer.get("mounts", [answer]) if isinstance(answer, dict) else answer
        for mount in mounts:
            if mount.get("mountpoint") == str(self.mount_point):
                return int(mount["daemon_pid"])
        raise BenchmarkError(f"quoin status does not list {self.mount_point}: {answer}")

    def daemon_memory_kib(self):
        """Resident memory of the daemon, now and at its highest."""
        fields = {}
        for line in Path(f"/proc/{self.daemon_pid()}/status").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.split()
        return int(fields["VmRSS"][0]), int(fields["VmHWM"][0])


@contextmanager
def mounted_store(quoin, folder, sealing=False):
    """Makes a store under `folder`, mounts it, and takes the mount down when the block ends."""
    store = Store(quoin, folder / "store", folder / "mount", sealing)
    store.mount_point.mkdir()
    run(quoin, "init", store.folder)
    try:
        store.mount()
        yield store
    finally:
        take_down(store)


def take_down(store):
    daemon = None
    try:
        daemon = store.daemon_pid()
        run(store.quoin, "unmount", store.mount_point)
    except BenchmarkError as error:
        print(f"benchmark: unmounting by force: {error}")
    unmount_by_force(store.mount_point)
    if is_mounted(store.mount_point):
        print(f"benchmark: {store.mount_point} is still mounted")
    if daemon is not None:
        end_daemon(daemon, os.fspath(store.quoin))


def end_daemon(pid, program):
    """Waits for the daemon to go and kills it if it does not, while the pid is still its own."""
    def alive():
        try:
            return os.path.basename(program) in Path(f"/proc/{pid}/cmdline").read_text("utf-8")
        except OSError:
            return False

    deadline = time.monotonic() + STOP_LIMIT_SECONDS
    while alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    if alive():
        print(f"benchmark: the daemon (pid {pid}) did not end and is killed")
        os.kill(pid, signal.SIGKILL)


def version(quoin):
    return run(quoin, "--version").strip()


def require(program, what):
    """Fails with a remedy when a program is not there."""
    found = subprocess.run(["which", os.fspath(program)], capture_output=True, check=False)
    if found.returncode != 0:
        raise BenchmarkError(f"{program} is not there or cannot be run: {what}")
