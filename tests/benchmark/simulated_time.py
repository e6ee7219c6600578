"""A discrete-event simulation's time, machines and storage. One seed makes one run.

A process is a generator that runs on a Machine and yields either Sleep or Operations. Nothing here knows
quoin: what the processes do is in simulated_hosts.py.
"""

import heapq
import itertools
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Callable, Optional


@dataclass(slots=True)
class Sleep:
    """Seconds on the machine's own clock."""
    seconds: float


@dataclass(slots=True)
class Operations:
    """`count` operations on the storage, one after the other, `syncs` of them durable writes. `effect`
    is what they do or see: it happens at one moment while they are served, and its result is what the
    process gets when they are answered."""
    kind: str
    count: int
    effect: Optional[Callable] = None
    syncs: int = 0


class Loop:
    """Time, in seconds, and what happens when."""

    def __init__(self, seed):
        self.now = 0.0
        self.random = random.Random(seed)
        self._events = []
        self._order = itertools.count()

    def at(self, time, call, *arguments):
        heapq.heappush(self._events, (time, next(self._order), call, arguments))

    def run_until(self, end):
        while self._events and self._events[0][0] <= end:
            self.now, _, call, arguments = heapq.heappop(self._events)
            call(*arguments)
        self.now = end


class Machine:
    """Where processes run: it may be paused, with its clock going on, or die. Its clock runs by
    `drift` too fast."""

    def __init__(self, loop, storage, drift=0.0):
        self.loop = loop
        self.storage = storage
        self.is_dead = False
        self.paused_until = 0.0
        self._rate = 1.0 + drift

    def clock(self):
        return self.loop.now * self._rate

    def pause(self, seconds):
        self.paused_until = self.loop.now + seconds

    @property
    def is_paused(self):
        return self.loop.now < self.paused_until

    def start(self, process):
        self.loop.at(self.loop.now, self._step, process, None)

    def _step(self, process, value):
        if self.is_dead:
            return
        if self.is_paused:
            self.loop.at(self.paused_until, self._step, process, value)
            return
        try:
            wanted = process.send(value)
        except StopIteration:
            return
        if isinstance(wanted, Sleep):
            self.loop.at(self.loop.now + wanted.seconds / self._rate, self._step, process, None)
        else:
            self.storage.serve(wanted, lambda result: self._step(process, result))


@dataclass(frozen=True)
class StorageModel:
    """A filesystem's metadata service: one queue. Seconds and operations a second."""
    title: str
    rate: float  # operations a second that it serves
    round_trip: float  # of one operation, when it is idle
    sync: float  # more for a durable write
    stale: float  # a fresh look shows what was there at most so long ago
    lock_release: float  # from a client's death until others get its locks


class Storage:
    """Serves operations in the order in which they come, and counts them."""

    SAMPLES = 20_000  # of latencies, for each kind
    AT_ONCE = 4  # operations of one process for which others wait; then it is their turn

    def __init__(self, loop, model):
        self.loop = loop
        self.model = model
        self.counts = Counter()
        self.latencies = defaultdict(list)
        self._seen = Counter()
        self._free_at = 0.0

    def serve(self, operations, answer):
        self._serve(operations, operations.count, self.loop.now, answer)

    def _serve(self, operations, left, begin, answer):
        count = min(left, self.AT_ONCE)
        served = max(self.loop.now, self._free_at) + count / self.model.rate
        self._free_at = served
        end = served + count * self.model.round_trip
        self.counts[operations.kind] += count
        if left > count:
            self.loop.at(end, self._serve, operations, left - count, begin, answer)
            return
        end += operations.syncs * self.model.sync
        self._note(operations.kind, end - begin)
        if operations.effect is None:
            self.loop.at(end, answer, None)
        else:
            # Somewhere in the midst of the last ones; what is seen may be older still.
            moment = served + (end - served) * self.loop.random.random()
            self.loop.at(moment, self._take_effect, operations.effect, end, answer)

    def _take_effect(self, effect, end, answer):
        self.loop.at(end, answer, effect())

    def _note(self, kind, seconds):
        """A fair sample of all latencies."""
        self._seen[kind] += 1
        samples = self.latencies[kind]
        if len(samples) < self.SAMPLES:
            samples.append(seconds)
        else:
            place = self.loop.random.randrange(self._seen[kind])
            if place < self.SAMPLES:
                samples[place] = seconds

    def backlog_seconds(self):
        return max(0.0, self._free_at - self.loop.now)


class Shown:
    """A value on the storage, of which a look may show an older state."""

    KEPT = 8

    def __init__(self, loop, storage, value):
        self._loop = loop
        self._stale = storage.model.stale
        self._history = [(-1e9, value)]

    def set(self, value):
        self._history.append((self._loop.now, value))
        # What is older than any look may show.
        while len(self._history) > self.KEPT and self._history[1][0] < self._loop.now - self._stale:
            self._history.pop(0)

    def newest(self):
        return self._history[-1][1]

    def look(self):
        if self._stale == 0.0:
            return self.newest()
        moment = self._loop.now - self._stale * self._loop.random.random()
        for time, value in reversed(self._history):
            if time <= moment:
                return value
        return self._history[0][1]
