// `quoin doctor`: is a folder's storage fit for a store? Each probe tries one property through real
// system calls, from several processes where that matters: this is the one place outside the seam
// that does, because it is the storage itself that is asked. With a second mount of the same storage
// half of the processes work through that one, as another host would. Everything happens in a folder of
// its own inside the one that is probed, which is removed at the end; a crash leaves it
// (".quoin-doctor-<id>"), and it may then be removed by hand. One thread; forks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blockstore/base/error.h"
#include "metadata/storage_findings.h"

namespace quoin {

// The guarantees of the contract that can fall, as reports name them.
inline constexpr const char* kDurableFalls =
    "1. durable means durable: data could be lost after fsync returned";
inline constexpr const char* kWholeFilesFall =
    "1. durable means durable: a reader could find a VDI without its metadata";
inline constexpr const char* kOneWriterFalls =
    "2. one writer: two hosts could change one VDI at the same time";
inline constexpr const char* kOneNameFalls =
    "2. one writer: two hosts could make one name, or one lock, at the same time";

struct Measurement {
  std::string name;  // ends in its unit: "p50_microseconds"
  double value = 0;
};

struct ProbeReport {
  std::string probe;  // "locks", "rename", ...: a stable word
  ProbeVerdict verdict = ProbeVerdict::kOk;
  std::string found;      // what was seen, one sentence
  std::string guarantee;  // what falls without it; "" if ok
  std::vector<Measurement> measured = {};
};

// The folder that a probe may use, as one or two clients of the storage see it.
struct ProbePlace {
  std::string first;
  std::string second;  // the same folder; equal to `first` if one mount was given

  // Of racing processes every other one works through the second mount.
  const std::string& For(int process) const { return process % 2 == 0 ? first : second; }
};

// A probe gets an empty folder of its own; it says itself if it could not be tried.
struct Probe {
  const char* name;
  ProbeReport (*run)(const ProbePlace& place);
};

ProbeReport ProbeLocks(const ProbePlace& place);
ProbeReport ProbeExclusiveCreation(const ProbePlace& place);
ProbeReport ProbeLinks(const ProbePlace& place);
ProbeReport ProbeRename(const ProbePlace& place);
ProbeReport ProbeVisibility(const ProbePlace& place);
ProbeReport ProbeNames(const ProbePlace& place);
ProbeReport ProbeSync(const ProbePlace& place);
ProbeReport ProbeDataSync(const ProbePlace& place);
ProbeReport ProbeSparseFiles(const ProbePlace& place);
ProbeReport ProbeHoleQueries(const ProbePlace& place);
ProbeReport ProbePunchHole(const ProbePlace& place);
ProbeReport ProbeLargeFiles(const ProbePlace& place);
ProbeReport ProbeDatabase(const ProbePlace& place);
ProbeReport ProbeSpace(const ProbePlace& place);

// What the two folders given are to each other.
enum class Clients {
  kOne,         // one mount was given
  kSameClient,  // two mount points of one mounted filesystem: one client
  kTwo,
};

struct StorageReport {
  Clients clients = Clients::kOne;
  std::vector<ProbeReport> probes;  // the last one is "clients": what was not probed
};

// Runs every probe inside `directory`, which must exist, and through `second`, unless that is "": the
// same folder by another mount. kIo if its own folder cannot be made, or if a signal asked to stop; it is
// removed in any case. kInvalid if `second` does not show what `directory` has.
Result<StorageReport> ProbeStorage(const std::string& directory, const std::string& second);

// For the probes' own use.
ProbeReport ProbeOk(std::string found, std::vector<Measurement> measured = {});
ProbeReport ProbeNote(std::string found, std::string missing);
ProbeReport ProbeBad(std::string found, std::string guarantee);
// With what the last system call failed with.
ProbeReport ProbeFailed(const std::string& act, const std::string& guarantee);

}  // namespace quoin
