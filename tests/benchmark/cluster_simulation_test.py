#!/usr/bin/env python3
"""What must hold in every simulated run: at most one owner for each VDI as long as clocks and storage are
no worse than the margin allows; and that the simulation would show it if that broke."""

import os
import unittest

from ownership_rules import Costs, rules_of_the_code
from simulated_cluster import Cluster
from simulated_time import StorageModel

RUNS = 6
# The storage may be as late as the margin but for what clocks drift apart within a lease.
WORST = StorageModel("worst", rate=2_000, round_trip=2e-3, sync=5e-3, stale=0.7, lock_release=3.0)
DRIFT = 0.01


def stormy(seed, rules, *, drift=DRIFT, model=WORST, **options):
    """A small cluster to which much happens: pauses, deaths, quarrels about VDIs."""
    cluster = Cluster(seed, model, rules, Costs(), hosts=6, vdis=18, drift=drift, **options)
    # Around the length of a lease, where it matters when exactly they end.
    cluster.world.start(cluster.pause_hosts(4.0, 7.0, 14.0))
    cluster.world.start(cluster.quarrel(0.7))
    cluster.run(60)
    cluster.kill(cluster.hosts[0], 2.0)
    cluster.run(120)
    return cluster


class OwnershipTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        text = os.environ.get("QUOIN_SEED")
        # The same runs each time, so that a failure is due to a change; QUOIN_SEED looks at others. One in
        # some hundreds (1663420118 was one) has a host that is held up while it takes a lock, which the
        # simulated hosts do not notice as WriterLock does.
        first = int(text) if text else 1
        print(f"QUOIN_SEED={first}", flush=True)
        cls.seeds = range(first, first + RUNS)

    def test_no_vdi_has_two_owners_whatever_happens(self):
        taken_over = 0
        for seed in self.seeds:
            cluster = stormy(seed, rules_of_the_code())
            taken_over += len(cluster.take_overs)
            self.assertEqual(cluster.violations, [], f"QUOIN_SEED={seed}")
        self.assertGreater(taken_over, RUNS, "too little happened to show anything")

    def test_without_the_margin_the_simulation_finds_two_owners(self):
        self.assertTrue(self.finds_two_owners(rules_of_the_code().without_margin(), WORST))

    def test_a_storage_that_shows_things_too_late_is_found(self):
        late = StorageModel("late", rate=2_000, round_trip=2e-3, sync=5e-3, stale=6.0,
                            lock_release=3.0)
        self.assertTrue(self.finds_two_owners(rules_of_the_code(), late))

    def finds_two_owners(self, rules, model):
        """In any of so many runs that a simulation which could find them does."""
        return any(stormy(seed, rules, model=model).violations
                   for seed in range(self.seeds.start, self.seeds.start + 5 * RUNS))

    def test_a_seed_repeats_its_run(self):
        reports = [stormy(self.seeds[0], rules_of_the_code()).report(180) for _ in range(2)]
        self.assertEqual(reports[0], reports[1])


class TakeOverTest(unittest.TestCase):
    MODEL = StorageModel("quiet", rate=20_000, round_trip=3e-4, sync=1e-3, stale=0.0, lock_release=0.0)

    def after_a_death(self, **options):
        cluster = Cluster(3, self.MODEL, rules_of_the_code(), Costs(), hosts=4, vdis=80, **options)
        cluster.run(20)
        cluster.kill(cluster.hosts[0], 1.0)
        cluster.run(60)
        return cluster

    def test_all_vdis_of_a_dead_host_are_had_after_one_wait(self):
        cluster = self.after_a_death()
        rules = rules_of_the_code()
        self.assertEqual(len(cluster.take_overs), 20)
        slowest = max(each.seconds for each in cluster.take_overs)
        self.assertGreater(slowest, rules.lease + 2 * rules.margin)
        self.assertLess(slowest, 1.0 + rules.lease + 3 * rules.margin)

    def test_idle_operations_do_not_depend_on_the_number_of_vdis(self):
        rates = []
        for vdis in (4, 4_000):
            cluster = Cluster(5, self.MODEL, rules_of_the_code(), Costs(), hosts=4, vdis=vdis)
            cluster.run(60)
            rates.append(dict(cluster.storage.counts))
        self.assertEqual(rates[0], rates[1])


if __name__ == "__main__":
    unittest.main()
