// Seeds of random tests: printed, so that a failure can be run again with QUOIN_SEED=<number>.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>

namespace quoin {

// The seed in the environment, else a new one. Prints and records it.
inline uint64_t DrawSeed() {
  const char* given = std::getenv("QUOIN_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : uint64_t{std::random_device()()};
  std::cout << "QUOIN_SEED=" << seed << '\n';
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  return seed;
}

}  // namespace quoin
