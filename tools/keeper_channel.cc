#include "tools/keeper_channel.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <utility>

namespace quoin {
namespace {

constexpr size_t kMaxOrderBytes = 4096;
constexpr std::chrono::milliseconds kTellPatience{5'000};
constexpr std::chrono::milliseconds kOrderPatience{1'000};  // from its first byte on
// A reload gives the daemon before at most two minutes to end.
constexpr std::chrono::milliseconds kGoPatience{300'000};

}  // namespace

KeeperChannel::KeeperChannel(int descriptor, int64_t keeper_pid)
    : socket_(descriptor), keeper_pid_(keeper_pid), receiver_(socket_.number()) {}

void KeeperChannel::Tell(const Json& message) {
  // One that is gone does not care.
  (void)SendLine(socket_.number(), JsonLine(message), kTellPatience);
}

bool KeeperChannel::WaitForGo() {
  const Result<std::string> line = receiver_.Receive(kMaxOrderBytes, kGoPatience);
  if (!line) return false;
  const Result<Json> order = ParseJsonObject(*line, "the keeper's order");
  return order && TextOf(*order, "do") == "go";
}

KeeperChannel::Watch::Watch(KeeperChannel& channel, std::function<void()> leave)
    : channel_(channel), leave_(std::move(leave)), stop_(eventfd(0, EFD_CLOEXEC)) {
  thread_ = std::thread([this] { Run(); });
}

KeeperChannel::Watch::~Watch() {
  const uint64_t one = 1;
  if (write(stop_.number(), &one, sizeof one) != sizeof one) spdlog::error("cannot end a watch");
  thread_.join();
}

void KeeperChannel::Watch::Run() {
  for (;;) {
    std::array<pollfd, 2> watched{
        {{channel_.socket_.number(), POLLIN, 0}, {stop_.number(), POLLIN, 0}}};
    if (poll(watched.data(), watched.size(), -1) < 0) continue;  // a signal
    if (watched[1].revents != 0) return;
    const Result<std::string> line = channel_.receiver_.Receive(kMaxOrderBytes, kOrderPatience);
    if (!line) {
      channel_.is_open_ = false;
      spdlog::error("the keeper (pid {}) has ended: this daemon goes on, but should it die as well, the "
                    "mount ends; unmount and mount again when that is convenient",
                    channel_.keeper_pid_);
      return;
    }
    const Result<Json> order = ParseJsonObject(*line, "the keeper's order");
    if (order && TextOf(*order, "do") == "leave") return leave_();
  }
}

}  // namespace quoin
