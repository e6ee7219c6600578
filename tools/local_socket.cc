#include "tools/local_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

using Clock = std::chrono::steady_clock;

// The address of `path` through its opened folder, which must stay open while it is used.
struct Address {
  Descriptor folder;
  sockaddr_un name{};
};

Result<Address> AddressOf(const std::string& path) {
  Address address;
  const std::string parent = ParentPath(path);
  address.folder = Descriptor(open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!address.folder) return FailSystem(errno, fmt::format("cannot open {}", parent));
  const std::string file_name = path.substr(path.rfind('/') + 1);
  const std::string short_path =
      fmt::format("/proc/self/fd/{}/{}", address.folder.number(), file_name);
  if (short_path.size() >= sizeof(address.name.sun_path)) {
    return Fail(ErrorCode::kNameTooLong, fmt::format("cannot use {} as a socket's name", path));
  }
  address.name.sun_family = AF_UNIX;
  std::memcpy(address.name.sun_path, short_path.c_str(), short_path.size() + 1);
  return address;
}

Descriptor NewSocket() { return Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

const sockaddr* AsSocketAddress(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address.name);
}

// Waits until the socket is ready; kBusy at the deadline.
Status WaitFor(int socket, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Fail(ErrorCode::kBusy, "the other end did not answer in time");
    pollfd watched{socket, events, 0};
    constexpr long kLongestPoll = 1 << 30;
    const int ready = poll(&watched, 1, static_cast<int>(std::min<long>(left, kLongestPoll)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return FailSystem(errno, "cannot wait for a socket");
  }
}

}  // namespace

void Descriptor::Reset() {
  if (number_ >= 0) close(number_);
  number_ = -1;
}

Result<Descriptor> ListenAt(const std::string& path, int backlog) {
  Descriptor listening = NewSocket();
  if (!listening) return FailSystem(errno, "cannot make a socket");
  QUOIN_ASSIGN(const Address address, AddressOf(path));
  // The mode of a socket's file is that of the unbound socket.
  if (fchmod(listening.number(), 0600) != 0 ||
      bind(listening.number(), AsSocketAddress(address), sizeof(address.name)) != 0 ||
      listen(listening.number(), backlog) != 0) {
    return FailSystem(errno, fmt::format("cannot listen at {}", path));
  }
  return listening;
}

Result<Descriptor> ConnectTo(const std::string& path) {
  Descriptor socket = NewSocket();
  if (!socket) return FailSystem(errno, "cannot make a socket");
  QUOIN_ASSIGN(const Address address, AddressOf(path));
  if (connect(socket.number(), AsSocketAddress(address), sizeof(address.name)) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) {
      return Fail(ErrorCode::kNotFound, fmt::format("cannot connect to {}: nobody listens", path));
    }
    return FailSystem(errno, fmt::format("cannot connect to {}", path));
  }
  return socket;
}

Result<unsigned> PeerUser(int socket) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return FailSystem(errno, "cannot learn who is at the other end of a socket");
  }
  return credentials.uid;
}

Result<std::string> LineReceiver::Receive(size_t limit_bytes, std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  std::array<char, 16384> buffer;
  for (size_t looked_at = 0;;) {
    const size_t end = received_.find('\n', looked_at);
    if (std::min(end, received_.size()) > limit_bytes) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("a line on a socket is longer than {} bytes", limit_bytes));
    }
    if (end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    looked_at = received_.size();
    QUOIN_TRY(WaitFor(socket_, POLLIN, deadline));
    const ssize_t count = recv(socket_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return FailSystem(errno, "cannot read from a socket");
    if (count == 0) return Fail(ErrorCode::kIo, "the other end hung up");
    received_.append(buffer.data(), static_cast<size_t>(count));
  }
}

Result<std::string> ReceiveLine(int socket, size_t limit_bytes,
                                std::chrono::milliseconds patience) {
  return LineReceiver(socket).Receive(limit_bytes, patience);
}

Status SendLine(int socket, std::string_view line, std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  std::string text(line);
  text += '\n';
  for (size_t sent = 0; sent < text.size();) {
    QUOIN_TRY(WaitFor(socket, POLLOUT, deadline));
    const ssize_t count =
        send(socket, text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return FailSystem(errno, "cannot write to a socket");
    sent += static_cast<size_t>(count);
  }
  return {};
}

}  // namespace quoin
