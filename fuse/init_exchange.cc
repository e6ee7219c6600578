#include "fuse/init_exchange.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "fuse/operations.h"

namespace quoin {
namespace {

constexpr std::chrono::seconds kInitLimit{10};
constexpr unsigned kMaxBackgroundRequests = 64;

// From Linux 6.6: files opened with direct I/O may be mapped, and the kernel writes dirty pages of a
// mapping back before a direct read or write of the same bytes. Not in libfuse 3.14, nor in older
// kernel headers.
constexpr uint64_t kDirectIoAllowMmap = uint64_t{1} << 36;
constexpr uint64_t kInitExt = uint64_t{1} << 30;
// We never keep set-user-id bits or file capabilities, so the kernel need not ask for them before
// each cached write.
constexpr uint64_t kHandleKillprivV2 = uint64_t{1} << 28;
// From Linux 6.9; nothing has to be asked for.
constexpr uint64_t kHasResend = uint64_t{1} << 39;
constexpr uint64_t kWanted = kDirectIoAllowMmap | kInitExt | kHandleKillprivV2;

}  // namespace

void InitExchange::Configure(fuse_conn_info& connection) {
  // Copies through a buffer are three times as fast as splice for small requests.
  constexpr unsigned kUnwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                                 FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE |
                                 // Pages are dropped when something else changed them, not whenever
                                 // a file's time is seen to have moved by our own writes.
                                 FUSE_CAP_AUTO_INVAL_DATA;
  constexpr unsigned kUseful = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
                               FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS |
                               FUSE_CAP_READDIRPLUS_AUTO;
  connection.want &= ~kUnwanted;
  connection.want |= connection.capable & kUseful;
  connection.max_write = kMaxRequestBytes;
  connection.max_readahead = kMaxRequestBytes;
  connection.max_background = kMaxBackgroundRequests;
  connection.congestion_threshold = kMaxBackgroundRequests * 3 / 4;
}

void InitExchange::NoteOffer(std::span<const std::byte> request) {
  fuse_in_header header;
  fuse_init_in init{};
  if (request.size() < sizeof header) return;
  std::memcpy(&header, request.data(), sizeof header);
  if (header.opcode != FUSE_INIT) return;
  kept_.KeepInit(request);
  const auto body = request.subspan(sizeof header);
  std::memcpy(&init, body.data(), std::min(body.size(), sizeof init));
  MutexLock lock(mutex_);
  unique_ = header.unique;
  offered_ = init.flags;
  if ((offered_ & kInitExt) != 0) offered_ |= uint64_t{init.flags2} << 32;
}

bool InitExchange::Amend(std::span<iovec> parts) {
  if (parts.size() != 2 || parts[0].iov_len != sizeof(fuse_out_header)) return false;
  fuse_out_header header;
  std::memcpy(&header, parts[0].iov_base, sizeof header);
  MutexLock lock(mutex_);
  if (unique_ == 0 || header.unique != unique_ || header.error != 0) return false;
  fuse_init_out out{};
  if (parts[1].iov_len != sizeof out) return true;  // a kernel older than all that could be added
  std::memcpy(&out, parts[1].iov_base, sizeof out);
  const uint64_t added = kWanted & offered_;
  out.flags |= static_cast<uint32_t>(added);
  out.flags2 |= static_cast<uint32_t>(added >> 32);
  std::memcpy(parts[1].iov_base, &out, sizeof out);
  const auto answer = std::as_bytes(std::span(&out, 1));
  if (!is_replay_) kept_.KeepInitAnswer(answer);
  const std::vector<std::byte> before = kept_.init_answer();
  if (!std::equal(answer.begin(), answer.end(), before.begin(), before.end())) {
    spdlog::warn("this version would have agreed on something else with the kernel than the one that "
                 "mounted; what was agreed on holds until the tree is unmounted");
  }
  spdlog::debug("the kernel offers {:#x}, we use {:#x}", offered_,
                    uint64_t{out.flags2} << 32 | out.flags);
  return true;
}

ssize_t InitExchange::SendAmended(int device, std::span<iovec> parts) {
  const bool is_init = Amend(parts);
  ssize_t sent = 0;
  if (is_replay_) {
    for (const iovec& part : parts) sent += static_cast<ssize_t>(part.iov_len);
  } else {
    sent = writev(device, parts.data(), static_cast<int>(parts.size()));
  }
  if (is_init && sent >= 0) {
    {
      MutexLock lock(mutex_);
      is_sent_ = true;
    }
    answered_ = true;
    sent_.NotifyAll();
  }
  return sent;
}

Status InitExchange::Replay(fuse_session* session) {
  std::vector<std::byte> request = kept_.init();
  if (request.empty()) return Fail(ErrorCode::kInvalid, "the mount was never begun");
  is_replay_ = true;
  NoteOffer(request);
  fuse_buf buffer{};
  buffer.mem = request.data();
  buffer.size = request.size();
  fuse_session_process_buf(session, &buffer);
  is_replay_ = false;
  if (!answered_) return Fail(ErrorCode::kIo, "libfuse did not take up the mount");
  return {};
}

bool InitExchange::kernel_sends_again() {
  MutexLock lock(mutex_);
  return (offered_ & kHasResend) != 0;
}

bool InitExchange::WaitUntilAnswered() {
  const auto deadline = std::chrono::steady_clock::now() + kInitLimit;
  MutexLock lock(mutex_);
  while (!is_sent_) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) return false;
    sent_.WaitFor(mutex_, left);
  }
  return true;
}

}  // namespace quoin
