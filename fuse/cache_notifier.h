// Tells the kernel what it must no longer believe: names, attributes and pages that changed without
// its knowledge, that is by the command through this daemon, by another owner, or (pages) by a direct
// write beside a cached one. Owned by Operations; the Store's observer.
//
// Telling the kernel can wait for locks that a process holds while it waits for an answer of ours: a
// folder's lock for names, a page's lock for pages. So it is never done by a thread that answers
// requests. There is one thread for names, which may wait for any request, and one for pages, which
// waits for reads and writes only; those are always answered by the session's workers.
//
// Changes that come as requests of the kernel are marked by an OwnChange for the time of the Store's
// call: the kernel knows them already, and being told would make it drop names in use.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "fuse/blocking_lane.h"
#include "fuse/inodes.h"
#include "fuse/libfuse.h"
#include "fuse/name_lease.h"
#include "snapshots/store.h"

namespace quoin {

class CacheNotifier final : public StoreObserver {
 public:
  // Both must outlive the notifier.
  CacheNotifier(Store& store, const Inodes& inodes);
  ~CacheNotifier() override;

  // From now on there is a kernel to tell.
  void SetSession(fuse_session* session) { session_ = session; }
  // There is none any more. What was to be called after telling is called now.
  void Stop();
  // Ends the telling of pages that has begun, and what follows it.
  void FinishPages() { pages_.Stop(); }

  // While it lives, changes made by this thread are known to the kernel under vdis/ (but not in the
  // mirror under snapshots/).
  class OwnChange {
   public:
    OwnChange();
    ~OwnChange();
    OwnChange(const OwnChange&) = delete;
    OwnChange& operator=(const OwnChange&) = delete;
  };

  // What the kernel may use of the names in a folder of this kind, which must hold VDIs or snapshots.
  NameLease& LeaseOf(NodeKind folder) { return HoldsVdis(folder) ? in_vdis_ : in_snapshots_; }

  // These two return when the kernel uses no name any more that is not so.
  void NameChanged(const std::string& name) override;
  void SnapshotChanged(const Id& vdi, const std::string& snapshot) override;
  void SizeOrAttributesChanged(const Id& vdi) override;
  void ContentReplaced(const Id& vdi) override;

  // Drops the kernel's pages of these bytes, then calls `done`.
  template <typename Done>
  void DropPages(uint64_t number, uint64_t offset, uint64_t length, Done done) {
    pages_.Post([this, number, offset, length, done = std::move(done)]() mutable {
      DropPagesNow(number, offset, length);
      done();
    });
  }

 private:
  void DropName(uint64_t folder);
  void DropAttributes(uint64_t number);
  void DropPagesNow(uint64_t number, uint64_t offset, uint64_t length);
  void DropNamesIn(const std::string& folder, bool in_vdis);

  Store& store_;
  const Inodes& inodes_;
  std::atomic<fuse_session*> session_{nullptr};
  NameLease in_vdis_;
  NameLease in_snapshots_;
  BlockingLane names_{1};
  BlockingLane pages_{1};
};

}  // namespace quoin
