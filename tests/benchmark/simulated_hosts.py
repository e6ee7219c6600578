"""Hosts that own VDIs, by the rules of metadata/lease.cc, session_watch.cc and writer_lock.cc, step by
step: heartbeats, lapses, claims, take-overs; and requests to owners through their inboxes. The
processes are those of simulated_time.py.

What must never happen is looked for at each step at which it could begin: two hosts that both own a VDI
and may both change it, each by its own lease (Cluster.violations).
"""

from dataclasses import dataclass, field
from typing import Optional

from simulated_time import Machine, Operations, Shown, Sleep


@dataclass(frozen=True)
class Record:
    """Of a lock file."""
    epoch: int
    host: Optional[int]
    clean: bool


@dataclass(eq=False)
class LockFile:
    record: Shown
    holder: object = None  # whoever has its lock


@dataclass(eq=False)
class Vdi:
    files: Shown  # of lock files, a tuple; the last one is the newest
    claimants: set = field(default_factory=set)  # hosts that believe to own it
    wanted_since: float = 0.0


class Host(Machine):
    """One machine with one session."""

    def __init__(self, cluster, number, drift):
        super().__init__(cluster.loop, cluster.storage, drift)
        self.cluster = cluster
        self.number = number
        # (beat, whether another has declared it dead)
        self.heartbeat = Shown(cluster.loop, cluster.storage, (0, False))
        self.valid_until = 0.0
        self.lapses = 0
        self.lapsed = False
        self.owned = {}  # VDI -> (lock file, record)
        self.seen = {}  # host -> (state of its heartbeat, since when)
        self.inbox = []

    def may_change(self):
        return not self.is_dead and self.clock() < self.valid_until

    # --- lease.cc ----------------------------------------------------------------------------------

    def keep_lease(self):
        rules, costs = self.cluster.rules, self.cluster.costs
        first = True
        while True:
            if not first:
                yield Sleep(rules.beat_every)
            begin = self.clock()
            was_declared_dead = yield Operations("heartbeat", costs.beat, self._beat, syncs=1)
            in_time = first or self.clock() < self.valid_until
            first = False
            if in_time and not was_declared_dead and not self.lapsed:
                self.valid_until = begin + rules.lease
                continue
            self.cluster.counts["lapses"] += not self.lapsed
            self.lapsed = True
            self.valid_until = 0.0
            self.lapses += 1
            yield Sleep(rules.margin)
            for vdi in list(self.owned):
                yield from self.verify(vdi)
            if self.clock() >= begin + rules.lease:
                continue
            self.lapsed = False
            self.valid_until = begin + rules.lease
            self.cluster.look_for_violations(self.owned)

    def _beat(self):
        beat, declared_dead = self.heartbeat.newest()
        self.heartbeat.set((beat + 1, False))
        return declared_dead

    def verify(self, vdi):
        """Gives up what is no longer ours. What a host wrote itself it always sees."""
        def is_ours():
            if vdi not in self.owned:
                return True  # given up meanwhile
            file, record = self.owned[vdi]
            return (record in (file.record.newest(), file.record.look()) and
                    file in (vdi.files.newest()[-1], vdi.files.look()[-1]))
        if not (yield Operations("verify", self.cluster.costs.verify, is_ours)):
            self.lose(vdi)

    def lose(self, vdi):
        file, _ = self.owned.pop(vdi, (None, None))
        if file is not None and file.holder is self:
            file.holder = None
        vdi.claimants.discard(self)

    # --- requests, as they are planned -------------------------------------------------------------

    def answer_requests(self):
        """Looks into its one inbox, whatever it owns."""
        rules, costs = self.cluster.rules, self.cluster.costs
        while True:
            yield Sleep(rules.request_poll)
            waiting = yield Operations("inbox", costs.poll_inbox, self._empty_inbox)
            for answer in waiting:
                yield Operations("request", costs.answer_request, answer, syncs=2)

    def _empty_inbox(self):
        waiting, self.inbox = self.inbox, []
        return waiting

    def ask(self, owner):
        """One request to another host's session, until it is answered."""
        rules, costs = self.cluster.rules, self.cluster.costs
        begin = self.loop.now
        answered = []
        yield Operations("request", costs.send_request,
                         lambda: owner.inbox.append(lambda: answered.append(True)), syncs=2)
        while True:
            yield Sleep(rules.request_poll)
            if (yield Operations("request", costs.poll_inbox, lambda: bool(answered))):
                break
        self.cluster.requests.append(self.loop.now - begin)

    # --- session_watch.cc --------------------------------------------------------------------------

    def look_at(self, other):
        """(state of its heartbeat, for how long it has been seen like this)"""
        before = self.clock()
        state = yield Operations("look", self.cluster.costs.look,
                                 lambda: self.cluster.state_of(other))
        known, since = self.seen.get(other, (None, 0.0))
        if known != state:
            self.seen[other] = (state, self.clock())
            return state, 0.0
        return state, before - since

    # --- writer_lock.cc ----------------------------------------------------------------------------

    def open_for_writing(self, vdi):
        """Ends with the VDI owned, or the wait over."""
        rules, cluster = self.cluster.rules, self.cluster
        begin = self.clock()
        lapses = self.lapses
        attempt = Attempt(self, vdi)
        while True:
            if (yield from attempt.run()):
                break
            waited = self.clock() - begin
            limit = rules.take_over_wait if attempt.owner_may_be_dead else 0.0
            left = max(limit, rules.ownership_wait) - waited
            if left <= 0:
                cluster.counts["refused"] += 1
                return False
            is_quick = waited < rules.quick_polling
            pause = rules.quick_poll if is_quick else rules.slow_poll
            if attempt.owner_may_be_dead and (attempt.is_free or not is_quick) and \
                    not cluster.as_before:
                pause = max(rules.quick_poll, min(attempt.until_dead, rules.margin))
            yield Sleep(min(pause, left))
        while not self.may_change():
            yield Sleep(rules.slow_poll)
        if self.lapses != lapses and vdi in self.owned:
            yield from self.verify(vdi)
        if vdi not in self.owned:
            return False
        if attempt.predecessor is not None:
            yield Operations("detach", cluster.costs.detach, syncs=6)
        yield Operations("open", cluster.costs.open_vdi, syncs=1)
        if vdi not in self.owned:
            return False
        if attempt.predecessor is not None:
            cluster.note_taken_over(vdi, attempt.predecessor)
        return True

    def own(self, vdi, file, record):
        self.owned[vdi] = (file, record)
        vdi.claimants.add(self)
        self.cluster.look_for_violations([vdi])


class Attempt:
    """One host's way to become the owner of one VDI (WriterLock::Acquisition)."""

    def __init__(self, host, vdi):
        self.host = host
        self.vdi = vdi
        self.owner_may_be_dead = False
        self.is_free = False  # its lock
        self.until_dead = 0.0
        self.predecessor = None  # who was succeeded
        self._first_state = None
        self._held = None
        self._held_since = 0.0

    def run(self):
        """One attempt; true once the VDI is owned."""
        host, vdi, costs = self.host, self.vdi, self.host.cluster.costs
        self.owner_may_be_dead = False
        newest = yield Operations("lock", costs.list_locks, lambda: vdi.files.look()[-1])
        locked, record = yield Operations("lock", costs.open_lock, lambda: self._take(newest))
        if locked:
            still = yield Operations("lock", costs.confirm_lock,
                                     lambda: vdi.files.look()[-1] is newest)
            if not still:
                newest.holder = None
                return False
            if record.clean or record.host == host.number:
                yield from self._write_and_own(newest, record)
                return True
        elif record.clean or record.host == host.number:
            return False
        owner = host.cluster.hosts[record.host]
        state, silent_for = yield from host.look_at(owner)
        self._first_state = self._first_state or (owner, state)
        self.owner_may_be_dead = self._first_state == (owner, state)
        rules = host.cluster.rules
        self.is_free = locked
        self.until_dead = rules.lease + rules.margin - silent_for
        may_succeed = self._may_succeed(locked, record)
        if self.until_dead > 0 or not may_succeed:
            if locked:
                newest.holder = None
            return False
        if host.cluster.as_before:
            state, _ = yield from host.look_at(owner)
        done = yield from self._succeed(newest, record, locked, owner, state)
        if not done and locked:
            newest.holder = None
        return done

    def _take(self, file):
        if file.holder is None:
            file.holder = self.host
            return True, file.record.newest()
        return False, file.record.look()

    def _may_succeed(self, locked, record):
        """Who has a lock only to claim it has it no longer than a margin."""
        if locked or self._held != record:
            self._held = None if locked else record
            self._held_since = self.host.clock()
            return locked
        return self.host.clock() - self._held_since >= 2 * self.host.cluster.rules.margin

    def _write_and_own(self, file, last):
        record = Record(last.epoch + 1, self.host.number, False)
        yield Operations("lock", self.host.cluster.costs.write_record,
                         lambda: file.record.set(record), syncs=1)
        self.host.own(self.vdi, file, record)

    def _succeed(self, file, last, was_free, owner, state):
        host, vdi, costs = self.host, self.vdi, self.host.cluster.costs
        record = Record(last.epoch + 1, host.number, False)
        ours = file
        if was_free:
            yield Operations("lock", costs.write_record, lambda: file.record.set(record), syncs=1)
        else:
            ours = yield Operations("lock", costs.newer_lock,
                                    lambda: self._make_newer(file, record), syncs=2)
            if ours is None:
                return False
        yield Sleep(host.cluster.rules.margin)
        after, _ = yield from host.look_at(owner)
        is_alone = yield Operations("lock", costs.list_locks,
                                    lambda: self._is_alone(file, ours, last))
        if after != state or not is_alone:
            host.cluster.counts["withdrawn"] += 1
            if was_free:
                yield Operations("lock", costs.write_record,
                                 lambda: file.record.set(last), syncs=1)
            else:
                yield Operations("lock", 1, lambda: self._remove(ours))
            return False
        yield Operations("lock", costs.declare_dead, lambda: host.cluster.declare_dead(owner))
        self.predecessor = owner
        host.own(vdi, ours, record)
        return True

    def _make_newer(self, file, record):
        """By link(): one winner."""
        files = self.vdi.files.newest()
        if files[-1] is not file:
            return None
        cluster = self.host.cluster
        made = LockFile(Shown(cluster.loop, cluster.storage, record), self.host)
        self.vdi.files.set(files + (made,))
        return made

    def _remove(self, ours):
        self.vdi.files.set(tuple(each for each in self.vdi.files.newest() if each is not ours))

    def _is_alone(self, file, ours, last):
        if ours is file:
            return self.vdi.files.look()[-1] is file
        return file.record.look() == last
