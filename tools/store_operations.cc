#include "tools/store_operations.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "blockstore/base/block.h"
#include "tools/byte_source.h"
#include "tools/facts_json.h"
#include "tools/units.h"

namespace quoin {
namespace {

// A name as it is shown: where the tree has it.
std::string Shown(const std::string& vdi) { return "vdis/" + vdi; }
std::string Shown(const std::string& vdi, const std::string& snapshot) {
  return vdi + "@" + snapshot;
}

Result<Id> FindVdi(Store& store, const std::string& name) {
  QUOIN_TRY(ValidateVdiName(name));
  QUOIN_ASSIGN(const NameFacts facts, store.Lookup(name));
  if (facts.is_folder) {
    return Fail(ErrorCode::kIsDirectory, fmt::format("{} is a folder, not a VDI", Shown(name)),
                fmt::format("quoin ls {}/ lists what is in it", name));
  }
  return facts.vdi;
}

// --- folders of a new name -----------------------------------------------------------------------

// Makes the folders of a name that are missing; takes those that it made away again unless the
// name came to be used.
class FoldersOfName {
 public:
  explicit FoldersOfName(Store& store) : store_(store) {}
  ~FoldersOfName() {
    if (used_) return;
    // A folder that another process has filled meanwhile is not empty and stays.
    for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) {
      (void)store_.RemoveFolder(*folder);
    }
  }
  FoldersOfName(const FoldersOfName&) = delete;
  FoldersOfName& operator=(const FoldersOfName&) = delete;

  Status Make(const std::string& name) {
    for (size_t slash = name.find('/'); slash != std::string::npos;
         slash = name.find('/', slash + 1)) {
      const std::string folder = name.substr(0, slash);
      const Status made = store_.MakeFolder(folder);
      if (made) {
        made_.push_back(folder);
      } else if (made.error().code != ErrorCode::kExists) {
        return made;
      }
    }
    return {};
  }
  void KeepThem() { used_ = true; }

 private:
  Store& store_;
  std::vector<std::string> made_;
  bool used_ = false;
};

Attributes AttributesFor(const StoreRequest& request) {
  Attributes attributes;
  attributes.uid = request.uid;
  attributes.gid = request.gid;
  const int64_t now = UnixNow();
  attributes.atime_ns = attributes.mtime_ns = attributes.ctime_ns = now;
  return attributes;
}

// --- VDIs ----------------------------------------------------------------------------------------

Result<Json> Create(Store& store, const StoreRequest& request) {
  QUOIN_TRY(ValidateVdiName(request.vdi));
  FoldersOfName folders(store);
  QUOIN_TRY(folders.Make(request.vdi));
  QUOIN_ASSIGN(const Id id,
               store.CreateVdi(request.vdi, request.size_bytes, AttributesFor(request)));
  folders.KeepThem();
  return Json{{"id", id.ToString()}};
}

// "cannot <act>: <what>"; what the storage itself refused speaks of paths inside the store, which
// say nothing to users without the act.
Error AsRefusal(const Store& store, Error error, const std::string& act) {
  if (error.what.find(store.root() + "/") == std::string::npos) {
    return InForm(std::move(error), act);
  }
  if (error.next.empty()) error.next = "quoin check shows what is wrong in the store";
  error.what = fmt::format("cannot {}: {}", act, error.what);
  return error;
}

// One VDI of a listing; a VDI that cannot be described is listed with its error.
Json ListedVdi(Store& store, const NamedVdi& vdi, bool details) {
  if (!details) return Json{{"name", vdi.name}, {"id", vdi.id.ToString()}};
  const Result<VdiInfo> info = store.Describe(vdi.id);
  if (info) return VdiJson(vdi.name, *info);
  return Json{{"name", vdi.name},
              {"id", vdi.id.ToString()},
              {"error", ToJson(AsRefusal(store, info.error(), "describe " + Shown(vdi.name)))}};
}

// The VDIs whose names begin with the request's text, and the damaged names among them.
Result<std::vector<NamedVdi>> FindVdis(Store& store, const std::string& prefix,
                                       std::vector<std::string>* damaged) {
  const auto begins_otherwise = [&](const std::string& name) { return !name.starts_with(prefix); };
  const size_t slash = prefix.rfind('/');
  // Only the folder part is walked; it need not exist, as the text is only a beginning.
  const std::string folder = slash == std::string::npos ? "" : prefix.substr(0, slash);
  Result<std::vector<NamedVdi>> vdis = store.ListAll(folder, damaged);
  if (!vdis) {
    if (folder.empty() || vdis.error().code != ErrorCode::kNotFound) return vdis;
    vdis = std::vector<NamedVdi>();
  }
  std::erase_if(*vdis, [&](const NamedVdi& vdi) { return begins_otherwise(vdi.name); });
  std::erase_if(*damaged, begins_otherwise);
  if (vdis->empty() && damaged->empty() && !prefix.empty()) {
    return Fail(ErrorCode::kNotFound, fmt::format("no VDI's name begins with '{}'", prefix),
                "quoin ls lists all VDIs");
  }
  std::sort(vdis->begin(), vdis->end(),
            [](const NamedVdi& a, const NamedVdi& b) { return a.name < b.name; });
  return vdis;
}

Result<Json> List(Store& store, const StoreRequest& request) {
  std::vector<std::string> damaged;
  QUOIN_ASSIGN(const std::vector<NamedVdi> vdis, FindVdis(store, request.vdi, &damaged));
  Json list = Json::array();
  for (const NamedVdi& vdi : vdis) list.push_back(ListedVdi(store, vdi, request.details));
  for (const std::string& name : damaged) {
    const Error error{
        ErrorCode::kCorrupt,
        fmt::format("cannot list {}: the file that holds its id is damaged", Shown(name)),
        "quoin check says which VDI has lost its name"};
    list.push_back(Json{{"name", name}, {"id", nullptr}, {"error", ToJson(error)}});
  }
  return list;
}

Result<Json> Info(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  if (!request.snapshot.empty()) {
    QUOIN_ASSIGN(const SnapshotRecord snapshot, store.FindSnapshot(id, request.snapshot));
    return SnapshotJson(request.vdi, snapshot);
  }
  QUOIN_ASSIGN(const VdiInfo info, store.Describe(id));
  return VdiJson(request.vdi, info);
}

Result<Json> Resize(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_ASSIGN(const VdiInfo info, store.Describe(id));
  if (request.size_bytes < info.size_bytes && !request.allow_shrink) {
    return Fail(
        ErrorCode::kInvalid,
        fmt::format("{} is less than its size of {}, and what lies beyond would be lost",
                    FormatSize(request.size_bytes), FormatSize(info.size_bytes)),
        fmt::format("to lose it: quoin resize {} {} --shrink", request.vdi, request.size_bytes));
  }
  QUOIN_TRY(store.ResizeVdi(id, request.size_bytes, request.allow_shrink,
                            /*through_handle=*/false));
  return Json{{"size_bytes", request.size_bytes}};
}

Result<Json> Remove(Store& store, const StoreRequest& request) {
  QUOIN_TRY(FindVdi(store, request.vdi));
  QUOIN_TRY(store.RemoveVdi(request.vdi, request.with_snapshots));
  return Json::object();
}

Result<Json> Rename(Store& store, const StoreRequest& request) {
  QUOIN_TRY(ValidateVdiName(request.vdi));
  QUOIN_TRY(ValidateVdiName(request.new_name));
  QUOIN_TRY(store.Lookup(request.vdi));
  if (store.Lookup(request.new_name)) {
    return Fail(ErrorCode::kExists, "the new name is taken", "quoin never replaces a VDI");
  }
  FoldersOfName folders(store);
  QUOIN_TRY(folders.Make(request.new_name));
  QUOIN_TRY(store.Rename(request.vdi, request.new_name));
  folders.KeepThem();
  return Json::object();
}

// --- snapshots -----------------------------------------------------------------------------------

Result<Json> CreateSnapshots(Store& store, const StoreRequest& request) {
  for (const SnapshotName& name : request.snapshots) QUOIN_TRY(FindVdi(store, name.vdi));
  QUOIN_TRY(store.CreateSnapshots(request.snapshots));
  return Json::object();
}

Result<Json> ListSnapshots(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_ASSIGN(const std::vector<SnapshotRecord> snapshots, store.ListSnapshots(id));
  Json list = Json::array();
  for (const SnapshotRecord& snapshot : snapshots) {
    list.push_back(SnapshotJson(request.vdi, snapshot));
  }
  return list;
}

Result<Json> RemoveSnapshot(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_TRY(store.RemoveSnapshot(id, request.snapshot));
  return Json::object();
}

Result<Json> RenameSnapshot(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_TRY(store.RenameSnapshot(id, request.snapshot, request.new_name));
  return Json::object();
}

Result<Json> ProtectSnapshot(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_TRY(store.ProtectSnapshot(id, request.snapshot, request.protect));
  return Json::object();
}

Result<Json> Clone(Store& store, const StoreRequest& request) {
  QUOIN_TRY(ValidateVdiName(request.new_name));
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  FoldersOfName folders(store);
  QUOIN_TRY(folders.Make(request.new_name));
  QUOIN_ASSIGN(const Id clone,
               store.CloneVdi(id, request.snapshot, request.new_name, AttributesFor(request)));
  folders.KeepThem();
  return Json{{"id", clone.ToString()}};
}

Result<Json> Rollback(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_ASSIGN(const std::string safety, store.Rollback(id, request.snapshot));
  return Json{{"safety_snapshot", safety}};
}

// --- packs ---------------------------------------------------------------------------------------

Json CountsJson(const SealCounts& counts) {
  return Json{{"read_bytes", counts.read_blocks * kBlockBytes},
              {"zero_bytes", counts.zero_blocks * kBlockBytes},
              {"kept_bytes", counts.kept_blocks * kBlockBytes},
              {"shared_bytes", counts.shared_blocks * kBlockBytes},
              {"stored_bytes", counts.stored_blocks * kBlockBytes},
              {"map_bytes", counts.node_bytes}};
}

Result<Json> Seal(Store& store, const StoreRequest& request, const ProgressSink& progress) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  uint64_t all_bytes = 0;
  const auto tell = [&](uint64_t done_blocks, uint64_t all_blocks) {
    all_bytes = all_blocks * kBlockBytes;
    if (progress) progress(done_blocks * kBlockBytes, all_bytes);
  };
  QUOIN_ASSIGN(const SealCounts counts, store.SealVdi(id, /*with_head=*/true, tell));
  if (progress && all_bytes > 0) progress(all_bytes, all_bytes);  // the end of it is told by nobody else
  return CountsJson(counts);
}

// The command opens the file where it runs; a daemon of this host reads the same path.
Result<Json> Import(Store& store, const StoreRequest& request, const ProgressSink& progress) {
  QUOIN_TRY(ValidateVdiName(request.vdi));
  QUOIN_ASSIGN(const std::unique_ptr<ByteSource> source, ByteSource::Open(request.path));
  FoldersOfName folders(store);
  QUOIN_TRY(folders.Make(request.vdi));
  uint64_t done_bytes = 0;
  const auto read = [&](std::span<std::byte> buffer) -> Result<size_t> {
    QUOIN_ASSIGN(const size_t n, source->Read(buffer));
    done_bytes += n;
    if (progress) progress(done_bytes, source->size_bytes());
    return n;
  };
  QUOIN_ASSIGN(const Id id, store.ImportVdi(request.vdi, request.size_bytes, AttributesFor(request),
                                            read));
  folders.KeepThem();
  if (progress && done_bytes > 0) progress(done_bytes, done_bytes);
  QUOIN_ASSIGN(const VdiInfo info, store.Describe(id));
  return VdiJson(request.vdi, info);
}

// --- garbage, space ------------------------------------------------------------------------------

Result<Json> Collect(Store& store, const StoreRequest& request) {
  CollectOptions options;
  options.dry_run = request.dry_run;
  options.grace = std::chrono::milliseconds(request.grace_ms);
  QUOIN_ASSIGN(const CollectReport report, store.Collect(options));
  using Milliseconds = std::chrono::duration<double, std::milli>;
  return Json{{"dry_run", request.dry_run},
              {"vdis", report.vdis},
              {"maps", report.maps},
              {"packs", report.packs},
              {"pack_bytes", report.pack_bytes},
              {"unreadable_packs", report.unreadable_packs},
              {"garbage_bytes", report.garbage_bytes},
              {"dead_packs", report.dead_packs},
              {"dead_pack_bytes", report.dead_pack_bytes},
              {"sparse_packs", report.sparse_packs},
              {"sparse_pack_dead_bytes", report.sparse_pack_dead_bytes},
              {"removed_packs", report.removed_packs},
              {"rewritten_packs", report.rewritten_packs},
              {"packs_without_room", report.packs_without_room},
              {"freed_bytes", report.freed_bytes},
              {"waiting_bytes", report.waiting_bytes},
              {"marked_blocks", report.blocks},
              {"mark_milliseconds", Milliseconds(report.mark_time).count()},
              {"hold_milliseconds", Milliseconds(report.hold_time).count()}};
}

Json SlotsJson(const DamagedSlots& slots) {
  return Json{{"pack", slots.pack.ToString()}, {"first", slots.first}, {"count", slots.count},
              {"kind", slots.are_records ? "records" : "blocks"}, {"mended", slots.is_mended}};
}

Result<Json> Scrub(Store& store, const StoreRequest& request, const ProgressSink& progress) {
  ScrubOptions options;
  options.dry_run = request.dry_run;
  options.progress = progress;
  if (!request.vdi.empty()) {
    QUOIN_ASSIGN(options.vdi, FindVdi(store, request.vdi));
  }
  if (!request.snapshot.empty()) {
    QUOIN_ASSIGN(const SnapshotRecord record, store.FindSnapshot(options.vdi, request.snapshot));
    options.snapshot = record.id;
  }
  QUOIN_ASSIGN(const ScrubReport report, store.Scrub(options));
  Json slots = Json::array();
  for (const DamagedSlots& each : report.slots) slots.push_back(SlotsJson(each));
  Json packs = Json::array();
  for (const DamagedPack& each : report.damaged_packs) {
    packs.push_back(
        Json{{"pack", each.pack.ToString()}, {"what", each.what}, {"mended", each.is_mended}});
  }
  Json ranges = Json::array();
  std::map<Id, std::string> names;
  for (const DamagedRange& each : report.ranges) {
    std::string& name = names[each.vdi];
    if (name.empty()) name = store.NameOf(each.vdi).value_or(each.vdi.ToString());
    ranges.push_back(Json{{"vdi", name},
                          {"snapshot", each.snapshot.empty() ? Json() : Json(each.snapshot)},
                          {"offset_bytes", each.offset_bytes},
                          {"length_bytes", each.length_bytes},
                          {"mended", each.is_mended}});
  }
  return Json{{"damaged", report.IsDamaged()},
              {"packs", report.packs},
              {"frames", report.frames},
              {"blocks", report.blocks},
              {"pack_bytes", report.bytes},
              {"unsealed_layers", report.unsealed_layers},
              {"damaged_slots", std::move(slots)},
              {"damaged_packs", std::move(packs)},
              {"damaged_ranges", std::move(ranges)},
              {"notes", report.notes}};
}

Result<Json> MeasureSpace(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const SpaceReport report, store.MeasureSpace(request.details));
  Json json{{"logical_bytes", report.logical_bytes},
            {"unique_bytes", report.unique_bytes},
            {"shared_bytes", report.shared_bytes},
            {"stored_bytes", report.stored_bytes},
            {"layer_bytes", report.layer_bytes},
            {"reclaimable_bytes", report.reclaimable_bytes},
            {"metadata_bytes", report.map_bytes + report.table_bytes + report.database_bytes},
            {"map_bytes", report.map_bytes},
            {"table_bytes", report.table_bytes},
            {"database_bytes", report.database_bytes},
            {"packs", report.packs},
            {"pack_bytes", report.pack_bytes}};
  if (!request.details) return json;
  Json list = Json::array();
  for (const VdiSpace& vdi : report.vdis) {
    Json snapshots = Json::array();
    for (const SnapshotSpace& snapshot : vdi.snapshots) {
      snapshots.push_back(Json{{"name", snapshot.name},
                               {"logical_bytes", snapshot.logical_bytes},
                               {"freed_bytes", snapshot.freed_bytes}});
    }
    list.push_back(Json{{"name", store.NameOf(vdi.id).value_or(vdi.id.ToString())},
                        {"id", vdi.id.ToString()},
                        {"logical_bytes", vdi.logical_bytes},
                        {"unique_bytes", vdi.unique_bytes},
                        {"layer_bytes", vdi.file_bytes},
                        {"snapshots", std::move(snapshots)}});
  }
  std::sort(list.begin(), list.end(),
            [](const Json& a, const Json& b) { return TextOf(a, "name") < TextOf(b, "name"); });
  json["vdis"] = std::move(list);
  return json;
}

// --- locks ---------------------------------------------------------------------------------------

Result<Json> ListLocks(Store& store, const StoreRequest& request) {
  std::vector<std::string> damaged;
  QUOIN_ASSIGN(const std::vector<NamedVdi> vdis, FindVdis(store, "", &damaged));
  Json list = Json::array();
  for (const NamedVdi& vdi : vdis) {
    const Result<LockStatus> status = store.InspectLock(vdi.id);
    if (!status) {
      const Error error =
          AsRefusal(store, status.error(), "look at the lock of " + Shown(vdi.name));
      list.push_back(Json{{"vdi", vdi.name}, {"state", "unknown"}, {"error", ToJson(error)}});
    } else if (request.all || status->held || status->damaged || !status->record.clean) {
      list.push_back(LockJson(vdi.name, *status));
    }
  }
  return list;
}

Result<Json> ShowLock(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_ASSIGN(const LockStatus status, store.InspectLock(id));
  return LockJson(request.vdi, status);
}

Result<Json> BreakLock(Store& store, const StoreRequest& request) {
  QUOIN_TRY(FindVdi(store, request.vdi));
  QUOIN_TRY(store.BreakLock(request.vdi));
  return Json::object();
}

Result<Json> GrantHandOver(Store& store, const StoreRequest& request) {
  QUOIN_ASSIGN(const Id id, FindVdi(store, request.vdi));
  QUOIN_TRY(store.GrantHandOver(id, std::chrono::milliseconds(request.duration_ms)));
  return Json::object();
}

Result<Json> DescribeCluster(Store& store, const StoreRequest&) {
  QUOIN_ASSIGN(const ClusterReport report, store.DescribeCluster());
  Json sessions = Json::array();
  for (const SessionReport& each : report.sessions) sessions.push_back(SessionJson(each));
  return Json{{"sessions", std::move(sessions)}, {"other_vdis", report.other_vdis}};
}

// --- the table -----------------------------------------------------------------------------------

struct Operation {
  std::string_view verb;
  Result<Json> (*run)(Store&, const StoreRequest&);
  std::string (*act)(const StoreRequest&);  // what cannot be done, in an error's first words
  // Instead of `run`: for work that takes as long as there is data.
  Result<Json> (*run_long)(Store&, const StoreRequest&, const ProgressSink&) = nullptr;
};

std::string ActOnSnapshots(const StoreRequest& request) {
  std::string names;
  for (const SnapshotName& name : request.snapshots) {
    if (!names.empty()) names += ", ";
    names += Shown(name.vdi, name.snapshot);
  }
  return "take snapshot " + names;
}

constexpr std::array kOperations = {
    Operation{"create", Create, [](const StoreRequest& r) { return "create " + Shown(r.vdi); }},
    Operation{"list", List,
              [](const StoreRequest& r) {
                return r.vdi.empty() ? std::string("list the VDIs") : "list " + r.vdi;
              }},
    Operation{"info", Info,
              [](const StoreRequest& r) {
                return "describe " + (r.snapshot.empty() ? Shown(r.vdi) : Shown(r.vdi, r.snapshot));
              }},
    Operation{"resize", Resize,
              [](const StoreRequest& r) {
                return fmt::format("resize {} to {}", Shown(r.vdi), FormatSize(r.size_bytes));
              }},
    Operation{"rm", Remove, [](const StoreRequest& r) { return "remove " + Shown(r.vdi); }},
    Operation{"mv", Rename,
              [](const StoreRequest& r) {
                return fmt::format("rename {} to {}", Shown(r.vdi), Shown(r.new_name));
              }},
    Operation{"snap create", CreateSnapshots, ActOnSnapshots},
    Operation{"snap ls", ListSnapshots,
              [](const StoreRequest& r) { return "list the snapshots of " + Shown(r.vdi); }},
    Operation{"snap rm", RemoveSnapshot,
              [](const StoreRequest& r) { return "remove " + Shown(r.vdi, r.snapshot); }},
    Operation{"snap rename", RenameSnapshot,
              [](const StoreRequest& r) {
                return fmt::format("rename {} to {}", Shown(r.vdi, r.snapshot), r.new_name);
              }},
    Operation{"snap protect", ProtectSnapshot,
              [](const StoreRequest& r) {
                return (r.protect ? "protect " : "unprotect ") + Shown(r.vdi, r.snapshot);
              }},
    Operation{"clone", Clone,
              [](const StoreRequest& r) {
                return fmt::format("clone {} as {}", Shown(r.vdi, r.snapshot), Shown(r.new_name));
              }},
    Operation{"rollback", Rollback,
              [](const StoreRequest& r) {
                return fmt::format("roll {} back to {}", Shown(r.vdi), r.snapshot);
              }},
    Operation{"seal", nullptr, [](const StoreRequest& r) { return "seal " + Shown(r.vdi); }, Seal},
    Operation{"import", nullptr,
              [](const StoreRequest& r) {
                return fmt::format("import {} as {}", r.path, Shown(r.vdi));
              },
              Import},
    Operation{"scrub", nullptr,
              [](const StoreRequest& r) -> std::string {
                if (r.vdi.empty()) return "scrub the store";
                return "scrub " + (r.snapshot.empty() ? Shown(r.vdi) : Shown(r.vdi, r.snapshot));
              },
              Scrub},
    Operation{"gc", Collect, [](const StoreRequest&) { return std::string("collect garbage"); }},
    Operation{"df", MeasureSpace,
              [](const StoreRequest&) { return std::string("measure what takes space"); }},
    Operation{"cluster", DescribeCluster,
              [](const StoreRequest&) { return std::string("look at the store's hosts"); }},
    Operation{"lock ls", ListLocks, [](const StoreRequest&) { return std::string("list locks"); }},
    Operation{"lock show", ShowLock,
              [](const StoreRequest& r) { return "show the lock of " + Shown(r.vdi); }},
    Operation{"lock break", BreakLock,
              [](const StoreRequest& r) { return "break the lock of " + Shown(r.vdi); }},
    Operation{"lock grant", GrantHandOver,
              [](const StoreRequest& r) { return "grant a hand-over of " + Shown(r.vdi); }},
};

// The session that owns a VDI of the request and is not this store's own; "" if there is none.
std::string OtherOwner(Store& store, const StoreRequest& request) {
  std::vector<std::string> names;
  if (!request.vdi.empty()) names.push_back(request.vdi);
  for (const SnapshotName& name : request.snapshots) names.push_back(name.vdi);
  for (const std::string& name : names) {
    const Result<NameFacts> facts = store.Lookup(name);
    if (!facts || facts->is_folder) continue;
    const Result<LockStatus> lock = store.InspectLock(facts->vdi);
    if (!lock || !lock->held || lock->damaged) continue;
    const LockRecord& owner = lock->record;
    const bool same_machine = owner.host == store.self().host && owner.boot == store.self().boot;
    if (same_machine && owner.session != store.self().session) return owner.session.ToString();
  }
  return {};
}

}  // namespace

Error InForm(Error error, const std::string& act) {
  if (!error.what.starts_with("cannot ")) {
    error.what = fmt::format("cannot {}: {}", act, error.what);
  }
  return error;
}

StoreAnswer RunStoreRequest(Store& store, const StoreRequest& request,
                            const ProgressSink& progress) {
  StoreAnswer answer;
  const auto* operation =
      std::find_if(kOperations.begin(), kOperations.end(),
                   [&](const Operation& candidate) { return candidate.verb == request.verb; });
  if (operation == kOperations.end()) {
    answer.error = Error{
        ErrorCode::kUnsupported,
        fmt::format("cannot do '{}': quoin {} does not know it", request.verb, QUOIN_VERSION)};
    return answer;
  }
  Result<Json> result = operation->run_long != nullptr
                            ? operation->run_long(store, request, progress)
                            : operation->run(store, request);
  if (result) {
    answer.result = std::move(*result);
    if (request.verb == "info") answer.owner_session = OtherOwner(store, request);
    return answer;
  }
  answer.error = AsRefusal(store, std::move(result).error(), operation->act(request));
  if (answer.error->code == ErrorCode::kBusy) answer.owner_session = OtherOwner(store, request);
  return answer;
}

}  // namespace quoin
