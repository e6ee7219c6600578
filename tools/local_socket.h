// Unix sockets that carry one line each way, with bounds: how the command and a daemon talk.
// Stateless functions on descriptors; each from any thread, one descriptor from one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "blockstore/base/error.h"

namespace quoin {

// An open descriptor; closed on destruction.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { Reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      Reset();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }

  int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  void Reset();

 private:
  int number_;
};

// A socket at `path` that only its owner (and root) may connect to. The path may be longer than a
// socket's address: its folder is opened and the name used relative to that.
Result<Descriptor> ListenAt(const std::string& path, int backlog);

// kNotFound if nothing listens there.
Result<Descriptor> ConnectTo(const std::string& path);

// The user of the process at the other end.
Result<unsigned> PeerUser(int socket);

// Reads lines from a socket, one after the other.
class LineReceiver {
 public:
  explicit LineReceiver(int socket) : socket_(socket) {}
  // Up to a newline, which is not part of the result. kTooLarge beyond `limit_bytes`, kBusy if it
  // takes longer than `patience`, kIo if the other end closes before.
  Result<std::string> Receive(size_t limit_bytes, std::chrono::milliseconds patience);

 private:
  const int socket_;
  std::string received_;  // beyond the last line
};

// The one line that is expected; what follows it is lost.
Result<std::string> ReceiveLine(int socket, size_t limit_bytes, std::chrono::milliseconds patience);

// Sends the line and a newline; kBusy if it takes longer than `patience`.
Status SendLine(int socket, std::string_view line, std::chrono::milliseconds patience);

}  // namespace quoin
