"""A store in a temporary folder, mounted by the quoin that is under test.

Shared by the tests of this folder. A Store leaves nothing behind: its end unmounts, by force if it
must, and removes the folder, whatever has happened in between.
"""

import hashlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

COMMAND_LIMIT_SECONDS = 120
KEEP_VARIABLE = "QUOIN_TEST_KEEP"
_PIECE_BYTES = 1 << 20


def run(*command, limit_seconds=COMMAND_LIMIT_SECONDS, allowed=(0,), **options):
    """Runs a program and returns what it wrote, standard error included.

    Raises AssertionError, with the output, if its exit status is not one of `allowed`.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=limit_seconds, check=False, **options)
    output = done.stdout.decode(errors="replace")
    if done.returncode not in allowed:
        raise AssertionError(f"'{' '.join(words)}' ended with status {done.returncode}:\n{output}")
    return output


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def allocated_bytes(path):
    """The space that stat says the file uses; st_blocks counts 512 bytes on every filesystem."""
    return os.stat(path).st_blocks * 512


def drop_page_cache():
    """Makes the next read of any file go to its filesystem."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def copy_file_range(source, target):
    """Makes target a sparse copy by copy_file_range(2), one run of data after the other."""
    size = os.stat(source).st_size
    with open(source, "rb") as reader, open(target, "wb") as writer:
        end = 0
        while end < size:
            try:
                at = os.lseek(reader.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break
            end = os.lseek(reader.fileno(), at, os.SEEK_HOLE)
            while at < end:
                at += os.copy_file_range(reader.fileno(), writer.fileno(), end - at, at, at)
        os.truncate(writer.fileno(), size)


def limit_whole_run(seconds):
    """Ends this process in order, cleaning up, before whoever started it kills it outright."""
    def give_up(number, _):
        raise SystemExit(f"stopped by signal {signal.Signals(number).name}"
                         + (f": {seconds} s are over" if number == signal.SIGALRM else ""))
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, give_up)
    signal.alarm(seconds)


def guard_mount(mount):
    """Starts what takes a mount away should this process be killed without a chance to do so.

    It waits for the end of a pipe that only this process holds open (by the descriptor returned,
    which is to be closed once the mount is gone), and is nobody's child, so that killing a tree of
    processes does not reach it. A dead mount in the way of everything else on the machine would be
    worse than a failed test.
    """
    read_end, write_end = os.pipe()
    script = 'exec 3<&0; { cat; fusermount3 -u -z "$1"; } <&3 >/dev/null 2>&1 &'
    subprocess.run(["sh", "-c", script, "guard", str(mount)], stdin=read_end, check=True,
                   start_new_session=True)
    os.close(read_end)
    return write_end


def unmount_by_force(mount):
    for _ in range(8):  # A mount on top of a mount is possible, endless ones are not.
        done = subprocess.run(["fusermount3", "-u", "-z", str(mount)],
                              stderr=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            break


class Store:
    """A new store, mounted. `mount` is the mounted tree; vdi() and snapshot() name files in it."""

    def __init__(self, quoin, name):
        self.quoin = pathlib.Path(quoin).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"quoin-{name}-", dir="/var/tmp"))
        self.store = self.folder / "store"
        self.mount = self.folder / "mount"
        self.scratch = self.folder / "scratch"
        self.mount.mkdir()
        self.scratch.mkdir()
        self._guard = guard_mount(self.mount)
        try:
            run(self.quoin, "init", self.store)
            self.mount_it()
        except BaseException:
            self.remove()
            raise

    def vdi(self, name):
        return self.mount / "vdis" / name

    def snapshot(self, vdi, name):
        return self.mount / "snapshots" / vdi / name

    def command(self, *words, **options):
        """Runs a verb of quoin on this store."""
        return run(self.quoin, "--store", self.store, *words, **options)

    def mount_it(self):
        run(self.quoin, "mount", self.store, self.mount)
        if not os.path.ismount(self.mount):
            raise AssertionError(f"quoin mount said that it is done but {self.mount} is no mount")

    def unmount(self):
        run(self.quoin, "unmount", self.mount)
        if os.path.ismount(self.mount):
            raise AssertionError(f"quoin unmount said that it is done but {self.mount} is mounted")

    def remount(self):
        self.unmount()
        self.mount_it()

    def check(self):
        """Every invariant on disk holds, says quoin check by its exit status."""
        return self.command("check")

    def metric(self, name):
        """The value of an unlabelled counter in the mount's own metrics."""
        for line in (self.mount / ".quoin" / "metrics").read_text().splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == name:
                return float(words[1])
        raise AssertionError(f"{self.mount}/.quoin/metrics has no {name}")

    def read_bytes(self):
        """How many bytes the mount has handed out in answer to read requests so far."""
        return int(self.metric("quoin_read_bytes_total"))

    def remove(self):
        """Unmounts and removes everything; complains about what is in the way, and goes on."""
        if os.path.ismount(self.mount):
            try:
                self.unmount()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                print(f"unmounting by force: {error}", file=sys.stderr, flush=True)
                unmount_by_force(self.mount)
                time.sleep(1)  # The daemon sees the end of its session and goes.
        os.close(self._guard)
        if os.environ.get(KEEP_VARIABLE):
            print(f"kept as {KEEP_VARIABLE} asks: {self.folder}", flush=True)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
