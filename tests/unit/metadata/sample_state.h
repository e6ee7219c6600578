// VDI states for tests: one in which every field has a value of its own, and a plain one.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <vector>

#include "metadata/vdi_records.h"

namespace quoin {

// `digit` is 1 to 9.
inline Id SampleId(int digit) {
  return Id::Parse(std::string(32, static_cast<char>('0' + digit))).value();
}

inline Attributes SampleAttributes(uint32_t salt) {
  Attributes attributes;
  attributes.mode = 0640;
  attributes.uid = 1000 + salt;
  attributes.gid = 4'000'000'000u + salt;
  attributes.atime_ns = -5 - static_cast<int64_t>(salt);  // before 1970
  attributes.mtime_ns = 1'700'000'000'000'000'001 + salt;
  attributes.ctime_ns = 1'700'000'000'000'000'002 + salt;
  return attributes;
}

// A new VDI: an empty head, nothing else.
inline VdiState PlainState() {
  VdiState state;
  state.vdi.id = SampleId(1);
  state.vdi.size_bytes = uint64_t{20} << 30;
  state.vdi.epoch = 1;
  state.vdi.head_seq = 1;
  state.vdi.next_seq = 2;
  state.layers = {{1, 0, LayerState::kHead, "1-1", state.vdi.size_bytes, false}};
  return state;
}

inline Digest SampleDigest(uint8_t first) {
  Digest digest;
  digest.bytes[0] = first;
  digest.bytes[31] = 0xff;
  return digest;
}

// Layers 1 (sealed) <- 2 <- 4 (head), 5 (sealed, empty) by itself, three snapshots.
inline VdiState FullState() {
  VdiState state;
  VdiRecord& vdi = state.vdi;
  vdi.id = SampleId(1);
  vdi.size_bytes = (uint64_t{256} << 40) - 512;
  vdi.attributes = SampleAttributes(1);
  vdi.created_ns = 1'700'000'000'000'000'000;
  vdi.epoch = INT64_MAX;
  vdi.head_seq = 4;
  vdi.next_seq = 7;
  vdi.data_blocks = uint64_t{1} << 36;
  vdi.parent_snapshot = SampleId(2);
  vdi.parent_name = "lab/db \"02\" ü@monday";
  vdi.copy_origin = SampleId(3);
  vdi.copied_to_bytes = 4096;
  vdi.head_ownership_file = "head-7.owned";
  vdi.head_published = true;
  const MapRoot map{{SampleId(7), UINT32_MAX}, 6, SampleDigest(0), uint64_t{1} << 36};
  state.layers = {{1, 0, LayerState::kSealed, "1-1", 512, false, map, true},
                  {2, 1, LayerState::kFrozen, "2-1", 4096, false},
                  {4, 2, LayerState::kHead, "4-3", vdi.size_bytes, false},
                  {5, 0, LayerState::kSealed, "5-3", 1536, false, MapRoot()}};
  SnapshotRecord monday;
  monday.id = SampleId(4);
  monday.name = "monday";
  monday.ordinal = 1;
  monday.layer_seq = 0;
  monday.size_bytes = 512;
  monday.data_blocks = 3;
  monday.created_ns = 17;
  monday.is_protected = true;
  monday.attributes = SampleAttributes(2);
  SnapshotRecord tuesday = monday;
  tuesday.id = SampleId(5);
  tuesday.name = "2026-11-22T10:00";
  tuesday.ordinal = 7;
  tuesday.layer_seq = 2;
  tuesday.is_protected = false;
  tuesday.pending_group = SampleId(6);
  SnapshotRecord wednesday = tuesday;
  wednesday.id = SampleId(8);
  wednesday.name = "wednesday";
  wednesday.ordinal = 8;
  wednesday.layer_seq = 1;
  wednesday.digest = SampleDigest(9);
  wednesday.is_recorded = true;
  state.snapshots = {monday, tuesday, wednesday};
  return state;
}

// A chain of `count` frozen layers, each with a snapshot, under an empty head.
inline VdiState ChainState(uint32_t count) {
  VdiState state = PlainState();
  state.layers.clear();
  for (uint32_t seq = 1; seq <= count; ++seq) {
    state.layers.push_back(
        {seq, seq - 1, LayerState::kFrozen, fmt::format("{}-1", seq), 512, true});
    SnapshotRecord snapshot;
    snapshot.id = Id::Random();
    snapshot.name = fmt::format("s{}", seq);
    snapshot.ordinal = seq;
    snapshot.layer_seq = seq;
    state.snapshots.push_back(snapshot);
  }
  state.vdi.head_seq = count + 1;
  state.vdi.next_seq = count + 2;
  state.layers.push_back({count + 1, count, LayerState::kHead, "head-1", 512, false});
  return state;
}

}  // namespace quoin
