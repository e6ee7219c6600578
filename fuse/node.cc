#include "fuse/node.h"

namespace quoin {
namespace {

constexpr uint64_t kNumberMask = ~uint64_t{0} >> 1;

// A bijection of 64-bit numbers that spreads neighbours far apart (the finaliser of SplitMix64).
uint64_t Mix(uint64_t value) {
  value ^= value >> 30;
  value *= 0xbf58476d1ce4e5b9;
  value ^= value >> 27;
  value *= 0x94d049bb133111eb;
  value ^= value >> 31;
  return value;
}

// One object can be several nodes; each kind mixes its own constant in. Frozen: inode numbers are
// promised to be the same on hosts that run different versions.
uint64_t Derive(NodeKind kind, uint64_t value) {
  return Mix(value + 0x9e3779b97f4a7c15 * (static_cast<uint64_t>(kind) + 1));
}

uint64_t Raw(const NodeKey& key) {
  switch (key.kind) {
    case NodeKind::kVdi:
      return key.vdi.Prefix();
    case NodeKind::kSnapshot:
      return key.snapshot.Prefix();
    case NodeKind::kSnapshotVdi:
    case NodeKind::kLatest:
      return Derive(key.kind, key.vdi.Prefix());
    case NodeKind::kFolder:
    case NodeKind::kSnapshotFolder:
      return Derive(key.kind, key.folder_number);
    default:
      return static_cast<uint64_t>(key.kind) + 1;
  }
}

}  // namespace

size_t NodeKeyHash::operator()(const NodeKey& key) const {
  return static_cast<size_t>(PreferredNumber(key));
}

uint64_t PreferredNumber(const NodeKey& key) {
  const uint64_t number = Raw(key) & kNumberMask;
  if (IsFixed(key.kind) || number >= kFirstFreeNumber) return number;
  return NextNumber(number);
}

uint64_t NextNumber(uint64_t number) {
  do {
    number = Mix(number + 1) & kNumberMask;
  } while (number < kFirstFreeNumber);
  return number;
}

bool IsFixed(NodeKind kind) { return kind <= NodeKind::kVersion; }

bool IsFolder(NodeKind kind) {
  switch (kind) {
    case NodeKind::kStatus:
    case NodeKind::kMetrics:
    case NodeKind::kVersion:
    case NodeKind::kVdi:
    case NodeKind::kSnapshot:
    case NodeKind::kLatest:
      return false;
    default:
      return true;
  }
}

bool HoldsVdis(NodeKind kind) { return kind == NodeKind::kVdis || kind == NodeKind::kFolder; }

bool MirrorsVdis(NodeKind kind) {
  return kind == NodeKind::kSnapshots || kind == NodeKind::kSnapshotFolder;
}

bool IsControl(NodeKind kind) {
  return kind == NodeKind::kControl || kind == NodeKind::kStatus || kind == NodeKind::kMetrics ||
         kind == NodeKind::kVersion;
}

}  // namespace quoin
