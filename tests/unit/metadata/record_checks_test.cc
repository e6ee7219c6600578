#include "metadata/record_checks.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/metadata/sample_state.h"

namespace quoin {
namespace {

using Break = std::function<void(VdiState&)>;

TEST(RecordChecksTest, PossibleStatesAreAccepted) {
  for (const VdiState& state : {PlainState(), FullState(), ChainState(5)}) {
    EXPECT_EQ(FindProblem(state).value_or("none"), "none");
  }
}

TEST(RecordChecksTest, EachBrokenRuleIsFound) {
  const std::vector<std::pair<std::string, Break>> breaks = {
      {"no id", [](VdiState& s) { s.vdi.id = {}; }},
      {"odd size", [](VdiState& s) { s.vdi.size_bytes = 1; }},
      {"too large", [](VdiState& s) { s.vdi.size_bytes = (uint64_t{256} << 40) + 512; }},
      {"mode", [](VdiState& s) { s.vdi.attributes.mode = 010000; }},
      {"epoch", [](VdiState& s) { s.vdi.epoch = uint64_t{1} << 63; }},
      {"no head", [](VdiState& s) { s.vdi.head_seq = 0; }},
      {"head missing", [](VdiState& s) { s.vdi.head_seq = 6; }},
      {"head frozen", [](VdiState& s) { s.vdi.head_seq = 2; }},
      {"head sealed", [](VdiState& s) { s.vdi.head_seq = 5; }},
      {"second head", [](VdiState& s) { s.layers[1].state = LayerState::kHead; }},
      {"sealed with a parent", [](VdiState& s) { s.layers[3].parent_seq = 2; }},
      {"sealed over sealed", [](VdiState& s) { s.layers[3].parent_seq = 1; }},
      {"sealed with files", [](VdiState& s) { s.layers[0].has_ownership_file = true; }},
      {"frozen with a map", [](VdiState& s) { s.layers[1].map = s.layers[0].map; }},
      {"frozen with blocks of a map", [](VdiState& s) { s.layers[1].map.data_blocks = 1; }},
      {"head with a map", [](VdiState& s) { s.layers[2].map = s.layers[0].map; }},
      {"map nowhere", [](VdiState& s) { s.layers[0].map.location = {}; }},
      {"map without a digest", [](VdiState& s) { s.layers[0].map.digest = {}; }},
      {"map too high", [](VdiState& s) { s.layers[0].map.height = 7; }},
      {"map without data", [](VdiState& s) { s.layers[0].map.data_blocks = 0; }},
      {"map too large", [](VdiState& s) { s.layers[0].map.data_blocks++; }},
      {"empty map with a slot", [](VdiState& s) { s.layers[3].map.location.slot = 1; }},
      {"empty map with data", [](VdiState& s) { s.layers[3].map.data_blocks = 1; }},
      {"digest too early", [](VdiState& s) { s.snapshots[1].digest = SampleDigest(1); }},
      {"frozen and recorded", [](VdiState& s) { s.layers[1].is_recorded = true; }},
      {"head and recorded", [](VdiState& s) { s.layers[2].is_recorded = true; }},
      {"recorded too early", [](VdiState& s) { s.snapshots[1].is_recorded = true; }},
      {"next_seq", [](VdiState& s) { s.vdi.next_seq = 5; }},
      {"data_blocks", [](VdiState& s) { s.vdi.data_blocks = (uint64_t{1} << 36) + 1; }},
      {"copied_to", [](VdiState& s) { s.vdi.copied_to_bytes = UINT64_MAX; }},
      {"parent_name", [](VdiState& s) { s.vdi.parent_name = std::string(5000, 'x'); }},
      {"ownership file", [](VdiState& s) { s.vdi.head_ownership_file = "../x"; }},
      {"layer number 0", [](VdiState& s) { s.layers[0].seq = 0; }},
      {"layer number twice", [](VdiState& s) { s.layers[1].seq = 1; }},
      {"layer name twice", [](VdiState& s) { s.layers[1].name = "1-1"; }},
      {"layer name empty", [](VdiState& s) { s.layers[1].name = ""; }},
      {"layer name of a path", [](VdiState& s) { s.layers[1].name = "a/b"; }},
      {"layer name hidden", [](VdiState& s) { s.layers[1].name = ".."; }},
      {"layer name long", [](VdiState& s) { s.layers[1].name = std::string(65, '1'); }},
      {"layer size", [](VdiState& s) { s.layers[1].size_bytes = (uint64_t{256} << 40) + 1; }},
      {"parent missing", [](VdiState& s) { s.layers[1].parent_seq = 3; }},
      {"parent is itself", [](VdiState& s) { s.layers[1].parent_seq = 2; }},
      {"parent is the head", [](VdiState& s) { s.layers[1].parent_seq = 4; }},
      {"snapshot id", [](VdiState& s) { s.snapshots[0].id = {}; }},
      {"snapshot id twice", [](VdiState& s) { s.snapshots[0].id = s.snapshots[1].id; }},
      {"snapshot name", [](VdiState& s) { s.snapshots[0].name = "latest"; }},
      {"snapshot name twice", [](VdiState& s) { s.snapshots[0].name = s.snapshots[1].name; }},
      {"ordinal 0", [](VdiState& s) { s.snapshots[0].ordinal = 0; }},
      {"ordinal twice", [](VdiState& s) { s.snapshots[0].ordinal = 7; }},
      {"snapshot of a head", [](VdiState& s) { s.snapshots[1].layer_seq = 4; }},
      {"snapshot of nothing", [](VdiState& s) { s.snapshots[1].layer_seq = 3; }},
      {"snapshot size", [](VdiState& s) { s.snapshots[1].size_bytes = 100; }},
      {"snapshot data", [](VdiState& s) { s.snapshots[1].data_blocks = UINT64_MAX; }},
      {"snapshot mode", [](VdiState& s) { s.snapshots[1].attributes.mode = UINT32_MAX; }},
  };
  for (const auto& [rule, apply] : breaks) {
    VdiState state = FullState();
    apply(state);
    EXPECT_TRUE(FindProblem(state).has_value()) << rule;
  }
}

TEST(RecordChecksTest, ASealedLayerMayLieBelowTheHeadAndBelowAFrozenLayer) {
  VdiState state = FullState();
  state.layers[2].parent_seq = 5;
  EXPECT_EQ(FindProblem(state).value_or("none"), "none");
  state.layers[1].parent_seq = 5;
  EXPECT_EQ(FindProblem(state).value_or("none"), "none");
}

TEST(RecordChecksTest, ACycleIsFound) {
  VdiState state = ChainState(2);
  state.layers[0].parent_seq = 2;
  EXPECT_NE(FindProblem(state).value_or("none").find("below itself"), std::string::npos);
}

TEST(RecordChecksTest, ALongCycleIsFoundAndALongChainIsNot) {
  VdiState state = ChainState(10'000);
  EXPECT_FALSE(FindProblem(state).has_value());
  state.layers[0].parent_seq = 9'999;
  EXPECT_TRUE(FindProblem(state).has_value());
}

}  // namespace
}  // namespace quoin
