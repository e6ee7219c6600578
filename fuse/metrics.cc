#include "fuse/metrics.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "blockstore/base/block.h"

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

void Put(std::string& text, std::string_view name, std::string_view type, std::string_view help,
         uint64_t value) {
  Describe(text, name, type, help);
  fmt::format_to(std::back_inserter(text), "{} {}\n", name, value);
}

// One metric of both caches.
void PutOfCaches(std::string& text, std::string_view name, std::string_view type,
                 std::string_view help, uint64_t of_frames, uint64_t of_nodes) {
  Describe(text, name, type, help);
  fmt::format_to(std::back_inserter(text), "{0}{{cache=\"frames\"}} {1}\n{0}{{cache=\"nodes\"}} {2}\n",
                 name, of_frames, of_nodes);
}

void PutCaches(std::string& text, const CacheActivity& frames, const CacheActivity& nodes) {
  PutOfCaches(text, "quoin_cache_hits_total", "counter",
              "Decompressed frames, and nodes of maps, that were in memory when they were asked for.",
              frames.hits, nodes.hits);
  PutOfCaches(text, "quoin_cache_misses_total", "counter", "Those that had to be read.",
              frames.misses, nodes.misses);
  PutOfCaches(text, "quoin_cache_evictions_total", "counter", "Those that made room for others.",
              frames.evictions, nodes.evictions);
  PutOfCaches(text, "quoin_cache_bytes", "gauge", "Memory that the caches hold.", frames.bytes,
              nodes.bytes);
}

void PutSealing(std::string& text, const StoreActivity& store) {
  Put(text, "quoin_unsealed_layers", "gauge",
      "Frozen layers that wait to be sealed, of VDIs that this daemon has owned.",
      store.unsealed_layers);
  Put(text, "quoin_seals_total", "counter", "Times that packs were filled from frozen layers.",
      store.seals);
  Put(text, "quoin_imports_total", "counter", "VDIs made by filling packs from a file.",
      store.imports);
  Put(text, "quoin_seal_rests_total", "counter",
      "Rests that sealing in the background took while guests were busy.", store.seal_rests);
  constexpr std::string_view kSealed = "quoin_sealed_bytes_total";
  Describe(text, kSealed, "counter",
           "Bytes of blocks sealed and imported: stored, found stored elsewhere, kept from the map "
           "below, or zeros.");
  const SealCounts& sealed = store.sealed;
  for (const auto& [outcome, blocks] :
       {std::pair{"stored", sealed.stored_blocks}, std::pair{"shared", sealed.shared_blocks},
        std::pair{"kept", sealed.kept_blocks}, std::pair{"zero", sealed.zero_blocks}}) {
    fmt::format_to(std::back_inserter(text), "{}{{outcome=\"{}\"}} {}\n", kSealed, outcome,
                   blocks * kBlockBytes);
  }
  Put(text, "quoin_written_pack_bytes_total", "counter",
      "Bytes of the pack files that sealing and importing have made, compressed.",
      store.written_pack_bytes);
}

void PutCollections(std::string& text, const StoreActivity& store) {
  Put(text, "quoin_collections_total", "counter", "Collections of garbage by this daemon.",
      store.collections);
  Put(text, "quoin_failed_collections_total", "counter", "Collections that an error ended.",
      store.failed_collections);
  Put(text, "quoin_collected_bytes_total", "counter", "Bytes of packs that collections freed.",
      store.freed_bytes);
  Put(text, "quoin_collection_waiting_bytes", "gauge",
      "Garbage that the last collection left for the next one to free.", store.waiting_bytes);
  Put(text, "quoin_reclaimable_bytes", "gauge",
      "At most so much of the packs is garbage by what this daemon removed since its last collection.",
      store.reclaimable_bytes_at_most);
  constexpr std::string_view kDuration = "quoin_last_collection_duration_seconds";
  Describe(text, kDuration, "gauge", "How long the last collection took; 0 if there was none.");
  fmt::format_to(std::back_inserter(text), "{} {:.6f}\n", kDuration,
                 std::chrono::duration<double>(store.last_collection).count());
}

void PutDamage(std::string& text, const StoreActivity& store) {
  Put(text, "quoin_healed_blocks_total", "counter",
      "Reads of a damaged block that were answered from another copy.", store.healed_blocks);
  Put(text, "quoin_damaged_blocks_total", "counter",
      "Reads of a damaged block of which no copy was found.", store.damaged_blocks);
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

std::string Metrics::ToText(const StoreActivity& store) const {
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
  Put(text, "quoin_open_vdis", "gauge", "VDIs that are open on this host.", store.open_vdis);
  PutCaches(text, store.frames, store.nodes);
  PutSealing(text, store);
  PutCollections(text, store);
  PutDamage(text, store);
  return text;
}

}  // namespace quoin
