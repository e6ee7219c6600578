"""Several hosts on one store, for the tests of this folder."""

import unittest

import private_machine
from arguments import options
from host import Host
from programs import last_lines, run

_NETWORK = "10.77.0"
LEASE_SECONDS = 2


class Cluster:
    """A bridge, a storage, and hosts that are switched on and have their daemons running.

    `mount_options` are those of every daemon. The end of the test's namespaces takes down what
    end() could not.
    """

    bridge = "cluster"

    def __init__(self, hosts=2, lease_seconds=LEASE_SECONDS, mount_options=()):
        self.quoin = options.quoin
        self.folder = options.folder
        self.lease_seconds = lease_seconds
        self.mount_options = ("--lease", str(lease_seconds), *mount_options)
        for name in ("shared", "mount"):
            (self.folder / name).mkdir()
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", f"{_NETWORK}.1/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        self.storage = options.storage(self.folder / "storage", f"{_NETWORK}.1")
        self.storage.start()
        self.hosts = [Host(self, number) for number in range(1, hosts + 1)]
        private_machine.last_words.append(self.show_logs)
        for host in self.hosts:
            host.boot()
        self.hosts[0].run(self.quoin, "init", self.hosts[0].store)
        for host in self.hosts:
            host.start_daemon()

    @staticmethod
    def address_of(number):
        return f"{_NETWORK}.{10 + number}"

    def check(self):
        """Every invariant on disk holds, says quoin check by its exit status."""
        return self.hosts[0].quoin("check")

    def show_logs(self):
        for host in self.hosts:
            print(f"--- the daemon of {host.name} said last:\n{last_lines(host.log)}", flush=True)

    def end(self):
        for host in self.hosts:
            host.power_off()


class ClusterTest(unittest.TestCase):
    """Tests on one cluster with two hosts, `first` and `second`, which all of a program's tests use
    one after the other. What daemons said is shown if one fails."""

    # What is special about the program's cluster, the same in all its classes.
    cluster_options = {}
    cluster = None

    @classmethod
    def setUpClass(cls):
        if ClusterTest.cluster is None:
            ClusterTest.cluster = Cluster(**cls.cluster_options)
            unittest.addModuleCleanup(ClusterTest.cluster.end)
        cls.first, cls.second = ClusterTest.cluster.hosts

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before and self.cluster is not None:
            self.cluster.show_logs()
        return result

    def tell(self, text):
        """A measured figure, in the test's output."""
        print(f"  {self._testMethodName}, {options.storage.name}: {text}", flush=True)
