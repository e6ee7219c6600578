#!/usr/bin/env python3
"""quoin doctor on each storage, run on a host of its own.

    doctor_test.py --quoin BINARY --storage local|gluster|moosefs
"""

import json

from arguments import options, run_tests
from cluster import ClusterTest

WHOLE_RUN_LIMIT_SECONDS = 60


class Doctor(ClusterTest):
    def test_finds_the_storage_fit_for_a_store(self):
        folder = self.first.shared / "examined"
        self.first.run("mkdir", folder)
        diagnosis = json.loads(self.first.run(self.cluster.quoin, "doctor", folder, "--json"))
        for probe in diagnosis["probes"]:
            self.tell(f"{probe['probe']}: {probe['verdict']}, {probe['found']}")
        self.assertEqual([probe for probe in diagnosis["probes"] if probe["verdict"] == "bad"], [])
        self.assertEqual(self.first.run("ls", "-A", folder), "", "doctor leaves nothing behind")
        # The store that is in use beside it is as it was.
        self.cluster.check()


if __name__ == "__main__":
    run_tests(WHOLE_RUN_LIMIT_SECONDS)
