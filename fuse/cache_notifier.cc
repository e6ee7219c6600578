#include "fuse/cache_notifier.h"

#include <utility>

#include "fuse/tree.h"

namespace quoin {
namespace {

thread_local int own_changes = 0;

}  // namespace

CacheNotifier::OwnChange::OwnChange() { ++own_changes; }
CacheNotifier::OwnChange::~OwnChange() { --own_changes; }

CacheNotifier::CacheNotifier(Store& store, const Inodes& inodes)
    : store_(store), inodes_(inodes) {
  store_.SetObserver(this);
}

CacheNotifier::~CacheNotifier() { store_.SetObserver(nullptr); }

void CacheNotifier::Stop() {
  session_ = nullptr;
  names_.Stop();
  pages_.Stop();
}

void CacheNotifier::NameChanged(const std::string& name) {
  const size_t slash = name.rfind('/');
  std::string folder = slash == std::string::npos ? "" : name.substr(0, slash);
  names_.Post([this, folder = std::move(folder), in_vdis = own_changes == 0] {
    DropNamesIn(folder, in_vdis);
  });
  if (own_changes == 0) in_vdis_.End();
  in_snapshots_.End();
}

void CacheNotifier::DropNamesIn(const std::string& folder, bool in_vdis) {
  NodeKey mine{NodeKind::kVdis, {}, {}, 0};
  NodeKey mirror{NodeKind::kSnapshots, {}, {}, 0};
  if (!folder.empty()) {
    const Result<NameFacts> facts = store_.Lookup(folder);
    if (!facts || !facts->is_folder) return;  // gone too, and announced by itself
    mine = {NodeKind::kFolder, {}, {}, facts->folder_number};
    mirror = {NodeKind::kSnapshotFolder, {}, {}, facts->folder_number};
  }
  if (in_vdis) DropName(inodes_.NumberOf(mine));
  DropName(inodes_.NumberOf(mirror));
}

void CacheNotifier::SnapshotChanged(const Id& vdi, const std::string&) {
  names_.Post([this, vdi] {
    const uint64_t folder = inodes_.NumberOf({NodeKind::kSnapshotVdi, vdi, {}, 0});
    DropName(folder);
  });
  if (own_changes == 0) in_snapshots_.End();
}

void CacheNotifier::SizeOrAttributesChanged(const Id& vdi) {
  if (own_changes != 0) return;
  names_.Post([this, vdi] {
    DropAttributes(inodes_.NumberOf({NodeKind::kVdi, vdi, {}, 0}));
    DropAttributes(inodes_.NumberOf({NodeKind::kSnapshotVdi, vdi, {}, 0}));
  });
}

void CacheNotifier::ContentReplaced(const Id& vdi) {
  DropPages(inodes_.NumberOf({NodeKind::kVdi, vdi, {}, 0}), 0, 0, [] {});
}

// A number that the kernel does not know is refused by it, which is as good as being told.

// The kernel asks for a name each time it needs one (Entry::name_seconds is 0), but for those that it has
// just listed, which are waited for (NameLease); so only what it keeps of the folder is dropped.
// FUSE_NOTIFY_INVAL_ENTRY is never sent: it waits, deaf to SIGKILL, for the folder's lock, which a process may
// hold while it waits for an answer of ours; a daemon killed in that moment could never end, nor could that
// process (seen).
void CacheNotifier::DropName(uint64_t folder) { DropAttributes(folder); }

void CacheNotifier::DropAttributes(uint64_t number) {
  fuse_session* const session = session_;
  if (session != nullptr) fuse_lowlevel_notify_inval_inode(session, number, -1, 0);
}

void CacheNotifier::DropPagesNow(uint64_t number, uint64_t offset, uint64_t length) {
  fuse_session* const session = session_;
  if (session == nullptr) return;
  fuse_lowlevel_notify_inval_inode(session, number, static_cast<off_t>(offset),
                                   static_cast<off_t>(length));
}

}  // namespace quoin
