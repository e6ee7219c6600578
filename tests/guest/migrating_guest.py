"""A guest that moves between hosts while it runs, with a verified disk beside the one it boots from."""

import os
import select
import threading
import time

from guest import Guest
from qmp import Qmp, QmpError

MIGRATION_LIMIT_SECONDS = 90
STOP_LIMIT_SECONDS = 120
BANDWIDTH_BYTES = 1 << 30  # a second
SLOW_BANDWIDTH_BYTES = 1 << 20
DOWNTIME_LIMIT_MS = 300  # what QEMU aims at; opening the disks at the other end comes on top


class Log:
    """What the guest's verifier says, and when it was heard. QEMU processes on all hosts write to
    the one FIFO, so the lines of a guest that moves are in one order."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self._fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._heard = []  # (seconds, writes finished)
        self._ending = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        rest = b""
        while not self._ending.is_set():
            if not select.select([self._fifo], [], [], 0.2)[0]:
                continue
            rest += os.read(self._fifo, 65536)
            now = time.monotonic()
            *lines, rest = rest.split(b"\n")
            self._heard += [(now, int(line)) for line in lines if line.strip()]

    def writes(self):
        """How many writes are known to be finished."""
        return self._heard[-1][1] if self._heard else 0

    def await_more(self, writes, limit_seconds=30):
        goal = self.writes() + writes
        deadline = time.monotonic() + limit_seconds
        while self.writes() < goal:
            if time.monotonic() > deadline:
                raise AssertionError(f"the guest's verifier stands at {self.writes()} writes")
            time.sleep(0.02)

    def longest_gap(self, begin, end):
        """In seconds, of those that began in this time."""
        times = [heard for heard, _ in self._heard if heard >= begin]
        return max((after - before for before, after in zip(times, times[1:]) if before <= end),
                   default=0.0)

    def is_in_order(self):
        return all(before[1] < after[1] for before, after in zip(self._heard, self._heard[1:]))

    def end(self):
        self._ending.set()
        self._reader.join()
        os.close(self._fifo)


class MigratingGuest:
    """Boots on a host; move() takes it to another one. Both of its disks are VDIs of these names."""

    STATUS = "/run/verifier.status"
    SAID = "/run/verifier.said"
    STOP = "/run/verifier.stop"

    def __init__(self, image, verifier, host, *, root, data, cache, aio, scratch):
        self._image, self._verifier, self._scratch = image, verifier, scratch
        self._root, self._data, self._cache, self._aio = root, data, cache, aio
        self._processes = 0
        self.log = Log(scratch / "verifier-log")
        self.host = host
        self.guest, self._qmp = self._start(host, "")

    def __enter__(self):
        try:
            self.guest.__enter__()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._qmp.close()
        self.guest.kill()
        self.log.end()

    def _start(self, host, incoming):
        self._processes += 1
        monitor = self._scratch / f"monitor-{self._processes}"
        arguments = [
            "-drive", f"if=none,id=data,file={host.vdi(self._data)},format=raw,cache={self._cache},"
                      f"aio={self._aio},discard=unmap,file.locking=auto",
            "-device", "virtio-blk-pci,drive=data",
            "-drive", f"if=none,id=tool,file={self._verifier},format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=tool",
            "-chardev", f"file,id=log,path={self.log.path}", "-serial", "chardev:log",
            "-qmp", f"unix:{monitor},server=on,wait=off"]
        guest = Guest(self._image, host.vdi(self._root), bus="virtio", aio=self._aio,
                      cache=self._cache, log_folder=self._scratch, name=f"-{self._processes}",
                      incoming=incoming, arguments=arguments)
        try:
            return guest, Qmp(monitor)
        except BaseException:
            guest.kill()
            raise

    # --- the verifier ------------------------------------------------------------------------------

    def start_verifier(self, disk_bytes):
        self.guest.run("cat /dev/vdc >/root/disk_verifier && chmod 755 /root/disk_verifier && "
                       "stty -F /dev/ttyS2 raw -echo 115200")
        self.guest.run(f"{{ /root/disk_verifier /dev/vdb {disk_bytes} /dev/ttyS2 {self.STOP}; "
                       f"echo $? >{self.STATUS}; }} >{self.SAID} 2>&1 &")

    def check_verifier(self):
        """Raises what it has found wrong, if it has ended."""
        said = self.guest.run(f"if [ -e {self.STATUS} ]; then cat {self.SAID}; fi")
        if said:
            raise AssertionError(f"the guest's verifier has ended: {said}")

    def stop_verifier(self):
        """Returns its status and what it said."""
        self.guest.run(f"touch {self.STOP}")
        self.guest.run(f"until [ -e {self.STATUS} ]; do sleep 0.1; done", STOP_LIMIT_SECONDS)
        said = self.guest.run(f"cat {self.STATUS} {self.SAID}").split("\n", 1)
        return int(said[0]), said[1]

    # --- moving ------------------------------------------------------------------------------------

    def move(self, host):
        """Moves it, running, to `host`; returns what QEMU knows of the migration."""
        target, monitor = self._begin_move(host, BANDWIDTH_BYTES)
        try:
            facts = self._await_end_of_move()
            if facts["status"] != "completed":
                raise AssertionError(f"the migration to {host.name} ended as {facts}")
            self._await_running(monitor)
            self._qmp.run("quit")
            self.guest.await_exit()
        except BaseException:
            monitor.close()
            target.kill()
            raise
        self._qmp.close()
        self.guest.kill()  # Its end has come; this collects what is left of it.
        self.host, self.guest, self._qmp = host, target, monitor
        return facts

    def begin_move_in_vain(self, host, give_up):
        """Begins to move it to `host` and has `give_up(guest at the other end, own monitor)` end
        that half way; returns how QEMU says that it ended. The guest goes on where it is."""
        target, monitor = self._begin_move(host, SLOW_BANDWIDTH_BYTES)
        try:
            time.sleep(1)
            give_up(target, self._qmp)
            return self._await_end_of_move()["status"]
        finally:
            monitor.close()
            target.kill()

    def _begin_move(self, host, bandwidth_bytes):
        meeting = self._scratch / f"migration-{self._processes}"
        target, monitor = self._start(host, f"unix:{meeting}")
        try:
            self._qmp.run("migrate-set-parameters", max_bandwidth=bandwidth_bytes,
                          downtime_limit=DOWNTIME_LIMIT_MS)
            self._qmp.run("migrate", uri=f"unix:{meeting}")
        except BaseException:
            monitor.close()
            target.kill()
            raise
        return target, monitor

    def _await_end_of_move(self):
        deadline = time.monotonic() + MIGRATION_LIMIT_SECONDS
        while True:
            facts = self._qmp.run("query-migrate")
            if facts.get("status") in ("completed", "failed", "cancelled"):
                return facts
            if time.monotonic() > deadline:
                raise AssertionError(f"a migration does not end: {facts}")
            time.sleep(0.01)

    @staticmethod
    def _await_running(monitor):
        deadline = time.monotonic() + MIGRATION_LIMIT_SECONDS
        while (status := monitor.run("query-status")["status"]) != "running":
            if time.monotonic() > deadline:
                raise QmpError(f"the guest does not go on at the other end: {status}")
            time.sleep(0.005)
