#include "tests/support/simulated_content.h"

#include <algorithm>
#include <cstring>

namespace quoin::simulation {
namespace {

bool Chance(std::mt19937_64& random) { return (random() & 1) != 0; }

}  // namespace

size_t SimulatedContent::ReadPage(const PagePointer& page, uint64_t offset,
                                  std::span<std::byte> buffer) {
  const size_t n = std::min<uint64_t>(buffer.size(), kPageBytes - offset);
  if (page) {
    std::memcpy(buffer.data(), page->data() + offset, n);
  } else {
    std::memset(buffer.data(), 0, n);
  }
  return n;
}

size_t SimulatedContent::Read(uint64_t offset, std::span<std::byte> buffer) const {
  if (offset >= size_bytes_) return 0;
  const size_t total = std::min<uint64_t>(buffer.size(), size_bytes_ - offset);
  for (size_t done = 0; done < total;) {
    const uint64_t at = offset + done;
    const auto page = pages_.find(at / kPageBytes);
    done += ReadPage(page == pages_.end() ? nullptr : page->second.present, at % kPageBytes,
                     buffer.subspan(done, total - done));
  }
  return total;
}

// Called before the page's present state changes.
void SimulatedContent::MarkDirty(uint64_t number, Page& page) {
  if (page.state != PageState::kDirty) {
    // A page that a failed sync dropped may have reached the disk all the same.
    if (page.state == PageState::kAbandoned && page.earlier.size() < kEarlierStates) {
      page.earlier.push_back(page.present);
    }
    page.state = PageState::kDirty;
    dirty_.push_back(number);
  } else if (page.earlier.size() < kEarlierStates) {
    page.earlier.push_back(page.present);
  }
}

SimulatedContent::Bytes& SimulatedContent::BytesForChange(uint64_t number, Page& page) {
  MarkDirty(number, page);
  if (!page.present) {
    page.present = std::make_shared<Bytes>();
    page.present->fill(std::byte{0});
    ++allocated_pages_;
  } else if (page.present.use_count() > 1) {
    page.present = std::make_shared<Bytes>(*page.present);
  }
  return *page.present;
}

void SimulatedContent::DropBytes(uint64_t number, Page& page) {
  if (!page.present) return;
  MarkDirty(number, page);
  page.present.reset();
  --allocated_pages_;
}

size_t SimulatedContent::Write(uint64_t offset, std::span<const std::byte> bytes,
                               uint64_t new_pages_limit) {
  size_t done = 0;
  while (done < bytes.size()) {
    const uint64_t number = (offset + done) / kPageBytes;
    const auto [found, inserted] = pages_.try_emplace(number);
    Page& page = found->second;
    if (!page.present && new_pages_limit-- == 0) {
      if (inserted) pages_.erase(found);
      break;
    }
    const uint64_t start = (offset + done) % kPageBytes;
    const size_t n = std::min<uint64_t>(bytes.size() - done, kPageBytes - start);
    std::memcpy(BytesForChange(number, page).data() + start, bytes.data() + done, n);
    done += n;
  }
  if (done > 0) size_bytes_ = std::max(size_bytes_, offset + done);
  return done;
}

void SimulatedContent::ZeroWithin(uint64_t offset, uint64_t length) {
  const auto page = pages_.find(offset / kPageBytes);
  if (page == pages_.end() || !page->second.present) return;
  Bytes& bytes = BytesForChange(page->first, page->second);
  std::memset(bytes.data() + offset % kPageBytes, 0, length);
}

void SimulatedContent::Truncate(uint64_t size_bytes) {
  if (size_bytes < size_bytes_) {
    PunchHole(size_bytes, size_bytes_ - size_bytes);
    cut_bytes_ = std::min(cut_bytes_.value_or(size_bytes), size_bytes);
  }
  size_bytes_ = size_bytes;
}

void SimulatedContent::PunchHole(uint64_t offset, uint64_t length) {
  uint64_t end = offset + length;
  if (end >= size_bytes_) {
    // Beyond the end of the file nothing is stored: the last page goes as a whole.
    end = (size_bytes_ + kPageBytes - 1) / kPageBytes * kPageBytes;
    if (offset >= end) return;
  }
  const uint64_t first_whole = (offset + kPageBytes - 1) / kPageBytes;
  const uint64_t end_whole = end / kPageBytes;
  if (first_whole > end_whole) {
    ZeroWithin(offset, end - offset);
    return;
  }
  if (offset % kPageBytes != 0) ZeroWithin(offset, first_whole * kPageBytes - offset);
  if (end % kPageBytes != 0) ZeroWithin(end_whole * kPageBytes, end % kPageBytes);
  for (auto page = pages_.lower_bound(first_whole); page != pages_.end() && page->first < end_whole;
       ++page) {
    DropBytes(page->first, page->second);
  }
}

void SimulatedContent::Sync() {
  for (const uint64_t number : dirty_) {
    const auto found = pages_.find(number);
    Page& page = found->second;
    page.durable = page.present;
    page.earlier.clear();
    page.state = PageState::kClean;
    if (!page.present) pages_.erase(found);
  }
  dirty_.clear();
  cut_bytes_.reset();
  durable_size_bytes_ = size_bytes_;
}

void SimulatedContent::FailSync() {
  // Space given back is a matter of the journal, not of written pages: the next sync records it.
  std::erase_if(dirty_, [this](uint64_t number) {
    Page& page = pages_.find(number)->second;
    if (page.present) page.state = PageState::kAbandoned;
    return page.present != nullptr;
  });
}

SimulatedContent::PagePointer SimulatedContent::Survivor(const Page& page, Survival survival,
                                                         std::mt19937_64& random) {
  if (survival == Survival::kNone) return page.durable;
  if (survival == Survival::kAll) return page.present;
  const size_t states = page.earlier.size() + 2;
  const auto state = [&page, states](uint64_t i) -> const PagePointer& {
    return i == 0 ? page.durable : i == states - 1 ? page.present : page.earlier[i - 1];
  };
  if (survival == Survival::kPages) return state(random() % states);
  auto mixed = std::make_shared<Bytes>();
  bool any = false;
  for (uint64_t sector = 0; sector < kPageBytes; sector += kSectorBytes) {
    const PagePointer& chosen = state(random() % states);
    ReadPage(chosen, sector, std::span(*mixed).subspan(sector, kSectorBytes));
    any = any || chosen;
  }
  return any ? mixed : nullptr;
}

uint64_t SimulatedContent::SurvivingSize(Survival survival, std::mt19937_64& random) const {
  if (survival == Survival::kNone) return durable_size_bytes_;
  if (survival == Survival::kAll || size_bytes_ == durable_size_bytes_) return size_bytes_;
  if (Chance(random)) return Chance(random) ? size_bytes_ : durable_size_bytes_;
  const uint64_t low = std::min(size_bytes_, durable_size_bytes_);
  const uint64_t sectors = (std::max(size_bytes_, durable_size_bytes_) - low) / kSectorBytes;
  return low + (sectors == 0 ? 0 : random() % sectors * kSectorBytes);
}

// Forgets durable bytes beyond the end.
void SimulatedContent::CutDurable(uint64_t size_bytes) {
  const uint64_t whole = size_bytes / kPageBytes;
  const uint64_t rest = size_bytes % kPageBytes;
  for (auto page = pages_.lower_bound(whole); page != pages_.end(); ++page) {
    PagePointer& durable = page->second.durable;
    if (!durable) continue;
    if (page->first != whole || rest == 0) {
      durable.reset();
      continue;
    }
    if (durable.use_count() > 1) durable = std::make_shared<Bytes>(*durable);
    std::memset(durable->data() + rest, 0, kPageBytes - rest);
  }
}

void SimulatedContent::RestartFromDurable() {
  cut_bytes_.reset();
  dirty_.clear();
  allocated_pages_ = 0;
  for (auto it = pages_.begin(); it != pages_.end();) {
    Page& page = it->second;
    page.present = page.durable;
    page.earlier.clear();
    page.state = PageState::kClean;
    allocated_pages_ += page.present ? 1 : 0;
    it = page.present ? std::next(it) : pages_.erase(it);
  }
  size_bytes_ = durable_size_bytes_;
}

void SimulatedContent::LoseUnsynced() {
  CutDurable(durable_size_bytes_);
  RestartFromDurable();
}

// A file that was cut and perhaps written again beyond the cut: journals keep or lose the cut as a
// whole, and nothing that was written beyond it survives without it.
void SimulatedContent::SettleCut(bool survives) {
  const uint64_t cut = *cut_bytes_;
  const auto first = pages_.lower_bound((cut + kPageBytes - 1) / kPageBytes);
  if (survives) {
    CutDurable(cut);
    durable_size_bytes_ = std::min(durable_size_bytes_, cut);
  } else {
    size_bytes_ = durable_size_bytes_;
  }
  for (auto page = first; page != pages_.end(); ++page) {
    page->second.earlier.clear();
    if (!survives) page->second.present = page->second.durable;
  }
}

void SimulatedContent::TearUnsynced(std::mt19937_64& random) {
  // The extremes are as likely as the mixtures: half-done steps of a caller show best in them.
  const auto survival = static_cast<Survival>(random() % 4);
  if (cut_bytes_) {
    SettleCut(survival == Survival::kAll || (survival != Survival::kNone && Chance(random)));
  }
  const uint64_t size = SurvivingSize(survival, random);
  for (auto& [number, page] : pages_) {
    if (page.state != PageState::kClean) page.durable = Survivor(page, survival, random);
  }
  durable_size_bytes_ = size;
  CutDurable(size);
  RestartFromDurable();
}

}  // namespace quoin::simulation
