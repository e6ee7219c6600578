#include "tools/store_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "metadata/host.h"
#include "metadata/names.h"
#include "metadata/store_layout.h"
#include "metadata/superblock.h"
#include "metadata/writer_lock.h"
#include "tools/control_client.h"
#include "tools/keeper_record.h"
#include "tools/store_operations.h"

namespace quoin {

namespace {

// How long a daemon may take: what moves a VDI's data takes as long as there is data.
std::chrono::milliseconds PatienceFor(const std::string& verb) {
  return verb == "seal" || verb == "import" || verb == "scrub" ? kDataPatience : kWorkPatience;
}

// A daemon that has just died is started again in less.
constexpr std::chrono::seconds kRestartPatience{10};
constexpr std::chrono::milliseconds kLookEvery{20};

}  // namespace

StoreClient::StoreClient(std::string root, ProgressSink progress)
    : root_(std::move(root)), progress_(std::move(progress)), run_dir_(DefaultRunDir()) {}

Result<Json> StoreClient::Run(const StoreRequest& request) {
  Result<Superblock> superblock = ReadSuperblock(file_system_, root_);
  if (!superblock) return Failure(InForm(superblock.error(), "use the store " + root_));
  FindMounts(superblock->store_id.ToString());
  PutOwnerFirst(request);
  Result<StoreAnswer> answer = AskMounts(request);
  const auto deadline = std::chrono::steady_clock::now() + kRestartPatience;
  while (!answer && answer.error().code == ErrorCode::kNotFound &&
         IsBeingStarted(superblock->store_id.ToString()) &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kLookEvery);
    FindMounts(superblock->store_id.ToString());
    answer = AskMounts(request);
  }
  if (!answer && answer.error().code == ErrorCode::kNotFound) answer = RunHere(request);
  if (!answer) return Failure(InForm(answer.error(), "open the store " + root_));
  StoreAnswer final_answer = AskOwner(request, std::move(*answer));
  if (final_answer.error) return Failure(*final_answer.error);
  return std::move(final_answer.result);
}

void StoreClient::FindMounts(const std::string& store_id) {
  mounts_ = ReadMountRecords(run_dir_);
  std::erase_if(mounts_, [&](const MountRecord& mount) { return mount.store_id != store_id; });
}

bool StoreClient::IsBeingStarted(const std::string& store_id) const {
  for (const KeeperRecord& keeper : ReadKeeperRecords(run_dir_)) {
    if (keeper.store_id != store_id) continue;
    const Result<Json> answer =
        AskKeeper(run_dir_, keeper, Json{{"verb", "status"}}, kStatusPatience);
    const auto result = answer ? answer->find("result") : Json::const_iterator();
    if (answer && result != answer->end() && TextOf(*result, "state") != "waiting") return true;
  }
  return false;
}

void StoreClient::PutOwnerFirst(const StoreRequest& request) {
  const std::string& vdi = request.snapshots.empty() ? request.vdi : request.snapshots.front().vdi;
  if (mounts_.size() < 2 || vdi.empty()) return;
  const StoreLayout layout(root_);
  const Result<NameFacts> facts = Names(file_system_, layout).Lookup(vdi);
  if (!facts || facts->is_folder) return;
  const Result<LockStatus> lock = WriterLock::Inspect(file_system_, layout.Vdi(facts->vdi));
  if (!lock || !lock->held || lock->damaged) return;
  std::stable_partition(mounts_.begin(), mounts_.end(),
                        [session = lock->record.session.ToString()](const MountRecord& mount) {
                          return mount.session == session;
                        });
}

Result<StoreAnswer> StoreClient::AskMounts(const StoreRequest& request) {
  for (const MountRecord& mount : mounts_) {
    const Result<Json> json = AskDaemon(run_dir_, mount, request.ToJson(),
                                         PatienceFor(request.verb), progress_);
    if (json) {
      StoreAnswer answer = StoreAnswer::FromJson(*json);
      // A daemon of another version may not know the verb; this process does.
      if (!answer.error || answer.error->code != ErrorCode::kUnsupported) return answer;
    } else if (json.error().code != ErrorCode::kNotFound) {
      return Failure(json.error());
    }
  }
  return Fail(ErrorCode::kNotFound, "no daemon of this host has the store mounted");
}

Result<StoreAnswer> StoreClient::RunHere(const StoreRequest& request) {
  QUOIN_ASSIGN(HostIdentity self, LoadHostIdentity(DefaultStateDir(), QUOIN_VERSION));
  StoreOptions options;
  options.state_dir = DefaultStateDir();
  QUOIN_ASSIGN(const std::unique_ptr<Store> store,
               Store::Open(file_system_, root_, std::move(self), std::move(options)));
  return RunStoreRequest(*store, request, progress_);
}

StoreAnswer StoreClient::AskOwner(const StoreRequest& request, StoreAnswer answer) {
  if (answer.owner_session.empty()) return answer;
  const auto owner = std::find_if(mounts_.begin(), mounts_.end(), [&](const MountRecord& mount) {
    return mount.session == answer.owner_session;
  });
  if (owner == mounts_.end()) return answer;
  const Result<Json> json = AskDaemon(run_dir_, *owner, request.ToJson(),
                                       PatienceFor(request.verb), progress_);
  if (json) return StoreAnswer::FromJson(*json);
  if (json.error().code != ErrorCode::kNotFound) answer.error = json.error();
  return answer;
}

}  // namespace quoin
