// Any bytes as a map's node: an error, or a node that encodes to exactly these bytes. What is a
// change to another node is also read as one, on a base that is always there.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blockstore/maps/map_node.h"
#include "blockstore/maps/region_change.h"
#include "blockstore/maps/region_edit.h"

namespace quoin {
namespace {

RegionNode Base() {
  RegionNode node;
  node.digest.bytes.fill(1);
  RegionEdit edit;
  const Id pack = Id::FromBytes({1, 2, 3});
  for (uint32_t block = 0; block < 200; ++block) edit.SetData(block, 1, {pack, 2 * block});
  node.extents = edit.Extents();
  return node;
}

// Answers every place but slot 7 with the same node, which is whole, and that one with the fuzzed
// bytes: a change may so be built on itself.
class Records final : public RecordReader {
 public:
  explicit Records(std::string_view fuzzed)
      : fuzzed_(std::make_shared<const std::string>(fuzzed)),
        base_(std::make_shared<const std::string>(EncodeRegionNode(Base()))) {}
  Result<std::shared_ptr<const std::string>> ReadRecord(RecordKind,
                                                        const SlotLocation& at) override {
    if (++reads_ > 13) std::abort();
    return at.slot == 7 ? fuzzed_ : base_;
  }

 private:
  const std::shared_ptr<const std::string> fuzzed_;
  const std::shared_ptr<const std::string> base_;
  int reads_ = 0;
};

void Check(const Error& error) {
  if (error.code != ErrorCode::kCorrupt) std::abort();
}

void TryChange(std::string_view bytes) {
  Result<RegionChange> change = DecodeRegionChange(bytes);
  if (!change) return Check(change.error());
  if (EncodeRegionChange(*change) != bytes) std::abort();
  const RegionNode base = Base();
  RegionEdit edit(base.extents);
  if (const Status applied = ApplyRuns(change->runs, edit); !applied) return Check(applied.error());
  const std::vector<MapExtent> result = edit.Extents();
  if (DifferenceOf(base.extents, result) != change->runs) std::abort();
  // As it would be read were its checksum right, which no fuzzer finds.
  change->result_checksum = RegionChecksum({change->digest, result});
  Records records(EncodeRegionChange(*change));
  const auto node = ReadBaseNode(records, {change->base.pack, 7});
  if (!node) return Check(node.error());
  if ((*node)->region()->extents != result) std::abort();
}

void TryNode(std::string_view bytes) {
  const auto node = DecodeMapNode(bytes);
  if (!node) return Check(node.error());
  const std::string again = (*node)->region() != nullptr ? EncodeRegionNode(*(*node)->region())
                                                         : EncodeInnerNode(*(*node)->inner());
  if (again != bytes) std::abort();
}

}  // namespace
}  // namespace quoin

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (quoin::IsRegionChange(bytes)) {
    quoin::TryChange(bytes);
  } else {
    quoin::TryNode(bytes);
  }
  return 0;
}
