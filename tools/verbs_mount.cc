#include "tools/verbs_mount.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "blockstore/base/posix_file_system.h"
#include "metadata/host.h"
#include "tools/control_client.h"
#include "tools/daemon.h"
#include "tools/daemon_start.h"
#include "tools/facts_text.h"
#include "tools/keeper.h"
#include "tools/keeper_record.h"
#include "tools/probe_processes.h"
#include "tools/reload.h"
#include "tools/storage_advice.h"
#include "tools/store_operations.h"
#include "tools/target.h"
#include "tools/unmount.h"

namespace quoin {
namespace {

// --- status --------------------------------------------------------------------------------------

// What the daemon of a mount says of it; nothing if there is no such daemon any more.
std::optional<Json> StatusOf(const std::string& run_dir, const MountRecord& record) {
  const Result<Json> json = AskDaemon(run_dir, record, StatusRequest(), kStatusPatience);
  if (!json && json.error().code == ErrorCode::kNotFound) return std::nullopt;
  if (json) {
    const StoreAnswer answer = StoreAnswer::FromJson(*json);
    if (!answer.error && answer.result.is_object()) return answer.result;
  }
  Json status = record.ToJson();
  status["state"] = "not answering";
  status["vdis_open"] = nullptr;
  return status;
}

// What the keeper of a mount says of it while no daemon does; nothing if it is gone too.
std::optional<Json> StatusOf(const std::string& run_dir, const KeeperRecord& keeper) {
  const Result<Json> answer =
      AskKeeper(run_dir, keeper, Json{{"verb", "status"}}, kStatusPatience);
  if (!answer || !answer->contains("result")) return std::nullopt;
  const Json& told = (*answer)["result"];
  Json status{{"store", keeper.store}, {"store_id", keeper.store_id}};
  status["mountpoint"] = keeper.mount_point;
  for (const char* key : {"daemon_pid", "keeper_pid"}) status[key] = told.value(key, Json(nullptr));
  status["session"] = nullptr;
  status["version"] = told.value("version", Json(nullptr));
  status["since"] = nullptr;
  for (const char* key : {"log", "state", "restarts", "last_end", "last_error"}) {
    status[key] = told.value(key, Json(nullptr));
  }
  // A daemon that has just come up, and that had no record yet when those were read.
  if (TextOf(status, "state") == "mounted") status["state"] = "restarting";
  status["vdis_open"] = nullptr;
  return status;
}

// A mounted tree without a record here: "dead" if its daemon is gone, "unknown" if somebody answers
// or hangs there (a daemon that keeps its record elsewhere). Asked by a child process, which may
// have to be given up.
std::string StateWithoutRecord(const std::string& mount_point) {
  constexpr int kGone = 3;
  ChildProcess child([&] {
    struct statvfs facts = {};
    return statvfs(mount_point.c_str(), &facts) != 0 && errno == ENOTCONN ? kGone : 0;
  });
  return child.AwaitEnd(kStatusPatience) == kGone ? "dead" : "unknown";
}

// Every mounted tree of this host; a mount whose daemon died is among them.
Json AllStatus() {
  const std::string run_dir = DefaultRunDir();
  Json list = Json::array();
  std::vector<std::string> unrecorded = MountedTrees();
  for (const MountRecord& record : ReadMountRecords(run_dir)) {
    const std::optional<Json> status = StatusOf(run_dir, record);
    if (!status) continue;
    list.push_back(*status);
    std::erase(unrecorded, record.mount_point);
  }
  for (const KeeperRecord& keeper : ReadKeeperRecords(run_dir)) {
    if (std::erase(unrecorded, keeper.mount_point) == 0) {  // its daemon has answered, or it has gone
      if (DescribeProcess(keeper.keeper_pid).empty()) RemoveKeeperRecord(run_dir, keeper.id);
      continue;
    }
    const std::optional<Json> status = StatusOf(run_dir, keeper);
    if (status) {
      list.push_back(*status);
    } else {
      unrecorded.push_back(keeper.mount_point);
    }
  }
  for (const std::string& mount_point : unrecorded) {
    list.push_back(Json{{"store", nullptr},
                        {"store_id", nullptr},
                        {"mountpoint", mount_point},
                        {"daemon_pid", nullptr},
                        {"keeper_pid", nullptr},
                        {"session", nullptr},
                        {"version", nullptr},
                        {"since", nullptr},
                        {"log", nullptr},
                        {"state", StateWithoutRecord(mount_point)},
                        {"vdis_open", nullptr}});
  }
  return list;
}

// Of one mount; empty if nothing is mounted there.
Json StatusOf(const std::string& mount) {
  const std::string normal = NormalPath(mount);
  Json chosen = Json::array();
  for (const Json& status : AllStatus()) {
    const std::string mount_point = TextOf(status, "mountpoint");
    if (mount_point == normal || mount_point == MountPointPath(mount)) chosen.push_back(status);
  }
  return chosen;
}

int ReportNotMounted(const std::string& mount) {
  return Report(Error{ErrorCode::kNotFound,
                      fmt::format("cannot show the status of {}: no tree is mounted there",
                                  NormalPath(mount)),
                      "quoin status lists the mounted trees"},
                kFailed);
}

int ShowStatus(const Invocation& invocation, const std::string& mount) {
  const Json list = mount.empty() ? AllStatus() : StatusOf(mount);
  if (!mount.empty() && list.empty()) return ReportNotMounted(mount);
  if (invocation.json) {
    PrintJson(list);
  } else {
    PrintMountTable(list);
  }
  return kDone;
}

int ShowCluster(const Invocation& invocation, const std::string& mount) {
  std::string root;
  if (mount.empty()) {
    const Result<Target> target = ChooseTarget(invocation.store, {});
    if (!target) return ReportUsage(target.error(), "look at a store's hosts");
    root = target->root;
  } else {
    const Json mounts = StatusOf(mount);
    if (mounts.empty() || TextOf(mounts.front(), "store").empty()) return ReportNotMounted(mount);
    root = TextOf(mounts.front(), "store");
  }
  StoreRequest request;
  request.verb = "cluster";
  return RunRequest(root, request, [&](const Json& facts) {
    if (invocation.json) {
      PrintJson(facts);
    } else {
      PrintClusterTable(facts);
    }
    return kDone;
  });
}

// --- mount, unmount ------------------------------------------------------------------------------

void WarnOfStorage(const std::string& root) {
  PosixFileSystem file_system;
  for (const std::string& line : AdviseOnStorage(file_system, root, StorageKindOf(root))) {
    fmt::print(stderr, "quoin: warning: {}\n", line);
  }
}

int Mount(DaemonOptions options) {
  const std::string act = fmt::format("mount {} on {}", options.store, options.mount_point);
  options.store = RealPath(options.store);
  options.mount_point = MountPointPath(options.mount_point);
  if (!options.log.empty()) options.log = NormalPath(options.log);
  if (IsWithin(options.mount_point, options.store)) {
    return ReportUsage(Error{ErrorCode::kInvalid, "a tree cannot be mounted inside its own store",
                             "choose a mount point outside the store"},
                       act);
  }
  // The daemon says it in its log, which may be the terminal; in the foreground it ends before this returns.
  if (options.foreground && !options.log.empty()) WarnOfStorage(options.store);
  const Status mounted = MountTree(options);
  if (mounted && !options.foreground) WarnOfStorage(options.store);
  return mounted ? kDone : Report(mounted.error(), kFailed);
}

int Unmount(const std::string& mount) {
  const Status unmounted = UnmountTree(mount);
  return unmounted ? kDone : Report(unmounted.error(), kFailed);
}

int Reload(const Invocation& invocation, const std::string& mount) {
  const Result<Json> reloaded = ReloadMount(mount);
  if (!reloaded) return Report(reloaded.error(), kFailed);
  if (invocation.json) {
    PrintJson(*reloaded);
    return kDone;
  }
  const std::string before = TextOf(*reloaded, "version_before", "none");
  fmt::print("{} is served by version {} (pid {}); before: {}\n", MountPointPath(mount),
             TextOf(*reloaded, "version"), NumberOf(*reloaded, "daemon_pid"), before);
  return kDone;
}

// Not for people: what a keeper executes.
void AddKeeperVerbs(CLI::App& app, Invocation& invocation) {
  const auto text = std::make_shared<std::string>();
  const auto add = [&](const char* name, int (*run)(const std::string&)) {
    CLI::App* const verb = app.add_subcommand(name, "For the keeper of a mount")->group("");
    verb->add_option("TEXT", *text)->required();
    SetAction(*verb, invocation, [text, run] { return run(*text); });
  };
  add(kServeVerb, ServeForKeeper);
  add(kKeepVerb, ContinueKeeping);
}

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxOwnershipWaitSeconds = 3600;
// A tenth of the lease is what a storage may take to show one host's change to another.
constexpr unsigned kMinLeaseSeconds = 1;
constexpr unsigned kMaxLeaseSeconds = 3600;

// A sixteenth of the machine's memory: enough that what several guests read stays decompressed, and little
// beside what they use themselves. It is taken only as packs are read.
unsigned DefaultCacheMebibytes() {
  constexpr uint64_t kShare = 16;
  constexpr uint64_t kLeast = 256;
  constexpr uint64_t kMost = 2048;
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return kLeast;
  const uint64_t mebibytes = (static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes)) >> 20;
  return static_cast<unsigned>(std::clamp(mebibytes / kShare, kLeast, kMost));
}

}  // namespace

void AddMountVerbs(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<DaemonOptions>();
  const auto wait_seconds = std::make_shared<unsigned>(3);
  CLI::App* mount = AddVerb(app, invocation, "mount", "Show a store as a tree of files");
  mount->add_option("DIR", options->store, "The store's folder")->required();
  mount->add_option("MOUNT", options->mount_point, "An empty folder")->required();
  mount->add_flag("-f,--foreground", options->foreground, "Stay in the foreground, log here");
  mount->add_option("--threads", options->threads, "How many threads answer; 0 chooses")
      ->check(CLI::Range(0U, kMaxThreads));
  mount->add_option("--log", options->log, "Where to log")->type_name("FILE");
  mount
      ->add_option("--ownership-wait", *wait_seconds,
                   "Seconds that an open for writing waits for another owner")
      ->check(CLI::Range(0U, kMaxOwnershipWaitSeconds))
      ->capture_default_str();
  const auto lease_seconds = std::make_shared<unsigned>(10);
  mount
      ->add_option("--lease", *lease_seconds,
                   "Seconds without a sign of life after which others may take over from this host")
      ->check(CLI::Range(kMinLeaseSeconds, kMaxLeaseSeconds))
      ->capture_default_str();
  const auto seal_seconds = std::make_shared<unsigned>(5);
  const auto cache_mebibytes = std::make_shared<unsigned>(DefaultCacheMebibytes());
  mount
      ->add_option("--seal-after", *seal_seconds,
                   "Seconds after a VDI's newest snapshot until it is moved into packs")
      ->type_name("SECONDS");
  mount->add_flag("--keeper,!--no-keeper", options->keeper,
                  "Start the daemon again when it dies, and let it be replaced (on trial)");
  mount->add_flag("!--no-sealing", options->seals, "Move nothing into packs unless asked to");
  mount->add_option("--cache", *cache_mebibytes, "Memory for what is read from packs, in MiB")
      ->type_name("MIB")
      ->capture_default_str();
  SetAction(*mount, invocation,
            [options, wait_seconds, lease_seconds, seal_seconds, cache_mebibytes] {
              options->seal_delay = std::chrono::seconds(*seal_seconds);
              options->cache_bytes = uint64_t{*cache_mebibytes} << 20;
              options->ownership_wait = std::chrono::seconds(*wait_seconds);
              options->lease = std::chrono::seconds(*lease_seconds);
              return Mount(*options);
            });

  const auto mount_point = std::make_shared<std::string>();
  CLI::App* unmount =
      AddVerb(app, invocation, "unmount", "Unmount a tree; returns when its daemon has let go");
  unmount->add_option("MOUNT", *mount_point, "The mount point")->required();
  SetAction(*unmount, invocation, [mount_point] { return Unmount(*mount_point); });

  CLI::App* reload = AddVerb(
      app, invocation, "reload",
      "Replace a tree's daemon by the quoin that is installed now; guests keep running");
  reload->add_option("MOUNT", *mount_point, "The mount point")->required();
  AddJsonOption(*reload, invocation);
  SetAction(*reload, invocation,
            [&invocation, mount_point] { return Reload(invocation, *mount_point); });
  AddKeeperVerbs(app, invocation);

  CLI::App* status = AddVerb(app, invocation, "status", "Show the trees mounted on this host");
  status->add_option("MOUNT", *mount_point, "Only this one");
  const auto cluster = std::make_shared<bool>(false);
  status->add_flag("--cluster", *cluster, "All hosts that use the store, and which VDIs they own");
  AddJsonOption(*status, invocation);
  SetAction(*status, invocation, [&invocation, mount_point, cluster] {
    return *cluster ? ShowCluster(invocation, *mount_point) : ShowStatus(invocation, *mount_point);
  });
}

}  // namespace quoin
