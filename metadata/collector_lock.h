// The right to collect garbage: one collector in the whole store at a time. An exclusive lock on
// gc/collector.lock, held for all of a collection, and a record in that file that says who has it,
// in the form of a writer.lock's (writer_lock.h). Unlike a VDI's owner a collector that died leaves
// nothing to recover, so the lock alone decides; the record is for people.
//
// Owned by the collection; not thread-safe. A crash lets go of the lock.
#pragma once

#include <memory>
#include <optional>

#include "blockstore/base/file_system.h"
#include "metadata/host.h"
#include "metadata/store_layout.h"
#include "metadata/writer_lock.h"

namespace quoin {

class CollectorLock {
 public:
  // kBusy, naming the holder, if another handle has it. Makes the file if needed; gc/ must be
  // there.
  static Result<std::unique_ptr<CollectorLock>> Acquire(FileSystem& file_system,
                                                        const StoreLayout& layout,
                                                        const HostIdentity& self);

  // Who collects now, if anybody; a record that is damaged or not written yet is an empty one.
  static Result<std::optional<LockRecord>> Holder(FileSystem& file_system,
                                                  const StoreLayout& layout);

 private:
  explicit CollectorLock(std::unique_ptr<File> file) : file_(std::move(file)) {}

  const std::unique_ptr<File> file_;
};

}  // namespace quoin
