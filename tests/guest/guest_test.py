#!/usr/bin/env python3
"""A real Debian guest lives on a VDI, is snapshotted while it writes, and its clones live on.

The same story is told twice: on a paravirtual disk (virtio-blk through io_uring) and on an emulated
IDE disk (through libaio), with the other way of doing each thing that can be done in two ways:
import by qemu-img or by cp, snapshot by command or by touch.

    guest_test.py --quoin BINARY --image FOLDER
"""

import hashlib
import os
import time
import unittest

from arguments import options, run_tests
from guest import Guest
from quoin_store import Store, allocated_bytes, copy_file_range, drop_page_cache, run, sha256_of

WHOLE_RUN_LIMIT_SECONDS = 840
WRITER_LIMIT_SECONDS = 120
DISK_BYTES = 1 << 30
STREAM_FILE_BYTES = 65536
BIG_FILE_MIB = 96
SLACK_BYTES = 1 << 20


def synced_number(guest):
    """The last file of the guest's writer that is durable, 0 for none."""
    return int(guest.run("cat /run/writer.synced 2>/dev/null || echo 0"))


def wait_for_writer(guest, number):
    deadline = time.monotonic() + WRITER_LIMIT_SECONDS
    while (synced := synced_number(guest)) < number:
        if time.monotonic() > deadline:
            raise AssertionError(f"the guest's writer is at {synced} and does not reach {number}")
        time.sleep(0.1)
    return synced


def write_synced_file(guest, path):
    """Writes 2 MiB that nobody can guess, durably, and returns their digest."""
    return guest.run(f"dd if=/dev/urandom of={path} bs=64k count=32 conv=fsync 2>/dev/null && "
                     f"sync {os.path.dirname(path)} && sha256sum {path}").split()[0]


def stream_content(number):
    line = f"{number:06d}\n".encode()
    return (line * (STREAM_FILE_BYTES // len(line) + 1))[:STREAM_FILE_BYTES]


class LifeOfAGuest:
    """The story, told by setUpClass once; the tests look at what it left."""

    bus = aio = clone_bus = ""

    @classmethod
    def import_image(cls):
        raise NotImplementedError

    @classmethod
    def take_snapshot(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.store = Store(options.quoin, f"guest-{cls.bus}")
        cls.addClassCleanup(cls.store.remove)
        cls.import_image()
        cls.imported_bytes = allocated_bytes(cls.store.vdi(cls.vdi))
        cls.imported_digest = sha256_of(cls.store.vdi(cls.vdi))
        with cls.boot(cls.vdi, cls.bus, cls.aio) as guest:
            cls.live(guest)
            guest.power_off()
        cls.snapshot = cls.store.snapshot(cls.vdi, "running")

    @classmethod
    def live(cls, guest):
        cls.before_digest = write_synced_file(guest, "/root/before")
        guest.run("/sbin/guest_writer >/dev/null 2>&1 &")
        cls.synced_before = wait_for_writer(guest, 4)
        started = time.monotonic()
        cls.take_snapshot()
        print(f"  snapshot of the running guest took {(time.monotonic() - started) * 1e3:.1f} ms "
              f"with {cls.synced_before} files synced before", flush=True)
        cls.synced_after = synced_number(guest)
        cls.snapshot_digest = sha256_of(cls.store.snapshot(cls.vdi, "running"))
        wait_for_writer(guest, cls.synced_after + 3)
        cls.after_digest = write_synced_file(guest, "/root/after")
        guest.run("touch /run/writer.stop; "
                  "until [ -e /run/writer.stopped ]; do sleep 0.1; done")

    @classmethod
    def tearDownClass(cls):
        cls.store.check()
        cls.store.unmount()
        cls.store.check()

    @classmethod
    def boot(cls, vdi, bus, aio):
        return Guest(options.image, cls.store.vdi(vdi), bus=bus, aio=aio,
                     log_folder=cls.store.scratch)

    def file_in(self, disk, path):
        """The bytes of a file in the ext4 filesystem of `disk`, or None if there is no such."""
        copy = self.store.scratch / "dumped"
        copy.unlink(missing_ok=True)
        run("debugfs", "-R", f"dump {path} {copy}", disk)
        return copy.read_bytes() if copy.exists() else None

    def digest_in(self, disk, path):
        content = self.file_in(disk, path)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def test_import_keeps_bytes_and_holes(self):
        self.assertEqual(self.imported_digest, sha256_of(options.image / "disk.raw"))
        self.assertLessEqual(self.imported_bytes,
                             allocated_bytes(options.image / "disk.raw") + SLACK_BYTES)
        self.assertLess(self.imported_bytes, DISK_BYTES // 2)

    def test_the_guests_own_disk_has_both_files_and_is_clean(self):
        disk = self.store.vdi(self.vdi)
        run("e2fsck", "-fn", disk)
        self.assertEqual(self.digest_in(disk, "/root/before"), self.before_digest)
        self.assertEqual(self.digest_in(disk, "/root/after"), self.after_digest)

    def test_snapshot_is_the_instant_between_the_two_files(self):
        self.store.command("clone", f"{self.vdi}@running", "examined")
        disk = self.store.vdi("examined")
        self.assertEqual(sha256_of(disk), self.snapshot_digest)
        # Preen replays the journal and refuses (status 4) whatever only a human should repair;
        # a crash-consistent filesystem needs nothing of that kind.
        said = run("e2fsck", "-fp", disk, allowed=(0, 1))
        self.assertIn("recovering journal", said, "the snapshot was not of a mounted filesystem")
        run("e2fsck", "-fn", disk)

        self.assertEqual(self.digest_in(disk, "/root/before"), self.before_digest)
        self.assertIsNone(self.file_in(disk, "/root/after"))
        self.assert_stream_is_of_one_instant(disk)

    def assert_stream_is_of_one_instant(self, disk):
        """The writer begins a file only when all before it are durable, so a single instant has
        every file but the last one whole, from the first on, with none left out."""
        run("debugfs", "-R", f"rdump /stream {self.store.scratch}", disk)
        stream = self.store.scratch / "stream"
        last = max(int(file.name) for file in stream.iterdir())
        self.assertGreaterEqual(last, self.synced_before, "a durable file is missing")
        # The file after the one being written when the snapshot was there is from later.
        self.assertLessEqual(last, self.synced_after + 1)
        for number in range(1, max(last, self.synced_before + 1)):
            file = stream / f"{number:06d}"
            self.assertTrue(file.exists(), f"file {number} of {last} is missing")
            self.assertTrue(file.read_bytes() == stream_content(number),
                            f"file {number} of {last} is not whole")
        print(f"  the snapshot has {last} files of the writer; {self.synced_before} were durable "
              f"before it was asked for, {self.synced_after} after it was there", flush=True)

    def test_copy_file_range_moves_no_data_and_boots_and_gives_space_back(self):
        disk = self.store.vdi("lab/copied")
        disk.parent.mkdir(exist_ok=True)
        drop_page_cache()  # Or the copy could read the data without the mount knowing.
        read_before = self.store.read_bytes()
        copy_file_range(self.snapshot, disk)
        self.assertEqual(self.store.read_bytes(), read_before, "the copy read the data")
        self.assertEqual(sha256_of(disk), self.snapshot_digest)
        self.assertEqual(allocated_bytes(disk), allocated_bytes(self.snapshot))

        with self.boot("lab/copied", self.clone_bus, "threads") as guest:
            self.assertEqual(guest.run("sha256sum /root/before").split()[0], self.before_digest)
            guest.run("test ! -e /root/after")
            guest.run("fstrim /")
            guest.run(f"yes | dd of=/big bs=1M iflag=fullblock count={BIG_FILE_MIB} conv=fsync "
                      "2>/dev/null")
            full = allocated_bytes(disk)
            print(f"  {guest.run('rm /big && sync && fstrim -v /')}", flush=True)
            trimmed = allocated_bytes(disk)
            print(f"  {full >> 20} MiB before fstrim, {trimmed >> 20} MiB after", flush=True)
            self.assertLessEqual(trimmed, full - (BIG_FILE_MIB << 20) + SLACK_BYTES)
            guest.power_off()
        run("e2fsck", "-fn", disk)
        self.assertEqual(sha256_of(self.snapshot), self.snapshot_digest,
                         "writing to a clone changed the snapshot")

    def test_snapshot_is_the_same_after_a_remount(self):
        inode, modified = self.snapshot.stat().st_ino, self.snapshot.stat().st_mtime_ns
        self.store.remount()
        status = self.snapshot.stat()
        self.assertEqual((status.st_ino, status.st_mtime_ns, status.st_size),
                         (inode, modified, DISK_BYTES))
        self.assertEqual(sha256_of(self.snapshot), self.snapshot_digest)


class ParavirtualDisk(LifeOfAGuest, unittest.TestCase):
    bus, aio, clone_bus, vdi = "virtio", "io_uring", "ide", "web01"

    @classmethod
    def import_image(cls):
        cls.store.command("create", cls.vdi, "1G")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", options.image / "disk.raw",
            cls.store.vdi(cls.vdi))

    @classmethod
    def take_snapshot(cls):
        cls.store.command("snap", "create", f"{cls.vdi}@running")


class EmulatedDisk(LifeOfAGuest, unittest.TestCase):
    bus, aio, clone_bus, vdi = "ide", "native", "virtio", "lab/db02"

    @classmethod
    def import_image(cls):
        cls.store.vdi("lab").mkdir()
        run("cp", options.image / "disk.raw", cls.store.vdi(cls.vdi))

    @classmethod
    def take_snapshot(cls):
        run("touch", cls.store.snapshot(cls.vdi, "running"))


if __name__ == "__main__":
    run_tests(["qemu-system-x86_64", "qemu-img", "e2fsck", "debugfs", "cp"],
              WHOLE_RUN_LIMIT_SECONDS)
