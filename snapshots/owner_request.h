// What a session asks of the one that owns a VDI (metadata/request_call.h), and what it is told: plain
// data with a JSON form. Members that a text lacks have their default and unknown ones are ignored, so
// that neighbouring versions get on; a verb that the owner does not know is answered kUnsupported.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/error.h"
#include "blockstore/base/id.h"
#include "snapshots/seal_counts.h"
#include "snapshots/store.h"

namespace quoin {

enum class OwnerVerb {
  kTakeSnapshots,    // `snapshots`, at one instant
  kRemoveSnapshot,   // `vdi`, `snapshot`
  kRenameSnapshot,   // `vdi`, `snapshot`, `new_name`
  kProtectSnapshot,  // `vdi`, `snapshot`, `flag`
  kRollback,         // `vdi`, `snapshot`; the answer's text names the safety snapshot
  kResize,           // `vdi`, `size_bytes`, `flag`: may shrink
  kSetAttributes,    // `vdi`, `attributes`
  kJoinGroup,        // `group`, `snapshots`; the next four are steps of store_groups.cc
  kHoldGroup,        // `group`
  kSwapGroup,        // `group`
  kDecideGroup,      // `group`
  kLeaveGroup,       // `group`: takes back what is not decided
  kSeal,             // `vdi`, `flag`: with the head; the answer's counts
  kGrantHandOver,    // `vdi`, `duration_ms`
  kHandOver,         // `vdi`: if that was granted
};

struct NewSnapshot {
  Id vdi;
  std::string name;
  bool operator==(const NewSnapshot&) const = default;
};

struct OwnerRequest {
  OwnerVerb verb = OwnerVerb::kTakeSnapshots;
  Id vdi = {};
  std::string snapshot = {};
  std::string new_name = {};
  uint64_t size_bytes = 0;
  bool flag = false;
  uint64_t duration_ms = 0;
  AttributeChange attributes = {};
  std::vector<NewSnapshot> snapshots = {};
  Id group = {};

  std::string Encode() const;
  // kUnsupported for another verb; kInvalid for what is no request.
  static Result<OwnerRequest> Decode(std::string_view text);
  // All that it is about.
  std::vector<Id> Vdis() const;
};

struct OwnerAnswer {
  Status status;
  std::string text;
  SealCounts counts;

  std::string Encode() const;
  static OwnerAnswer Decode(std::string_view text);
};

}  // namespace quoin
