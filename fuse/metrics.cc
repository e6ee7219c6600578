#include "fuse/metrics.h"

#include <fmt/format.h>

#include <iterator>

namespace quoin {
namespace {

constexpr std::array<std::string_view, kRequestKinds> kWords = {
    "lookup",   "forget",  "getattr",    "setattr",   "readlink",    "mknod",     "mkdir",
    "unlink",   "rmdir",   "symlink",    "rename",    "link",        "open",      "create",
    "read",     "write",   "flush",      "release",   "fsync",       "opendir",   "readdir",
    "releasedir", "fsyncdir", "statfs",  "setxattr",  "getxattr",    "listxattr", "removexattr",
    "fallocate", "lseek",  "copy_file_range",
};

std::atomic<size_t> next_shard{0};

void Describe(std::string& text, std::string_view name, std::string_view type,
              std::string_view help) {
  fmt::format_to(std::back_inserter(text), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

}  // namespace

std::string_view ToWord(RequestKind kind) { return kWords[static_cast<size_t>(kind)]; }

Metrics::Shard& Metrics::Mine() {
  thread_local const size_t shard = next_shard.fetch_add(1, std::memory_order_relaxed) % kShards;
  return shards_[shard];
}

template <typename Choose>
uint64_t Metrics::Sum(Choose choose) const {
  uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += choose(shard).load(std::memory_order_relaxed);
  return sum;
}

std::string Metrics::ToText(uint64_t open_vdis) const {
  std::string text;
  const auto out = std::back_inserter(text);
  Describe(text, "quoin_requests_total", "counter", "Requests of the kernel, by kind.");
  for (size_t kind = 0; kind < kRequestKinds; ++kind) {
    const uint64_t sum =
        Sum([kind](const Shard& shard) -> const Counter& { return shard.requests[kind]; });
    fmt::format_to(out, "quoin_requests_total{{kind=\"{}\"}} {}\n", kWords[kind], sum);
  }
  Describe(text, "quoin_request_errors_total", "counter", "Requests answered by an error, by kind.");
  for (size_t kind = 0; kind < kRequestKinds; ++kind) {
    const uint64_t sum =
        Sum([kind](const Shard& shard) -> const Counter& { return shard.errors[kind]; });
    fmt::format_to(out, "quoin_request_errors_total{{kind=\"{}\"}} {}\n", kWords[kind], sum);
  }
  Describe(text, "quoin_read_bytes_total", "counter", "Bytes of VDIs and snapshots handed out.");
  fmt::format_to(out, "quoin_read_bytes_total {}\n",
                 Sum([](const Shard& shard) -> const Counter& { return shard.read_bytes; }));
  Describe(text, "quoin_written_bytes_total", "counter", "Bytes of VDIs taken in.");
  fmt::format_to(out, "quoin_written_bytes_total {}\n",
                 Sum([](const Shard& shard) -> const Counter& { return shard.written_bytes; }));
  Describe(text, "quoin_open_vdis", "gauge", "VDIs that are open on this host.");
  fmt::format_to(out, "quoin_open_vdis {}\n", open_vdis);
  return text;
}

}  // namespace quoin
