"""A running test guest: starts QEMU, obeys deadlines, talks to the agent inside.

The guest is the one that make_guest_image makes. Its kernel prints to a log file; its agent
(guest_agent) answers on a second serial port, which is QEMU's standard input and output here.
Every wait has a limit, and a guest that is left behind is killed by the process that started it.
"""

import contextlib
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time

KVM_PROBE_LIMIT_SECONDS = 15
BOOT_LIMIT_SECONDS = 180
COMMAND_LIMIT_SECONDS = 120
POWER_OFF_LIMIT_SECONDS = 60
MEMORY_MIB = 384


class GuestError(Exception):
    """The guest did not do what it was told; the message ends with what its kernel said last."""


def _last_lines(path, count=25):
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no console log)"


def probe_accelerator(image):
    """Returns "kvm" where KVM boots the guest's kernel, else "tcg".

    That /dev/kvm exists proves nothing: in some virtual machines it opens and then runs no kernel.
    So a kernel is started and must reach its first process. The answer holds until the machine
    boots again and is kept beside the image until then.
    """
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = image / "accelerator"
    if memory.exists():
        known = memory.read_text().split()
        if len(known) == 2 and known[0] == boot:
            return known[1]
    accelerator = "kvm" if _kvm_boots(image) else "tcg"
    memory.write_text(f"{boot} {accelerator}\n")
    return accelerator


def _kvm_boots(image):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix="quoin-kvm-probe-") as folder:
        console = pathlib.Path(folder) / "console"
        qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "max", "-m", str(MEMORY_MIB),
             "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
             "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"),
             "-append", "console=ttyS0 panic=-1 break=top"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + KVM_PROBE_LIMIT_SECONDS
            while time.monotonic() < deadline and qemu.poll() is None:
                if console.exists() and b"Run /init as init process" in console.read_bytes():
                    return True
                time.sleep(0.1)
            return False
        finally:
            qemu.kill()
            qemu.wait()


class Guest:
    """One QEMU process with one disk. Use it in a `with` block, which kills what is left of it."""

    # How the disk is attached: paravirtual, or as hardware that is emulated register by register.
    BUSES = {
        "virtio": ["-machine", "q35", "-device", "virtio-blk-pci,drive=disk,discard=on"],
        "ide": ["-machine", "pc", "-device", "ide-hd,drive=disk,bus=ide.0"],
    }
    ROOT_DEVICES = {"virtio": "/dev/vda", "ide": "/dev/sda"}

    def __init__(self, image, disk, *, bus, aio, log_folder, cache="none", name="", incoming="",
                 arguments=()):
        """`incoming` is where a guest comes from that runs elsewhere, as QEMU's -incoming has it;
        `name` tells the logs of such guests apart, `arguments` are more of QEMU's."""
        self.disk = pathlib.Path(disk)
        self.bus = bus
        self.is_incoming = bool(incoming)
        self.console = pathlib.Path(log_folder) / f"console-{self.disk.name}-{bus}{name}.log"
        self._next_number = 1
        self._lines = queue.Queue()
        accelerator = probe_accelerator(image)
        if not self.is_incoming:
            print(f"  booting {self.disk} on {bus}, aio={aio}, cache={cache}, {accelerator}",
                  flush=True)
        self._started = time.monotonic()
        # no_timer_check: on a busy machine an emulated timer may come too late for the kernel, which
        # then takes it for a broken one and panics.
        # The kernel kills QEMU should this process be killed without a chance to do so itself.
        self._qemu = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL",
             "qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-m", str(MEMORY_MIB),
             "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-drive", f"if=none,id=disk,file={self.disk},format=raw,cache={cache},discard=unmap,"
                       f"aio={aio}",
             *self.BUSES[bus],
             "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
             "-chardev", "stdio,id=agent,signal=off", "-serial", "chardev:agent",
             *arguments, *(("-incoming", incoming) if incoming else ()),
             "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"),
             "-append", f"console=ttyS0 panic=-1 root={self.ROOT_DEVICES[bus]} ro "
                        "no_timer_check fsck.mode=skip init=/sbin/guest_agent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._complaints = []
        self._readers = [threading.Thread(target=self._collect_lines, daemon=True),
                         threading.Thread(target=self._collect_complaints, daemon=True)]
        for reader in self._readers:
            reader.start()

    def __enter__(self):
        if self.is_incoming:
            return self  # It has said that it is ready where it comes from.
        try:
            self._wait_for("#ready", BOOT_LIMIT_SECONDS, "start its agent")
        except BaseException:
            self.kill()
            raise
        print(f"  up after {time.monotonic() - self._started:.1f} s", flush=True)
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """Pulls the plug. Does nothing to a guest that has already ended."""
        if self._qemu.poll() is None:
            self._qemu.kill()
        self._qemu.wait()
        for reader in self._readers:
            reader.join()  # Both end with the pipes, and those with QEMU.
        for pipe in (self._qemu.stdin, self._qemu.stdout, self._qemu.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def run(self, command, limit_seconds=COMMAND_LIMIT_SECONDS):
        """Runs one shell command line as root in the guest and returns what it printed.

        Raises GuestError if its exit status is not 0.
        """
        if "\n" in command:
            raise ValueError("the agent reads one line a command")
        number = self._next_number
        self._next_number += 1
        try:
            self._qemu.stdin.write(f"{number} {command}\n".encode())
            self._qemu.stdin.flush()
        except OSError as error:
            raise self._error(f"cannot be asked to run '{command}': {error}") from error
        done = f"#done {number} "
        lines = self._wait_for(done, limit_seconds, f"finish '{command}'")
        status = int(lines.pop()[len(done):])
        output = "\n".join(lines)
        if status != 0:
            raise self._error(f"'{command}' ended with status {status}: {output}")
        return output

    def await_exit(self):
        """Waits until QEMU has ended, as it was told to, and has let go of its disks."""
        try:
            self._qemu.wait(POWER_OFF_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._error(f"did not end in {POWER_OFF_LIMIT_SECONDS} s") from None

    def power_off(self):
        """Shuts the guest down in order and waits until QEMU has let go of the disk."""
        self.run("/sbin/guest_power_off")
        try:
            status = self._qemu.wait(POWER_OFF_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._error(f"did not power off in {POWER_OFF_LIMIT_SECONDS} s") from None
        if status != 0:
            raise self._error(f"QEMU ended with status {status}")
        if "Power down" not in self.console.read_text(errors="replace"):
            raise self._error("ended without powering down")

    def _wait_for(self, beginning, limit_seconds, act):
        """Returns all lines up to and with the first that starts with `beginning`."""
        deadline = time.monotonic() + limit_seconds
        lines = []
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._error(f"did not {act} within {limit_seconds} s") from None
            if line is None:
                raise self._error(f"ended before it could {act}")
            lines.append(line)
            if line.startswith(beginning):
                return lines

    def _collect_lines(self):
        for line in self._qemu.stdout:
            self._lines.put(line.decode(errors="replace").rstrip("\r\n"))
        self._lines.put(None)

    def _collect_complaints(self):
        for line in self._qemu.stderr:
            text = line.decode(errors="replace").rstrip()
            self._complaints.append(text)
            print(f"  qemu: {text}", file=sys.stderr, flush=True)

    def _error(self, what):
        said = "\n".join(self._complaints)
        return GuestError(f"guest on {self.disk} ({self.bus}): {what}\n{said}\n"
                          f"--- last lines of its console ---\n{_last_lines(self.console)}")
