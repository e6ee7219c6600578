"""A VDI that one host writes until something happens to that host, and what must be true afterwards."""

import errno
import time

from acts import ActTimeout
from blocks import BLOCK_BYTES, place
from cluster import LEASE_SECONDS

BLOCKS = 1024
SYNC_EVERY = 16
# The lease, a tenth of it in which its end is certain, another in which a claim is to be seen
# (metadata/README.md, "Owners that fall silent"); before that the last heartbeat, which may come just
# after the one who waits has looked, and the tenth of a second between two looks.
SILENCE_SECONDS = LEASE_SECONDS * 1.2
LOOKS_SECONDS = 0.2
# Copying four MiB, and a machine that has other things to do.
WORK_SECONDS = 5
TAKE_OVER_SECONDS = SILENCE_SECONDS + LOOKS_SECONDS + WORK_SECONDS
# What a file operation of a host may answer once it has been succeeded or its daemon is gone.
LOST = {errno.ESTALE, errno.EIO, errno.EBADF, errno.EBADFD, errno.ENOTCONN, errno.ESHUTDOWN,
        errno.ECONNABORTED}
# The time between two answers after which a writer is taken to wait for something.
_SILENCE_SECONDS = 0.2


class Writer:
    """One host with the VDI open for writing. Its marks carry `generation`; `shadow` is told of all
    that it writes. A writer that was succeeded is only asked how it ended."""

    def __init__(self, test, host, name, generation, shadow):
        self.test, self.host, self.name = test, host, name
        self.generation, self.shadow = generation, shadow
        self.acts = host.acts()
        test.addCleanup(self.acts.end)
        self.handle = None
        self.flushed = 0   # as many of its stream's writes are durable
        self.ended = None  # what the stream said at its end

    def make_vdi(self):
        self.acts.ask("make", path=self.host.vdi(self.name), size=BLOCKS * BLOCK_BYTES)

    def open(self):
        self.handle = self.acts.open(self.host.vdi(self.name), write=True, direct=True)

    def close(self):
        self.acts.close(self.handle)

    # --- before -----------------------------------------------------------------------------------

    def stream(self, flushes):
        """Begins to write and flush without end; returns after so many flushes."""
        self.acts.tell("stream", handle=self.handle, host=self.host.name,
                       generation=self.generation, blocks=BLOCKS, sync_every=SYNC_EVERY)
        for _ in range(flushes):
            self._note(self.acts.hear())

    def _note(self, said):
        """A flush that was answered binds; what was written after it may be there or not."""
        for number in range(self.flushed + 1, said["synced"] + 1):
            self.shadow.written(place(number, BLOCKS), self._mark(number))
        self.shadow.flushed()
        self.flushed = said["synced"]

    def _mark(self, number):
        return (self.host.name, self.generation, number)

    def hear_what_was_said(self):
        """All that came before the host fell silent counts, and what it was in the midst of may."""
        try:
            while self.ended is None:
                said = self.acts.hear(limit_seconds=_SILENCE_SECONDS)
                if "synced" in said:
                    self._note(said)
                else:
                    self.ended = said
        except (ActTimeout, AssertionError):
            pass  # it waits for its daemon, or was killed with its host
        for number in range(self.flushed + 1, self.flushed + SYNC_EVERY + 1):
            self.shadow.written(place(number, BLOCKS), self._mark(number))

    # --- taking over ------------------------------------------------------------------------------

    def take_over(self, silent_since, bound=TAKE_OVER_SECONDS):
        """Opens what another host has left, looks at all of it and writes. What is found is what the
        shadow holds from now on. Returns the seconds until owned, and until written."""
        while True:
            try:
                self.open()
                break
            except OSError as error:
                self.test.assertEqual(error.errno, errno.EBUSY)
                self.test.assertLess(time.monotonic() - silent_since, bound)
        opened = time.monotonic() - silent_since
        marks = self.acts.marks(self.handle, count=BLOCKS)
        self.test.assertEqual(self.shadow.problems(marks), [])
        self.shadow.settle(marks)
        self.write_some(1)
        wrote = time.monotonic() - silent_since
        self.test.assertLess(wrote, bound)
        return opened, wrote

    def write_some(self, count, first_number=1_000_000):
        """Writes with numbers that no stream comes to, and flushes."""
        writes = [(place(number * 7, BLOCKS), self._mark(number))
                  for number in range(first_number, first_number + count)]
        self.acts.write_many(self.handle, writes)
        for block, mark in writes:
            self.shadow.written(block, mark)
        self.shadow.flushed()

    def assert_sees_the_shadow(self):
        marks = self.acts.marks(self.handle, count=BLOCKS)
        self.test.assertEqual(self.shadow.problems(marks), [])

    # --- after being succeeded --------------------------------------------------------------------

    def assert_stream_fails(self):
        """What it was doing ends with an error, and no flush succeeds any more."""
        limit = self.host.cluster.storage.reconnect_seconds + LEASE_SECONDS
        while self.ended is None:
            said = self.acts.hear(limit)
            self.test.assertNotIn("synced", said, "a flush succeeded after another host took over")
            self.ended = said
        self.test.assertIn(getattr(errno, self.ended["ended"] or "", None), LOST, self.ended)

    def assert_descriptor_is_dead(self):
        """Nothing that is done through it succeeds."""
        def refused(act):
            with self.test.assertRaises(OSError) as error:
                act()
            self.test.assertIn(error.exception.errno, LOST)
        for block in range(8):
            refused(lambda block=block: self.acts.write(self.handle, block,
                                                        (self.host.name, ZOMBIE, block)))
        refused(lambda: self.acts.sync(self.handle))
        refused(lambda: self.acts.marks(self.handle))


ZOMBIE = 999_999  # the generation of what must never be seen
