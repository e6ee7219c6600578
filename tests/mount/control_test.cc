// .quoin/: what the daemon tells of itself.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/mount/mounted_store.h"

namespace quoin {
namespace {

using ControlTest = MountTest;

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
  const auto value = [&](const std::string& name) {
    const std::string text = "\n" + ReadWhole(tree_.control("metrics"));
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stoll(text.substr(at + name.size() + 2));
  };
  const long long written = value("quoin_written_bytes_total");
  const long long errors = value("quoin_request_errors_total{kind=\"unlink\"}");
  ASSERT_EQ(WriteTo(tree_.vdi("a"), 0, std::string(64 * kKiB, 'x')), 0);
  const OpenFile guest(tree_.vdi("a"), O_RDWR);
  EXPECT_EQ(unlink(tree_.vdi("a").c_str()), -1);
  EXPECT_EQ(value("quoin_written_bytes_total"), written + static_cast<long long>(64 * kKiB));
  EXPECT_EQ(value("quoin_request_errors_total{kind=\"unlink\"}"), errors + 1);
  EXPECT_EQ(value("quoin_open_vdis"), 1);
  EXPECT_GT(value("quoin_requests_total{kind=\"write\"}"), 0);
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
