#include "tests/model/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace quoin::model {
namespace {

constexpr uint64_t kMagic = 0x71756f696e686973;

struct Head {
  uint64_t magic;
  uint64_t value;
  uint64_t epoch;
  uint64_t sector;
  uint32_t host;
  uint32_t vdi;
};

constexpr std::array<const char*, 10> kActs = {"open",   "close",    "write",         "flush",
                                               "read",   "glance",   "snapshot",      "read snapshot",
                                               "list",   "seal"};

// "3 3 3 0 0" as "3*3 2*0"
std::string DescribeValues(const std::vector<Value>& values) {
  std::string text;
  for (size_t i = 0; i < values.size();) {
    size_t end = i;
    while (end < values.size() && values[end] == values[i]) ++end;
    const std::string value = values[i] == kNobodys ? "nobody's" : fmt::format("w{}", values[i]);
    text += fmt::format(" {}*{}", end - i, values[i] == kZeros ? "zeros" : value);
    i = end;
  }
  return text;
}

}  // namespace

void FillSector(Value value, int host, uint64_t epoch, int vdi, uint64_t sector,
                std::span<std::byte, kSectorBytes> bytes) {
  const Head head{kMagic, value,  epoch, sector, static_cast<uint32_t>(host),
                  static_cast<uint32_t>(vdi)};
  std::memcpy(bytes.data(), &head, sizeof head);
  uint64_t x = value * 0x9e3779b97f4a7c15 + sector * 0xc2b2ae3d27d4eb4f + epoch + 1;
  for (size_t at = sizeof head; at < kSectorBytes; at += sizeof x) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    std::memcpy(bytes.data() + at, &x, sizeof x);
  }
}

Value ReadSector(int vdi, uint64_t sector, std::span<const std::byte, kSectorBytes> bytes) {
  if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; })) {
    return kZeros;
  }
  Head head{};
  std::memcpy(&head, bytes.data(), sizeof head);
  std::array<std::byte, kSectorBytes> expected{};
  FillSector(head.value, static_cast<int>(head.host), head.epoch, vdi, sector, expected);
  return std::memcmp(expected.data(), bytes.data(), kSectorBytes) == 0 ? head.value : kNobodys;
}

std::string Describe(const Operation& operation) {
  std::string text = fmt::format("{} vdi{}", kActs.at(static_cast<size_t>(operation.act)),
                                 operation.vdi);
  if (operation.count > 0) {
    text += fmt::format(" [{}, {})", operation.first, operation.first + operation.count);
  }
  if (operation.act == Act::kWrite) text += fmt::format(" w{}", operation.value);
  if (!operation.snapshot.empty()) text += "@" + operation.snapshot;
  return text;
}

std::string Describe(const Answer& answer) {
  if (answer.error) return fmt::format("{}: {}", ToWord(answer.error->code), answer.error->what);
  std::string text = "ok";
  if (answer.epoch != 0) text += fmt::format(" epoch {}", answer.epoch);
  text += DescribeValues(answer.values);
  for (const std::string& name : answer.names) text += " " + name;
  return text;
}

}  // namespace quoin::model
