#!/usr/bin/env python3
"""A host that owns a VDI falls silent while it writes; another one takes over, and the first comes back.

What the first host had flushed is there; what it does after it was succeeded fails and is never seen;
once the second host has closed the VDI, the first one can have it again. Then the same in a random
order of faults, one after the other, on one VDI.

    take_over_test.py --quoin BINARY --storage local|gluster|moosefs
"""

import errno
import os
import random
import time

from arguments import options, run_tests
from blocks import Shadow
from cluster import ClusterTest
from writer import BLOCKS, TAKE_OVER_SECONDS, ZOMBIE, Writer

WHOLE_RUN_LIMIT_SECONDS = 280
FLUSHES = 20
MOOSE_WAITS = "what a host that vanished was writing cannot be read on MooseFS for two minutes"
# By then GlusterFS has closed the connection of a host that is cut off, and freed its locks (21 s were
# measured).
GIVEN_UP_SECONDS = 25
HISTORY_SECONDS = {"local": 15, "gluster": 20, "moosefs": 8}


class TakeOver(ClusterTest):
    """Each test has a VDI of its own; `shadow` is what it may hold."""

    def setUp(self):
        self.first.make_ready()
        self.second.make_ready()
        self.name = self._testMethodName.removeprefix("test_")
        self.shadow = Shadow(BLOCKS)

    def skip_unless_hosts_may_vanish(self):
        if options.storage.name == "moosefs":
            self.skipTest(MOOSE_WAITS)

    # --- the parts of every test ------------------------------------------------------------------

    def succeed_after(self, fault):
        """The first host writes until `fault`, which comes in the midst of it; the second succeeds."""
        self.owner = Writer(self, self.first, self.name, 1, self.shadow)
        self.owner.make_vdi()
        self.owner.open()
        self.owner.stream(FLUSHES)
        fault()
        self.silent_since = time.monotonic()
        self.owner.hear_what_was_said()
        self.heir = Writer(self, self.second, self.name, 2, self.shadow)
        opened, wrote = self.heir.take_over(self.silent_since)
        self.tell(f"owned after {opened:.2f} s, all read and a write flushed after {wrote:.2f} s, "
                  f"bound {TAKE_OVER_SECONDS:.1f} s; {self.owner.flushed} writes had been flushed")
        self.heir.write_some(200)

    def assert_owner_fails(self, back_since):
        self.owner.assert_stream_fails()
        self.tell(f"the first host's {self.owner.ended['during']} ended with "
                  f"{self.owner.ended['ended']} {time.monotonic() - back_since:.2f} s after it came "
                  "back")

    def assert_first_host_recovers(self):
        """While the second host has it, the first one sees nothing that only itself wrote; then it
        is the owner again and sees all that the second one wrote."""
        again = Writer(self, self.first, self.name, 3, self.shadow)
        reader = again.acts.open(self.first.vdi(self.name))
        for mark in again.acts.marks(reader, count=BLOCKS):
            self.assertTrue(mark is None or mark[1] != ZOMBIE, mark)
        again.acts.close(reader)
        with self.assertRaises(OSError) as refused:
            again.open()
        self.assertEqual(refused.exception.errno, errno.EBUSY)
        self.heir.assert_sees_the_shadow()
        self.heir.close()
        again.open()
        again.assert_sees_the_shadow()
        again.write_some(50)
        again.close()
        self.heir.open()
        self.heir.assert_sees_the_shadow()
        self.heir.close()
        self.cluster.check()

    # --- the faults -------------------------------------------------------------------------------

    def test_daemon_killed(self):
        self.succeed_after(self.first.kill_daemon)
        self.assert_owner_fails(time.monotonic())
        self.first.start_daemon()
        self.owner.assert_descriptor_is_dead()
        self.assert_first_host_recovers()

    def test_host_lost_power(self):
        self.skip_unless_hosts_may_vanish()
        self.succeed_after(self.first.power_off)
        self.first.boot()
        self.first.start_daemon()
        self.assert_first_host_recovers()

    def test_daemon_paused(self):
        self.succeed_after(self.first.pause_daemon)
        back_since = time.monotonic()
        self.first.resume_daemon()
        self.assert_owner_fails(back_since)
        self.owner.assert_descriptor_is_dead()
        self.owner.close()
        self.assert_first_host_recovers()

    def test_network_cut(self):
        # The connection outlives so short a cut: what was under way arrives after the take-over.
        self.cut_and_heal(away_seconds=0)

    def test_network_cut_until_the_storage_gave_the_host_up(self):
        self.cut_and_heal(away_seconds=GIVEN_UP_SECONDS)

    def cut_and_heal(self, away_seconds):
        self.skip_unless_hosts_may_vanish()
        if not self.cluster.storage.has_network:
            self.skipTest("there is no network between the hosts")
        self.succeed_after(self.first.cut)
        time.sleep(max(0, self.silent_since + away_seconds - time.monotonic()))
        back_since = time.monotonic()
        self.first.heal()
        self.assert_owner_fails(back_since)
        self.owner.assert_descriptor_is_dead()
        self.owner.close()
        self.assert_first_host_recovers()

    # --- one after the other ----------------------------------------------------------------------

    def test_random_history(self):
        # Each owner is succeeded by the other host, and comes back before or after that one writes.
        seed = int(os.environ.get("QUOIN_SEED", time.time_ns() % 1_000_000))
        self.tell(f"QUOIN_SEED={seed}")
        numbers = random.Random(seed)
        faults = {"killed": (lambda host: host.kill_daemon(), lambda host: host.start_daemon()),
                  "paused": (lambda host: host.pause_daemon(), lambda host: host.resume_daemon())}
        if options.storage.name != "moosefs":
            faults["off"] = (lambda host: host.power_off(), lambda host: host.make_ready())
            if self.cluster.storage.has_network:
                faults["cut"] = (lambda host: host.cut(), lambda host: host.heal())
        owner = Writer(self, self.first, self.name, 1, self.shadow)
        owner.make_vdi()
        owner.open()
        history, snapshots = [], {}
        end = time.monotonic() + HISTORY_SECONDS[options.storage.name]
        while time.monotonic() < end:
            name = numbers.choice(sorted(faults))
            fail, come_back = faults[name]
            owner.stream(numbers.randrange(1, FLUSHES))
            if numbers.random() < 0.3:
                self.take_snapshot(owner, f"writing{owner.generation}")
                snapshots[f"writing{owner.generation}"] = None
            fail(owner.host)
            silent_since = time.monotonic()
            owner.hear_what_was_said()
            other = self.second if owner.host is self.first else self.first
            heir = Writer(self, other, self.name, owner.generation + 1, self.shadow)
            heir.take_over(silent_since)
            writes_first = numbers.random() < 0.5
            if writes_first:
                heir.write_some(numbers.randrange(1, 100))
            come_back(owner.host)
            history.append(f"{owner.host.name} {name}{', late' if writes_first else ''}")
            if name != "off":
                owner.assert_stream_fails()
                owner.assert_descriptor_is_dead()
            owner.acts.end()  # closes what is open
            heir.write_some(numbers.randrange(1, 100), first_number=2_000_000)
            heir.assert_sees_the_shadow()
            if numbers.random() < 0.5:
                self.take_snapshot(heir, f"still{heir.generation}")
                snapshots[f"still{heir.generation}"] = self.shadow.certain()
            owner = heir
        owner.close()
        self.tell(f"{len(history)} take-overs, {len(snapshots)} snapshots: {'; '.join(history)}")
        self.cluster.check()
        self.first.quoin("scrub")
        other = self.second if owner.host is self.first else self.first
        reader = Writer(self, other, self.name, 0, self.shadow)
        reader.open()
        reader.assert_sees_the_shadow()
        reader.close()
        self.assert_shows_snapshots(reader, snapshots)

    def take_snapshot(self, owner, name):
        with owner.host.acts() as acts:
            acts.ask("make", path=owner.host.snapshot(self.name, name))

    def assert_shows_snapshots(self, reader, snapshots):
        """All that were taken; what those of a moment without writes hold is known."""
        folder = reader.host.mount / "snapshots" / self.name
        names = set(reader.acts.ask("list", path=folder)["names"])
        self.assertEqual(names - {"latest"}, set(snapshots))
        for name, expected in snapshots.items():
            handle = reader.acts.open(folder / name)
            marks = reader.acts.marks(handle, count=BLOCKS)
            if expected is not None:
                self.assertEqual(marks, expected, name)
            reader.acts.close(handle)


if __name__ == "__main__":
    run_tests(WHOLE_RUN_LIMIT_SECONDS)
