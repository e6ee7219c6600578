"""The filesystem that the hosts of a cluster share: what a test may know of it, and the simplest one.

A storage is started once for a cluster, in the cluster's own namespaces; each host then mounts it in
its own. The other ones are in gluster.py and moosefs.py.
"""

from programs import run


class Storage:
    """`folder` is the storage's own place on this machine's disk; `address` is where servers listen."""

    name = ""
    programs = ()        # what has to be installed, beyond what every cluster needs
    has_network = True   # hosts reach it through their network, which can be cut
    # How long the storage may take to notice that a host is gone and to serve it again once it is
    # back: what a test waits for at most, after healing a network.
    reconnect_seconds = 60

    def __init__(self, folder, address):
        self.folder = folder
        self.address = address
        folder.mkdir()

    def start(self):
        """Returns when the storage can be mounted. Servers end with the test's namespaces."""

    def mount(self, host, mount_point):
        """Mounts it on a host; returns when it can be used there."""
        raise NotImplementedError


class LocalStorage(Storage):
    """A folder of this machine's own filesystem: the same locks and files, no network in between.

    What it shows is quoin's own part; a lock is free the moment its process is dead, and what one
    host has written the other one sees at once.
    """

    name = "local"
    has_network = False

    def mount(self, host, mount_point):
        host.run("mount", "--bind", self.folder, mount_point)


def refresh_folder(path):
    """Puts an empty folder in the place of one of the machine's, as seen from the test's namespaces.

    Servers have fixed places for sockets and state, and the machine may run some of its own.
    """
    path.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
