#include "fuse/kept_session.h"

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace quoin {
namespace {

constexpr std::array<char, 16> kMagic = {'q', 'u', 'o', 'i', 'n', '-', 'k', 'e',
                                         'p', 't', '-', 'v', '0', '1', '\n', 0};

int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Failure OtherVersion() {
  return Fail(ErrorCode::kNewerFormat,
              "what the daemon before kept of the mount is of another version of quoin",
              "unmount and mount again");
}

struct KeptBytes {
  std::atomic<uint32_t> count;
  std::array<std::byte, KeptSession::kMaxInitBytes> bytes;

  void Set(std::span<const std::byte> content) {
    if (content.size() > bytes.size()) return;
    std::copy(content.begin(), content.end(), bytes.begin());
    count.store(static_cast<uint32_t>(content.size()));
  }
  std::vector<std::byte> Get() const { return {bytes.begin(), bytes.begin() + count.load()}; }
};

}  // namespace

struct KeptSession::Layout {
  std::array<char, 16> magic;
  std::atomic<uint32_t> is_mounted;
  std::atomic<uint64_t> device;
  KeptBytes init;
  KeptBytes init_answer;
  // Found again at the next start by what is not zero: slots are used from the lowest.
  std::atomic<uint64_t> inodes_used;
  std::atomic<uint64_t> files_used;
  std::array<KeptRequest, kMaxRequests> requests;
  std::array<KeptFile, kMaxFiles> files;
  std::array<KeptInode, kMaxInodes> inodes;
};

// ------------------------------------------------------------------------------------ records

void KeptKey::Set(const NodeKey& key) {
  kind = static_cast<uint32_t>(key.kind);
  vdi = key.vdi.bytes();
  snapshot = key.snapshot.bytes();
  folder_number = key.folder_number;
}

NodeKey KeptKey::ToKey() const {
  return {static_cast<NodeKind>(kind), Id::FromBytes(vdi), Id::FromBytes(snapshot), folder_number};
}

void KeptInode::SetName(const std::string& name_now) {
  if (name_now == Name() || name_now.size() >= name.size()) return;
  name_bytes.store(0);
  std::copy(name_now.begin(), name_now.end(), name.begin());
  name_bytes.store(static_cast<uint32_t>(name_now.size()));
}

std::string KeptInode::Name() const { return {name.data(), name_bytes.load()}; }

void KeptInode::SetSnapshot(const SnapshotRecord& record) {
  snapshot_size_bytes = record.size_bytes;
  snapshot_data_blocks = record.data_blocks;
  snapshot_created_ns = record.created_ns;
  snapshot_mode = record.attributes.mode;
  snapshot_uid = record.attributes.uid;
  snapshot_gid = record.attributes.gid;
  SetName(record.name);
}

SnapshotRecord KeptInode::ToSnapshot() const {
  SnapshotRecord record;
  record.id = key.ToKey().snapshot;
  record.name = Name();
  record.size_bytes = snapshot_size_bytes;
  record.data_blocks = snapshot_data_blocks;
  record.created_ns = snapshot_created_ns;
  record.attributes = {snapshot_mode,       snapshot_uid,        snapshot_gid,
                       snapshot_created_ns, snapshot_created_ns, snapshot_created_ns};
  return record;
}

// ------------------------------------------------------------------------------------ attaching

Result<std::unique_ptr<KeptSession>> KeptSession::Attach(int descriptor) {
  struct stat facts {};
  if (fstat(descriptor, &facts) != 0) return FailSystem(errno, "cannot look at the kept session");
  const bool is_new = facts.st_size == 0;
  if (is_new && ftruncate(descriptor, sizeof(Layout)) != 0) {
    return FailSystem(errno, "cannot set the size of the kept session");
  }
  void* const mapped =
      mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) return FailSystem(errno, "cannot map the kept session");
  auto& layout = *static_cast<Layout*>(mapped);
  if (is_new) layout.magic = kMagic;
  if (layout.magic != kMagic) {
    munmap(mapped, sizeof(Layout));
    return OtherVersion();
  }
  std::unique_ptr<KeptSession> session(new KeptSession(layout));
  session->FindUsed();
  return session;
}

Status KeptSession::CheckLayout(int descriptor) {
  std::array<char, kMagic.size()> magic{};
  const ssize_t got = pread(descriptor, magic.data(), magic.size(), 0);
  if (got < 0) return FailSystem(errno, "cannot look at the kept session");
  if (got == 0 || magic == kMagic) return {};
  return OtherVersion();
}

Result<std::unique_ptr<KeptSession>> KeptSession::Make() {
  const int descriptor = memfd_create("quoin-session", MFD_CLOEXEC);
  if (descriptor < 0) return FailSystem(errno, "cannot make a file in memory");
  Result<std::unique_ptr<KeptSession>> attached = Attach(descriptor);
  if (!attached) {
    close(descriptor);
    return attached;
  }
  (*attached)->own_descriptor_ = descriptor;
  return attached;
}

KeptSession::KeptSession(Layout& layout) : layout_(layout) {}

KeptSession::~KeptSession() {
  munmap(&layout_, sizeof(Layout));
  if (own_descriptor_ >= 0) close(own_descriptor_);
}

void KeptSession::FindUsed() {
  MutexLock lock(mutex_);
  inodes_used_ = layout_.inodes_used.load();
  files_used_ = layout_.files_used.load();
  for (size_t i = 0; i < inodes_used_; ++i) {
    if (layout_.inodes[i].is_used.load() == 0) free_inodes_.push_back(static_cast<uint32_t>(i));
  }
  for (size_t i = 0; i < files_used_; ++i) {
    if (layout_.files[i].state.load() == KeptFile::kFree) {
      free_files_.push_back(static_cast<uint32_t>(i));
    }
  }
}

// ------------------------------------------------------------------------------------ the connection

bool KeptSession::is_mounted() const { return layout_.is_mounted.load() != 0; }

void KeptSession::MarkMounted(dev_t device) {
  layout_.device.store(device);
  layout_.is_mounted.store(1);
}

dev_t KeptSession::device() const { return layout_.device.load(); }

void KeptSession::KeepInit(std::span<const std::byte> request) { layout_.init.Set(request); }
void KeptSession::KeepInitAnswer(std::span<const std::byte> answer) {
  layout_.init_answer.Set(answer);
}
std::vector<std::byte> KeptSession::init() const { return layout_.init.Get(); }
std::vector<std::byte> KeptSession::init_answer() const { return layout_.init_answer.Get(); }

// ------------------------------------------------------------------------------------ nodes

KeptInode* KeptSession::NewInode() {
  MutexLock lock(mutex_);
  size_t index = inodes_used_;
  if (!free_inodes_.empty()) {
    index = free_inodes_.back();
    free_inodes_.pop_back();
  } else if (index == kMaxInodes) {
    return nullptr;
  } else {
    layout_.inodes_used.store(++inodes_used_);
  }
  KeptInode& inode = layout_.inodes[index];
  inode.name_bytes.store(0);
  inode.parent_folder.store(0);
  inode.creator.store(0);
  return &inode;
}

void KeptSession::FreeInode(KeptInode* inode) {
  inode->is_used.store(0);
  MutexLock lock(mutex_);
  free_inodes_.push_back(static_cast<uint32_t>(inode - layout_.inodes.data()));
}

std::vector<KeptInode*> KeptSession::Inodes() {
  std::vector<KeptInode*> used;
  MutexLock lock(mutex_);
  for (size_t i = 0; i < inodes_used_; ++i) {
    if (layout_.inodes[i].is_used.load() != 0) used.push_back(&layout_.inodes[i]);
  }
  return used;
}

// ------------------------------------------------------------------------------------ handles

KeptFile* KeptSession::NewFile() {
  MutexLock lock(mutex_);
  size_t index = files_used_;
  if (!free_files_.empty()) {
    index = free_files_.back();
    free_files_.pop_back();
  } else if (index == kMaxFiles) {
    return nullptr;
  } else {
    layout_.files_used.store(++files_used_);
  }
  KeptFile& file = layout_.files[index];
  ++file.generation;
  return &file;
}

void KeptSession::FreeFile(KeptFile* file) {
  file->state.store(KeptFile::kFree);
  MutexLock lock(mutex_);
  free_files_.push_back(static_cast<uint32_t>(file - layout_.files.data()));
}

std::vector<KeptFile*> KeptSession::Files() {
  std::vector<KeptFile*> used;
  MutexLock lock(mutex_);
  for (size_t i = 0; i < files_used_; ++i) {
    if (layout_.files[i].state.load() != KeptFile::kFree) used.push_back(&layout_.files[i]);
  }
  return used;
}

uint64_t KeptSession::NumberOf(const KeptFile& file) const {
  const auto index = static_cast<uint64_t>(&file - layout_.files.data());
  return uint64_t{file.generation} << 32 | (index + 1);
}

// ------------------------------------------------------------------------------------ requests

std::optional<KeptSession::Begun> KeptSession::FindBegun(uint64_t unique) {
  MutexLock lock(mutex_);
  for (KeptRequest& request : layout_.requests) {
    if (request.unique.load() != (unique & ~kSentAgain)) continue;
    Begun begun;
    begun.begun_ns = request.begun_ns;
    if (request.has_subject != 0) begun.subject = request.subject.ToKey();
    return begun;
  }
  return std::nullopt;
}

// A note that is there already is of a process that did not live to answer; what it found counts. Notes
// whose requests were answered just before a death stay behind, so the oldest one makes room.
void KeptSession::NoteBegun(uint64_t unique, const std::optional<NodeKey>& subject) {
  unique &= ~kSentAgain;
  MutexLock lock(mutex_);
  KeptRequest* room = &layout_.requests.front();
  for (KeptRequest& request : layout_.requests) {
    const uint64_t noted = request.unique.load();
    if (noted == unique) return;
    if (room->unique.load() == 0) continue;
    if (noted == 0 || request.begun_ns < room->begun_ns) room = &request;
  }
  room->unique.store(0);
  room->begun_ns = NowNanoseconds();
  room->has_subject = subject.has_value() ? 1 : 0;
  if (subject) room->subject.Set(*subject);
  room->unique.store(unique);
}

void KeptSession::ForgetBegun(uint64_t unique) {
  MutexLock lock(mutex_);
  for (KeptRequest& request : layout_.requests) {
    if (request.unique.load() == (unique & ~kSentAgain)) request.unique.store(0);
  }
}

}  // namespace quoin
