"""MooseFS: a master and a chunk server, and clients that look again each time.

It does not fence: what a host had under way when it was cut off may land over what its successor
wrote. So it is the storage on which quoin has only its own care to rely on.
"""

import pathlib

from programs import run, wait_until
from storage import Storage, refresh_folder

_START_LIMIT_SECONDS = 60
_COMMON = """\
WORKING_USER = root
WORKING_GROUP = root
NICE_LEVEL = 0
DISABLE_OOM_KILLER = 0
"""


class MooseStorage(Storage):
    name = "moosefs"
    programs = ("mfsmaster", "mfschunkserver", "mfsmount", "mfscli")

    def start(self):
        refresh_folder(pathlib.Path("/run"))
        places = {name: self.folder / name for name in ("master", "chunks", "disk")}
        for place in places.values():
            place.mkdir()
        exports = self._file("exports", "* / rw,alldirs,admin,maproot=0:0\n")
        topology = self._file("topology", "")
        disks = self._file("disks", f"{places['disk']}\n")
        empty = pathlib.Path("/var/lib/mfs/metadata.mfs.empty")
        (places["master"] / "metadata.mfs").write_bytes(empty.read_bytes())
        self._start("mfsmaster", f"""{_COMMON}
DATA_PATH = {places['master']}
EXPORTS_FILENAME = {exports}
TOPOLOGY_FILENAME = {topology}
MATOML_LISTEN_HOST = {self.address}
MATOCS_LISTEN_HOST = {self.address}
MATOCL_LISTEN_HOST = {self.address}
""")
        self._start("mfschunkserver", f"""{_COMMON}
DATA_PATH = {places['chunks']}
HDD_CONF_FILENAME = {disks}
HDD_LEAVE_SPACE_DEFAULT = 0.1GiB
HDD_TEST_SPEED = 0
MASTER_HOST = {self.address}
MASTER_RECONNECTION_DELAY = 1
CSSERV_LISTEN_HOST = {self.address}
""")

    def _file(self, name, text):
        path = self.folder / f"{name}.cfg"
        path.write_text(text)
        return path

    def _start(self, program, configuration):
        run(program, "-c", self._file(program, configuration), "start")

    def mount(self, host, mount_point):
        host.run("mfsmount", "-H", self.address, mount_point, "-o",
                 "mfsnice=0,mfsallowoomkiller,mfscfgfile=/dev/null")
        # It counts as writable once the chunk server has told the master of its room.
        probe = mount_point / f".{host.name}"
        wait_until(lambda: host.succeeds("sh", "-c", f"echo ready >{probe} && sync {probe}"),
                   f"MooseFS to be writable on {host.name}", _START_LIMIT_SECONDS)
