// Three hosts over one simulated storage, doing at random what hosts do and what happens to them, under a
// HistoryChecker. The same seed gives the same run, to the last call: time is virtual, threads run one at a
// time, identities come from the seed (run_hash tells two runs apart).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/model/history_checker.h"
#include "tests/model/model_host.h"
#include "tests/model/seeded_ids.h"
#include "tests/model/virtual_time.h"
#include "tests/support/simulated_file_system.h"

namespace quoin::model {

class HostsWorld {
 public:
  static constexpr int kHosts = 3;
  static constexpr int kVdis = 2;
  static constexpr uint64_t kSectors = 64;  // of a VDI: 8 blocks

  struct Tally {
    uint64_t operations = 0;
    uint64_t answered = 0;  // with success
    uint64_t successions = 0;
    uint64_t unflushed_found = 0;
    uint64_t stops = 0, kills = 0, cuts = 0, expulsions = 0, storage_crashes = 0;
    uint64_t guesses = 0;  // of VirtualTime
    Tally& operator+=(const Tally& more);
  };

  explicit HostsWorld(uint64_t seed);
  ~HostsWorld();

  // So many acts, then everything is healed and looked at. What is wrong, or nothing.
  std::optional<std::string> Run(uint64_t acts);
  const Tally& tally() const { return tally_; }
  uint64_t run_hash() const { return hash_; }

 private:
  static constexpr size_t kActsTold = 50;  // with a violation

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  void MakeStore();
  void ActOnce();
  void ActOn(int number, ModelHost& host);
  void StartOperation(ModelHost& host);
  Operation DrawOperation(const ModelHost& host);
  void DrawRange(Operation& operation);
  void PlanStrike(ModelHost& host);
  void Strike(ModelHost& host, Reach reach);
  void Kill(int number);
  void CrashStorage();
  void Pass(std::chrono::nanoseconds duration);
  // Until nothing happens any more without time passing.
  void Rest();
  bool Collect();  // true if there was something
  bool IsOver() const { return checker_.violation().has_value() || stuck_; }

  // --- the end --------------------------------------------------------------------------------
  void Heal();
  // Lets time pass until it is so; false if it does not come to be.
  bool Await(const std::function<bool()>& condition, const std::string& what);
  std::optional<Answer> Await(ModelHost& host, const Operation& operation);
  void LookAtEverything();
  void Bury();

  void Tell(const std::string& text);
  void TellAnswer(const ModelHost& host, const std::string& what, const Answer& answer);
  void Note(const std::string& line, const std::string& hashed);
  std::string Story() const;

  const uint64_t seed_;
  const SeededIds ids_;
  std::mt19937_64 random_;
  VirtualTime time_;
  SimulatedFileSystem storage_;
  const bool fences_;
  std::vector<Id> vdis_;
  std::array<std::unique_ptr<ModelHost>, kHosts> hosts_;
  std::vector<std::unique_ptr<ModelHost>> graves_;  // killed, with threads that come to their ends
  HistoryChecker checker_;
  int next_process_ = 0;
  Value next_write_ = 1;
  int next_snapshot_ = 1;
  std::deque<std::string> told_;
  uint64_t hash_ = 14695981039346656037u;
  Tally tally_;
  bool stuck_ = false;
  std::string stuck_why_;
};

}  // namespace quoin::model
