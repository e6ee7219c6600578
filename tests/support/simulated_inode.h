// A file or folder of SimulatedFileSystem. Names and bytes are durable apart from each other: a
// folder keeps, beside its present entries, those that a disk would hold after a crash and the
// changes between the two, in order. Not thread-safe: the filesystem's mutex serialises.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "blockstore/base/file_system.h"
#include "tests/support/simulated_content.h"

namespace quoin::simulation {

struct SimulatedInode;
using InodePointer = std::shared_ptr<SimulatedInode>;

class SimulatedFolder {
 public:
  using Entries = std::map<std::string, InodePointer>;

  // One operation's effect on this folder; durable as a whole or not at all.
  struct Change {
    std::vector<std::pair<std::string, InodePointer>> entries;  // null: the name is removed
    // A rename between two folders is one change in each, with the same number (else 0).
    uint64_t rename = 0;
    std::weak_ptr<SimulatedInode> other_folder = {};
    // True in the folder from which a file was renamed away: this half alone would lose the file.
    // True on both sides for a folder, which must never have two names.
    bool needs_other = false;
  };

  const Entries& present() const { return present_; }
  const Entries& durable() const { return durable_; }
  const std::deque<Change>& pending() const { return pending_; }

  void Apply(Change change);
  // Makes the oldest `count` pending changes durable and returns them.
  std::vector<Change> Settle(size_t count);
  // The system stopped: what is not durable never happened.
  void RestartFromDurable();

 private:
  static void Enter(Entries& entries, const Change& change);

  Entries present_;
  Entries durable_;
  std::deque<Change> pending_;
};

struct SimulatedInode {
  SimulatedInode(uint64_t inode_number, EntryKind inode_kind, uint32_t permissions)
      : number(inode_number), kind(inode_kind), mode(permissions) {}

  FileFacts Facts() const;

  const uint64_t number;
  const EntryKind kind;
  const uint32_t mode;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t link_count = 0;  // present names
  uint64_t open_handles = 0;
  const File* lock_holder = nullptr;
  std::set<const File*> lock_sharers;  // none while there is a holder
  SimulatedContent content;  // of a file
  SimulatedFolder folder;    // of a folder
};

// Makes every name in the folder durable, and with it the other half of each rename that must not
// be durable by half.
void SyncFolder(SimulatedInode& folder);

// Every folder that may exist after a crash, `root` first, in an order that depends on names only.
std::vector<InodePointer> FoldersOnDisk(const InodePointer& root);

// How many pending changes of each folder survive a crash: a random prefix, cut so that renames
// between folders survive on both sides or on neither.
std::vector<size_t> DrawSurvivingChanges(const std::vector<InodePointer>& folders,
                                         std::mt19937_64& random);

}  // namespace quoin::simulation
