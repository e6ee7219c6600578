#!/usr/bin/env python3
"""Boots the guest once from a disk, shows that it lives, snapshots it while it runs, powers it off.

    boot_guest.py --image FOLDER --disk FILE [--snapshot FILE]

This is what tools/quickstart --guest shows.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from guest import Guest, GuestError

COMMANDS = ("cat /etc/debian_version", "uname -a", "df -h /",
            "date >>/root/boots && sync && cat /root/boots")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", type=pathlib.Path, required=True,
                        help="the folder that make_guest_image filled")
    parser.add_argument("--disk", type=pathlib.Path, required=True, help="the VDI to boot from")
    parser.add_argument("--snapshot", type=pathlib.Path,
                        help="a file to create while the guest runs: a snapshot")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quoin-guest-") as log_folder:
        try:
            with Guest(arguments.image, arguments.disk, bus="virtio", aio="io_uring",
                       log_folder=log_folder) as guest:
                live(guest, arguments.snapshot)
        except GuestError as error:
            sys.exit(str(error))


def live(guest, snapshot):
    for command in COMMANDS:
        print(f"guest# {command}\n{guest.run(command)}", flush=True)
    if snapshot:
        started = time.monotonic()
        snapshot.touch(exist_ok=False)
        print(f"$ touch {snapshot}\n  {(time.monotonic() - started) * 1e3:.1f} ms, while the guest "
              "runs", flush=True)
    guest.power_off()
    print("  powered off", flush=True)


if __name__ == "__main__":
    main()
