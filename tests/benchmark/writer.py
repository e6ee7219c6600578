"""A guest for the pause measurement: a process that writes blocks with O_DIRECT, one after the
other, and notes when each write began and how long it took."""

import math
import mmap
import os
import random
import signal
from array import array
from time import perf_counter_ns

MAX_WRITES = 5_000_000  # 80 MB of notes; the writer stops there


def percentile(values, percent):
    """The smallest of the values that at least `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Writes:
    """What a writer noted: begins and durations in nanoseconds of time.perf_counter_ns()."""

    def __init__(self, begins, durations):
        self.begins = begins
        self.durations = durations
        self.latencies_us = [each / 1e3 for each in durations]

    def slowest_in(self, intervals):
        """For each interval the longest write, in microseconds, that was under way within it."""
        slowest = []
        position = 0
        for begin, end in intervals:
            while (position < len(self.begins) and
                   self.begins[position] + self.durations[position] < begin):
                position += 1
            longest = 0
            look = position
            while look < len(self.begins) and self.begins[look] <= end:
                longest = max(longest, self.durations[look])
                look += 1
            slowest.append(longest / 1e3)
        return slowest


class WriterProcess:
    """Runs from entering the block until finish(); killed if the block is left without it."""

    def __init__(self, path, size_bytes, block_bytes):
        self.path = path
        self.size_bytes = size_bytes
        self.block_bytes = block_bytes
        self.pid = None
        self.pipe = None

    def __enter__(self):
        self.pipe, child_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            self._write_until_told(child_end)
        os.close(child_end)
        return self

    def __exit__(self, *_error):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.pipe)

    def finish(self):
        """Stops the writer and returns its Writes; raises OSError if one of them failed."""
        os.kill(self.pid, signal.SIGTERM)
        data = bytearray()
        while piece := os.read(self.pipe, 1 << 20):
            data += piece
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        error = os.waitstatus_to_exitcode(status)
        if error > 0:
            raise OSError(error, f"writing {self.path}: {os.strerror(error)}")
        if error < 0 or not data:
            raise OSError(f"the writer of {self.path} ended by signal {-error}")
        notes = array("q")
        notes.frombytes(bytes(data))
        return Writes(notes[0::2], notes[1::2])

    def _write_until_told(self, output):
        """The child: writes until SIGTERM, sends its notes; its status is 0 or an errno."""
        told = []
        signal.signal(signal.SIGTERM, lambda *_: told.append(True))
        status = 255
        try:
            notes = self._write_blocks(told)
            with os.fdopen(output, "wb") as pipe:
                notes.tofile(pipe)
            status = 0
        except OSError as error:
            status = error.errno or status
        finally:
            os._exit(status)

    def _write_blocks(self, told):
        notes = array("q")
        source = random.Random(2)
        block = mmap.mmap(-1, self.block_bytes)
        block[:] = random.Random(3).randbytes(self.block_bytes)
        count = self.size_bytes // self.block_bytes
        descriptor = os.open(self.path, os.O_WRONLY | os.O_DIRECT)
        while not told and len(notes) < 2 * MAX_WRITES:
            offset = source.randrange(count) * self.block_bytes
            begin = perf_counter_ns()
            written = os.pwrite(descriptor, block, offset)
            notes.extend((begin, perf_counter_ns() - begin))
            if written != self.block_bytes:
                raise OSError(5, "short write")
        os.close(descriptor)
        return notes
