#include "tests/support/simulated_inode.h"

#include <iterator>
#include <set>

namespace quoin::simulation {
namespace {

constexpr uint64_t kFolderBytes = 4096;

// Settles `count` changes and whatever must be durable with them.
void SettleWithPartners(SimulatedInode& folder, size_t count) {
  for (const SimulatedFolder::Change& change : folder.folder.Settle(count)) {
    if (!change.needs_other) continue;
    const InodePointer other = change.other_folder.lock();
    if (!other) continue;
    const std::deque<SimulatedFolder::Change>& pending = other->folder.pending();
    for (size_t i = 0; i < pending.size(); ++i) {
      if (pending[i].rename != change.rename) continue;
      SettleWithPartners(*other, i + 1);
      break;
    }
  }
}

}  // namespace

void SimulatedFolder::Enter(Entries& entries, const Change& change) {
  for (const auto& [name, inode] : change.entries) {
    if (inode) {
      entries.insert_or_assign(name, inode);
    } else {
      entries.erase(name);
    }
  }
}

void SimulatedFolder::Apply(Change change) {
  Enter(present_, change);
  pending_.push_back(std::move(change));
}

std::vector<SimulatedFolder::Change> SimulatedFolder::Settle(size_t count) {
  const auto end = pending_.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<Change> settled(std::make_move_iterator(pending_.begin()),
                              std::make_move_iterator(end));
  pending_.erase(pending_.begin(), end);
  for (const Change& change : settled) Enter(durable_, change);
  return settled;
}

void SimulatedFolder::RestartFromDurable() {
  present_ = durable_;
  pending_.clear();
}

FileFacts SimulatedInode::Facts() const {
  FileFacts facts;
  facts.kind = kind;
  facts.identity = {1, number};
  facts.size_bytes = kind == EntryKind::kFile ? content.size_bytes() : kFolderBytes;
  facts.allocated_bytes = kind == EntryKind::kFile ? content.allocated_bytes() : kFolderBytes;
  facts.link_count = kind == EntryKind::kFile ? link_count : 2;
  facts.mtime_ns = mtime_ns;
  facts.ctime_ns = ctime_ns;
  facts.mode = mode;
  return facts;
}

void SyncFolder(SimulatedInode& folder) {
  SettleWithPartners(folder, folder.folder.pending().size());
}

std::vector<InodePointer> FoldersOnDisk(const InodePointer& root) {
  std::vector<InodePointer> folders{root};
  std::set<const SimulatedInode*> seen{root.get()};
  const auto add = [&folders, &seen](const InodePointer& inode) {
    if (!inode || inode->kind != EntryKind::kDirectory) return;
    if (seen.insert(inode.get()).second) folders.push_back(inode);
  };
  for (size_t i = 0; i < folders.size(); ++i) {
    const InodePointer folder = folders[i];
    for (const auto& [name, inode] : folder->folder.durable()) add(inode);
    for (const SimulatedFolder::Change& change : folder->folder.pending()) {
      for (const auto& [name, inode] : change.entries) add(inode);
    }
  }
  return folders;
}

std::vector<size_t> DrawSurvivingChanges(const std::vector<InodePointer>& folders,
                                         std::mt19937_64& random) {
  struct Half {
    size_t folder;
    size_t change;
  };
  std::vector<size_t> keep;
  std::map<uint64_t, std::vector<Half>> renames;
  for (size_t i = 0; i < folders.size(); ++i) {
    const std::deque<SimulatedFolder::Change>& pending = folders[i]->folder.pending();
    keep.push_back(random() % (pending.size() + 1));
    for (size_t j = 0; j < pending.size(); ++j) {
      if (pending[j].rename != 0) renames[pending[j].rename].push_back({i, j});
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [rename, halves] : renames) {
      if (halves.size() != 2) continue;  // the other half is durable already
      const auto survives = [&keep](const Half& half) { return keep[half.folder] > half.change; };
      if (survives(halves[0]) == survives(halves[1])) continue;
      const Half& cut = survives(halves[0]) ? halves[0] : halves[1];
      keep[cut.folder] = cut.change;
      changed = true;
    }
  }
  return keep;
}

}  // namespace quoin::simulation
