// A whole file opened as a pack, by its table or by scanning, and everything in it read. The checksums
// of the file's header and of the frames' headers are made right, so that scanning finds what was changed.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "blockstore/packs/pack.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/pack_samples.h"

using namespace quoin;

namespace {

constexpr size_t kMaxFramesRead = 64;

void MendHeaders(std::vector<std::byte>& bytes) {
  if (bytes.size() < kPackHeaderBytes) return;
  const PackHeaderBytes header = EncodePackHeader(FuzzedPack());
  std::copy(header.begin(), header.end(), bytes.begin());
  const std::span<const std::byte> magic = FrameMagic();
  auto at = bytes.begin();
  while ((at = std::search(at, bytes.end(), magic.begin(), magic.end())) != bytes.end()) {
    if (static_cast<size_t>(bytes.end() - at) < kFrameHeaderBytes) return;
    MendFrameHeader(&*at);
    ++at;
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data),
                               reinterpret_cast<const std::byte*>(data) + size);
  MendHeaders(bytes);
  OneFileSystem file_system(bytes);
  const auto pack = Pack::Open(file_system, FuzzedPack(), "fuzzed");
  if (!pack) return 0;
  const auto digests = (*pack)->Digests();
  if (!digests || (*digests)->all().size() != (*pack)->slots()) std::abort();
  for (size_t i = 0; i < std::min((*pack)->frames().size(), kMaxFramesRead); ++i) {
    const FrameEntry& frame = (*pack)->frames()[i];
    if ((*pack)->FrameOf(frame.first_slot()) != i) std::abort();
    std::vector<std::byte> raw(frame.raw_bytes());
    if (!(*pack)->ReadFrame(i, raw)) std::abort();
  }
  return 0;
}
