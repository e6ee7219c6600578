// A fresh folder of the real filesystem for one test; removed with all it holds on destruction.
// TEST_TMPDIR or TMPDIR says where, else /tmp.
#pragma once

#include <string>

namespace quoin {

class TemporaryDirectory {
 public:
  TemporaryDirectory();  // aborts if no folder can be made
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace quoin
