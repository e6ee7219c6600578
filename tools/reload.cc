#include "tools/reload.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "metadata/host.h"
#include "tools/keeper_record.h"
#include "tools/mount_record.h"
#include "tools/unmount.h"

namespace quoin {
namespace {

// The keeper gives each step of it a limit; this is beyond their sum.
constexpr std::chrono::milliseconds kReloadPatience{300'000};

}  // namespace

Result<Json> ReloadMount(const std::string& mount) {
  const std::string mount_point = MountPointPath(mount);
  const std::string act = fmt::format("cannot reload {}", mount_point);
  const std::vector<std::string> trees = MountedTrees();
  if (std::find(trees.begin(), trees.end(), mount_point) == trees.end()) {
    return Fail(ErrorCode::kNotFound, act + ": no tree is mounted there",
                "quoin status lists the mounted trees");
  }
  const std::string run_dir = DefaultRunDir();
  const std::optional<KeeperRecord> keeper = KeeperOfMount(run_dir, mount_point);
  const Result<Json> answer =
      keeper ? AskKeeper(run_dir, *keeper, Json{{"verb", "reload"}}, kReloadPatience)
             : Result<Json>(Fail(ErrorCode::kNotFound, ""));
  if (!answer && answer.error().code == ErrorCode::kNotFound) {
    return Fail(ErrorCode::kNotFound, act + ": it has no keeper that could replace its daemon",
                fmt::format("quoin unmount {0}, and mount it again with --keeper", mount_point));
  }
  if (!answer) {
    return Fail(answer.error().code, fmt::format("{}: {}", act, answer.error().what),
                fmt::format("quoin status {} shows what became of it", mount_point));
  }
  if (answer->contains("error")) return Failure(ErrorFromJson((*answer)["error"]));
  return answer->value("result", Json::object());
}

}  // namespace quoin
