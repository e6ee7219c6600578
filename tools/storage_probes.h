// `quoin doctor`: is a folder's storage fit for a store? Each probe tries one property through real
// system calls, from several processes where that matters: this is the one place outside the seam
// that does, because it is the storage itself that is asked. Everything happens in a folder of its
// own inside the one that is probed, which is removed at the end; a crash leaves it
// (".quoin-doctor-<id>"), and it may then be removed by hand. One thread; forks.
#pragma once

#include <string>
#include <vector>

#include "blockstore/base/error.h"

namespace quoin {

enum class Verdict {
  kOk,
  kMissing,  // quoin works, without one of its guarantees
  kFatal,    // no store may live here
};

struct ProbeReport {
  std::string probe;  // "locks", "rename", ...: a stable word
  Verdict verdict = Verdict::kOk;
  std::string found;         // what was seen, one sentence
  std::string guarantee;     // what falls without it; "" if ok
  double milliseconds = -1;  // the cost that was measured; < 0 if none was
};

// A probe gets an empty folder of its own; its error means that it could not be tried.
struct Probe {
  const char* name;
  ProbeReport (*run)(const std::string& folder);
};

// Two processes at once; release when one dies.
ProbeReport ProbeLocks(const std::string& folder);
ProbeReport ProbeExclusiveCreation(const std::string& folder);
ProbeReport ProbeLinks(const std::string& folder);
ProbeReport ProbeRename(const std::string& folder);
ProbeReport ProbeNames(const std::string& folder);
ProbeReport ProbeSync(const std::string& folder);
ProbeReport ProbeDataSync(const std::string& folder);
ProbeReport ProbeSparseFiles(const std::string& folder);
ProbeReport ProbeHoleQueries(const std::string& folder);
ProbeReport ProbePunchHole(const std::string& folder);
ProbeReport ProbeLargeFiles(const std::string& folder);
ProbeReport ProbeDatabase(const std::string& folder);
ProbeReport ProbeSpace(const std::string& folder);

// Runs every probe inside `directory`, which must exist. kIo if its own folder cannot be made, or
// if a signal asked to stop; it is removed in any case.
Result<std::vector<ProbeReport>> ProbeStorage(const std::string& directory);

std::string_view ToWord(Verdict verdict);

// For the probes' own use: what the last system call failed with.
ProbeReport ProbeFailed(const char* probe, const std::string& act, const std::string& guarantee);

}  // namespace quoin
