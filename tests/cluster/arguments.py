"""What the tests of this folder are told on their command line, and what they then need."""

import argparse
import os
import pathlib
import shutil
import sys
import unittest

import private_machine
from gluster import GlusterStorage
from moosefs import MooseStorage
from storage import LocalStorage

STORAGES = {kind.name: kind for kind in (LocalStorage, GlusterStorage, MooseStorage)}
SKIPPED_STATUS = 77  # what ctest is told to show as skipped


def run_tests(limit_seconds):
    """Parses the command line and runs the tests of the calling program; does not return.

    What unittest understands (-v, -k PATTERN, a test's name) may follow. Where the storage's own
    packages are missing everything is skipped, which ctest shows; other programs must be there.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--quoin", type=pathlib.Path, required=True, help="the command under test")
    parser.add_argument("--storage", choices=STORAGES, required=True,
                        help="the filesystem that the hosts share")
    _, rest = parser.parse_known_args(namespace=options)
    options.quoin = options.quoin.resolve()
    if not options.quoin.exists():
        sys.exit(f"{options.quoin} does not exist")
    if os.geteuid() != 0:
        sys.exit("only root can make namespaces and mounts")
    options.storage = STORAGES[options.storage]
    missing = [name for name in ("ip", "nsenter", "unshare", "mount", "fusermount3")
               if shutil.which(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; tools/install-dependencies installs them")
    missing = [name for name in options.storage.programs if shutil.which(name) is None]
    if missing:
        print(f"SKIPPED: not installed: {', '.join(missing)}; tools/install-dependencies cluster "
              "installs them", flush=True)
        sys.exit(SKIPPED_STATUS)
    options.folder = private_machine.enter(limit_seconds)
    unittest.main(module="__main__", argv=[sys.argv[0], "-v", *rest])


options = argparse.Namespace()
