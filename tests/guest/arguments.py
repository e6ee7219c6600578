"""What the tests of this folder are told on their command line, and what they then need."""

import argparse
import pathlib
import shutil
import sys
import unittest

from quoin_store import limit_whole_run


def run_tests(needed_programs, limit_seconds, **files):
    """Parses the command line and runs the tests of the calling program; does not return.

    `files` are further options that name a file each, with what they are for.
    What unittest understands (-v, -k PATTERN, a test's name) may follow. A program that is missing
    is a failure: a test that could not run has not passed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--quoin", type=pathlib.Path, required=True, help="the command under test")
    parser.add_argument("--image", type=pathlib.Path, required=True,
                        help="the folder that make_guest_image filled")
    for name, meaning in files.items():
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help=meaning)
    _, rest = parser.parse_known_args(namespace=options)
    missing = [name for name in needed_programs if shutil.which(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; tools/install-dependencies installs them")
    for path in (options.quoin, options.image / "disk.raw",
                 *(getattr(options, name) for name in files)):
        if not path.exists():
            sys.exit(f"{path} does not exist")
    options.image = options.image.resolve()
    limit_whole_run(limit_seconds)
    unittest.main(module="__main__", argv=[sys.argv[0], "-v", *rest])


options = argparse.Namespace()
