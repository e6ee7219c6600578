// Any bytes as a map's node: an error, or a node that encodes to exactly these bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "blockstore/maps/map_node.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto node = quoin::DecodeMapNode(bytes);
  if (!node) {
    if (node.error().code != quoin::ErrorCode::kCorrupt) std::abort();
    return 0;
  }
  const std::string again = (*node)->region() != nullptr
                                ? quoin::EncodeRegionNode(*(*node)->region())
                                : quoin::EncodeInnerNode(*(*node)->inner());
  if (again != bytes) std::abort();
  return 0;
}
