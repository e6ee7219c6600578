#!/usr/bin/env python3
"""Two hosts open one VDI for writing at the same moment, again and again: one of them gets it.

The winner finds what the winner before it wrote, writes a block of its own, and closes only when the
other one has been refused. Several VDIs are raced side by side, because the one who is refused has
first waited to see that the owner lives.

    race_test.py --quoin BINARY --storage local|gluster|moosefs
"""

import concurrent.futures
import errno
import json
import time
import unittest

from arguments import options, run_tests
from blocks import BLOCK_BYTES
from cluster import ClusterTest

WHOLE_RUN_LIMIT_SECONDS = 150
RACES = {"local": 1000, "gluster": 200, "moosefs": 100}
VDIS = 20
# Time for both processes to have read the request and to wait for the same moment.
HEAD_START_SECONDS = 0.005
OWNERSHIP_WAIT_SECONDS = 0
LEASE_SECONDS = 2
# An owner shows that it lives five times in a lease, and whoever waits looks ten times a second at
# least. The rest is for a machine that has other things to do.
REFUSAL_LIMIT_SECONDS = OWNERSHIP_WAIT_SECONDS + LEASE_SECONDS / 5 + 0.1 + 3
RELEASE_LIMIT_SECONDS = 20
SHOW_EVERY = 25


class Race(ClusterTest):
    cluster_options = {"lease_seconds": LEASE_SECONDS,
                       "mount_options": ("--ownership-wait", OWNERSHIP_WAIT_SECONDS)}

    def test_one_wins_each_time_and_the_other_is_refused(self):
        rounds = RACES[options.storage.name] // VDIS
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(VDIS) as pool:
            raced = list(pool.map(lambda number: self.race(f"raced{number}", rounds),
                                  range(VDIS)))
        seconds = time.monotonic() - begin
        wins = [sum(counts) for counts in zip(*(won for won, _ in raced))]
        refusals = sorted(wait for _, waits in raced for wait in waits)
        self.tell(f"{sum(wins)} races in {seconds:.1f} s, won {wins[0]} to {wins[1]}; refused after "
                  f"{refusals[len(refusals) // 2]:.2f} s (median), {refusals[-1]:.2f} s (slowest)")
        self.assertEqual(sum(wins), rounds * VDIS)
        # Else it was no race.
        self.assertGreater(min(wins), rounds * VDIS // 50, "one host hardly ever wins")
        self.assertLess(refusals[-1], REFUSAL_LIMIT_SECONDS)
        self.cluster.check()

    def race(self, name, rounds):
        """Returns how often each host won, and how long each refusal took, in seconds."""
        wins, refusals = [0, 0], []
        with self.first.acts() as first, self.second.acts() as second:
            acts = (first, second)
            first.ask("make", path=self.first.vdi(name), size=BLOCK_BYTES)
            last_mark = None
            for turn in range(1, rounds + 1):
                winner, handle, refused_after = self.start(name, acts)
                wins[winner] += 1
                refusals.append(refused_after)
                if turn % SHOW_EVERY == 0:
                    self.show_names_holder(name, winner)
                self.assertEqual(acts[winner].marks(handle), [last_mark], f"{name}, race {turn}")
                last_mark = (acts[winner].host.name, 1, turn)
                acts[winner].write(handle, 0, last_mark)
                acts[winner].sync(handle)
                acts[winner].close(handle)
        return wins, refusals

    def start(self, name, acts):
        """One race: who won, the winner's handle, after how long the loser was refused."""
        deadline = time.monotonic() + RELEASE_LIMIT_SECONDS
        while True:
            at = time.monotonic() + HEAD_START_SECONDS
            for act in acts:
                act.tell("open", path=act.host.vdi(name), write=True, direct=False, at=at)
            replies = [act.hear() for act in acts]
            winners = [number for number, reply in enumerate(replies) if "handle" in reply]
            self.assertLess(len(winners), 2, f"both hosts have {name} open for writing")
            for reply in replies:
                self.assertIn(reply.get("errno"), (None, "EBUSY"))
            if winners:
                winner = winners[0]
                return winner, replies[winner]["handle"], replies[1 - winner]["seconds"]
            # Nobody waits for an owner that is alive, and the one before has closed but may not
            # have let go yet.
            self.assertLess(time.monotonic(), deadline, f"nobody can open {name} any more")

    def show_names_holder(self, name, winner):
        loser = self.cluster.hosts[1 - winner]
        lock = json.loads(loser.quoin("lock", "show", name, "--json"))
        self.assertEqual(lock["state"], "held")
        self.assertEqual(lock["owner"]["host_name"], self.cluster.hosts[winner].name)

    def test_an_open_waits_as_long_as_it_is_told_and_names_the_holder(self):
        self.restart_daemons(("--lease", LEASE_SECONDS))
        self.addCleanup(self.restart_daemons, None)
        name = "held"
        with self.first.acts() as first, self.second.acts() as second:
            first.ask("make", path=self.first.vdi(name), size=BLOCK_BYTES)
            handle = first.open(self.first.vdi(name), write=True)
            begin = time.monotonic()
            with self.assertRaises(OSError) as refused:
                second.open(self.second.vdi(name), write=True)
            seconds = time.monotonic() - begin
            self.assertEqual(refused.exception.errno, errno.EBUSY)
            self.tell(f"refused after {seconds:.2f} s of the default of 3")
            self.assertGreaterEqual(seconds, 2.9)
            self.assertLess(seconds, 3 + 2)
            said = self.second.quoin("rm", name, allowed=(1,))
            self.assertIn(f"host {self.first.name} has had it open since", said)
            # Whoever waits gets it as soon as it is let go.
            second.tell("open", path=self.second.vdi(name), write=True, direct=False)
            time.sleep(0.5)
            closed = time.monotonic()
            first.close(handle)
            second.answer()
            self.tell(f"passed on {time.monotonic() - closed:.3f} s after it was closed")

    def restart_daemons(self, mount_options):
        for host in self.cluster.hosts:
            host.stop_daemon()
            host.start_daemon(mount_options)


if __name__ == "__main__":
    run_tests(WHOLE_RUN_LIMIT_SECONDS)
