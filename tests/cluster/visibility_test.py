#!/usr/bin/env python3
"""What one host makes the other one sees, soon; and contents exactly as far as they are published.

    visibility_test.py --quoin BINARY --storage local|gluster|moosefs
"""

import unittest

from arguments import options, run_tests
from blocks import BLOCK_BYTES
from cluster import ClusterTest

WHOLE_RUN_LIMIT_SECONDS = 90
# A second for attributes that the other host's kernel still believes (fuse/README.md), and one for
# the storage and a busy machine.
VISIBLE_SECONDS = 2
BLOCKS = 64
MIB = 1 << 20


class Names(ClusterTest):
    """The first host changes the tree, the second one looks."""

    def setUp(self):
        self.delays = []
        self.writer = self.first.acts()
        self.addCleanup(self.writer.end)
        self.watcher = self.second.acts()
        self.addCleanup(self.watcher.end)

    def seen_after(self, path, act, **expected):
        """Runs act() on the first host while the second one watches `path` for what is expected."""
        self.watcher.tell("await", path=path, limit=10, **expected)
        done = act()["at"]
        seen = self.watcher.answer()
        self.assertTrue(seen["seen"], f"{path} never showed {expected}")
        self.delays.append(seen["at"] - done)
        self.assertLess(self.delays[-1], VISIBLE_SECONDS, f"{path}: {expected}")

    def tearDown(self):
        if self.delays:
            self.tell(f"{len(self.delays)} changes seen after at most {max(0, *self.delays):.3f} s")

    def test_vdis(self):
        tree = self.first.mount / "vdis"
        ask = self.writer.ask
        self.seen_after(tree / "lab", lambda: ask("make_folder", path=tree / "lab"))
        vdi = tree / "lab" / "db02"
        self.seen_after(vdi, lambda: ask("make", path=vdi, size=MIB), size=MIB)
        self.assertEqual(self.watcher.ask("list", path=tree / "lab")["names"], ["db02"])
        for size in (4 * MIB, 2 * MIB):  # also after the second host's kernel knows a size
            self.seen_after(vdi, lambda size=size: ask("resize", path=vdi, size=size), size=size)
        renamed = tree / "db03"
        self.seen_after(renamed, lambda: ask("rename", path=vdi, to=renamed), size=2 * MIB)
        self.assertEqual(self.watcher.ask("list", path=tree / "lab")["names"], [])
        self.seen_after(renamed, lambda: ask("remove", path=renamed), exists=False)

    def test_snapshots(self):
        ask = self.writer.ask
        ask("make", path=self.first.vdi("web01"), size=MIB)
        folder = self.first.mount / "snapshots" / "web01"
        for name in ("monday", "tuesday"):
            self.seen_after(folder / name, lambda name=name: ask("make", path=folder / name),
                            size=MIB)
            self.watcher.ask("await", path=folder / "latest", target=name, limit=VISIBLE_SECONDS)
        self.seen_after(folder / "wednesday", lambda: ask("rename", path=folder / "tuesday",
                                                          to=folder / "wednesday"))
        self.seen_after(folder / "monday", lambda: ask("remove", path=folder / "monday"),
                        exists=False)
        self.assertEqual(self.watcher.ask("list", path=folder)["names"], ["latest", "wednesday"])


class Contents(ClusterTest):
    """Marks are (host, turn, number of the block)."""

    def setUp(self):
        self.acts = [host.acts() for host in self.cluster.hosts]
        for acts in self.acts:
            self.addCleanup(acts.end)
        self.paths = [host.vdi(self._testMethodName) for host in self.cluster.hosts]

    def turn(self, number, of_turn):
        return [(self.cluster.hosts[number].name, of_turn, block) for block in range(BLOCKS)]

    def write(self, number, handle, of_turn):
        for mark in self.turn(number, of_turn):
            self.acts[number].write(handle, mark[2], mark)
        self.acts[number].sync(handle)

    def make(self):
        """The VDI, open for writing on the first host, with its first turn flushed."""
        self.acts[0].ask("make", path=self.paths[0], size=BLOCKS * BLOCK_BYTES)
        handle = self.acts[0].open(self.paths[0], write=True)
        self.write(0, handle, 1)
        return handle

    def look(self, number, **flags):
        """What a fresh open for reading shows."""
        handle = self.acts[number].open(self.paths[number], **flags)
        marks = self.acts[number].marks(handle, count=BLOCKS)
        self.acts[number].close(handle)
        return marks

    def test_an_open_vdi_shows_its_last_published_state(self):
        handle = self.make()
        for direct in (False, True):
            self.assertEqual(self.look(1, direct=direct), [None] * BLOCKS, "nothing is published")
        snapshot = self.first.snapshot(self.paths[0].name, "monday")
        made = self.acts[0].ask("make", path=snapshot)["at"]
        self.write(0, handle, 2)
        self.acts[1].ask("await", path=snapshot, limit=VISIBLE_SECONDS)
        # published.db follows the snapshot in the background.
        looks = 0
        while (marks := self.look(1)) == [None] * BLOCKS and looks < 1000:
            looks += 1
        self.assertEqual(marks, self.turn(0, 1), "as of the snapshot, not later")
        seen = self.acts[1].ask("await", path=snapshot, limit=0)["at"]
        self.tell(f"a snapshot's contents seen {seen - made:.3f} s after it was taken")
        self.assertLess(seen - made, VISIBLE_SECONDS)
        self.acts[0].close(handle)

    def test_each_owner_sees_what_the_one_before_wrote(self):
        handle = self.make()
        self.acts[0].close(handle)
        # The second host's kernel now has all of it in its cache, and keeps a reader.
        reader = self.open_published(1, self.turn(0, 1))
        for of_turn in (2, 4):
            handle = self.acts[0].open(self.paths[0], write=True)
            self.write(0, handle, of_turn)
            self.acts[0].close(handle)
            handle = self.acts[1].open(self.paths[1], write=True)
            self.assertEqual(self.acts[1].marks(handle, count=BLOCKS), self.turn(0, of_turn))
            self.assertEqual(self.acts[1].marks(reader, count=BLOCKS), self.turn(0, of_turn),
                             "a reader that was there before, of the same host")
            self.write(1, handle, of_turn + 1)
            self.acts[1].close(handle)
            handle = self.acts[0].open(self.paths[0], write=True)
            self.assertEqual(self.acts[0].marks(handle, count=BLOCKS), self.turn(1, of_turn + 1))
            self.acts[0].close(handle)
        self.acts[1].close(reader)

    def open_published(self, number, expected):
        """A reader once the other host has let go, which close(2) there does not wait for."""
        for _ in range(1000):
            reader = self.acts[number].open(self.paths[number])
            if self.acts[number].marks(reader, count=BLOCKS) == expected:
                return reader
            self.acts[number].close(reader)
        raise AssertionError(f"{self.paths[number]} never shows what was written last")


if __name__ == "__main__":
    run_tests(WHOLE_RUN_LIMIT_SECONDS)
