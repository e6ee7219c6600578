// Can one order of writes, with a single writer at a time, explain what the hosts were told?
//
// It follows the owners of each VDI, one tenure after the other, and for each sector which writes its
// content may be of. Certain is what an owner was told is flushed, and what it wrote since, as long as it
// is the owner. What it had not flushed when its tenure ended without a clean close may be there or not,
// sector by sector; once anybody has seen which, that is so for everybody. The rules:
//
//   * An owner reads what it wrote last, or what it took over. Whoever takes over finds what was flushed,
//     or a later write of an owner that was one when it began that write.
//   * Nothing that was asked through a handle after another host had been told that it is the owner is
//     answered with success, and none of it is ever seen. What was asked before, and is answered later,
//     must be part of what the next owner found.
//   * A snapshot is one state of the owner that took it. It never changes, it does not vanish once its
//     taking was answered or anybody has seen it, and does not appear once an owner did not have it.
//   * Hosts that do not own a VDI read something of it that is no older than its last clean release, and
//     no older than what was read before.
//   * Epochs rise. Nobody is ever told that something is damaged, or reads bytes of nobody's.
//
// Sound rather than complete: where requests overlap it lets every order pass. A crash of the storage
// itself is one of everybody. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/model/history.h"

namespace quoin::model {

class HistoryChecker {
 public:
  // All sectors of all VDIs are zeros, and released.
  HistoryChecker(int hosts, int vdis, uint64_t sectors);

  // One operation of each host at a time.
  void Invoked(int host, const Operation& operation);
  void Answered(int host, const Answer& answer);
  // What it has in flight is never answered.
  void Killed(int host);
  // With every host; what nobody had synced may be lost.
  void StorageCrashed();

  // The first one, in words.
  const std::optional<std::string>& violation() const { return violation_; }
  // Snapshots of the VDI that must be there.
  std::vector<std::string> SnapshotsThere(int vdi) const;
  bool IsOwner(int host, int vdi) const;
  // How often an owner of another host was succeeded without having released, and how many sectors were
  // found with a write that nobody had flushed: a run in which both are rare tests little.
  uint64_t successions() const { return successions_; }
  uint64_t unflushed_found() const { return unflushed_found_; }

 private:
  // Writes of which one is the sector's; shared by all who have the same sector in view.
  using Choice = std::shared_ptr<std::set<Value>>;

  struct Cell {
    Choice now;                 // what the owner reads
    Choice flushed;             // what it was at the last flush, or when the tenure began
    std::set<Value> unflushed;  // written since, or tried to
    std::vector<Choice> durable;  // what a crash of the storage may leave, besides `unflushed`
  };
  struct Tenure {
    int host = -1;
    uint64_t number = 0;
    std::vector<Cell> cells;
    std::vector<Choice> found;  // what it began with
    bool released = false;
    Tenure* successor = nullptr;
  };
  struct Snapshot {
    enum class State { kUndecided, kThere, kGone };
    State state = State::kUndecided;
    std::optional<std::vector<Choice>> content;
    const Tenure* taker = nullptr;
    std::optional<uint64_t> decided_by;  // the first tenure that knows whether it is there
    bool was_published = false;          // a host that was not the owner has seen it
  };
  struct Vdi {
    std::vector<std::unique_ptr<Tenure>> tenures;
    std::map<std::string, Snapshot> snapshots;
    std::vector<std::vector<Value>> order;  // of each sector: what owners wrote to it
    std::vector<size_t> released;           // of each: from here on in `order` everybody may read
    std::vector<size_t> seen;
    uint64_t epoch = 0;
    // An owner may have published since the last release without its head, by a snapshot, a seal or a
    // recovery: whoever opens the VDI elsewhere is shown its newest snapshot then, which may be older.
    bool is_without_head = false;

    Tenure& last() const { return *tenures.back(); }
  };
  struct InFlight {
    Operation operation;
    Tenure* tenure = nullptr;    // of the handle
    bool was_superseded = false;  // when it was invoked
    bool is_contested = false;   // others may have changed owners meanwhile
    Tenure* last = nullptr;      // the VDI's, when it was invoked
    std::vector<size_t> bound;   // of a glance
    bool may_be_older = false;   // than the bound (Vdi::is_without_head)
    std::set<std::string> published;
  };
  struct Host {
    std::optional<InFlight> in_flight;
    std::vector<Tenure*> tenures;  // by VDI; null without a handle
  };

  static Choice One(Value value);
  static Choice Among(const Choice& some, const std::set<Value>& more);
  static bool SeeksOwnership(const Operation& operation);

  Tenure& Begin(Vdi& vdi, int host);
  void AnswerOpen(int host, const InFlight& asked, const Answer& answer);
  void AnswerWrite(const InFlight& asked, const Answer& answer);
  void AnswerRead(int host, const InFlight& asked, const Answer& answer);
  void AnswerGlance(int host, const InFlight& asked, const Answer& answer);
  void AnswerSnapshot(int host, const InFlight& asked, const Answer& answer);
  void AnswerReadSnapshot(int host, const InFlight& asked, const Answer& answer);
  void AnswerList(int host, const InFlight& asked, const Answer& answer);
  void Flushed(int host, const InFlight& asked);
  void Release(Vdi& vdi, Tenure& tenure);
  void DecideUnlisted(Vdi& vdi, const Tenure& owner, const std::set<std::string>& listed);
  bool Narrow(Choice& choice, Value value);
  bool CoversRead(int host, const InFlight& asked, const Answer& answer);
  bool IsInFlight(int vdi, const std::string& snapshot) const;
  Vdi& VdiOf(const InFlight& asked) { return vdis_.at(static_cast<size_t>(asked.operation.vdi)); }
  void Object(int host, const InFlight& asked, const std::string& why);
  static std::string Describe(const std::set<Value>& values);

  const uint64_t sectors_;
  std::vector<Host> hosts_;
  std::vector<Vdi> vdis_;
  std::optional<std::string> violation_;
  uint64_t successions_ = 0;
  uint64_t unflushed_found_ = 0;
};

}  // namespace quoin::model
