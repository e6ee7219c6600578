// OpenSSL's way of replacing its generator from within a process is deprecated in favour of providers,
// which are a hundred lines to the same end.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tests/model/seeded_ids.h"

#include <openssl/rand.h>

#include <mutex>
#include <random>

namespace quoin::model {
namespace {

std::mutex mutex;
std::mt19937_64 generator;

int Draw(unsigned char* bytes, int count) {
  const std::lock_guard lock(mutex);
  for (int i = 0; i < count; ++i) bytes[i] = static_cast<unsigned char>(generator() >> 24);
  return 1;
}

int IsReady() { return 1; }

}  // namespace

SeededIds::SeededIds(uint64_t seed) {
  {
    const std::lock_guard lock(mutex);
    generator.seed(seed);
  }
  static const RAND_METHOD kMethod{nullptr, Draw, nullptr, nullptr, Draw, IsReady};
  RAND_set_rand_method(&kMethod);
}

SeededIds::~SeededIds() { RAND_set_rand_method(nullptr); }

}  // namespace quoin::model
