#include "tools/verbs_rebuild.h"

#include <fmt/format.h>

#include <memory>

#include "blockstore/base/posix_file_system.h"
#include "metadata/host.h"
#include "metadata/superblock.h"
#include "snapshots/store_rebuild.h"
#include "tools/control_client.h"
#include "tools/mount_record.h"
#include "tools/store_operations.h"
#include "tools/table.h"
#include "tools/target.h"

namespace quoin {
namespace {

// A daemon would not know of what changes under it, and its superblock may be what is missing.
Status RequireUnmounted(FileSystem& file_system, const std::string& root) {
  const Result<Superblock> superblock = ReadSuperblock(file_system, root);
  const std::string id = superblock ? superblock->store_id.ToString() : "";
  const std::string run_dir = DefaultRunDir();
  for (const MountRecord& mount : ReadMountRecords(run_dir)) {
    if (mount.store != root && mount.store_id != id) continue;
    const Result<Json> status = AskDaemon(run_dir, mount, StatusRequest(), kStatusPatience);
    if (!status && status.error().code == ErrorCode::kNotFound) continue;
    return Fail(ErrorCode::kBusy, fmt::format("it is mounted on {}", mount.mount_point),
                fmt::format("quoin unmount {}", mount.mount_point));
  }
  return {};
}

Json ReportJson(const RebuildReport& report, bool dry_run) {
  Json vdis = Json::array();
  for (const RebuiltVdi& vdi : report.vdis) {
    vdis.push_back(Json{{"name", vdi.name},
                        {"id", vdi.id.ToString()},
                        {"snapshots", vdi.snapshots},
                        {"only_name", vdi.only_name},
                        {"was_damaged", vdi.was_damaged}});
  }
  Json left_out = Json::array();
  for (const LeftOut& left : report.left_out) {
    left_out.push_back(
        Json{{"object", left.object}, {"why", left.why}, {"damaged", left.is_damage}});
  }
  return Json{{"dry_run", dry_run},
              {"new_superblock", report.new_superblock},
              {"packs", report.packs},
              {"root_records", report.records},
              {"vdis", std::move(vdis)},
              {"damaged", report.IsDamaged()},
              {"left_out", std::move(left_out)}};
}

std::string WhatIsDone(const RebuiltVdi& vdi) {
  if (vdi.only_name) return "named again";
  return vdi.was_damaged ? "rebuilt, the old folder put aside" : "rebuilt";
}

void PrintReport(const RebuildReport& report, bool dry_run) {
  Table table({{"NAME"}, {"ID"}, {"SNAPSHOTS", Table::Align::kRight}, {dry_run ? "PLAN" : "DONE"}});
  for (const RebuiltVdi& vdi : report.vdis) {
    table.AddRow({vdi.name, vdi.id.ToString(), std::to_string(vdi.snapshots), WhatIsDone(vdi)});
  }
  table.Print();
  for (const LeftOut& left : report.left_out) {
    fmt::print("{}: {}: {}\n", left.is_damage ? "damage" : "left out", left.object, left.why);
  }
  if (report.IsDamaged()) {
    fmt::print(
        "  packs that may come from a backup are to be put back before: what was left out is "
        "garbage afterwards\n");
  }
  fmt::print("{} VDIs {}rebuilt, from {} root records in {} packs{}\n", report.vdis.size(),
             dry_run ? "would be " : "", report.records, report.packs,
             report.new_superblock ? "; the store's superblock is new" : "");
}

int Rebuild(const Invocation& invocation, bool dry_run) {
  const Result<Target> target = ChooseTarget(invocation.store, {});
  if (!target) return ReportUsage(target.error(), "rebuild a store");
  PosixFileSystem file_system;
  const auto run = [&]() -> Result<RebuildReport> {
    if (!dry_run) QUOIN_TRY(RequireUnmounted(file_system, target->root));
    QUOIN_ASSIGN(HostIdentity self, LoadHostIdentity(DefaultStateDir(), QUOIN_VERSION));
    RebuildOptions options;
    options.dry_run = dry_run;
    return StoreRebuild(file_system, target->root, std::move(self), std::move(options)).Run();
  };
  const Result<RebuildReport> report = run();
  if (!report) return Report(InForm(report.error(), "rebuild " + target->root), kFailed);
  if (invocation.json) {
    PrintJson(ReportJson(*report, dry_run));
  } else {
    PrintReport(*report, dry_run);
  }
  return report->IsDamaged() ? kFailed : kDone;
}

}  // namespace

void AddRebuildVerb(CLI::App& app, Invocation& invocation) {
  const auto dry_run = std::make_shared<bool>(false);
  CLI::App* rebuild =
      AddVerb(app, invocation, "rebuild", "Make again, of its packs, what a store has lost");
  rebuild->add_flag("--dry-run", *dry_run, "Say what would be made, change nothing");
  AddJsonOption(*rebuild, invocation);
  SetAction(*rebuild, invocation, [&invocation, dry_run] { return Rebuild(invocation, *dry_run); });
}

}  // namespace quoin
