// The files of .quoin/: made anew for each open. Owned by Operations; thread-safe.
#pragma once

#include <functional>
#include <string>

#include "fuse/metrics.h"
#include "fuse/node.h"
#include "snapshots/store.h"

namespace quoin {

class ControlFiles {
 public:
  // The store and the metrics must outlive it. `status_json` may be empty: then there is only what
  // this room knows.
  ControlFiles(Store& store, const Metrics& metrics, std::function<std::string()> status_json);

  std::string Content(NodeKind kind) const;

 private:
  std::string Status() const;

  Store& store_;
  const Metrics& metrics_;
  const std::function<std::string()> status_json_;
};

}  // namespace quoin
