"""A whole simulated cluster: hosts, VDIs, what befalls them, and what is counted. See simulated_hosts.py
for what a host does."""

from collections import Counter, deque
from dataclasses import dataclass

from simulated_hosts import Host, LockFile, Record, Vdi
from simulated_time import Loop, Machine, Shown, Sleep, Storage


@dataclass(frozen=True)
class TakeOver:
    """An open for writing that succeeded another host."""
    seconds: float  # since the owner's death, or since somebody wanted it of a living one
    owner_was: str  # dead, paused or alive


@dataclass(frozen=True)
class Violation:
    """Two hosts that may both change a VDI."""
    time: float
    vdi: int
    hosts: tuple


class Cluster:
    """All hosts and all VDIs of one store. `drift`: clocks are by at most so much too fast or slow.
    `as_before` takes back what docs/scaling.md says was mended: that others declare a session dead counts as
    a sign of life of it; it is claimed from whatever a second look shows; whoever waits for its silence
    tries ten times a second."""

    RETRY_SECONDS = 1.0  # of whoever wants a VDI and was refused

    def __init__(self, seed, model, rules, costs, *, hosts, vdis, drift=0.0, as_before=False):
        self.loop = Loop(seed)
        self.storage = Storage(self.loop, model)
        self.rules = rules
        self.costs = costs
        self.as_before = as_before
        self.counts = Counter()
        self.violations = []
        self.take_overs = []
        self.requests = []
        self.world = Machine(self.loop, self.storage)  # what nothing befalls
        source = self.loop.random
        self.hosts = [Host(self, number, source.uniform(-drift, drift)) for number in range(hosts)]
        self.vdis = [self._owned_by(self.hosts[number % hosts]) for number in range(vdis)]
        self._number_of = {vdi: number for number, vdi in enumerate(self.vdis)}
        self._opens = {host: (set(), deque()) for host in self.hosts}
        for host in self.hosts:
            self.loop.at(source.uniform(0, rules.beat_every), host.start, host.keep_lease())
            if rules.request_poll > 0:
                self.loop.at(source.uniform(0, rules.request_poll), host.start,
                             host.answer_requests())

    def _owned_by(self, owner):
        record = Record(1, owner.number, False)
        file = LockFile(Shown(self.loop, self.storage, record), owner)
        vdi = Vdi(Shown(self.loop, self.storage, (file,)))
        owner.owned[vdi] = (file, record)
        vdi.claimants.add(owner)
        return vdi

    # --- what hosts see of each other, and what is noted ---------------------------------------------

    def state_of(self, host):
        beat, declared_dead = host.heartbeat.look()
        return (beat, declared_dead) if self.as_before else beat

    def declare_dead(self, host):
        beat, _ = host.heartbeat.newest()
        host.heartbeat.set((beat, True))

    def look_for_violations(self, vdis):
        for vdi in vdis:
            if len(vdi.claimants) < 2:
                continue
            owners = tuple(host.number for host in vdi.claimants if host.may_change())
            if len(owners) > 1:
                self.violations.append(Violation(self.loop.now, self._number_of[vdi], owners))

    def note_taken_over(self, vdi, owner):
        was = "dead" if owner.is_dead else "paused" if owner.is_paused else "alive"
        self.take_overs.append(TakeOver(self.loop.now - vdi.wanted_since, was))

    # --- what befalls them -------------------------------------------------------------------------

    def run(self, seconds):
        self.loop.run_until(self.loop.now + seconds)

    def alive(self):
        return [host for host in self.hosts if not host.is_dead]

    def kill(self, host, restart_after):
        """Its VDIs are wanted by others `restart_after` seconds later, all at once."""
        host.is_dead = True
        died = self.loop.now
        for file, _ in host.owned.values():
            self.loop.at(died + self.storage.model.lock_release, self._release, file, host)
        for vdi in host.owned:
            vdi.wanted_since = died
            self.loop.at(died + restart_after, self._want_anywhere, vdi)

    @staticmethod
    def _release(file, host):
        if file.holder is host:
            file.holder = None

    def _want_anywhere(self, vdi):
        others = self.alive()
        if others:
            self.want(self.loop.random.choice(others), vdi, until_had=True)

    def want(self, host, vdi, until_had):
        """An open for writing, on one of the threads that a mount has for what may wait."""
        under_way, waiting = self._opens[host]
        if len(under_way) >= self.rules.lane_threads:
            waiting.append((vdi, until_had))
            return
        under_way.add(vdi)
        host.start(self._open(host, vdi, until_had))

    def _open(self, host, vdi, until_had):
        if vdi not in host.owned:
            had = yield from host.open_for_writing(vdi)
            while until_had and not had:
                yield Sleep(self.RETRY_SECONDS)
                had = yield from host.open_for_writing(vdi)
        under_way, waiting = self._opens[host]
        under_way.discard(vdi)
        if waiting:
            self.want(host, *waiting.popleft())

    def quarrel(self, every):
        """Now and then a host opens a VDI that another one owns."""
        source = self.loop.random
        while True:
            yield Sleep(source.expovariate(1 / every))
            vdi = source.choice(self.vdis)
            host = source.choice(self.alive())
            if host.owned.get(vdi) is None and not any(each.is_dead for each in vdi.claimants):
                vdi.wanted_since = self.loop.now
                self.want(host, vdi, until_had=False)

    def ask(self, every):
        """Requests from random hosts to random living owners."""
        source = self.loop.random
        while True:
            yield Sleep(source.expovariate(1 / every))
            asker, owner = source.sample(self.alive(), 2)
            asker.start(asker.ask(owner))

    def pause_hosts(self, every, shortest, longest):
        source = self.loop.random
        while True:
            yield Sleep(source.expovariate(1 / every))
            source.choice(self.alive()).pause(source.uniform(shortest, longest))

    # --- what came of it ---------------------------------------------------------------------------

    def forget_counts(self):
        """Of the beginning, in which everything is made."""
        self.storage.counts.clear()
        self.storage.latencies.clear()

    def report(self, seconds):
        times = sorted(each.seconds for each in self.take_overs if each.owner_was == "dead")
        return {
            "operations_per_second": {kind: count / seconds
                                      for kind, count in sorted(self.storage.counts.items())},
            "all_per_second": sum(self.storage.counts.values()) / seconds,
            "latency_ms": {kind: {f"p{share}": quantile(values, share / 100) * 1e3
                                  for share in (50, 99)} | {"max": max(values) * 1e3}
                           for kind, values in sorted(self.storage.latencies.items())},
            "backlog_s": self.storage.backlog_seconds(),
            "take_over_s": {f"p{share}": quantile(times, share / 100) for share in (0, 50, 99, 100)}
                           if times else {},
            "taken_over": len(times),
            "of_paused": sum(each.owner_was == "paused" for each in self.take_overs),
            "false": sum(each.owner_was == "alive" for each in self.take_overs),
            "lapses": self.counts["lapses"],
            "wanted": sum(len(under_way) + len(waiting)
                          for host, (under_way, waiting) in self._opens.items() if not host.is_dead),
            "refused": self.counts["refused"],
            "withdrawn": self.counts["withdrawn"],
            "request_s": {f"p{share}": quantile(self.requests, share / 100) for share in (50, 99, 100)}
                         if self.requests else {},
            "violations": len(self.violations),
        }


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
