// May this process still change the store? Asked before every change that goes through a
// FencedFileSystem. Thread-safe; cheap when the answer is yes.
#pragma once

#include "blockstore/base/error.h"

namespace quoin {

class Fence {
 public:
  virtual ~Fence() = default;
  // Returns when changes are allowed, however long that takes; an error if they never will be again.
  virtual Status Admit() = 0;
};

}  // namespace quoin
