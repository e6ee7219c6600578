// What the command says to command lines: help, and wrong usage.
#include <iterator>
#include <sstream>

#include "tests/command/command_fixture.h"
#include "tests/support/result_matchers.h"
#include "tools/units.h"

namespace quoin {
namespace {

class UsageTest : public CommandTest {};

TEST_F(UsageTest, EveryVerbHasHelp) {
  for (const std::string verb : {"",
                                 "init",
                                 "mount",
                                 "unmount",
                                 "doctor",
                                 "ls",
                                 "info",
                                 "create",
                                 "resize",
                                 "rm",
                                 "mv",
                                 "snap",
                                 "snap create",
                                 "snap ls",
                                 "snap rm",
                                 "snap rename",
                                 "snap protect",
                                 "snap unprotect",
                                 "clone",
                                 "rollback",
                                 "check",
                                 "rebuild",
                                 "lock",
                                 "lock ls",
                                 "lock show",
                                 "lock break",
                                 "lock grant",
                                 "status"}) {
    std::istringstream text(verb);
    std::vector<std::string> words{std::istream_iterator<std::string>(text), {}};
    words.push_back("--help");
    const CommandResult result = Quoin(words);
    EXPECT_TRUE(IsDone(result));
    EXPECT_NE(result.out.find("Usage:"), std::string::npos) << verb;
  }
}

TEST_F(UsageTest, VerbsThatDoNotExistYetAreNotOffered) {
  const std::string help = Quoin({"--help"}).out;
  for (const char* verb : {"send", "receive", "top"}) {
    EXPECT_EQ(help.find(std::string("  ") + verb + " "), std::string::npos) << verb;
    EXPECT_TRUE(IsRefused(Quoin({verb}), 2, "--help")) << verb;
  }
}

TEST_F(UsageTest, VersionIsOneLine) {
  const CommandResult result = Quoin({"--version"});
  EXPECT_TRUE(IsDone(result));
  EXPECT_TRUE(result.out.starts_with("quoin ")) << result.out;
}

TEST_F(UsageTest, WrongCommandLinesAreStatusTwo) {
  MakeStore();
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"frobnicate"},
      {"snap"},
      {"create"},
      {"create", "web01"},
      {"create", "web01", "1G", "more"},
      {"ls", "--nonsense"},
      {"clone", "web01@monday"},
      {"mount", store()},
      {"mount", store(), mount(), "--threads", "many"},
      {"mount", store(), mount(), "--lease", "0"},
      {"mount", store(), mount(), "--lease", "3601"},
      {"init", Path("other"), "--compression", "rar"},
  };
  for (const auto& words : wrong) EXPECT_TRUE(IsRefused(OnStore(words), 2, "--help"));
}

TEST_F(UsageTest, SizesThatNoVdiCanHaveAreStatusTwo) {
  MakeStore();
  const std::vector<std::pair<std::string, std::string>> sizes = {
      {"1000", "no multiple of 512"},
      {"257T", "256 TiB"},
      {"99999999999999999999", "256 TiB"},
      {"20Q", "no size"},
      {"", "no size"},
      {"G", "no size"},
      {"1.5G", "no size"},
      {"0x1000", "no size"},
      {"-5", "negative"},
      {"-20G", "negative"},
  };
  for (const auto& [size, reason] : sizes) {
    EXPECT_TRUE(IsRefused(OnStore({"create", "web01", size}), 2, reason)) << size;
    EXPECT_TRUE(IsRefused(OnStore({"resize", "web01", size}), 2, reason)) << size;
  }
  EXPECT_EQ(JsonOf({"ls"}).size(), 0u);
}

TEST_F(UsageTest, NamesThatNoVdiCanHaveAreStatusTwo) {
  MakeStore();
  for (const std::string& name :
       {std::string("a@b"), std::string("a/../b"), std::string(".."), std::string("a//b"),
        std::string("a/"), std::string(256, 'n'), std::string()}) {
    EXPECT_TRUE(IsRefused(OnStore({"create", name, "1M"}), 2, "cannot create")) << name;
  }
  ASSERT_TRUE(IsDone(OnStore({"create", std::string(255, 'n'), "1M"})));
}

TEST_F(UsageTest, SnapshotsMustBeNamedWithTheirVdi) {
  MakeStore();
  for (const std::string name : {"web01", "web01@", "@monday", "a@b@c", "web01@a/b"}) {
    EXPECT_TRUE(IsRefused(OnStore({"snap", "create", name}), 2, "cannot take a snapshot")) << name;
    EXPECT_TRUE(IsRefused(OnStore({"snap", "rm", name}), 2, "cannot remove")) << name;
    EXPECT_TRUE(IsRefused(OnStore({"rollback", name}), 2, "cannot roll back")) << name;
    EXPECT_TRUE(IsRefused(OnStore({"clone", name, "new"}), 2, "cannot clone")) << name;
  }
}

TEST_F(UsageTest, AStoreMustBeNamedOrFound) {
  EXPECT_TRUE(IsRefused(Quoin({"ls"}, "/"), 2, "no store is named"));
  MakeStore();
  ASSERT_TRUE(IsDone(OnStore({"create", "web01", "1M"})));
  EXPECT_EQ(Quoin({"--store", store(), "ls"}).out, "web01\n");
  EXPECT_EQ(Quoin({"ls", "--store", store()}).out, "web01\n");
  EXPECT_EQ(Quoin({"lock", "ls", "-a", "--store", store()}).status, 0);
  EXPECT_EQ(Quoin({"ls"}, store() + "/names").out, "web01\n") << "from inside the store";
  setenv("QUOIN_STORE", store().c_str(), 1);
  EXPECT_EQ(Quoin({"ls"}, "/").out, "web01\n");
  unsetenv("QUOIN_STORE");
}

TEST(SizeTextTest, SizesAreReadInPowersOf1024) {
  const std::vector<std::pair<std::string, uint64_t>> sizes = {{"0", 0},
                                                               {"512", 512},
                                                               {"1K", 1024},
                                                               {"64KiB", 65536},
                                                               {"512M", 512u << 20},
                                                               {"20G", uint64_t{20} << 30},
                                                               {"1T", uint64_t{1} << 40},
                                                               {"256T", uint64_t{256} << 40},
                                                               {"3g", uint64_t{3} << 30},
                                                               {"4096B", 4096}};
  for (const auto& [text, bytes] : sizes) {
    ASSERT_OK_AND_ASSIGN(const uint64_t parsed, ParseVdiSize(text));
    EXPECT_EQ(parsed, bytes) << text;
  }
}

TEST(SizeTextTest, SizesAreShownWithOneDecimalAtMost) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1024), "1 KiB");
  EXPECT_EQ(FormatSize((uint64_t{3} << 30) / 2), "1.5 GiB");
  EXPECT_EQ(FormatSize((uint64_t{1} << 30) - 1), "1023.9 MiB");
  EXPECT_EQ(FormatSize(uint64_t{256} << 40), "256 TiB");
}

TEST(TimeTextTest, TimesAreUtcAndExact) {
  EXPECT_EQ(FormatUtc(1'700'000'000'123'456'789), "2023-11-14T22:13:20.123456789Z");
  EXPECT_EQ(FormatUtc(-1), "1969-12-31T23:59:59.999999999Z");
  EXPECT_EQ(FormatUtcSeconds(0), "1970-01-01T00:00:00Z");
}

}  // namespace
}  // namespace quoin
