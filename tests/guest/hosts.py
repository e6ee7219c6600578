"""One store in a temporary folder, mounted by several hosts on this one machine.

A host here is a `quoin mount -f` of its own, with a state folder and so an identity of its own: to
the store they are different machines. Nothing is left behind, whatever happens.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from quoin_store import KEEP_VARIABLE, guard_mount, run, unmount_by_force

MOUNT_LIMIT_SECONDS = 30
UNMOUNT_LIMIT_SECONDS = 30


class Host:
    """One mount of the store. `environment` makes commands this host's."""

    def __init__(self, quoin, store, folder):
        self.quoin = quoin
        self.store = store
        self.name = folder.name
        self.mount = folder / "mount"
        self.mount.mkdir(parents=True)
        self.environment = os.environ | {f"QUOIN_{kind.upper()}_DIR": str(folder / kind)
                                         for kind in ("state", "run", "log")}
        self._guard = guard_mount(self.mount)
        self._log = open(folder / "daemon.log", "wb")
        # SIGTERM, should this process be killed: the daemon then unmounts by itself.
        self._daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", str(quoin), "mount", "-f", str(store),
             str(self.mount)],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=self.environment)
        deadline = time.monotonic() + MOUNT_LIMIT_SECONDS
        while not os.path.ismount(self.mount):
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise AssertionError(f"host {self.name} does not mount: "
                                     + (folder / "daemon.log").read_text(errors="replace"))
            time.sleep(0.02)

    def vdi(self, name):
        return self.mount / "vdis" / name

    def command(self, *words, **options):
        """Runs a verb of quoin on the store, as this host."""
        return run(self.quoin, "--store", self.store, *words, env=self.environment, **options)

    def end(self):
        """Unmounts in order, or by force if that takes too long."""
        if self._daemon.poll() is None:
            self._daemon.terminate()
            try:
                self._daemon.wait(UNMOUNT_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"host {self.name} does not unmount: by force", file=sys.stderr, flush=True)
                unmount_by_force(self.mount)
                self._daemon.kill()
                self._daemon.wait()
        if os.path.ismount(self.mount):
            unmount_by_force(self.mount)
        if not self._log.closed:
            self._log.close()
            os.close(self._guard)


class SharedStore:
    """A new store and its hosts."""

    def __init__(self, quoin, name, host_names):
        quoin = pathlib.Path(quoin).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"quoin-{name}-", dir="/var/tmp"))
        self.store = self.folder / "store"
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()
        self.hosts = []
        try:
            run(quoin, "init", self.store)
            for host_name in host_names:
                self.hosts.append(Host(quoin, self.store, self.folder / host_name))
        except BaseException:
            self.remove()
            raise

    def remove(self):
        for host in self.hosts:
            host.end()
        if os.environ.get(KEEP_VARIABLE):
            print(f"kept as {KEEP_VARIABLE} asks: {self.folder}", flush=True)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
