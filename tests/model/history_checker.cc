#include "tests/model/history_checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace quoin::model {

HistoryChecker::HistoryChecker(int hosts, int vdis, uint64_t sectors)
    : sectors_(sectors), hosts_(static_cast<size_t>(hosts)), vdis_(static_cast<size_t>(vdis)) {
  for (Host& host : hosts_) host.tenures.resize(vdis_.size());
  for (Vdi& vdi : vdis_) {
    auto none = std::make_unique<Tenure>();
    none->released = true;
    for (uint64_t sector = 0; sector < sectors; ++sector) {
      const Choice zeros = One(kZeros);
      none->cells.push_back({zeros, zeros, {}, {zeros}});
      none->found.push_back(zeros);
    }
    vdi.tenures.push_back(std::move(none));
    vdi.order.assign(sectors, {kZeros});
    vdi.released.assign(sectors, 0);
    vdi.seen.assign(sectors, 0);
  }
}

// ------------------------------------------------------------------------------- choices

HistoryChecker::Choice HistoryChecker::One(Value value) {
  return std::make_shared<std::set<Value>>(std::set<Value>{value});
}

// The same choice if there is nothing more.
HistoryChecker::Choice HistoryChecker::Among(const Choice& some, const std::set<Value>& more) {
  if (std::includes(some->begin(), some->end(), more.begin(), more.end())) return some;
  auto all = std::make_shared<std::set<Value>>(*some);
  all->insert(more.begin(), more.end());
  return all;
}

bool HistoryChecker::Narrow(Choice& choice, Value value) {
  if (choice->count(value) == 0) return false;
  *choice = {value};  // for all who share it
  return true;
}

std::string HistoryChecker::Describe(const std::set<Value>& values) {
  std::string text;
  for (const Value value : values) {
    text += text.empty() ? "" : " or ";
    text += value == kZeros ? "zeros" : value == kNobodys ? "nobody's" : fmt::format("w{}", value);
  }
  return text;
}

void HistoryChecker::Object(int host, const InFlight& asked, const std::string& why) {
  if (violation_) return;
  violation_ = fmt::format("host {}, {}: {}", host, model::Describe(asked.operation), why);
}

// ------------------------------------------------------------------------------- asking

// A reader may recover what a process of its host left, and become owner for that.
bool HistoryChecker::SeeksOwnership(const Operation& operation) {
  switch (operation.act) {
    case Act::kOpen:
    case Act::kSnapshot:
    case Act::kSeal:
    case Act::kGlance:
    case Act::kReadSnapshot:
    case Act::kList: return true;
    default: return false;
  }
}

void HistoryChecker::Invoked(int host, const Operation& operation) {
  InFlight asked;
  asked.operation = operation;
  Vdi& vdi = VdiOf(asked);
  Host& self = hosts_.at(static_cast<size_t>(host));
  asked.tenure = self.tenures.at(static_cast<size_t>(operation.vdi));
  asked.was_superseded = asked.tenure != nullptr && asked.tenure->successor != nullptr;
  asked.last = &vdi.last();
  const bool seeks = asked.tenure == nullptr && SeeksOwnership(operation);
  for (Host& other : hosts_) {
    if (!other.in_flight || other.in_flight->operation.vdi != operation.vdi) continue;
    other.in_flight->is_contested |= seeks;
    asked.is_contested |= other.in_flight->tenure == nullptr &&
                          SeeksOwnership(other.in_flight->operation);
  }
  if (operation.act == Act::kWrite && asked.tenure != nullptr && !asked.was_superseded) {
    for (uint64_t i = operation.first; i < operation.first + operation.count; ++i) {
      asked.tenure->cells.at(i).unflushed.insert(operation.value);
      vdi.order.at(i).push_back(operation.value);
    }
  }
  if (operation.act == Act::kGlance) {
    for (uint64_t i = 0; i < sectors_; ++i) {
      asked.may_be_older = vdi.is_without_head;
      asked.bound.push_back(std::max(vdi.released[i], vdi.seen[i]));
    }
  }
  if (operation.act == Act::kSnapshot) {
    Snapshot& snapshot = vdi.snapshots[operation.snapshot];
    snapshot.taker = asked.tenure;
    if (asked.tenure != nullptr) {
      snapshot.content.emplace();
      for (const Cell& cell : asked.tenure->cells) snapshot.content->push_back(cell.now);
    }
  }
  for (const auto& [name, snapshot] : vdi.snapshots) {
    if (snapshot.was_published) asked.published.insert(name);
  }
  self.in_flight = std::move(asked);
}

// ------------------------------------------------------------------------------- answers

void HistoryChecker::Answered(int host, const Answer& answer) {
  Host& self = hosts_.at(static_cast<size_t>(host));
  const InFlight asked = *std::exchange(self.in_flight, std::nullopt);
  const Operation& operation = asked.operation;
  Vdi& vdi = VdiOf(asked);
  if (answer.error && answer.error->code == ErrorCode::kCorrupt) {
    Object(host, asked, "damage: " + answer.error->what);
  }
  const bool may_succeed_late =
      operation.act == Act::kSeal || operation.act == Act::kList ||
      operation.act == Act::kReadSnapshot;
  if (answer.ok() && asked.was_superseded && !may_succeed_late) {
    Object(host, asked,
           fmt::format("answered with success, though host {} had become the owner before it was "
                       "asked", asked.tenure->successor->host));
  }
  if (operation.act == Act::kSeal || operation.act == Act::kSnapshot) vdi.is_without_head = true;
  switch (operation.act) {
    case Act::kOpen: AnswerOpen(host, asked, answer); break;
    case Act::kWrite: AnswerWrite(asked, answer); break;
    case Act::kRead: AnswerRead(host, asked, answer); break;
    case Act::kGlance: AnswerGlance(host, asked, answer); break;
    case Act::kSnapshot: AnswerSnapshot(host, asked, answer); break;
    case Act::kReadSnapshot: AnswerReadSnapshot(host, asked, answer); break;
    case Act::kList: AnswerList(host, asked, answer); break;
    case Act::kFlush:
      if (answer.ok()) Flushed(host, asked);
      break;
    case Act::kClose:
      if (answer.ok()) Flushed(host, asked);
      if (answer.ok() && asked.tenure != nullptr && asked.tenure->successor == nullptr) {
        Release(vdi, *asked.tenure);
      }
      self.tenures.at(static_cast<size_t>(operation.vdi)) = nullptr;
      break;
    case Act::kSeal: break;
  }
}

HistoryChecker::Tenure& HistoryChecker::Begin(Vdi& vdi, int host) {
  Tenure& last = vdi.last();
  auto next = std::make_unique<Tenure>();
  next->host = host;
  next->number = last.number + 1;
  for (Cell& cell : last.cells) {
    const Choice found = last.released ? cell.now : Among(cell.flushed, cell.unflushed);
    Cell begun{found, found, {}, {found}};
    // Whoever takes over from another host copies and syncs all; whoever goes on where a process of its
    // own died does not.
    if (!last.released && last.host == host) {
      begun.durable = cell.durable;
      begun.durable.push_back(found);
      for (const Value value : cell.unflushed) begun.durable.push_back(One(value));
    }
    next->cells.push_back(std::move(begun));
    next->found.push_back(found);
  }
  if (!last.released && last.host != host) ++successions_;
  if (!last.released) vdi.is_without_head = true;
  last.successor = next.get();
  vdi.tenures.push_back(std::move(next));
  return vdi.last();
}

void HistoryChecker::AnswerOpen(int host, const InFlight& asked, const Answer& answer) {
  if (!answer.ok()) return;
  Vdi& vdi = VdiOf(asked);
  if (answer.epoch <= vdi.epoch) {
    Object(host, asked, fmt::format("epoch {} after {}", answer.epoch, vdi.epoch));
  }
  vdi.epoch = answer.epoch;
  hosts_.at(static_cast<size_t>(host)).tenures.at(static_cast<size_t>(asked.operation.vdi)) =
      &Begin(vdi, host);
}

void HistoryChecker::AnswerWrite(const InFlight& asked, const Answer& answer) {
  if (asked.tenure == nullptr || asked.was_superseded) return;
  const Operation& operation = asked.operation;
  for (uint64_t i = operation.first; i < operation.first + operation.count; ++i) {
    Choice& now = asked.tenure->cells.at(i).now;
    now = answer.ok() ? One(operation.value) : Among(now, {operation.value});
  }
}

// What was asked before another host became the owner, and answered after, was done before or not at all.
void HistoryChecker::Flushed(int host, const InFlight& asked) {
  Tenure* const tenure = asked.tenure;
  if (tenure == nullptr) return;
  for (uint64_t i = 0; i < sectors_; ++i) {
    Cell& cell = tenure->cells[i];
    if (tenure->successor == nullptr) {
      cell.flushed = cell.now;
      cell.unflushed.clear();
      cell.durable = {cell.now};
      continue;
    }
    std::set<Value>& found = *tenure->successor->found[i];
    std::set<Value> both;
    std::set_intersection(found.begin(), found.end(), cell.now->begin(), cell.now->end(),
                          std::inserter(both, both.end()));
    if (both.empty()) {
      return Object(host, asked,
                    fmt::format("sector {} was {} then, but host {}, the next owner, found {}", i,
                                Describe(*cell.now), tenure->successor->host, Describe(found)));
    }
    found = std::move(both);
  }
}

void HistoryChecker::Release(Vdi& vdi, Tenure& tenure) {
  tenure.released = true;
  vdi.is_without_head = false;
  for (uint64_t i = 0; i < sectors_; ++i) {
    const std::vector<Value>& order = vdi.order[i];
    size_t first = order.size();
    for (const Value value : *tenure.cells[i].now) {
      const auto last = std::find(order.rbegin(), order.rend(), value);
      first = std::min(first, static_cast<size_t>(std::distance(last, order.rend()) - 1));
    }
    vdi.released[i] = std::max(vdi.released[i], first);
  }
}

bool HistoryChecker::CoversRead(int host, const InFlight& asked, const Answer& answer) {
  if (answer.values.size() == asked.operation.count) return true;
  Object(host, asked, fmt::format("{} sectors were read, not {}", answer.values.size(),
                                  asked.operation.count));
  return false;
}

void HistoryChecker::AnswerRead(int host, const InFlight& asked, const Answer& answer) {
  if (!answer.ok() || asked.tenure == nullptr || !CoversRead(host, asked, answer)) return;
  for (uint64_t i = 0; i < answer.values.size(); ++i) {
    const uint64_t sector = asked.operation.first + i;
    Cell& cell = asked.tenure->cells.at(sector);
    const bool was_open = cell.now->size() > 1;
    const std::string expected = Describe(*cell.now);
    if (!Narrow(cell.now, answer.values[i])) {
      return Object(host, asked, fmt::format("sector {} is {}, but must be {}", sector,
                                             Describe({answer.values[i]}), expected));
    }
    unflushed_found_ += was_open;
  }
}

void HistoryChecker::AnswerGlance(int host, const InFlight& asked, const Answer& answer) {
  if (asked.tenure != nullptr) return AnswerRead(host, asked, answer);
  if (!answer.ok() || !CoversRead(host, asked, answer)) return;
  Vdi& vdi = VdiOf(asked);
  Tenure& last = vdi.last();
  const bool is_at_rest = last.released && &last == asked.last && !asked.is_contested;
  for (uint64_t i = 0; i < answer.values.size(); ++i) {
    const uint64_t sector = asked.operation.first + i;
    const Value value = answer.values[i];
    const std::vector<Value>& order = vdi.order[sector];
    const bool may_be_older = asked.may_be_older || vdi.is_without_head;
    const size_t bound = may_be_older ? 0 : asked.bound[sector];
    const auto from = order.begin() + static_cast<std::ptrdiff_t>(bound);
    const auto found = std::find(from, order.end(), value);
    if (found == order.end()) {
      const bool was_there = std::find(order.begin(), order.end(), value) != order.end();
      return Object(host, asked,
                    fmt::format("sector {} is {}, which {}; at least {} was to be seen", sector,
                                Describe({value}),
                                was_there ? "is older than what was published or seen before"
                                          : "no owner wrote there",
                                Describe({order[bound]})));
    }
    if (is_at_rest && !Narrow(last.cells[sector].now, value)) {
      return Object(host, asked, fmt::format("sector {} is {}, but {} when it was released", sector,
                                             Describe({value}),
                                             Describe(*last.cells[sector].now)));
    }
    // A published head is written in place by its next owner: what is seen then and not flushed binds nobody.
    const bool is_flushed = *last.cells[sector].flushed == *One(value);
    if (asked.is_contested || (!is_at_rest && !is_flushed)) continue;
    vdi.seen[sector] = std::max(vdi.seen[sector],
                                static_cast<size_t>(std::distance(order.begin(), found)));
  }
}

// ------------------------------------------------------------------------------- snapshots

bool HistoryChecker::IsInFlight(int vdi, const std::string& snapshot) const {
  return std::any_of(hosts_.begin(), hosts_.end(), [&](const Host& host) {
    return host.in_flight && host.in_flight->operation.act == Act::kSnapshot &&
           host.in_flight->operation.vdi == vdi && host.in_flight->operation.snapshot == snapshot;
  });
}

void HistoryChecker::AnswerSnapshot(int host, const InFlight& asked, const Answer& answer) {
  Vdi& vdi = VdiOf(asked);
  Snapshot& snapshot = vdi.snapshots[asked.operation.snapshot];
  snapshot.decided_by = vdi.last().number + 1;
  if (!answer.ok()) return;
  if (snapshot.state == Snapshot::State::kGone) {
    return Object(host, asked, "was answered with success, but the next owner did not have it");
  }
  snapshot.state = Snapshot::State::kThere;
  if (asked.tenure != nullptr) return Flushed(host, asked);
  // Without a handle: it was the owner for a moment.
  if (asked.is_contested || &vdi.last() != asked.last || snapshot.content) return;
  const Tenure& tenure = Begin(vdi, host);
  snapshot.taker = &tenure;
  snapshot.content.emplace();
  for (const Cell& cell : tenure.cells) snapshot.content->push_back(cell.now);
}

void HistoryChecker::AnswerReadSnapshot(int host, const InFlight& asked, const Answer& answer) {
  Vdi& vdi = VdiOf(asked);
  Snapshot& snapshot = vdi.snapshots[asked.operation.snapshot];
  const bool is_owner = asked.tenure != nullptr && asked.tenure->successor == nullptr;
  if (!answer.ok()) {
    const bool must_be_there = is_owner ? snapshot.state == Snapshot::State::kThere
                                        : asked.tenure == nullptr && snapshot.was_published &&
                                              asked.published.count(asked.operation.snapshot) > 0;
    if (answer.error->code == ErrorCode::kNotFound && must_be_there) {
      Object(host, asked, "the snapshot is not there any more: " + answer.error->what);
    }
    return;
  }
  if (!CoversRead(host, asked, answer)) return;
  if (snapshot.state == Snapshot::State::kGone) {
    return Object(host, asked, "the snapshot is there, though an owner did not have it");
  }
  snapshot.state = Snapshot::State::kThere;
  snapshot.was_published |= asked.tenure == nullptr;
  if (!snapshot.content) {
    snapshot.content.emplace();
    for (const std::vector<Value>& order : vdi.order) {
      snapshot.content->push_back(
          std::make_shared<std::set<Value>>(order.begin(), order.end()));
    }
  }
  for (uint64_t i = 0; i < answer.values.size(); ++i) {
    const uint64_t sector = asked.operation.first + i;
    Choice& choice = snapshot.content->at(sector);
    const std::string expected = Describe(*choice);
    if (!Narrow(choice, answer.values[i])) {
      return Object(host, asked, fmt::format("sector {} of the snapshot is {}, but must be {}",
                                             sector, Describe({answer.values[i]}), expected));
    }
  }
}

// An owner that began after the taking had ended, or after the taker had been succeeded, knows.
void HistoryChecker::DecideUnlisted(Vdi& vdi, const Tenure& owner,
                                    const std::set<std::string>& listed) {
  for (auto& [name, snapshot] : vdi.snapshots) {
    if (listed.count(name) > 0 || snapshot.state != Snapshot::State::kUndecided) continue;
    const bool began_later = snapshot.decided_by && owner.number >= *snapshot.decided_by;
    const bool came_later = snapshot.taker != nullptr && owner.number > snapshot.taker->number;
    if (began_later || came_later) snapshot.state = Snapshot::State::kGone;
  }
}

void HistoryChecker::AnswerList(int host, const InFlight& asked, const Answer& answer) {
  const bool is_superseded = asked.tenure != nullptr && asked.tenure->successor != nullptr;
  if (!answer.ok() || is_superseded) return;
  Vdi& vdi = VdiOf(asked);
  const std::set<std::string> listed(answer.names.begin(), answer.names.end());
  for (const std::string& name : listed) {
    const auto found = vdi.snapshots.find(name);
    if (found == vdi.snapshots.end()) {
      return Object(host, asked, fmt::format("nobody took the snapshot {}", name));
    }
    if (found->second.state == Snapshot::State::kGone) {
      return Object(host, asked, fmt::format("{} is there, though an owner did not have it", name));
    }
    found->second.state = Snapshot::State::kThere;
    found->second.was_published |= asked.tenure == nullptr;
  }
  for (const auto& [name, snapshot] : vdi.snapshots) {
    const bool must_be_there = asked.tenure != nullptr
                                   ? snapshot.state == Snapshot::State::kThere
                                   : snapshot.was_published && asked.published.count(name) > 0;
    if (must_be_there && listed.count(name) == 0) {
      return Object(host, asked, fmt::format("the snapshot {} is not there any more", name));
    }
  }
  if (asked.tenure != nullptr) DecideUnlisted(vdi, *asked.tenure, listed);
}

// ------------------------------------------------------------------------------- ends

void HistoryChecker::Killed(int host) {
  Host& self = hosts_.at(static_cast<size_t>(host));
  if (self.in_flight && self.in_flight->operation.act == Act::kSnapshot) {
    Vdi& vdi = VdiOf(*self.in_flight);
    vdi.snapshots[self.in_flight->operation.snapshot].decided_by = vdi.last().number + 1;
  }
  self.in_flight.reset();
  std::fill(self.tenures.begin(), self.tenures.end(), nullptr);
}

void HistoryChecker::StorageCrashed() {
  for (size_t host = 0; host < hosts_.size(); ++host) Killed(static_cast<int>(host));
  for (Vdi& vdi : vdis_) {
    std::fill(vdi.seen.begin(), vdi.seen.end(), 0);
    for (auto& [name, snapshot] : vdi.snapshots) snapshot.was_published = false;
    Tenure& last = vdi.last();
    if (last.released) continue;
    for (Cell& cell : last.cells) {
      for (const Choice& choice : cell.durable) {
        cell.unflushed.insert(choice->begin(), choice->end());
      }
      cell.flushed = Among(cell.flushed, cell.unflushed);
      cell.durable = {cell.flushed};
      cell.unflushed.clear();
    }
  }
}

std::vector<std::string> HistoryChecker::SnapshotsThere(int vdi) const {
  std::vector<std::string> names;
  for (const auto& [name, snapshot] : vdis_.at(static_cast<size_t>(vdi)).snapshots) {
    if (snapshot.state == Snapshot::State::kThere) names.push_back(name);
  }
  return names;
}

bool HistoryChecker::IsOwner(int host, int vdi) const {
  const Tenure* const tenure =
      hosts_.at(static_cast<size_t>(host)).tenures.at(static_cast<size_t>(vdi));
  return tenure != nullptr && tenure->successor == nullptr;
}

}  // namespace quoin::model
