#!/usr/bin/env python3
"""Two hosts write, take and remove snapshots, seal and collect on one store, all at the same time.

Both write pieces of the same contents, so that each seals what the other one is storing or has just
stopped referring to. Afterwards every snapshot that is left holds, seen from the other host, what was
in the disk when it was taken.

    sealing_test.py --quoin BINARY --storage local|gluster|moosefs
"""

import concurrent.futures
import json
import os
import random
import time

from arguments import options, run_tests
from blocks import BLOCK_BYTES
from cluster import ClusterTest

WHOLE_RUN_LIMIT_SECONDS = 120
BUSY_SECONDS = {"local": 20, "gluster": 20, "moosefs": 12}
DISKS_PER_HOST = 2
BLOCKS = 1024
# Contents come in pieces of so many blocks; 8 in a row are what is looked for among what is stored.
PIECE_BLOCKS = 32
PIECES = 64
PIECES_PER_SNAPSHOT = 8
SNAPSHOTS_KEPT = 6
# Between two snapshots of a host: sealers are to keep up, and to be met at every stage of their work.
PAUSE_SECONDS = 0.1
# A collection removes what was declared dead a minute ago, for readers on hosts that know an older
# state. Here nobody reads before the end, and the lists are made to look older than that.
LOOKS_OLDER_SECONDS = 3600


class Disk:
    """One VDI that its host writes, and what it and its snapshots must hold."""

    def __init__(self, host, acts, name, numbers):
        self.host, self.acts, self.name, self.numbers = host, acts, name, numbers
        self.marks = [None] * BLOCKS
        self.snapshots = {}
        self.taken = 0
        acts.ask("make", path=host.vdi(name), size=BLOCKS * BLOCK_BYTES)
        self.handle = acts.open(host.vdi(name), write=True)

    def change(self):
        writes = []
        for _ in range(PIECES_PER_SNAPSHOT):
            piece = self.numbers.randrange(PIECES)
            at = self.numbers.randrange(BLOCKS - PIECE_BLOCKS)
            writes += [(at + number, ("pool", piece, number)) for number in range(PIECE_BLOCKS)]
        writes.append((self.numbers.randrange(BLOCKS), (self.host.name, self.taken, 0)))
        self.acts.write_many(self.handle, writes)
        for block, mark in writes:
            self.marks[block] = mark

    def take_snapshot(self):
        self.taken += 1
        name = f"s{self.taken}"
        self.acts.ask("make", path=self.host.snapshot(self.name, name))
        self.snapshots[name] = list(self.marks)

    def remove_a_snapshot(self):
        name = self.numbers.choice(sorted(self.snapshots))
        self.acts.ask("remove", path=self.host.snapshot(self.name, name))
        del self.snapshots[name]


class Sealing(ClusterTest):
    def test_two_hosts_seal_and_collect_beside_each_other(self):
        seed = int(os.environ.get("QUOIN_SEED", time.time_ns() % 1_000_000))
        self.tell(f"QUOIN_SEED={seed}")
        per_host = [self.make_disks(host, seed + host.number) for host in self.cluster.hosts]
        disks = [disk for of_host in per_host for disk in of_host]
        self.end = time.monotonic() + BUSY_SECONDS[options.storage.name]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(self.write, of_host) for of_host in per_host]
            sealers = [pool.submit(self.seal_and_collect, host, of_host)
                       for host, of_host in zip(self.cluster.hosts, per_host)]
            for writer in writers:
                writer.result()
            counts = [sealer.result() for sealer in sealers]
        taken = sum(disk.taken for disk in disks)
        left = sum(len(disk.snapshots) for disk in disks)
        self.tell(f"{taken} snapshots taken, {left} left; seals, collections and bytes freed "
                  f"by the two hosts: {counts[0]}, {counts[1]}")
        self.assertGreater(taken, left, "nothing was removed")
        self.assertTrue(all(seals > 0 for seals, _, _ in counts))
        self.assertGreater(sum(collections for _, collections, _ in counts), 0)
        self.assertGreater(sum(freed for _, _, freed in counts), 0, "no collection freed anything")
        self.verify(disks)
        for host in self.cluster.hosts:
            for disk in disks:
                if disk.host is host:
                    host.quoin("seal", disk.name)
        self.verify(disks)
        self.cluster.check()
        self.first.quoin("scrub")

    def make_disks(self, host, seed):
        numbers = random.Random(seed)
        acts = host.acts()
        self.addCleanup(acts.end)
        return [Disk(host, acts, f"{host.name}-{number}", numbers)
                for number in range(DISKS_PER_HOST)]

    def write(self, disks):
        """The disks of one host."""
        while time.monotonic() < self.end:
            disk = disks[0].numbers.choice(disks)
            disk.change()
            disk.take_snapshot()
            if len(disk.snapshots) > SNAPSHOTS_KEPT:
                disk.remove_a_snapshot()
            time.sleep(disk.numbers.uniform(0, 2 * PAUSE_SECONDS))
        for disk in disks:
            disk.take_snapshot()
            disk.acts.close(disk.handle)

    def seal_and_collect(self, host, disks):
        """Returns how many seals and collections there were, and how many bytes they freed."""
        seals = collections = freed = 0
        while time.monotonic() < self.end:
            for disk in disks:
                host.quoin("seal", disk.name)
                seals += 1
            self.make_dead_lists_look_old(host)
            said = host.quoin("gc", "--json", allowed=(0, 1))
            if said.startswith("{"):
                collections += 1
                freed += json.loads(said)["freed_bytes"]
            else:  # the other host is at it
                self.assertIn("collect", said)
        return seals, collections, freed

    @staticmethod
    def make_dead_lists_look_old(host):
        host.run("find", host.store / "gc" / "dead", "-type", "f", "-exec", "touch",
                 f"--date=-{LOOKS_OLDER_SECONDS} seconds", "{}", "+", allowed=(0, 1))

    def verify(self, disks):
        """Each host looks at the other one's snapshots, and at its own."""
        for host in self.cluster.hosts:
            with host.acts() as acts:
                for disk in disks:
                    folder = host.mount / "snapshots" / disk.name
                    names = acts.ask("list", path=folder)["names"]
                    self.assertEqual(set(names) - {"latest"}, set(disk.snapshots), disk.name)
                    for name, expected in disk.snapshots.items():
                        handle = acts.open(folder / name)
                        self.assertEqual(acts.marks(handle, count=BLOCKS), expected,
                                         f"{disk.name}@{name}, read on {host.name}")
                        acts.close(handle)


if __name__ == "__main__":
    run_tests(WHOLE_RUN_LIMIT_SECONDS)
