"""One host of a cluster: its namespaces, its mount of the shared filesystem, its daemon.

A host has a network, mounts, a name and a boot id of its own, and its own folders for quoin's state,
so its own host id. Everything that runs on it is started through it and can be killed with it.
"""

import contextlib
import os
import signal
import subprocess
import uuid

from acts import Acts
from programs import last_lines, run, succeeds, wait_until

DAEMON_LIMIT_SECONDS = 60
_ENTERED = ("--net", "--mount", "--uts")


class Host:
    """Made switched off; boot() switches it on. `mount` is its tree, `store` the store's folder."""

    def __init__(self, cluster, number):
        self.cluster = cluster
        self.number = number
        self.name = f"node{number}"
        self.folder = cluster.folder / self.name
        self.folder.mkdir()
        for name in ("state", "run", "log"):
            (self.folder / name).mkdir()
        # The same paths on every host, as on real ones; each sees its own mounts there.
        self.shared = cluster.folder / "shared"
        self.store = self.shared / "store"
        self.mount = cluster.folder / "mount"
        self.log = self.folder / "daemon.log"
        self.daemon = None
        self._first = None  # the process that keeps the namespaces
        self._link = f"link{number}"

    # --- power ------------------------------------------------------------------------------------

    def boot(self):
        """Makes the namespaces and mounts the shared filesystem; the daemon is not started."""
        self._first = subprocess.Popen(
            ["unshare", *_ENTERED, "--propagation=private", "sleep", "infinity"],
            stdin=subprocess.DEVNULL)
        wait_until(lambda: self._has_own_namespaces(self._first.pid), f"{self.name}'s namespaces")
        self.run("hostname", self.name)
        boot_id = self.folder / "boot_id"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        self.run("mount", "--bind", boot_id, "/proc/sys/kernel/random/boot_id")
        self._plug_in()
        self.cluster.storage.mount(self, self.shared)

    def make_ready(self):
        """Mends what a test that failed has left: the host is on, connected, and its daemon runs."""
        if self._first is None:
            self.boot()
        self.heal()
        if self.daemon is not None:
            self.resume_daemon()
        if self.daemon is None or self.daemon.poll() is not None:
            self.start_daemon()

    def _has_own_namespaces(self, pid):
        kinds = ("net", "mnt", "uts")
        return all(os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
                   for kind in kinds)

    def _plug_in(self):
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0",
            "netns", self._first.pid)
        run("ip", "link", "set", self._link, "master", self.cluster.bridge, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.cluster.address_of(self.number)}/24",
                 "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def power_off(self):
        """Kills everything that runs on the host, at once and without a word to anybody."""
        if self._first is None:
            return
        # A host whose power fails is off the network before its processes could say goodbye.
        run("ip", "link", "set", self._link, "nomaster")
        while victims := self._processes():
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not any(self._runs_here(pid) for pid in victims),
                       f"the processes of {self.name} to be gone")
        self._first.wait()
        self._first = None
        if self.daemon is not None:
            self.daemon.wait()
            self.daemon = None
        run("ip", "link", "delete", self._link, allowed=range(256))  # may have gone by itself

    def _processes(self):
        return [int(name) for name in os.listdir("/proc")
                if name.isdigit() and self._runs_here(int(name))]

    def _runs_here(self, pid):
        try:
            return (os.readlink(f"/proc/{pid}/ns/net")
                    == os.readlink(f"/proc/{self._first.pid}/ns/net"))
        except OSError:
            return False  # it has ended

    # --- network ----------------------------------------------------------------------------------

    def cut(self):
        """From now on nothing that the host sends arrives and nothing reaches it; its link stays up."""
        run("ip", "link", "set", self._link, "nomaster")

    def heal(self):
        run("ip", "link", "set", self._link, "master", self.cluster.bridge)

    # --- programs ---------------------------------------------------------------------------------

    def command_line(self, *command):
        """What runs `command` on this host, as this very process (no child of it)."""
        variables = [f"QUOIN_{name.upper()}_DIR={self.folder}/{name}"
                     for name in ("state", "run", "log")]
        return ["nsenter", f"--target={self._first.pid}", *_ENTERED, "--", "env", *variables,
                *(str(word) for word in command)]

    def run(self, *command, **limits):
        return run(*self.command_line(*command), **limits)

    def succeeds(self, *command, **limits):
        return succeeds(*self.command_line(*command), **limits)

    def quoin(self, *words, **limits):
        """Runs a verb of quoin on this host, on the store."""
        return self.run(self.cluster.quoin, "--store", self.store, *words, **limits)

    def acts(self):
        """A new process on this host that opens, reads and writes files for the test."""
        return Acts(self)

    def vdi(self, name):
        return self.mount / "vdis" / name

    def snapshot(self, vdi, name):
        return self.mount / "snapshots" / vdi / name

    # --- the daemon -------------------------------------------------------------------------------

    def start_daemon(self, options=None):
        """Returns when the tree can be used. After a crash the dead mount is taken away first.

        `options` are those of `quoin mount`; without them, the cluster's.
        """
        if options is None:
            options = self.cluster.mount_options
        self.run("umount", "--lazy", self.mount, allowed=range(256))
        # Without a keeper the daemon is this very process, and its death is a host's.
        command = self.command_line(self.cluster.quoin, "mount", "--foreground", "--no-keeper",
                                    self.store, self.mount, *options)
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log)
        wait_until(self._is_mounted, f"quoin's mount on {self.name}", DAEMON_LIMIT_SECONDS)

    def _is_mounted(self):
        if self.daemon.poll() is not None:
            raise AssertionError(f"the daemon of {self.name} ended with status "
                                 f"{self.daemon.returncode}:\n{last_lines(self.log)}")
        # The record is written last, once everything works.
        return any(f'"daemon_pid":{self.daemon.pid}' in text.replace(" ", "")
                   for text in (record.read_text()
                                for record in (self.folder / "run").glob("*.json")))

    def stop_daemon(self):
        """In order: everything is flushed and let go."""
        self.run(self.cluster.quoin, "unmount", self.mount)
        self.daemon.wait(DAEMON_LIMIT_SECONDS)
        self.daemon = None

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon.wait()
        self.daemon = None

    def pause_daemon(self):
        self.daemon.send_signal(signal.SIGSTOP)

    def resume_daemon(self):
        self.daemon.send_signal(signal.SIGCONT)
