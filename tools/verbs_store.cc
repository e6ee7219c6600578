#include "tools/verbs_store.h"

#include <fmt/format.h>

#include <boost/filesystem.hpp>
#include <memory>

#include "blockstore/base/posix_file_system.h"
#include "metadata/reserve_file.h"
#include "metadata/superblock.h"
#include "snapshots/store_check.h"
#include "tools/store_operations.h"
#include "tools/target.h"

namespace quoin {
namespace {

// --- init ----------------------------------------------------------------------------------------

int Initialise(const std::string& directory, const std::string& compression) {
  PosixFileSystem file_system;
  const std::string root = RealPath(directory);
  const Result<Superblock> made = InitialiseStore(file_system, root, compression);
  if (made) {
    // Without it the store is as good, until it is full.
    (void)MakeReserve(file_system, StoreLayout(root), kReserveBytes);
    return kDone;
  }
  return Report(InForm(made.error(), "make a store in " + root), kFailed);
}

// --- check ---------------------------------------------------------------------------------------

Json CheckJson(const CheckReport& report) {
  Json findings = Json::array();
  for (const Finding& finding : report.findings) {
    findings.push_back(Json{{"severity", ToWord(finding.severity)},
                            {"object", finding.object},
                            {"what", finding.what},
                            {"next", finding.next}});
  }
  return Json{{"vdis", report.vdis},
              {"snapshots", report.snapshots},
              {"layers", report.layers},
              {"damaged", report.IsDamaged()},
              {"findings", std::move(findings)}};
}

void PrintCheck(const CheckReport& report) {
  for (const Finding& finding : report.findings) {
    fmt::print("{}: {}: {}\n", ToWord(finding.severity), finding.object, finding.what);
    if (!finding.next.empty()) fmt::print("  {}\n", finding.next);
  }
  fmt::print("{} VDIs, {} snapshots, {} layers: {}\n", report.vdis, report.snapshots, report.layers,
             report.IsDamaged() ? "damaged" : "no damage");
}

int Check(const Invocation& invocation) {
  const Result<Target> target = ChooseTarget(invocation.store, {});
  if (!target) return ReportUsage(target.error(), "check a store");
  PosixFileSystem file_system;
  boost::system::error_code error;
  const boost::filesystem::path scratch =
      boost::filesystem::temp_directory_path(error) / ("quoin-check-" + Id::Random().ToString());
  if (!error) boost::filesystem::create_directory(scratch, error);
  if (error) {
    return Report(
        Error{ErrorCode::kIo, "cannot make a folder for copies of databases: " + error.message(),
              "name a folder with room by TMPDIR"},
        kFailed);
  }
  StoreCheck check(file_system, target->root, file_system, scratch.string());
  const Result<CheckReport> report = check.Run();
  boost::filesystem::remove_all(scratch, error);
  if (!report) return Report(InForm(report.error(), "check " + target->root), kFailed);
  if (invocation.json) {
    PrintJson(CheckJson(*report));
  } else {
    PrintCheck(*report);
  }
  return report->IsDamaged() ? kFailed : kDone;
}

}  // namespace

void AddStoreVerbs(CLI::App& app, Invocation& invocation) {
  const auto directory = std::make_shared<std::string>();
  const auto compression = std::make_shared<std::string>("lz4");
  CLI::App* init = AddVerb(app, invocation, "init", "Make a store");
  init->add_option("DIR", *directory, "An empty folder, or one to make")->required();
  init->add_option("--compression", *compression, "Of packs")
      ->check(CLI::IsMember({"lz4", "zstd", "none"}))
      ->capture_default_str();
  SetAction(*init, invocation,
            [directory, compression] { return Initialise(*directory, *compression); });

  CLI::App* check =
      AddVerb(app, invocation, "check", "Verify every invariant of a store, changing nothing");
  AddJsonOption(*check, invocation);
  SetAction(*check, invocation, [&invocation] { return Check(invocation); });
}

}  // namespace quoin
