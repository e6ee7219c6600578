// The border between libfuse's C callbacks and the methods: nothing thrown crosses it.
#include <spdlog/spdlog.h>

#include <cerrno>
#include <exception>

#include "fuse/operations.h"

namespace quoin {
namespace {

// A method as a callback of the signature that libfuse wants. An exception unwinds the method's
// Request, which answers EIO.
template <auto kMethod, RequestKind kKind>
struct Callback;

template <typename... Arguments, void (Operations::*kMethod)(Request, Arguments...),
          RequestKind kKind>
struct Callback<kMethod, kKind> {
  static void Call(fuse_req_t raw, Arguments... arguments) noexcept {
    auto& operations = *static_cast<Operations*>(fuse_req_userdata(raw));
    try {
      (operations.*kMethod)(Request(raw, kKind, operations.metrics()), arguments...);
    } catch (const std::exception& error) {
      spdlog::error("a {} request was given up: {}", ToWord(kKind), error.what());
    }
  }
};

void Init(void*, fuse_conn_info* connection) { InitExchange::Configure(*connection); }

template <auto kMethod, RequestKind kKind>
constexpr auto kCall = &Callback<kMethod, kKind>::Call;

void FillNames(fuse_lowlevel_ops& table) {
  table.lookup = kCall<&Operations::Lookup, RequestKind::kLookup>;
  table.forget = kCall<&Operations::Forget, RequestKind::kForget>;
  table.forget_multi = kCall<&Operations::ForgetMany, RequestKind::kForget>;
  table.readlink = kCall<&Operations::ReadLink, RequestKind::kReadLink>;
  table.mknod = kCall<&Operations::MakeNode, RequestKind::kMakeNode>;
  table.mkdir = kCall<&Operations::MakeFolder, RequestKind::kMakeFolder>;
  table.unlink = kCall<&Operations::Unlink, RequestKind::kUnlink>;
  table.rmdir = kCall<&Operations::RemoveFolder, RequestKind::kRemoveFolder>;
  table.symlink = kCall<&Operations::SymbolicLink, RequestKind::kSymbolicLink>;
  table.rename = kCall<&Operations::Rename, RequestKind::kRename>;
  table.link = kCall<&Operations::Link, RequestKind::kLink>;
  table.opendir = kCall<&Operations::OpenFolder, RequestKind::kOpenFolder>;
  table.readdir = kCall<&Operations::ReadFolder, RequestKind::kReadFolder>;
  table.readdirplus = kCall<&Operations::ReadFolderPlus, RequestKind::kReadFolder>;
  table.releasedir = kCall<&Operations::ReleaseFolder, RequestKind::kReleaseFolder>;
  table.fsyncdir = kCall<&Operations::SyncFolder, RequestKind::kSyncFolder>;
}

void FillFiles(fuse_lowlevel_ops& table) {
  table.open = kCall<&Operations::Open, RequestKind::kOpen>;
  table.create = kCall<&Operations::Create, RequestKind::kCreate>;
  table.flush = kCall<&Operations::Flush, RequestKind::kFlush>;
  table.release = kCall<&Operations::Release, RequestKind::kRelease>;
  table.read = kCall<&Operations::Read, RequestKind::kRead>;
  table.write = kCall<&Operations::Write, RequestKind::kWrite>;
  table.fsync = kCall<&Operations::Sync, RequestKind::kSync>;
  table.fallocate = kCall<&Operations::Allocate, RequestKind::kAllocate>;
  table.lseek = kCall<&Operations::Seek, RequestKind::kSeek>;
  table.copy_file_range = kCall<&Operations::CopyRange, RequestKind::kCopyRange>;
  table.getattr = kCall<&Operations::GetAttributes, RequestKind::kGetAttributes>;
  table.setattr = kCall<&Operations::SetAttributes, RequestKind::kSetAttributes>;
  table.statfs = kCall<&Operations::StatFs, RequestKind::kStatFs>;
  table.setxattr = kCall<&Operations::SetXattr, RequestKind::kSetXattr>;
  table.getxattr = kCall<&Operations::GetXattr, RequestKind::kGetXattr>;
  table.listxattr = kCall<&Operations::ListXattr, RequestKind::kListXattr>;
  table.removexattr = kCall<&Operations::RemoveXattr, RequestKind::kRemoveXattr>;
}

}  // namespace

// No getlk, setlk or flock: without them the kernel keeps POSIX, OFD and flock locks by itself, for
// all processes of this host, which is what is promised.
const fuse_lowlevel_ops& Operations::Table() {
  static const fuse_lowlevel_ops table = [] {
    fuse_lowlevel_ops filled{};
    filled.init = Init;
    FillNames(filled);
    FillFiles(filled);
    return filled;
  }();
  return table;
}

Operations::Operations(Store& store, KeptSession& kept, std::function<std::string()> status_json)
    : store_(store),
      kept_(kept),
      inodes_(&kept),
      tree_(store, inodes_),
      control_files_(store, metrics_, std::move(status_json)),
      open_files_(kept),
      init_exchange_(kept),
      notifier_(store, inodes_) {}

Operations::~Operations() = default;

void Operations::Finish() {
  lanes_.Stop();
  notifier_.Stop();
  open_files_.CloseAll();
}

void Operations::FinishForNext() {
  lanes_.Stop();
  notifier_.FinishPages();
}

FileHandle* Operations::FileOf(Request& request, const fuse_file_info* file) {
  FileHandle* const handle = open_files_.Find(file->fh);
  if (handle == nullptr) {
    request.Refuse(EBADF);
  } else if (handle->refuses_with != 0) {
    request.Refuse(handle->refuses_with);
    return nullptr;
  }
  return handle;
}

std::shared_ptr<Node> Operations::Find(Request& request, fuse_ino_t number) {
  std::shared_ptr<Node> node = inodes_.Find(number);
  if (node == nullptr) request.Refuse(ESTALE);
  return node;
}

WorkerBuffer*& CurrentWorkerBuffer() {
  thread_local WorkerBuffer* buffer = nullptr;
  return buffer;
}

}  // namespace quoin
