// While one of these exists, Id::Random in this process draws from a seed, so that names of files, and
// with them the order of lists, are the same in two runs. One at a time.
#pragma once

#include <cstdint>

namespace quoin::model {

class SeededIds {
 public:
  explicit SeededIds(uint64_t seed);
  ~SeededIds();
  SeededIds(const SeededIds&) = delete;
  SeededIds& operator=(const SeededIds&) = delete;
};

}  // namespace quoin::model
