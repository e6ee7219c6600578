#!/usr/bin/env python3
"""Ordinary backup tools read a snapshot of a guest as the plain file that it is.

Each tool backs the snapshot up and restores the same bytes. The tools that decide by a file's
metadata whether to read it again must read nothing the second time, although the tree was mounted
anew in between: a snapshot keeps its inode number, size and times. The mount's own counter of bytes
read is the witness, and the page cache is dropped first so that it cannot hide a read.

    backup_test.py --quoin BINARY --image FOLDER
"""

import json
import os
import re
import time
import unittest

from arguments import options, run_tests
from guest import Guest
from quoin_store import Store, allocated_bytes, drop_page_cache, run, sha256_of

WHOLE_RUN_LIMIT_SECONDS = 840
TOOL_LIMIT_SECONDS = 300
VDI = "web01"
SNAPSHOT = "nightly"


class BackupOfASnapshot(unittest.TestCase):
    """setUpClass makes the snapshot that all tests back up, of a guest that was running."""

    @classmethod
    def setUpClass(cls):
        cls.store = Store(options.quoin, "backup")
        cls.addClassCleanup(cls.store.remove)
        run("cp", options.image / "disk.raw", cls.store.vdi(VDI))
        with Guest(options.image, cls.store.vdi(VDI), bus="virtio", aio="io_uring",
                   log_folder=cls.store.scratch) as guest:
            guest.run("dd if=/dev/urandom of=/root/data bs=64k count=256 conv=fsync 2>/dev/null")
            cls.store.command("snap", "create", f"{VDI}@{SNAPSHOT}")
            guest.run("rm /root/data && sync && fstrim /")
            guest.power_off()
        cls.folder = cls.store.mount / "snapshots" / VDI
        cls.snapshot = cls.store.snapshot(VDI, SNAPSHOT)
        cls.digest = sha256_of(cls.snapshot)
        cls.data_bytes = allocated_bytes(cls.snapshot)

    @classmethod
    def tearDownClass(cls):
        cls.store.check()
        cls.store.unmount()
        cls.store.check()

    def setUp(self):
        self.scratch = self.store.scratch / self._testMethodName
        self.scratch.mkdir()

    def tool(self, *command, **environment):
        return run(*command, limit_seconds=TOOL_LIMIT_SECONDS, cwd=self.folder.parent,
                   env=os.environ | {name: str(value) for name, value in environment.items()})

    def read_by(self, act):
        """Returns what `act` returned and how many bytes the mount handed out meanwhile."""
        drop_page_cache()
        before, started = self.store.read_bytes(), time.monotonic()
        result = act()
        read = self.store.read_bytes() - before
        print(f"  {self._testMethodName}: read {read >> 20} MiB "
              f"in {time.monotonic() - started:.1f} s", flush=True)
        return result, read

    def first_backup(self, act):
        result, read = self.read_by(act)
        # Also proves that the counter counts; the rest of the file is holes.
        self.assertGreaterEqual(read, self.data_bytes, "the backup cannot have read all the data")
        return result

    def second_backup(self, act):
        """As first_backup, after a remount, and nothing may be read."""
        self.store.remount()
        result, read = self.read_by(act)
        self.assertEqual(read, 0, "the backup of an unchanged snapshot read data")
        return result

    def assert_restored(self, file):
        self.assertEqual(file.stat().st_size, self.snapshot.stat().st_size)
        self.assertEqual(sha256_of(file), self.digest)

    def test_restic(self):
        def restic(*words):
            return self.tool("restic", "--no-cache", "--repo", self.scratch / "repository", *words,
                             RESTIC_PASSWORD="quoin")

        def back_up():
            lines = restic("backup", "--json", self.folder).splitlines()
            return json.loads(lines[-1])

        restic("init")
        self.assertEqual(self.first_backup(back_up)["files_new"], 1)
        summary = self.second_backup(back_up)
        self.assertEqual((summary["files_unmodified"], summary["files_changed"]), (1, 0))
        target = self.scratch / "restored"
        restic("restore", "latest", "--target", target)
        self.assert_restored(target / self.snapshot.relative_to("/"))

    def test_borg(self):
        repository = self.scratch / "repository"
        # Borg reads the newest of all files again each time, as it may have changed within the
        # clock's grain. A file that is newer than the snapshot takes that part.
        newest = self.scratch / "newest"

        def borg(*words, cwd=None):
            return run("borg", *words, limit_seconds=TOOL_LIMIT_SECONDS,
                       cwd=cwd or self.folder.parent,
                       env=os.environ | {"BORG_BASE_DIR": str(self.scratch)})

        def back_up(archive):
            newest.write_text(archive)
            return borg("create", "--list", "--compression=none", f"{repository}::{archive}", VDI,
                        newest)

        borg("init", "--encryption=none", repository)
        name = f"{VDI}/{SNAPSHOT}"
        self.assertIn(f"A {name}", self.first_backup(lambda: back_up("one")))
        self.assertIn(f"U {name}", self.second_backup(lambda: back_up("two")))
        target = self.scratch / "restored"
        target.mkdir()
        borg("extract", "--sparse", f"{repository}::two", name, cwd=target)
        self.assert_restored(target / name)

    def test_rsync_sparse(self):
        def back_up():
            return self.tool("rsync", "--archive", "--sparse", "--stats", f"{self.folder}/",
                             self.scratch / "copy")

        def transferred(said):
            return int(re.search(r"regular files transferred: (\d+)", said)[1])

        self.assertEqual(transferred(self.first_backup(back_up)), 1)
        self.assertEqual(transferred(self.second_backup(back_up)), 0)
        self.assert_restored(self.scratch / "copy" / SNAPSHOT)
        self.assertLessEqual(allocated_bytes(self.scratch / "copy" / SNAPSHOT),
                             self.data_bytes + (1 << 20))
        self.tool("rsync", "--archive", "--sparse", self.scratch / "copy" / SNAPSHOT,
                  self.scratch / "restored")
        self.assert_restored(self.scratch / "restored")

    def test_tar_sparse(self):
        def back_up(archive):
            # The mount's device number is another one after a remount; tar is told that it may.
            return self.tool("tar", "--create", "--sparse", "--no-check-device",
                             f"--listed-incremental={self.scratch}/state",
                             f"--file={self.scratch / archive}",
                             f"--directory={self.folder.parent}", VDI)

        self.first_backup(lambda: back_up("full.tar"))
        self.second_backup(lambda: back_up("next.tar"))
        full, following = (self.scratch / name for name in ("full.tar", "next.tar"))
        self.assertLessEqual(full.stat().st_size, self.data_bytes + (1 << 20))
        self.assertNotIn(SNAPSHOT, self.tool("tar", "--list", f"--file={following}").split("\n"))
        self.tool("tar", "--extract", f"--directory={self.scratch}", f"--file={full}")
        self.assert_restored(self.scratch / VDI / SNAPSHOT)

    def test_qemu_img_convert(self):
        image, raw = self.scratch / "backup.qcow2", self.scratch / "restored.raw"
        # It keeps no record of what it has read, so there is no second backup to speak of.
        self.first_backup(lambda: self.tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                                            self.snapshot, image))
        self.tool("qemu-img", "compare", "-f", "raw", "-F", "qcow2", self.snapshot, image)
        self.tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
        self.assert_restored(raw)


if __name__ == "__main__":
    run_tests(["restic", "borg", "rsync", "tar", "qemu-img", "qemu-system-x86_64", "cp"],
              WHOLE_RUN_LIMIT_SECONDS)
