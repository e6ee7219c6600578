#include "tools/storage_advice.h"

#include <fmt/format.h>

#include <algorithm>

#include "metadata/storage_findings.h"

namespace quoin {

std::vector<std::string> AdviseOnStorage(FileSystem& file_system, const std::string& root,
                                         const StorageKind& kind) {
  const Result<StorageFindings> findings = ReadStorageFindings(file_system, StoreLayout(root));
  if (!findings) {
    if (findings.error().code != ErrorCode::kNotFound) {
      return {fmt::format("{}; run: {}", findings.error().what, findings.error().next)};
    }
    if (kind.reach != StorageKind::Reach::kShared) return {};
    return {fmt::format("{} lies on {}, and whether that is fit for a store was never examined; run: quoin "
                        "doctor {} --second DIR2, where DIR2 is the same folder through another mount",
                        root, kind.filesystem, root)};
  }
  std::vector<std::string> lines;
  for (const StorageFinding& finding : findings->findings) {
    if (finding.verdict != ProbeVerdict::kBad) continue;
    lines.push_back(fmt::format("the storage of {} is not fit for a store, and data may be lost: {}: {} "
                                "(falls: {}); move it to other storage, or mend this one and run: quoin "
                                "doctor {}",
                                root, finding.probe, finding.found, finding.guarantee, root));
  }
  return lines;
}

}  // namespace quoin
