#include "tests/support/temporary_directory.h"

#include <boost/filesystem.hpp>
#include <cstdio>
#include <cstdlib>

namespace quoin {
namespace {

std::string Base() {
  for (const char* variable : {"TEST_TMPDIR", "TMPDIR"}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return value;
  }
  return "/tmp";
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() : path_(Base() + "/quoin-test-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) {
    std::perror(("cannot make a temporary folder " + path_).c_str());
    std::abort();
  }
}

TemporaryDirectory::~TemporaryDirectory() {
  boost::system::error_code ignored;  // a leftover in the temporary folder harms no one
  boost::filesystem::remove_all(path_, ignored);
}

}  // namespace quoin
