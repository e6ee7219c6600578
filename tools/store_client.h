// Gets a request done: by a daemon of this host that has the store mounted, by the daemon of
// this host that owns the VDI, or by this process, in that order. Owned by one verb of one command;
// one thread. A Store of this process is opened only when it is needed and closed before Run
// returns.
#pragma once

#include <string>
#include <vector>

#include "blockstore/base/posix_file_system.h"
#include "tools/mount_record.h"
#include "tools/store_request.h"

namespace quoin {

class StoreClient {
 public:
  // `root` is the store's folder; it is not touched yet. `progress` hears of long work, if not null.
  explicit StoreClient(std::string root, ProgressSink progress = nullptr);

  // The result, or the error in the form "cannot <act>: <reason>".
  Result<Json> Run(const StoreRequest& request);

 private:
  void FindMounts(const std::string& store_id);
  // A keeper of this host is about to start the daemon of a mount of the store again.
  bool IsBeingStarted(const std::string& store_id) const;
  // The daemon that owns the VDI asked about is asked first: no other would get it from it.
  void PutOwnerFirst(const StoreRequest& request);
  // kNotFound if no daemon of this host has the store mounted.
  Result<StoreAnswer> AskMounts(const StoreRequest& request);
  Result<StoreAnswer> RunHere(const StoreRequest& request);
  // What the session that owns the VDI says, if it is a daemon of this host; else `answer`.
  StoreAnswer AskOwner(const StoreRequest& request, StoreAnswer answer);

  const std::string root_;
  const ProgressSink progress_;
  const std::string run_dir_;
  PosixFileSystem file_system_;
  std::vector<MountRecord> mounts_;  // of this store
};

}  // namespace quoin
