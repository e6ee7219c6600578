#!/usr/bin/env python3
"""QEMU hands a disk over from one host to another, again and again, with no guest in it.

What a live migration does to a disk, and nothing else: QEMU's own monitor writes and verifies the disk
before and after each move. So this takes seconds where migration_test.py takes minutes.

    hand_over_test.py --quoin BINARY --image FOLDER
"""

import pathlib
import re
import subprocess
import time
import unittest

from arguments import options, run_tests
from hosts import SharedStore
from qmp import Qmp
from quoin_store import run, sha256_of

WHOLE_RUN_LIMIT_SECONDS = 540
MOVE_LIMIT_SECONDS = 60
MIB = 1 << 20
DISK_MIB = 16
MOVES = 10
DISK = "lab/data"


class Machine:
    """One QEMU process without a guest, with one disk."""

    number = 0

    def __init__(self, host, cache, aio, scratch, incoming=""):
        Machine.number += 1
        self.host = host
        monitor = pathlib.Path(scratch) / f"monitor-{Machine.number}"
        # The commands of qemu-io answer on QEMU's standard output, not through the monitor.
        self._output = open(pathlib.Path(scratch) / f"output-{Machine.number}", "w+",
                            encoding="utf-8")
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "stdbuf", "-oL",
             "qemu-system-x86_64", "-accel", "tcg", "-m", "64",
             "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
             "-drive", f"if=none,id=data,file={host.vdi(DISK)},format=raw,cache={cache},aio={aio},"
                       "discard=unmap,file.locking=auto",
             "-device", "virtio-blk-pci,drive=data",
             "-qmp", f"unix:{monitor},server=on,wait=off",
             *(("-incoming", incoming) if incoming else ())],
            stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT)
        try:
            self.monitor = Qmp(monitor)
        except BaseException:
            self.end()
            raise

    def disk(self, command):
        """Runs a command of qemu-io on the disk, in the QEMU process that has it open."""
        with open(self._output.name, encoding="utf-8") as output:
            output.seek(0, 2)
            self.monitor.run("human-monitor-command",
                             **{"command-line": f'qemu-io data "{command}"'})
            said = output.read()
        done = {"write": "wrote", "read": "read"}.get(command.split()[0])
        if "failed" in said or (done and not re.match(rf"{done} (\d+)/\1 bytes", said)):
            raise AssertionError(f"'{command}' on host {self.host.name}: {said}")

    def await_status(self, command, *wanted):
        deadline = time.monotonic() + MOVE_LIMIT_SECONDS
        while (facts := self.monitor.run(command)).get("status") not in wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"{command} stays {facts}")
            time.sleep(0.005)
        return facts

    def quit(self):
        self.monitor.run("quit")
        self._process.wait(MOVE_LIMIT_SECONDS)

    def end(self):
        if hasattr(self, "monitor"):
            self.monitor.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._output.close()


class HandOver:
    cache = aio = ""

    def setUp(self):
        self.shared = SharedStore(options.quoin, f"hand-over-{self.cache}", ("a", "b"))
        self.addCleanup(self.shared.remove)
        self.shared.hosts[0].command("create", DISK, f"{DISK_MIB}M")

    def machine(self, host, incoming=""):
        machine = Machine(host, self.cache, self.aio, self.shared.scratch, incoming)
        self.addCleanup(machine.end)
        return machine

    def move(self, machine, host):
        meeting = f"unix:{self.shared.scratch}/meeting-{Machine.number}"
        target = self.machine(host, meeting)
        machine.monitor.run("migrate", uri=meeting)
        facts = machine.await_status("query-migrate", "completed", "failed")
        self.assertEqual(facts["status"], "completed", facts)
        target.await_status("query-status", "running")
        return target, facts["downtime"]

    def test_every_byte_arrives_move_after_move(self):
        a, b = self.shared.hosts
        machine = self.machine(a)
        downtimes = []
        for number in range(1, MOVES + 1):
            machine.disk(f"write -P {number} 0 {DISK_MIB}M")
            machine.disk(f"write -P {100 + number} {number}M 512")
            if number % 2 == 0:
                machine.disk("flush")  # Else it is the hand-over that must not lose it.
            host = b if machine.host is a else a
            sha256_of(host.vdi(DISK))  # Fills the page cache at the host to come.
            target, downtime = self.move(machine, host)
            target.disk(f"read -P {100 + number} {number}M 512")
            target.disk(f"read -P {number} 0 {number}M")
            target.disk(f"read -P {number} {number * MIB + 512} {(DISK_MIB - number) * MIB - 512}")
            machine.quit()
            machine = target
            downtimes.append(downtime)
        machine.quit()
        print(f"  {MOVES} moves with cache={self.cache}: QEMU stood still for {min(downtimes)} to "
              f"{max(downtimes)} ms", flush=True)
        self.assertEqual(sha256_of(a.vdi(DISK)), sha256_of(b.vdi(DISK)))
        a.command("check")

    def test_a_second_writer_is_refused_on_either_host(self):
        a, b = self.shared.hosts
        self.machine(a).disk("write -P 1 0 512")
        for host, reason in ((a, 'Failed to get "write" lock'), (b, "Device or resource busy")):
            begin = time.monotonic()
            said = run("qemu-io", "--image-opts", "-c", "write 0 512",
                       f"driver=raw,file.driver=file,file.filename={host.vdi(DISK)},"
                       "file.locking=auto", allowed=(1,))
            print(f"  refused on {host.name} after {time.monotonic() - begin:.2f} s: "
                  f"{said.strip().splitlines()[-1]}", flush=True)
            self.assertIn(reason, said)


class WithoutTheHostsCache(HandOver, unittest.TestCase):
    cache, aio = "none", "io_uring"


class ThroughTheHostsCache(HandOver, unittest.TestCase):
    cache, aio = "writeback", "threads"


if __name__ == "__main__":
    run_tests(["qemu-system-x86_64", "qemu-io", "stdbuf"], WHOLE_RUN_LIMIT_SECONDS)
