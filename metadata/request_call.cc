#include "metadata/request_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <thread>

#include "blockstore/base/atomic_file.h"
#include "metadata/request_folder.h"

namespace quoin {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Most answers come at once; who waits for long work need not look as often.
constexpr auto kFirstPause = 5ms;
constexpr auto kLongestPause = 100ms;
constexpr auto kLookAtHeartbeatEvery = 1s;

class Call {
 public:
  Call(FileSystem& file_system, SessionWatch& watch, std::string folder, const Id& host,
       const Id& session)
      : file_system_(file_system),
        watch_(watch),
        folder_(std::move(folder)),
        host_(host),
        session_(session) {}

  Status Ask(std::string_view text);
  Result<std::string> Await(const RequestPatience& patience);

 private:
  // Nothing while there is no answer.
  Result<std::optional<std::string>> Fetch();
  // True once the session has been silent for longer than its lease.
  bool IsDead();

  FileSystem& file_system_;
  SessionWatch& watch_;
  const std::string folder_;
  const Id host_;
  const Id session_;
  const Id id_ = Id::Random();
};

Status Call::Ask(std::string_view text) {
  const std::string temporary = request_folder::OnItsWay(folder_);
  const auto write = [&]() -> Status {
    // Closed before it gets its name: other hosts see what was written once it is closed.
    QUOIN_ASSIGN(const std::unique_ptr<File> file,
                 file_system_.Open(temporary, {Access::kReadWrite, Creation::kExclusive, 0600}));
    const std::string bytes = std::string(request_folder::kRequestHead) + std::string(text);
    return file->Write(0, std::as_bytes(std::span(bytes)));
  };
  Status asked = write();
  if (asked) asked = file_system_.Rename(temporary, request_folder::Request(folder_, id_));
  if (!asked) {
    (void)file_system_.Remove(temporary);
    if (asked.error().code != ErrorCode::kNotFound) return asked;
    return Fail(ErrorCode::kNotFound, "the session takes no requests");
  }
  const auto bell = file_system_.Open(request_folder::Bell(folder_),
                                      {Access::kReadWrite, Creation::kIfMissing, 0600});
  (void)bell;  // one that does not ring makes it slower, no more
  return {};
}

Result<std::optional<std::string>> Call::Fetch() {
  const std::string path = request_folder::Answer(folder_, id_);
  const Result<std::string> bytes = ReadWholeFile(file_system_, path, kMaxRequestBytes);
  if (!bytes && bytes.error().code == ErrorCode::kNotFound) return std::nullopt;
  if (!bytes) return Failure(bytes.error());
  (void)file_system_.Remove(path);
  if (const auto text = request_folder::After(request_folder::kDoneHead, *bytes)) {
    return std::optional(std::string(*text));
  }
  if (request_folder::After(request_folder::kLateHead, *bytes)) {
    return Fail(ErrorCode::kNotFound, "the session was out of reach when it was asked");
  }
  return Fail(ErrorCode::kIo, "the session's answer is damaged");
}

bool Call::IsDead() {
  const Result<SessionWatch::Sight> sight = watch_.Look(host_, session_);
  if (!sight) return false;
  const std::chrono::milliseconds lease =
      sight->record ? std::chrono::milliseconds(sight->record->lease_ms) : kDefaultLease;
  return sight->silent_for >= lease + LeaseMargin(lease);
}

Result<std::string> Call::Await(const RequestPatience& patience) {
  const Clock::time_point begin = Clock::now();
  Clock::time_point next_look = begin + kLookAtHeartbeatEvery;
  Clock::duration pause = kFirstPause;
  bool may_be_waiting = true;  // nobody has begun with it, for all we know
  for (;;) {
    QUOIN_ASSIGN(std::optional<std::string> answer, Fetch());
    if (answer) return std::move(*answer);
    const Clock::time_point now = Clock::now();
    if (may_be_waiting && now - begin >= patience.begun_within) {
      const Status taken_back = file_system_.Remove(request_folder::Request(folder_, id_));
      if (taken_back) {
        return Fail(ErrorCode::kNotFound,
                    fmt::format("it has not begun with the request within {} ms",
                                patience.begun_within.count()));
      }
      may_be_waiting = taken_back.error().code != ErrorCode::kNotFound;
    }
    if (!may_be_waiting && now >= next_look) {
      next_look = now + kLookAtHeartbeatEvery;
      if (IsDead()) {
        return Fail(ErrorCode::kIo, "it began with the request, and has not been heard of since");
      }
    }
    if (now - begin >= patience.answered_within) {
      return Fail(ErrorCode::kIo, fmt::format("it gave no answer within {} ms",
                                              patience.answered_within.count()));
    }
    std::this_thread::sleep_for(pause);
    // A tenth of what it has taken so far.
    pause = std::clamp<Clock::duration>((now - begin) / 10, kFirstPause, kLongestPause);
  }
}

}  // namespace

Result<std::string> CallSession(FileSystem& file_system, const StoreLayout& layout,
                                SessionWatch& watch, const Id& host, const Id& session,
                                std::string_view request, const RequestPatience& patience) {
  if (request.size() > kMaxRequestBytes - request_folder::kRequestHead.size()) {
    return Fail(ErrorCode::kTooLarge, "the request has too many parts");
  }
  Call call(file_system, watch, StoreLayout::Requests(layout.Session(host, session)), host, session);
  QUOIN_TRY(call.Ask(request));
  return call.Await(patience);
}

}  // namespace quoin
