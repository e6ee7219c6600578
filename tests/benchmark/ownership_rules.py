"""The constants by which owners come and go, read from the sources, so that a simulation of them cannot
fall behind; and what each act costs the storage, in system calls on the store's files: small acts as the
sources have them, whole take-overs as cluster_benchmark counted them."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Rules:
    """Seconds, of the clock of whoever waits."""
    lease: float
    beat_every: float
    margin: float
    ownership_wait: float  # for an owner that is alive
    take_over_wait: float  # for one that may be dead
    quick_poll: float
    slow_poll: float
    quick_polling: float  # so long it polls quickly
    request_poll: float = 0.25  # of its inbox, by each session, and of the answer, by who waits for one
    lane_threads: int = 64  # of a mount, for requests that may wait

    def without_margin(self):
        """Rules that are broken: nobody waits for what clocks and storage may be behind."""
        return replace(self, margin=0.0)


def number(file, pattern):
    """The one number that the pattern finds in the file."""
    found = re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"))
    if len(found) != 1:
        raise ValueError(f"{file}: {len(found)} places look like {pattern}, where one was expected")
    return float(found[0].replace("'", ""))


def rules_of_the_code():
    lease = number("snapshots/store.h", r"milliseconds lease\{([\d']+)\}") / 1e3
    return Rules(
        lease=lease,
        beat_every=lease / number("metadata/lease.cc", r"kBeatsPerLease = (\d+);"),
        margin=lease / number("metadata/session_watch.h", r"return lease / (\d+);"),
        ownership_wait=number("snapshots/store.h", r"ownership_wait\{([\d']+)\}") / 1e3,
        take_over_wait=number("snapshots/store.h", r"take_over_wait\{([\d']+)\}") / 1e3,
        quick_poll=number("metadata/writer_lock.cc", r"kPollInterval\{([\d']+)\}") / 1e3,
        slow_poll=number("metadata/writer_lock.cc", r"kSlowPollInterval\{([\d']+)\}") / 1e3,
        quick_polling=number("metadata/writer_lock.cc", r"kQuickPolling\{([\d']+)\}") / 1e3,
        lane_threads=int(number("fuse/lanes.h", r"BlockingLane opens\{(\d+)\};")))


@dataclass(frozen=True)
class Costs:
    """System calls on the store's files."""
    beat: int = 4  # lstat, fstat, pwrite, fdatasync
    look: int = 4  # at a heartbeat: openat, fstat, pread, close
    list_locks: int = 5  # openat, fstat, getdents twice, close
    open_lock: int = 3  # openat, fcntl, pread
    confirm_lock: int = 7  # lstat, fstat, and the list again
    write_record: int = 2  # pwrite, fdatasync
    newer_lock: int = 14  # temporary, record, link, unlink, the folder's fsync, the list again
    inspect: int = 4  # of a record that another has: openat, pread, close, ...
    declare_dead: int = 1  # rename
    verify: int = 11  # of what is owned, after a lapse
    # What follows the lock: counted together, some 510, for VDIs with one block written; which part is
    # whose was not measured.
    open_vdi: int = 110  # database, layers, sweep
    detach: int = 400  # database and head into files of their own
    poll_inbox: int = 1
    send_request: int = 7  # temporary, fsync, rename, the folder's fsync, close
    answer_request: int = 7


def describe(rules):
    return ", ".join(f"{each.name} {getattr(rules, each.name):g}" for each in fields(rules))
