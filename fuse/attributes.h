// What stat shows of each kind of node. Pure functions; st_ino is filled in by whoever knows the
// node's number.
#pragma once

#include <sys/stat.h>

#include "metadata/names.h"
#include "metadata/vdi_records.h"
#include "snapshots/store.h"

namespace quoin {

// How long the kernel may use a name or attributes without asking again. One second bounds how old
// another host's change can look; changes made on this host are announced to the kernel.
inline constexpr double kNameSeconds = 0;
inline constexpr double kAttributeSeconds = 1.0;
// A snapshot's attributes never change, nor do the fixed folders.
inline constexpr double kFixedSeconds = 3600.0;

struct stat VdiAttributes(const FileInfo& info);
// As the VDI's at that time, without the right to write; all times are that of the snapshot.
struct stat SnapshotAttributes(const SnapshotRecord& snapshot);
// The folder of a VDI's snapshots: whoever may write the VDI may take and remove its snapshots.
struct stat SnapshotVdiAttributes(const HistoryInfo& info);
struct stat LatestAttributes(const SnapshotRecord& newest);
struct stat FolderAttributes(const NameFacts& facts);
struct stat FixedFolderAttributes(uint32_t permissions, int64_t time_ns);
struct stat ControlFileAttributes(int64_t time_ns);

timespec ToTimespec(int64_t time_ns);
int64_t ToNanoseconds(const timespec& time);

}  // namespace quoin
