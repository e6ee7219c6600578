// .quoin/: what the daemon tells of itself.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

class ControlTest : public MountTest {
 protected:
  // -1 if there is no such metric.
  double Metric(const std::string& name) const {
    const std::string text = "\n" + ReadWhole(tree_.control("metrics"));
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
};

constexpr double kUnit = 64 * kKiB;  // written at once in these tests

TEST_F(ControlTest, HoldsThreeFiles) {
  EXPECT_EQ(NamesIn(tree_.control("")),
            (std::vector<std::string>{"metrics", "status.json", "version"}));
  EXPECT_FALSE(ReadWhole(tree_.control("version")).empty());
}

TEST_F(ControlTest, StatusTellsOfTheMount) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  const auto status = nlohmann::json::parse(ReadWhole(tree_.control("status.json")), nullptr, false);
  ASSERT_TRUE(status.is_object());
  EXPECT_EQ(status.value("store", ""), tree_.store());
  EXPECT_EQ(status.value("mountpoint", ""), tree_.mount());
  EXPECT_EQ(status.value("daemon_pid", 0), tree_.daemon());
  EXPECT_EQ(status.value("vdis_open", 0), 1);
  EXPECT_TRUE(status.contains("version"));
  EXPECT_TRUE(status.contains("since"));
}

TEST_F(ControlTest, MetricsCountRequestsBytesAndErrors) {
  ASSERT_EQ(CreateWithSize(tree_.vdi("a"), kMiB), 0);
  const double written = Metric("quoin_written_bytes_total");
  const double errors = Metric("quoin_request_errors_total{kind=\"unlink\"}");
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(64 * kKiB, 'x')), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  EXPECT_EQ(unlink(tree_.vdi("a").c_str()), -1);
  EXPECT_EQ(Metric("quoin_written_bytes_total"), written + kUnit);
  EXPECT_EQ(Metric("quoin_request_errors_total{kind=\"unlink\"}"), errors + 1);
  EXPECT_EQ(Metric("quoin_open_vdis"), 1);
  EXPECT_GT(Metric("quoin_requests_total{kind=\"write\"}"), 0);
}

// What Prometheus' parser demands of the text: each metric is described once, and has values.
TEST_F(ControlTest, EveryMetricIsDescribedOnceAndNamedAsIsUsual) {
  std::map<std::string, std::string> types;
  std::set<std::string> with_values;
  std::istringstream text(ReadWhole(tree_.control("metrics")));
  std::string helped;
  for (std::string line; std::getline(text, line);) {
    std::istringstream words(line);
    std::string hash, kind, name, type;
    if (line.starts_with("#")) {
      words >> hash >> kind >> name >> type;
      EXPECT_EQ(hash, "#") << line;
      if (kind == "HELP") {
        helped = name;
        EXPECT_FALSE(type.empty()) << line;
        continue;
      }
      EXPECT_EQ(kind, "TYPE") << line;
      EXPECT_EQ(name, helped) << line;
      EXPECT_TRUE(type == "counter" || type == "gauge") << line;
      EXPECT_TRUE(types.emplace(name, type).second) << line;
      EXPECT_EQ(name.ends_with("_total"), type == "counter") << line;
      EXPECT_TRUE(name.starts_with("quoin_")) << line;
      continue;
    }
    words >> name;
    name = name.substr(0, name.find('{'));
    EXPECT_EQ(name, helped) << line;
    with_values.insert(name);
  }
  EXPECT_EQ(with_values.size(), types.size());
  EXPECT_GT(types.size(), 15u);
}

TEST_F(ControlTest, MetricsTellOfSealingReadingAndCollecting) {
  ASSERT_TRUE(tree_.Unmount());
  ASSERT_TRUE(tree_.Mount({"--no-sealing"}));
  for (const char* const name : {"a", "b"}) {
    ASSERT_EQ(CreateWithSize(tree_.vdi(name), kMiB), 0);
    ASSERT_EQ(WriteTo(tree_.vdi(name), 0, Pattern(1, 64 * kKiB)), 0);
    ASSERT_EQ(Touch(tree_.snapshot(name, "s")), 0);
  }
  EXPECT_EQ(Metric("quoin_unsealed_layers"), 2);
  EXPECT_EQ(Metric("quoin_seals_total"), 0);

  ASSERT_EQ(tree_.Quoin({"seal", "a"}).exit_status, 0);
  EXPECT_EQ(Metric("quoin_unsealed_layers"), 1);
  EXPECT_EQ(Metric("quoin_seals_total"), 1);
  EXPECT_EQ(Metric("quoin_sealed_bytes_total{outcome=\"stored\"}"), kUnit);
  EXPECT_EQ(Metric("quoin_sealed_bytes_total{outcome=\"shared\"}"), 0);
  const double written = Metric("quoin_written_pack_bytes_total");
  EXPECT_GT(written, kUnit);
  ASSERT_EQ(tree_.Quoin({"seal", "b"}).exit_status, 0);
  EXPECT_EQ(Metric("quoin_unsealed_layers"), 0);
  EXPECT_EQ(Metric("quoin_sealed_bytes_total{outcome=\"shared\"}"), kUnit);
  EXPECT_LT(Metric("quoin_written_pack_bytes_total"), written + kUnit);

  const double frame_misses = Metric("quoin_cache_misses_total{cache=\"frames\"}");
  const double node_misses = Metric("quoin_cache_misses_total{cache=\"nodes\"}");
  EXPECT_BYTES(ReadFrom(tree_.snapshot("a", "s"), 0, 4096), Pattern(1, 4096));
  EXPECT_EQ(Metric("quoin_cache_misses_total{cache=\"frames\"}"), frame_misses + 1);
  EXPECT_GT(Metric("quoin_cache_misses_total{cache=\"nodes\"}") +
                Metric("quoin_cache_hits_total{cache=\"nodes\"}"), node_misses);
  EXPECT_GT(Metric("quoin_cache_bytes{cache=\"frames\"}"), 64 * kKiB);
  const double frame_hits = Metric("quoin_cache_hits_total{cache=\"frames\"}");
  EXPECT_BYTES(ReadFrom(tree_.snapshot("b", "s"), 0, 4096), Pattern(1, 4096));
  EXPECT_EQ(Metric("quoin_cache_hits_total{cache=\"frames\"}"), frame_hits + 1);
  EXPECT_EQ(Metric("quoin_damaged_blocks_total"), 0);

  EXPECT_EQ(Metric("quoin_collections_total"), 0);
  EXPECT_EQ(Metric("quoin_last_collection_duration_seconds"), 0);
  for (const char* const name : {"a", "b"}) {
    ASSERT_EQ(unlink(tree_.snapshot(name, "s").c_str()), 0);
    ASSERT_EQ(unlink(tree_.vdi(name).c_str()), 0);
  }
  ASSERT_EQ(tree_.Quoin({"gc", "--grace", "0"}).exit_status, 0);
  EXPECT_EQ(Metric("quoin_collections_total"), 1);
  EXPECT_EQ(Metric("quoin_failed_collections_total"), 0);
  EXPECT_GT(Metric("quoin_collected_bytes_total"), kUnit);
  EXPECT_GT(Metric("quoin_last_collection_duration_seconds"), 0);
}

TEST_F(ControlTest, CannotBeChanged) {
  EXPECT_EQ(OpenFile(tree_.control("metrics"), O_WRONLY).error(), EROFS);
  EXPECT_EQ(OpenFile(tree_.control("new"), O_WRONLY | O_CREAT).error(), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return unlink(tree_.control("version").c_str()); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return mkdir(tree_.control("new").c_str(), 0755); }), EROFS);
  EXPECT_EQ(ErrnoOf([&] { return chmod(tree_.control("version").c_str(), 0600); }), EROFS);
  EXPECT_EQ(Truncate(tree_.control("version"), 0), EROFS);
}

}  // namespace
}  // namespace quoin
