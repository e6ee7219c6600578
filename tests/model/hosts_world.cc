#include "tests/model/hosts_world.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "metadata/superblock.h"
#include "tests/support/store_fixture.h"

namespace quoin::model {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kSectorsPerBlock = kBlockBytes / kSectorBytes;
// However long an owner was silent, and whatever two hosts wait for in turn.
constexpr seconds kLongestAnswer{120};
constexpr int kOpenAttempts = 5;

std::string Word(Reach reach) {
  switch (reach) {
    case Reach::kReached: return "goes on";
    case Reach::kFails: return "is cut off, its calls fail";
    case Reach::kHangs: return "is cut off, its calls hang";
    case Reach::kStopped: return "is stopped";
    case Reach::kDead: return "is killed";
  }
  return "";
}

}  // namespace

HostsWorld::Tally& HostsWorld::Tally::operator+=(const Tally& more) {
  operations += more.operations;
  answered += more.answered;
  successions += more.successions;
  unflushed_found += more.unflushed_found;
  stops += more.stops;
  kills += more.kills;
  cuts += more.cuts;
  expulsions += more.expulsions;
  storage_crashes += more.storage_crashes;
  guesses += more.guesses;
  return *this;
}

HostsWorld::HostsWorld(uint64_t seed)
    : seed_(seed),
      ids_(seed),
      random_(seed),
      fences_(OneIn(2)),
      checker_(kHosts, kVdis, kSectors) {
  MakeStore();
}

HostsWorld::~HostsWorld() {
  for (int number = 0; number < kHosts; ++number) Kill(number);
  Bury();
}

void HostsWorld::MakeStore() {
  const auto must = [](const auto& result) {
    if (!result) throw std::runtime_error(result.error().what);
  };
  must(storage_.MakeDirectory("/store"));
  must(storage_.SyncDirectory("/"));
  must(InitialiseStore(storage_, "/store", "lz4"));
  const Result<std::unique_ptr<Store>> store = OpenTestStore(storage_, 9);
  must(store);
  for (int vdi = 0; vdi < kVdis; ++vdi) {
    const Result<Id> id = (*store)->CreateVdi(VdiName(vdi), kSectors * kSectorBytes, {});
    must(id);
    vdis_.push_back(*id);
  }
}

// ------------------------------------------------------------------------------- acts

std::optional<std::string> HostsWorld::Run(uint64_t acts) {
  Tell(fences_ ? "the storage fences" : "the storage does not fence");
  for (uint64_t act = 0; act < acts && !IsOver(); ++act) {
    ActOnce();
    Rest();
  }
  if (!IsOver()) Heal();
  if (!IsOver()) LookAtEverything();
  tally_.successions = checker_.successions();
  tally_.unflushed_found = checker_.unflushed_found();
  tally_.guesses = time_.guesses();
  if (checker_.violation()) return *checker_.violation() + "\n" + Story();
  if (stuck_) return stuck_why_ + "\n" + Story();
  return std::nullopt;
}

void HostsWorld::ActOnce() {
  if (OneIn(500)) return CrashStorage();
  if (OneIn(3)) {
    static constexpr std::array<milliseconds, 6> kPasses = {
        milliseconds(1),    milliseconds(50),   milliseconds(500),
        milliseconds(2000), milliseconds(5000), milliseconds(13'000)};
    return Pass(kPasses[Below(kPasses.size())]);
  }
  const auto number = static_cast<int>(Below(kHosts));
  std::unique_ptr<ModelHost>& host = hosts_.at(static_cast<size_t>(number));
  if (host != nullptr) return ActOn(number, *host);
  host = std::make_unique<ModelHost>(storage_, time_, number, next_process_++, fences_, vdis_);
  Tell(fmt::format("host {} starts", number));
  if (OneIn(6)) PlanStrike(*host);
  host->OpenStore();
}

void HostsWorld::ActOn(int number, ModelHost& host) {
  const uint64_t what = Below(100);
  switch (host.seam().reach()) {
    case Reach::kReached:
      if (what < 4) return Strike(host, Reach::kStopped);
      if (what < 6) return Kill(number);
      if (what < 8) return Strike(host, OneIn(2) ? Reach::kFails : Reach::kHangs);
      if (!host.IsBusy()) StartOperation(host);
      return;
    case Reach::kFails:
      if (what >= 60 && !host.IsBusy()) return StartOperation(host);
      [[fallthrough]];
    case Reach::kHangs:
    case Reach::kStopped:
      if (what < 25) return Strike(host, Reach::kReached);
      if (what < 40) {
        host.seam().Expel();
        ++tally_.expulsions;
        return Tell(fmt::format("host {} is expelled", number));
      }
      if (what < 43) Kill(number);
      return;
    case Reach::kDead: return;
  }
}

void HostsWorld::Strike(ModelHost& host, Reach reach) {
  // Threads of a seal wait for each other, which looks as if they ran.
  const bool seals = host.operation() && host.operation()->act == Act::kSeal;
  if (reach == Reach::kHangs && seals) reach = Reach::kFails;
  tally_.stops += reach == Reach::kStopped;
  tally_.cuts += reach == Reach::kFails || reach == Reach::kHangs;
  Tell(fmt::format("host {} {}", host.number(), Word(reach)));
  host.seam().Set(reach);
}

// Somewhere in what the host does next.
void HostsWorld::PlanStrike(ModelHost& host) {
  static constexpr std::array<Reach, 8> kStrikes = {
      Reach::kStopped, Reach::kStopped, Reach::kStopped, Reach::kStopped,
      Reach::kDead,    Reach::kDead,    Reach::kFails,   Reach::kHangs};
  Reach reach = kStrikes[Below(kStrikes.size())];
  const bool seals = host.operation() && host.operation()->act == Act::kSeal;
  if (reach == Reach::kHangs && seals) reach = Reach::kFails;
  const uint64_t calls = 1 + Below(uint64_t{1} << Below(9));
  Tell(fmt::format("host {} {} before call {}", host.number(), Word(reach), calls));
  host.seam().SetAfter(calls, reach, OneIn(2));
}

void HostsWorld::StartOperation(ModelHost& host) {
  if (!host.is_open()) return Kill(host.number());  // its store could not be opened
  const Operation operation = DrawOperation(host);
  Tell(fmt::format("host {}: {}", host.number(), Describe(operation)));
  ++tally_.operations;
  checker_.Invoked(host.number(), operation);
  if (OneIn(6)) {
    PlanStrike(host);
  } else if (OneIn(4)) {
    host.seam().ForgetPlan();
  }
  host.Do(operation);
}

void HostsWorld::DrawRange(Operation& operation) {
  switch (Below(3)) {
    case 0:
      operation.first = 0;
      operation.count = kSectors;
      return;
    case 1:
      operation.first = Below(kSectors / kSectorsPerBlock) * kSectorsPerBlock;
      operation.count = kSectorsPerBlock;
      return;
    default:
      operation.first = Below(kSectors);
      operation.count = 1 + Below(std::min<uint64_t>(kSectors - operation.first, 20));
  }
}

Operation HostsWorld::DrawOperation(const ModelHost& host) {
  Operation operation;
  operation.vdi = OneIn(4) ? 1 : 0;
  const bool has_handle = host.HasHandle(operation.vdi);
  const uint64_t what = Below(100);
  const std::vector<std::string> snapshots = checker_.SnapshotsThere(operation.vdi);
  const auto whole = [&](Act act) {
    operation.act = act;
    operation.count = kSectors;
    return operation;
  };
  const auto of_snapshot = [&] {
    if (snapshots.empty()) {
      operation.act = Act::kList;
      return operation;
    }
    operation.snapshot = snapshots[Below(snapshots.size())];
    return whole(Act::kReadSnapshot);
  };
  const auto take_snapshot = [&] {
    operation.act = Act::kSnapshot;
    operation.snapshot = fmt::format("s{}", next_snapshot_++);
    return operation;
  };
  const auto just = [&](Act act) {
    operation.act = act;
    return operation;
  };
  if (!has_handle) {
    if (what < 60) return just(Act::kOpen);
    if (what < 80) return whole(Act::kGlance);
    if (what < 88) return of_snapshot();
    if (what < 93) return just(Act::kList);
    if (what < 97) return take_snapshot();
    return just(Act::kSeal);
  }
  if (what < 50) {
    operation.act = Act::kWrite;
    DrawRange(operation);
    if (what >= 5) operation.value = next_write_++;
    return operation;
  }
  if (what < 66) return just(Act::kFlush);
  if (what < 78) {
    operation.act = Act::kRead;
    DrawRange(operation);
    return operation;
  }
  if (what < 80) return whole(Act::kGlance);
  if (what < 86) return take_snapshot();
  if (what < 89) return of_snapshot();
  if (what < 91) return just(Act::kList);
  if (what < 94) return just(Act::kSeal);
  return just(Act::kClose);
}

void HostsWorld::Kill(int number) {
  std::unique_ptr<ModelHost>& host = hosts_.at(static_cast<size_t>(number));
  if (host == nullptr) return;
  Tell(fmt::format("host {} {}", number, Word(Reach::kDead)));
  ++tally_.kills;
  host->seam().Set(Reach::kDead);
  checker_.Killed(number);
  graves_.push_back(std::move(host));
}

void HostsWorld::CrashStorage() {
  Tell("the storage crashes, with all hosts");
  ++tally_.storage_crashes;
  for (int number = 0; number < kHosts; ++number) Kill(number);
  storage_.Crash(OneIn(3) ? CrashMode::kLoseAll : CrashMode::kRandom, random_());
  checker_.StorageCrashed();
}

void HostsWorld::Pass(std::chrono::nanoseconds duration) {
  const std::chrono::nanoseconds end = time_.Now() + duration;
  for (bool woken = true; woken && !IsOver();) {
    Rest();
    woken = time_.WakeNext(end);
  }
}

void HostsWorld::Rest() {
  do {
    time_.Settle();
  } while (Collect());
}

// What has been answered, and who has been struck as planned.
bool HostsWorld::Collect() {
  bool any = false;
  for (int number = 0; number < kHosts; ++number) {
    std::unique_ptr<ModelHost>& host = hosts_.at(static_cast<size_t>(number));
    if (host == nullptr) continue;
    if (host->seam().TakeStruck()) {
      any = true;
      const Reach reach = host->seam().reach();
      if (reach == Reach::kDead) {
        Kill(number);
        continue;
      }
      tally_.stops += reach == Reach::kStopped;
      tally_.cuts += reach != Reach::kStopped;
      Tell(fmt::format("host {} {}, as planned", number, Word(reach)));
    }
    if (!host->IsBusy() || host->seam().reach() == Reach::kStopped) continue;
    const std::optional<Operation> operation = host->operation();
    const std::optional<Answer> answer = host->TakeAnswer();
    if (!answer) continue;
    any = true;
    TellAnswer(*host, operation ? Describe(*operation) : "its store", *answer);
    if (!operation) continue;
    tally_.answered += answer->ok();
    checker_.Answered(number, *answer);
  }
  std::erase_if(graves_, [&any](const std::unique_ptr<ModelHost>& dead) {
    if (dead->IsBusy() && !dead->TakeAnswer()) return false;
    any = true;
    if (!dead->is_open()) return true;
    dead->CloseStore();
    return false;
  });
  return any;
}

// ------------------------------------------------------------------------------- the end

bool HostsWorld::Await(const std::function<bool()>& condition, const std::string& what) {
  const std::chrono::nanoseconds end = time_.Now() + kLongestAnswer;
  for (;;) {
    Rest();
    if (condition()) return true;
    if (IsOver()) return false;
    if (time_.WakeNext(end)) continue;
    stuck_ = true;
    stuck_why_ = fmt::format("{}: not for {} s, with all hosts healed", what,
                             kLongestAnswer.count());
    return false;
  }
}

void HostsWorld::Heal() {
  Tell("everything is healed");
  for (const std::unique_ptr<ModelHost>& host : hosts_) {
    if (host != nullptr) host->seam().Set(Reach::kReached);
  }
  for (const std::unique_ptr<ModelHost>& host : hosts_) {
    if (host == nullptr) continue;
    if (!Await([&] { return !host->IsBusy(); }, fmt::format("host {} answers", host->number()))) {
      return;
    }
    for (int vdi = 0; vdi < kVdis && host->is_open(); ++vdi) {
      if (host->HasHandle(vdi) && OneIn(2)) (void)Await(*host, {.act = Act::kClose, .vdi = vdi});
      if (IsOver()) return;
    }
  }
}

std::optional<Answer> HostsWorld::Await(ModelHost& host, const Operation& operation) {
  Tell(fmt::format("host {}: {}", host.number(), Describe(operation)));
  checker_.Invoked(host.number(), operation);
  host.Do(operation);
  std::optional<Answer> answer;
  const auto is_answered = [&] {
    if (!host.IsBusy()) return true;
    answer = host.TakeAnswer();
    return answer.has_value();
  };
  const std::chrono::nanoseconds end = time_.Now() + kLongestAnswer;
  for (;;) {
    time_.Settle();
    if (is_answered()) break;
    if (Collect()) continue;
    if (IsOver()) return std::nullopt;
    if (time_.WakeNext(end)) continue;
    stuck_ = true;
    stuck_why_ = fmt::format("host {}: {} is not answered", host.number(), Describe(operation));
    return std::nullopt;
  }
  TellAnswer(host, Describe(operation), *answer);
  checker_.Answered(host.number(), *answer);
  return answer;
}

// Whoever still has something open dies, or closes its store; then one host takes over everything, looks
// at it, releases it, and another one reads the same.
void HostsWorld::LookAtEverything() {
  for (int number = 0; number < kHosts; ++number) Kill(number);
  if (!Await([&] { return graves_.empty(); }, "what is dead comes to its end")) return;
  const auto owner = static_cast<int>(Below(kHosts));
  const int reader = (owner + 1) % kHosts;
  for (const int number : {owner, reader}) {
    std::unique_ptr<ModelHost>& host = hosts_.at(static_cast<size_t>(number));
    host = std::make_unique<ModelHost>(storage_, time_, number, next_process_++, fences_, vdis_);
    host->OpenStore();
    if (!Await([&] { return !host->IsBusy(); }, fmt::format("host {} starts", number))) return;
    if (!host->is_open()) {
      stuck_ = true;
      stuck_why_ = fmt::format("host {} cannot open the store", number);
      return;
    }
  }
  ModelHost& first = *hosts_.at(static_cast<size_t>(owner));
  ModelHost& second = *hosts_.at(static_cast<size_t>(reader));
  for (int vdi = 0; vdi < kVdis; ++vdi) {
    const auto ask = [&](ModelHost& host, Act act, const std::string& snapshot = "") {
      Operation operation{.act = act, .vdi = vdi, .snapshot = snapshot};
      if (act == Act::kRead || act == Act::kGlance || act == Act::kReadSnapshot) {
        operation.count = kSectors;
      }
      const std::optional<Answer> answer = Await(host, operation);
      if (answer && answer->ok()) return true;
      if (answer && act == Act::kOpen && answer->error->code == ErrorCode::kBusy) return false;
      if (!IsOver()) {
        stuck_ = true;
        stuck_why_ = fmt::format("host {}: {} fails, with all hosts healed: {}", host.number(),
                                 Describe(operation), Describe(*answer));
      }
      return false;
    };
    int attempt = 1;
    while (!ask(first, Act::kOpen) && !IsOver()) {
      stuck_ = ++attempt > kOpenAttempts;
      stuck_why_ = fmt::format("vdi{} stays busy, though nobody else lives", vdi);
    }
    if (IsOver() || !ask(first, Act::kRead) || !ask(first, Act::kList)) return;
    for (const std::string& name : checker_.SnapshotsThere(vdi)) {
      if (!ask(first, Act::kReadSnapshot, name)) return;
    }
    if (!ask(first, Act::kClose) || !ask(second, Act::kGlance) || !ask(second, Act::kList)) return;
    for (const std::string& name : checker_.SnapshotsThere(vdi)) {
      if (!ask(second, Act::kReadSnapshot, name)) return;
    }
  }
}

void HostsWorld::Bury() {
  const std::chrono::nanoseconds end = time_.Now() + kLongestAnswer;
  while (!graves_.empty()) {
    Rest();
    if (graves_.empty()) return;
    if (!time_.WakeNext(end)) std::abort();  // a thread of a dead process waits for ever
  }
}

// ------------------------------------------------------------------------------- telling

void HostsWorld::Tell(const std::string& text) {
  Note(text, text);
}

// What errors say has the time of day in it.
void HostsWorld::TellAnswer(const ModelHost& host, const std::string& what, const Answer& answer) {
  const std::string begin = fmt::format("host {}: {}: ", host.number(), what);
  const std::string end = fmt::format(" (after call {})", host.seam().calls());
  const std::string text = Describe(answer);
  Note(begin + text + end,
       begin + (answer.ok() ? text : std::string(ToWord(answer.error->code))) + end);
}

void HostsWorld::Note(const std::string& line, const std::string& hashed) {
  const double now_s = std::chrono::duration<double>(time_.Now()).count();
  for (const char c : fmt::format("{} {}", now_s, hashed)) {
    hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  told_.push_back(fmt::format("{:10.3f} {}", now_s, line));
  if (told_.size() > kActsTold) told_.pop_front();
  if (std::getenv("QUOIN_MODEL_TELL") != nullptr) std::puts(told_.back().c_str());
}

std::string HostsWorld::Story() const {
  std::string story = fmt::format("QUOIN_SEED={} repeats it. What happened last:\n", seed_);
  for (const std::string& line : told_) story += line + "\n";
  return story;
}

}  // namespace quoin::model
