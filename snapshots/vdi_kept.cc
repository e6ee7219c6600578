// What a daemon's heads own, in memory that outlives it (blockstore/layers/kept_heads.h), and going on with
// what the one before kept.
#include <algorithm>
#include <utility>

#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {

std::unique_ptr<KeptHead> Vdi::MakeKept(uint32_t seq, const std::string& name,
                                        uint64_t size_bytes) {
  KeptHeads* const heads = environment_.options.kept_heads;
  return heads == nullptr ? nullptr : heads->Make(id_, seq, name, size_bytes);
}

void Vdi::TakeKeptHeads() {
  left_heads_.clear();
  unrecorded_.clear();
  if (environment_.options.kept_heads == nullptr) return;
  left_heads_ = environment_.options.kept_heads->TakeLeft(id_);
  // Whoever owned the VDI in between has left another head than this. (Who lets go drops its own.)
  std::erase_if(left_heads_, [this](const std::unique_ptr<KeptHead>& left)
                                 QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    if (lock_->continues() && left->epoch() >= lock_->record().kept_since) return false;
    left->Drop();
    return true;
  });
}

// A snapshot that was under way may have put heads on top of the recorded one: what was in that is
// frozen, and answered writes are in the others. They are recorded by the next flush, as they would have
// been by the snapshot.
void Vdi::ResumeKeptHeads() {
  std::erase_if(left_heads_, [this](const std::unique_ptr<KeptHead>& left)
                                 QUOIN_NO_THREAD_SAFETY_ANALYSIS {
    const LayerRecord* const row = FindLayer(left->seq());
    const bool is_new = row == nullptr && left->seq() > state_.vdi.head_seq;
    const bool is_wanted = row != nullptr && row->name == left->name() &&
                           row->state != LayerState::kSealed && !row->has_ownership_file;
    if (!is_new && !is_wanted) left->Drop();
    return !is_new && !is_wanted;
  });
  for (const std::unique_ptr<KeptHead>& left : left_heads_) {
    if (FindLayer(left->seq()) != nullptr) continue;
    LayerRecord record;
    record.seq = left->seq();
    record.parent_seq = state_.vdi.head_seq;
    record.state = LayerState::kHead;
    record.name = left->name();
    record.size_bytes = left->size_bytes();
    for (LayerRecord& layer : state_.layers) {
      if (layer.seq != state_.vdi.head_seq) continue;
      layer.state = LayerState::kFrozen;
      layer.size_bytes = left->size_bytes();
    }
    state_.layers.push_back(record);
    state_.vdi.head_seq = record.seq;
    state_.vdi.next_seq = std::max(state_.vdi.next_seq, record.seq + 1);
  }
  if (!left_heads_.empty()) vdi_row_changed_ = true;
}

// What was not recorded of it may not be all that is recorded.
Result<std::shared_ptr<const Layer>> Vdi::ResumeFrozenLayer(const LayerRecord& record) {
  const auto left = std::find_if(left_heads_.begin(), left_heads_.end(), [&](const auto& kept) {
    return kept->name() == record.name;
  });
  auto owned = std::make_unique<OwnershipSet>(std::move(*left));
  left_heads_.erase(left);
  QUOIN_ASSIGN(std::unique_ptr<Layer> opened,
               Layer::Open(environment_.file_system, LayerLocation(record.name), record.size_bytes,
                           std::move(owned), Layer::Role::kHead));
  std::shared_ptr<Layer> layer = std::move(opened);
  unrecorded_.push_back(layer);
  return std::shared_ptr<const Layer>(std::move(layer));
}

void Vdi::DropKeptHeads() {
  for (const auto& layer : unrecorded_) {
    if (KeptHead* const kept = layer->ownership().kept()) kept->Drop();
  }
  if (data_.head() == nullptr) return;
  if (KeptHead* const kept = data_.head()->ownership().kept()) kept->Drop();
}

}  // namespace quoin
