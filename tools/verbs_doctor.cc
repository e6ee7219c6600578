#include "tools/verbs_doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <boost/filesystem.hpp>
#include <memory>
#include <optional>

#include "blockstore/base/posix_file_system.h"
#include "metadata/storage_findings.h"
#include "metadata/superblock.h"
#include "tools/storage_kind.h"
#include "tools/storage_probes.h"
#include "tools/store_operations.h"
#include "tools/table.h"
#include "tools/target.h"
#include "tools/units.h"

namespace quoin {
namespace {

struct DoctorOptions {
  std::string directory;
  std::string second;  // "": none
  std::string fences;  // "yes", "no", "unknown"; "": not said
};

// What one run has found, and where that is kept.
struct Diagnosis {
  StorageReport report;
  StorageKind kind;
  StorageFindings findings;
  std::string kept;       // the file; "" if nowhere
  std::string not_kept;   // why not
  std::optional<Error> failure;  // it should have been kept
};

// --- fencing -------------------------------------------------------------------------------------

// What the administrator says now, or has said before; else what is known.
Status DecideFencing(const std::string& said, const std::optional<StorageFindings>& before,
                     const StorageKind& kind, StorageFindings& findings) {
  const Fencing known = KnownFencing(kind);
  if (said == ToWord(Fencing::kYes) && known == Fencing::kNo) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("{} does not fence: what a stale host writes through a descriptor that has no "
                            "lock was measured to arrive",
                            kind.filesystem),
                "leave --fences out; a take-over then copies what the old owner could still write");
  }
  findings.fencing = known;
  findings.fencing_is_stated = false;
  if (said == ToWord(Fencing::kYes) || said == ToWord(Fencing::kNo)) {
    findings.fencing = said == ToWord(Fencing::kYes) ? Fencing::kYes : Fencing::kNo;
    findings.fencing_is_stated = true;
  } else if (said.empty() && before && before->fencing_is_stated &&
             !(before->fencing == Fencing::kYes && known == Fencing::kNo)) {
    findings.fencing = before->fencing;
    findings.fencing_is_stated = true;
  }
  return {};
}

std::string DescribeFencing(const StorageFindings& findings) {
  const char* const by = findings.fencing_is_stated ? "as its administrator says" : "as is known of it";
  switch (findings.fencing) {
    case Fencing::kYes:
      return fmt::format("yes, {}: a head is not copied when its owner has lost its lock", by);
    case Fencing::kNo:
      return fmt::format("no, {}: a take-over copies the head first", by);
    case Fencing::kOneHost:
      return "one host only can have it mounted, so there is none to be fenced";
    case Fencing::kUnknown:
      return "unknown, which counts as no: a take-over copies the head first (--fences yes|no states it)";
  }
  return "";
}

// --- keeping -------------------------------------------------------------------------------------

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

void FillFindings(Diagnosis& diagnosis) {
  StorageFindings& findings = diagnosis.findings;
  findings.examined = FormatUtcSeconds(UnixNowSeconds());
  findings.host_name = HostName();
  findings.filesystem = diagnosis.kind.filesystem;
  findings.between_clients = diagnosis.report.clients == Clients::kTwo;
  for (const ProbeReport& report : diagnosis.report.probes) {
    findings.findings.push_back({report.probe, report.verdict, report.found, report.guarantee});
  }
}

// The store that the folder is, or lies in; "" with the reason if there is none.
std::string StoreOf(FileSystem& file_system, const std::string& directory, std::string* why_none) {
  std::string root = StoreAround(directory);
  if (root.empty()) {
    *why_none = fmt::format("{} lies in no store", directory);
    return root;
  }
  const Result<Superblock> superblock = ReadSuperblock(file_system, root);
  if (superblock) return root;
  *why_none = superblock.error().what;
  return {};
}

Result<Diagnosis> Diagnose(const DoctorOptions& options) {
  PosixFileSystem file_system;
  Diagnosis diagnosis;
  diagnosis.kind = StorageKindOf(options.directory);
  const std::string store = StoreOf(file_system, options.directory, &diagnosis.not_kept);
  std::optional<StorageFindings> before;
  if (!store.empty()) {
    Result<StorageFindings> read = ReadStorageFindings(file_system, StoreLayout(store));
    if (read) before = std::move(*read);
  }
  QUOIN_TRY(DecideFencing(options.fences, before, diagnosis.kind, diagnosis.findings));
  QUOIN_ASSIGN(diagnosis.report, ProbeStorage(options.directory, options.second));
  FillFindings(diagnosis);
  if (store.empty()) return diagnosis;
  const StoreLayout layout(store);
  if (const Status kept = KeepStorageFindings(file_system, layout, diagnosis.findings); !kept) {
    diagnosis.not_kept = kept.error().what;
    diagnosis.failure = InForm(kept.error(), "keep what was found of " + options.directory);
  } else {
    diagnosis.kept = layout.StorageFindings();
  }
  return diagnosis;
}

// --- printing ------------------------------------------------------------------------------------

Json TextOrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json ProbeJson(const ProbeReport& report) {
  Json measured = Json::object();
  for (const Measurement& measurement : report.measured) {
    measured[measurement.name] = measurement.value;
  }
  return Json{{"probe", report.probe},
              {"verdict", ToWord(report.verdict)},
              {"found", report.found},
              {"guarantee", TextOrNull(report.guarantee)},
              {"measured", std::move(measured)}};
}

const char* ToWord(Clients clients) {
  switch (clients) {
    case Clients::kOne:
      return "one";
    case Clients::kSameClient:
      return "same";
    case Clients::kTwo:
      return "two";
  }
  return "one";
}

Json DiagnosisJson(const DoctorOptions& options, const Diagnosis& diagnosis) {
  Json probes = Json::array();
  for (const ProbeReport& report : diagnosis.report.probes) probes.push_back(ProbeJson(report));
  return Json{{"directory", options.directory},
              {"second", TextOrNull(options.second)},
              {"clients", ToWord(diagnosis.report.clients)},
              {"filesystem", diagnosis.kind.filesystem},
              {"fences", ToWord(diagnosis.findings.fencing)},
              {"fences_stated", diagnosis.findings.fencing_is_stated},
              {"kept", TextOrNull(diagnosis.kept)},
              {"probes", std::move(probes)}};
}

void PrintDiagnosis(const Diagnosis& diagnosis) {
  Table table({{"PROBE"}, {"VERDICT"}, {"FOUND"}});
  for (const ProbeReport& report : diagnosis.report.probes) {
    table.AddRow({report.probe, std::string(ToWord(report.verdict)), report.found});
    if (report.guarantee.empty()) continue;
    const bool falls = report.verdict == ProbeVerdict::kBad;
    table.AddRow({"", "", (falls ? "falls: " : "lacks: ") + report.guarantee});
  }
  table.Print();
  fmt::print("\n");
  const std::string& source = diagnosis.kind.source;
  PrintFacts({{"storage", diagnosis.kind.filesystem + (source.empty() ? "" : " on " + source)},
              {"fences", DescribeFencing(diagnosis.findings)},
              {"kept in", diagnosis.kept.empty() ? "nowhere: " + diagnosis.not_kept
                                                 : diagnosis.kept}});
}

int Examine(const Invocation& invocation, DoctorOptions options) {
  options.directory = RealPath(options.directory);
  if (!options.second.empty()) options.second = NormalPath(options.second);
  const Result<Diagnosis> diagnosis = Diagnose(options);
  if (!diagnosis) return Report(InForm(diagnosis.error(), "examine " + options.directory), kFailed);
  if (invocation.json) {
    PrintJson(DiagnosisJson(options, *diagnosis));
  } else {
    PrintDiagnosis(*diagnosis);
  }
  int status = kDone;
  if (diagnosis->failure) status = Report(*diagnosis->failure, kFailed);
  for (const ProbeReport& report : diagnosis->report.probes) {
    if (report.verdict != ProbeVerdict::kBad) continue;
    return Report(Error{ErrorCode::kUnsupported,
                        fmt::format("cannot trust {} with a store: {}: {}", options.directory,
                                    report.probe, report.found),
                        "falls: " + report.guarantee},
                  kFailed);
  }
  return status;
}

}  // namespace

void AddDoctorVerb(CLI::App& app, Invocation& invocation) {
  const auto options = std::make_shared<DoctorOptions>();
  CLI::App* doctor =
      AddVerb(app, invocation, "doctor", "Examine whether storage is fit for a store");
  doctor->add_option("DIR", options->directory, "A folder on that storage, or a store")->required();
  doctor
      ->add_option("--second", options->second,
                   "The same folder through another mount of the storage, as another host sees it")
      ->type_name("DIR2");
  doctor
      ->add_option("--fences", options->fences,
                   "Whether the storage shuts a host that it has lost sight of out of everything: kept, "
                   "and not probed")
      ->check(CLI::IsMember({"yes", "no", "unknown"}));
  AddJsonOption(*doctor, invocation);
  SetAction(*doctor, invocation, [&invocation, options] { return Examine(invocation, *options); });
}

}  // namespace quoin
