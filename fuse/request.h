// One request of the kernel, which gets exactly one answer. Moved from hand to hand, between threads
// too; whoever lets it go unanswered answers EIO by doing so, so that a fault of ours never leaves a
// process waiting for ever.
//
// Answering is the last thing done with a request: afterwards the kernel may close the file.
// Answers that hand something over to the kernel say whether it took it: it does not if the process
// was killed meanwhile, and then never gives the thing back.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "blockstore/base/error.h"
#include "fuse/libfuse.h"
#include "fuse/metrics.h"

namespace quoin {

struct Entry {
  uint64_t number = 0;
  struct stat attributes {};  // st_ino is `number`
  double name_seconds = 0;
  double attribute_seconds = 0;
};

fuse_entry_param ToParameter(const Entry& entry);

class Request {
 public:
  Request(fuse_req_t raw, RequestKind kind, Metrics& metrics);
  ~Request();
  Request(Request&& other) noexcept;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  Request& operator=(Request&&) = delete;

  fuse_req_t raw() const { return raw_; }
  const fuse_ctx& caller() const { return *fuse_req_ctx(raw_); }
  // The kernel's number of it, with kSentAgain if it was sent to a daemon before.
  uint64_t unique() const { return unique_; }

  void Refuse(int error_number);
  // An error of the storage (EIO, ESTALE) is also a line in the log.
  void Refuse(const Error& error);
  void Done();
  void Done(const Status& status);

  [[nodiscard]] bool AnswerEntry(const Entry& entry);
  // `open_flags` are the kernel's FOPEN_ bits, of which libfuse 3.14 knows only some.
  [[nodiscard]] bool AnswerOpen(uint64_t handle, uint32_t open_flags);
  [[nodiscard]] bool AnswerCreated(const Entry& entry, uint64_t handle, uint32_t open_flags);
  void AnswerAttributes(const struct stat& attributes, double seconds);
  bool AnswerData(std::span<const std::byte> data);
  void AnswerText(const std::string& text);  // a symbolic link's target
  void AnswerCount(size_t bytes);            // written or copied
  void AnswerOffset(uint64_t offset);
  void AnswerSpace(const struct statvfs& space);
  // The length if `room_bytes` is 0, ERANGE if it is too small.
  void AnswerXattr(const std::string& value, size_t room_bytes);
  void AnswerNone();  // a request that has no answer

 private:
  fuse_req_t Finish();  // takes the raw request out: the answer is on its way

  fuse_req_t raw_;
  uint64_t unique_;
  RequestKind kind_;
  Metrics* metrics_;
};

// The number of the request that this thread has read last, which libfuse does not tell.
uint64_t& CurrentUnique();

}  // namespace quoin
