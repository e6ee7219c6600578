"""GlusterFS: one server with one brick, and clients without caches, as many hosts as there are.

The volume's options make it coherent: no client-side caches, locks that a client which was cut off
does not get back silently, and ten seconds until the server gives up on a client that does not
answer. With the package's defaults two hosts do not see each other's writes.
"""

import pathlib
import subprocess

from programs import last_lines, run, succeeds, wait_until
from storage import Storage, refresh_folder

_PING_SECONDS = 10
_OPTIONS = {
    "performance.write-behind": "off",
    "performance.open-behind": "off",
    "performance.quick-read": "off",
    "performance.io-cache": "off",
    "performance.read-ahead": "off",
    "performance.stat-prefetch": "off",
    "performance.readdir-ahead": "off",
    "performance.strict-o-direct": "on",
    "network.remote-dio": "disable",
    "client.strict-locks": "on",
    "cluster.post-op-delay-secs": "0",
    "network.ping-timeout": _PING_SECONDS,
    "server.tcp-user-timeout": _PING_SECONDS,
}
_MOUNT_OPTIONS = ("--attribute-timeout=0", "--entry-timeout=0", "--direct-io-mode=enable",
                  "--fuse-mountopts=default_permissions,allow_other")
_VOLUME = "shared"
_START_LIMIT_SECONDS = 60


class GlusterStorage(Storage):
    name = "gluster"
    programs = ("glusterd", "gluster", "glusterfs")

    def start(self):
        # glusterd's state, sockets and logs; all of it is in these places alone.
        for place in ("/var/lib/glusterd", "/run", "/var/log/glusterfs"):
            refresh_folder(pathlib.Path(place))
        pathlib.Path("/run/gluster").mkdir()
        brick = self.folder / "brick"
        brick.mkdir()
        self.server = subprocess.Popen(
            ["glusterd", "--no-daemon", f"--log-file={self.folder}/glusterd.log"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: succeeds("gluster", "--mode=script", "volume", "list"),
                   "glusterd to answer", _START_LIMIT_SECONDS)
        self._command("volume", "create", _VOLUME, "transport", "tcp",
                      f"{self.address}:{brick}", "force")
        settings = [str(word) for item in _OPTIONS.items() for word in item]
        self._command("volume", "set", _VOLUME, *settings)
        self._command("volume", "start", _VOLUME)

    def _command(self, *words):
        try:
            return run("gluster", "--mode=script", *words)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{last_lines(self.folder / 'glusterd.log')}") from error

    def mount(self, host, mount_point):
        log = host.folder / "glusterfs.log"
        host.run("glusterfs", "--process-name=fuse", f"--volfile-server={self.address}",
                 f"--volfile-id={_VOLUME}", f"--log-file={log}", *_MOUNT_OPTIONS, mount_point)
        try:
            wait_until(lambda: host.succeeds("touch", mount_point / f".{host.name}"),
                       f"gluster's mount on {host.name}", _START_LIMIT_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{last_lines(log)}") from error
