#include "metadata/request_inbox.h"

#include <spdlog/spdlog.h>

#include <span>
#include <vector>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

using namespace std::chrono_literals;

// After something new.
constexpr auto kLookEveryWhenAsked = 10ms;
constexpr auto kStaysAlert = 3s;
// Without the bell: it may have been lost with a crash, or not be seen for a while.
constexpr auto kLookWithoutBell = 2s;
constexpr auto kKeepUnfetched = std::chrono::minutes(10);
constexpr size_t kMaxUnderWay = 32;

// Not synced (request_folder.h).
Status WriteWhole(FileSystem& file_system, const std::string& path, std::string_view head,
                  std::string_view text) {
  QUOIN_ASSIGN(const std::unique_ptr<File> file,
               file_system.Open(path, {Access::kReadWrite, Creation::kExclusive, 0600}));
  const std::string bytes = std::string(head) + std::string(text);
  return file->Write(0, std::as_bytes(std::span(bytes)));
}

}  // namespace

Result<std::unique_ptr<RequestInbox>> RequestInbox::Open(FileSystem& file_system, const Lease& lease,
                                                         const std::string& session,
                                                         Handler handler) {
  std::unique_ptr<RequestInbox> inbox(
      new RequestInbox(file_system, lease, session, std::move(handler)));
  const Status made = file_system.MakeDirectory(inbox->folder_);
  if (!made && made.error().code != ErrorCode::kExists) return Failure(made.error());
  inbox->thread_ = std::thread([raw = inbox.get()] { raw->Run(); });
  return inbox;
}

RequestInbox::RequestInbox(FileSystem& file_system, const Lease& lease, const std::string& session,
                           Handler handler)
    : file_system_(file_system),
      lease_(lease),
      folder_(StoreLayout::Requests(session)),
      handler_(std::move(handler)),
      lapses_(lease.lapses()) {}

RequestInbox::~RequestInbox() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    ending_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
  for (Work& work : work_) work.thread.join();
}

bool RequestInbox::Sleep(Clock::duration time) {
  const Clock::time_point end = Clock::now() + time;
  MutexLock lock(mutex_);
  while (!ending_ && Clock::now() < end) changed_.WaitFor(mutex_, end - Clock::now());
  return !ending_;
}

void RequestInbox::Run() {
  Clock::time_point alert_until{};
  Clock::time_point looked{};
  while (Sleep(Clock::now() < alert_until ? Clock::duration(kLookEveryWhenAsked)
                                          : Clock::duration(kLookEvery))) {
    JoinEnded();
    if (!lease_.IsValid()) continue;
    const bool has_lapsed = lease_.lapses() != lapses_;
    lapses_ = lease_.lapses();
    // The bell goes before the look, and is rung after a request is there: none is missed.
    const std::string bell = request_folder::Bell(folder_);
    const bool rang = file_system_.Facts(bell).has_value() && file_system_.Remove(bell).has_value();
    const Clock::time_point now = Clock::now();
    if (!rang && !has_lapsed && now >= alert_until && now - looked < kLookWithoutBell) continue;
    looked = now;
    if (Look(has_lapsed) || rang) alert_until = Clock::now() + kStaysAlert;
  }
}

bool RequestInbox::Look(bool as_late) {
  const Result<std::vector<DirectoryEntry>> entries = file_system_.List(folder_);
  if (!entries) {
    // A session that was taken for dead has lost its folder, and has another one since.
    if (entries.error().code == ErrorCode::kNotFound) (void)file_system_.MakeDirectory(folder_);
    return false;
  }
  bool found = false;
  for (const DirectoryEntry& entry : *entries) {
    if (entry.name.ends_with(".answer") || entry.name.ends_with(".new")) {
      SweepAnswer(entry.name);
      continue;
    }
    const std::optional<Id> id = Id::Parse(entry.name);
    if (!id || work_.size() >= kMaxUnderWay) continue;
    found = true;
    // Who asked may take it back in this moment.
    const std::string request = request_folder::Request(folder_, *id);
    if (!file_system_.Rename(request, request_folder::Taken(folder_, *id))) continue;
    if (as_late) {
      Answer(*id, request_folder::kLateHead, "");
    } else {
      Begin(*id);
    }
  }
  if (unfetched_.size() > entries->size()) unfetched_.clear();  // they are fetched: counted anew
  return found;
}

// Who asked for it is gone, if nobody has come for it in so long.
void RequestInbox::SweepAnswer(const std::string& name) {
  const auto [seen, is_new] = unfetched_.try_emplace(name, Clock::now());
  if (Clock::now() - seen->second < kKeepUnfetched) return;
  (void)file_system_.Remove(folder_ + "/" + name);
  unfetched_.erase(seen);
}

void RequestInbox::Begin(const Id& id) {
  Work& work = work_.emplace_back(id);
  work.thread = std::thread([this, &work] {
    Serve(work.id);
    work.ended.store(true, std::memory_order_release);
  });
}

void RequestInbox::Serve(const Id& id) {
  const Result<std::string> bytes =
      ReadWholeFile(file_system_, request_folder::Taken(folder_, id), kMaxRequestBytes);
  const std::optional<std::string_view> text =
      bytes ? request_folder::After(request_folder::kRequestHead, *bytes) : std::nullopt;
  if (!text) {
    spdlog::warn("a request of another session could not be read: {}",
                 bytes ? "its form is unknown" : bytes.error().what);
    Answer(id, request_folder::kLateHead, "");
    return;
  }
  Answer(id, request_folder::kDoneHead, handler_(*text));
}

void RequestInbox::Answer(const Id& id, std::string_view head, std::string_view text) {
  const std::string temporary = request_folder::OnItsWay(folder_);
  Status answered = WriteWhole(file_system_, temporary, head, text);
  if (answered) answered = file_system_.Rename(temporary, request_folder::Answer(folder_, id));
  if (!answered) spdlog::warn("an answer to another session was lost: {}", answered.error().what);
  (void)file_system_.Remove(request_folder::Taken(folder_, id));
}

void RequestInbox::JoinEnded() {
  for (auto work = work_.begin(); work != work_.end();) {
    if (work->ended.load(std::memory_order_acquire)) {
      work->thread.join();
      work = work_.erase(work);
    } else {
      ++work;
    }
  }
}

}  // namespace quoin
