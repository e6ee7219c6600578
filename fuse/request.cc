#include "fuse/request.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace quoin {
namespace {

void SplitSeconds(double seconds, uint64_t* whole, uint32_t* nanoseconds) {
  *whole = static_cast<uint64_t>(seconds);
  *nanoseconds = static_cast<uint32_t>((seconds - static_cast<double>(*whole)) * 1e9);
}

fuse_attr ToKernel(const struct stat& attributes) {
  fuse_attr out{};
  out.ino = attributes.st_ino;
  out.size = static_cast<uint64_t>(attributes.st_size);
  out.blocks = static_cast<uint64_t>(attributes.st_blocks);
  out.atime = static_cast<uint64_t>(attributes.st_atim.tv_sec);
  out.mtime = static_cast<uint64_t>(attributes.st_mtim.tv_sec);
  out.ctime = static_cast<uint64_t>(attributes.st_ctim.tv_sec);
  out.atimensec = static_cast<uint32_t>(attributes.st_atim.tv_nsec);
  out.mtimensec = static_cast<uint32_t>(attributes.st_mtim.tv_nsec);
  out.ctimensec = static_cast<uint32_t>(attributes.st_ctim.tv_nsec);
  out.mode = attributes.st_mode;
  out.nlink = static_cast<uint32_t>(attributes.st_nlink);
  out.uid = attributes.st_uid;
  out.gid = attributes.st_gid;
  out.blksize = static_cast<uint32_t>(attributes.st_blksize);
  return out;
}

fuse_entry_out ToKernel(const Entry& entry) {
  fuse_entry_out out{};
  out.nodeid = entry.number;
  SplitSeconds(entry.name_seconds, &out.entry_valid, &out.entry_valid_nsec);
  SplitSeconds(entry.attribute_seconds, &out.attr_valid, &out.attr_valid_nsec);
  out.attr = ToKernel(entry.attributes);
  return out;
}

fuse_open_out ToKernel(uint64_t handle, uint32_t open_flags) {
  fuse_open_out out{};
  out.fh = handle;
  out.open_flags = open_flags;
  return out;
}

// CREATE is answered by the entry and, right behind it, the open file.
struct Created {
  fuse_entry_out entry;
  fuse_open_out open;
};
static_assert(sizeof(Created) == sizeof(fuse_entry_out) + sizeof(fuse_open_out));

template <typename Answer>
bool Send(fuse_req_t raw, const Answer& answer) {
  return fuse_reply_buf(raw, reinterpret_cast<const char*>(&answer), sizeof answer) == 0;
}

}  // namespace

fuse_entry_param ToParameter(const Entry& entry) {
  fuse_entry_param out{};
  out.ino = entry.number;
  out.attr = entry.attributes;
  out.entry_timeout = entry.name_seconds;
  out.attr_timeout = entry.attribute_seconds;
  return out;
}

uint64_t& CurrentUnique() {
  thread_local uint64_t unique = 0;
  return unique;
}

Request::Request(fuse_req_t raw, RequestKind kind, Metrics& metrics)
    : raw_(raw), unique_(CurrentUnique()), kind_(kind), metrics_(&metrics) {
  metrics.CountRequest(kind);
}

Request::Request(Request&& other) noexcept
    : raw_(std::exchange(other.raw_, nullptr)),
      unique_(other.unique_),
      kind_(other.kind_),
      metrics_(other.metrics_) {}

Request::~Request() {
  if (raw_ == nullptr) return;
  spdlog::error("a {} request was given up without an answer", ToWord(kind_));
  Refuse(EIO);
}

fuse_req_t Request::Finish() { return std::exchange(raw_, nullptr); }

void Request::Refuse(int error_number) {
  metrics_->CountError(kind_);
  fuse_reply_err(Finish(), error_number);
}

void Request::Refuse(const Error& error) {
  const int error_number = ToErrno(error.code);
  if (error_number == EIO || error_number == ESTALE) {
    spdlog::error("{}: {}{}{}", ToWord(kind_), error.what, error.next.empty() ? "" : "; ",
                  error.next);
  } else {
    spdlog::debug("{} refused: {}", ToWord(kind_), error.what);
  }
  Refuse(error_number);
}

void Request::Done() { fuse_reply_err(Finish(), 0); }

void Request::Done(const Status& status) {
  if (status) {
    Done();
  } else {
    Refuse(status.error());
  }
}

bool Request::AnswerEntry(const Entry& entry) { return Send(Finish(), ToKernel(entry)); }

bool Request::AnswerOpen(uint64_t handle, uint32_t open_flags) {
  return Send(Finish(), ToKernel(handle, open_flags));
}

bool Request::AnswerCreated(const Entry& entry, uint64_t handle, uint32_t open_flags) {
  return Send(Finish(), Created{ToKernel(entry), ToKernel(handle, open_flags)});
}

void Request::AnswerAttributes(const struct stat& attributes, double seconds) {
  fuse_reply_attr(Finish(), &attributes, seconds);
}

bool Request::AnswerData(std::span<const std::byte> data) {
  return fuse_reply_buf(Finish(), reinterpret_cast<const char*>(data.data()), data.size()) == 0;
}

void Request::AnswerText(const std::string& text) { fuse_reply_readlink(Finish(), text.c_str()); }

void Request::AnswerCount(size_t bytes) { fuse_reply_write(Finish(), bytes); }

void Request::AnswerOffset(uint64_t offset) {
  fuse_reply_lseek(Finish(), static_cast<off_t>(offset));
}

void Request::AnswerSpace(const struct statvfs& space) { fuse_reply_statfs(Finish(), &space); }

void Request::AnswerXattr(const std::string& value, size_t room_bytes) {
  if (room_bytes == 0) {
    fuse_reply_xattr(Finish(), value.size());
  } else if (value.size() > room_bytes) {
    Refuse(ERANGE);
  } else {
    fuse_reply_buf(Finish(), value.data(), value.size());
  }
}

void Request::AnswerNone() { fuse_reply_none(Finish()); }

}  // namespace quoin
