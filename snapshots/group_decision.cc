#include "snapshots/group_decision.h"

#include <string>

#include "blockstore/base/atomic_file.h"
#include "snapshots/store_environment.h"

namespace quoin {
namespace {

constexpr std::string_view kNotTaken = "none\n";
constexpr uint64_t kMaxGroupFileBytes = 1 << 20;

}  // namespace

bool SaysNotTaken(std::string_view bytes) { return bytes == kNotTaken; }

Result<GroupDecision> DecideGroup(StoreEnvironment& environment, const Id& group,
                                  const std::vector<Id>& vdis) {
  const std::string path = environment.layout.Groups() + "/" + group.ToString();
  std::string text;
  for (const Id& vdi : vdis) text += vdi.ToString() + "\n";
  if (vdis.empty()) text = kNotTaken;
  const Status made = PublishNewFile(environment.file_system, path,
                                     environment.layout.NewTemporary(), text);
  if (made) return vdis.empty() ? GroupDecision::kNotTaken : GroupDecision::kTaken;
  // Whatever is there now stands, ours as well if only its durability is in doubt.
  const Result<std::string> present =
      ReadWholeFile(environment.file_system, path, kMaxGroupFileBytes);
  if (!present) return Failure(made.error());
  // Its maker may have died before it was durable.
  QUOIN_TRY(environment.file_system.SyncDirectory(environment.layout.Groups()));
  return SaysNotTaken(*present) ? GroupDecision::kNotTaken : GroupDecision::kTaken;
}

}  // namespace quoin
