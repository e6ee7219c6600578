// What SimulatedFileSystem and its open files share: the tree, its clock, its space and its faults.
// Every member is used with `mutex` held, except where said. A crash is Restart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/simulated_faults.h"
#include "tests/support/simulated_file_system.h"
#include "tests/support/simulated_inode.h"

namespace quoin::simulation {

inline constexpr uint64_t kMaxFileBytes = uint64_t{16} << 40;

// Where a path leads: the folder that holds the name (present there or not), and every folder on
// the way. The name is empty for the root.
struct Place {
  InodePointer folder;
  std::string name;
  std::vector<const SimulatedInode*> way;
};

// The present entry there, or null.
InodePointer EntryOf(const Place& place);

// An error whose text says what was attempted and why it was refused.
Failure Refuse(ErrorCode code, std::string_view act, std::string_view why);

struct SimulatedSystem {
  static constexpr int64_t kClockTick_ns = 1'000;

  SimulatedSystem() = default;
  ~SimulatedSystem();
  SimulatedSystem(const SimulatedSystem&) = delete;
  SimulatedSystem& operator=(const SimulatedSystem&) = delete;

  std::mutex mutex;
  const InodePointer root = std::make_shared<SimulatedInode>(1, EntryKind::kDirectory, 0700);
  // Two folders may hold each other, one durably and one at present: the destructor parts them.
  std::vector<std::weak_ptr<SimulatedInode>> folders_made = {root};
  uint64_t next_inode = 2;
  uint64_t next_rename = 1;
  uint64_t start = 0;  // how often the system has started
  uint64_t open_handles = 0;
  uint64_t used_bytes = 0;
  uint64_t capacity_bytes = uint64_t{1} << 60;  // unlimited
  bool punching_supported = true;
  int64_t clock_ns = 1'700'000'000'000'000'000;
  SimulatedFaults faults;
  using Observer = std::function<void(Call, const std::string&)>;
  mutable std::mutex observer_mutex;  // never held while the observer is called
  std::shared_ptr<const Observer> observer;

  // Without the mutex.
  void Observe(Call call, const std::string& path) const {
    std::shared_ptr<const Observer> present;
    {
      const std::lock_guard lock(observer_mutex);
      present = observer;
    }
    if (present != nullptr) (*present)(call, path);
  }

  void Touch(SimulatedInode& inode) {
    clock_ns += kClockTick_ns;
    inode.mtime_ns = clock_ns;
    inode.ctime_ns = clock_ns;
  }

  InodePointer MakeInode(EntryKind kind, uint32_t mode) {
    auto inode = std::make_shared<SimulatedInode>(next_inode++, kind, mode);
    Touch(*inode);
    if (kind == EntryKind::kDirectory) folders_made.push_back(inode);
    return inode;
  }

  void Enter(SimulatedInode& folder, SimulatedFolder::Change change) {
    folder.folder.Apply(std::move(change));
    Touch(folder);
  }

  void DropName(SimulatedInode& inode) {
    --inode.link_count;
    inode.ctime_ns = clock_ns += kClockTick_ns;
    GiveBackIfUnused(inode);
  }

  // The content stays for a crash that may bring the name back.
  void GiveBackIfUnused(const SimulatedInode& inode) {
    if (inode.link_count == 0 && inode.open_handles == 0) {
      used_bytes -= inode.content.allocated_bytes();
    }
  }

  // Runs a change of the file's bytes and counts the space that it took or gave.
  template <typename ChangeBytes>
  auto Account(SimulatedInode& inode, ChangeBytes change) {
    const uint64_t before = inode.content.allocated_bytes();
    auto result = change(inode.content);
    used_bytes += inode.content.allocated_bytes() - before;
    Touch(inode);
    return result;
  }

  size_t Write(SimulatedInode& inode, uint64_t offset, std::span<const std::byte> bytes) {
    const uint64_t room = capacity_bytes > used_bytes ? capacity_bytes - used_bytes : 0;
    return Account(inode, [&](SimulatedContent& content) {
      return content.Write(offset, bytes, room / SimulatedContent::kPageBytes);
    });
  }

  Result<Place> Locate(const std::string& path, std::string_view act) const;
  Result<InodePointer> Find(const std::string& path, std::string_view act) const;
  Result<InodePointer> FindFolder(const std::string& path, std::string_view act) const;
  Result<InodePointer> Create(const Place& place, const std::string& path, uint32_t mode);
  Status CheckRename(const Place& from, const Place& to, const SimulatedInode& moved,
                     const InodePointer& replaced, std::string_view act) const;
  void Rename(const Place& from, const Place& to, const InodePointer& moved);
  void Restart(CrashMode mode, uint64_t seed);
};

}  // namespace quoin::simulation
