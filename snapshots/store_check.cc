#include "snapshots/store_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "metadata/superblock.h"
#include "snapshots/vdi_check.h"

namespace quoin {
namespace {

constexpr std::string_view kNewSuffix = ".new";
constexpr std::string_view kRemovedSuffix = ".removed";
constexpr std::string_view kDamagedSuffix = ".damaged";
constexpr std::string_view kRebuiltSuffix = ".rebuilt";
constexpr const char* kSweptNext = "the next opening of the store clears it away";

}  // namespace

std::string_view ToWord(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "note";
    case Severity::kWarning:
      return "warning";
    case Severity::kDamage:
      return "damage";
  }
  return "damage";
}

bool CheckReport::IsDamaged() const {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kDamage; });
}

StoreCheck::StoreCheck(FileSystem& file_system, std::string root, FileSystem& scratch,
                       std::string scratch_folder)
    : file_system_(file_system),
      layout_(std::move(root)),
      packs_(file_system, layout_.Packs(), frames_),
      scratch_(scratch),
      scratch_folder_(std::move(scratch_folder)) {}

Result<CheckReport> StoreCheck::Run() {
  QUOIN_TRY(ReadSuperblock(file_system_, layout_.root()));
  // Folders first: a VDI that is made meanwhile is in neither list or only among the names, where
  // its folder is looked for again.
  QUOIN_TRY(ReadFolders());
  QUOIN_TRY(ReadNames());
  CheckNames();
  CheckFolders();
  QUOIN_TRY(CheckVdis());
  CountLinks();
  CheckGroups();
  CheckTemporaries();
  return report_;
}

void StoreCheck::Add(Severity severity, std::string object, std::string what, std::string next) {
  report_.findings.push_back(
      Finding{severity, std::move(object), std::move(what), std::move(next)});
}

std::string StoreCheck::ObjectOf(const Id& id) const {
  const auto names = names_.find(id);
  if (names != names_.end()) return "vdis/" + names->second.front();
  return "VDI " + id.ToString();
}

// ------------------------------------------------------------------------------- names, folders

Status StoreCheck::ReadFolders() {
  QUOIN_ASSIGN(const std::vector<DirectoryEntry> entries, file_system_.List(layout_.Vdis()));
  for (const DirectoryEntry& entry : entries) {
    const size_t dot = std::min(entry.name.find('.'), entry.name.size());
    const std::optional<Id> id = Id::Parse(entry.name.substr(0, dot));
    const std::string suffix = entry.name.substr(dot);
    if (id && IsOfARebuild(entry)) continue;
    const bool known = suffix.empty() || suffix == kNewSuffix || suffix == kRemovedSuffix;
    if (!id || !known || entry.kind != EntryKind::kDirectory) {
      Add(Severity::kWarning, "vdis/" + entry.name + " in the store", "it is no folder of a VDI",
          "nothing in the store needs it");
      continue;
    }
    folders_[*id] = Folder{suffix};
  }
  return {};
}

// What it put aside, and what it has not finished.
bool StoreCheck::IsOfARebuild(const DirectoryEntry& entry) {
  const std::string object = "vdis/" + entry.name + " in the store";
  if (entry.name.find(kDamagedSuffix) != std::string::npos) {
    Add(Severity::kWarning, object, "a rebuild put it aside, because it could not be read",
        "remove the folder once nothing in it is needed");
  } else if (entry.name.ends_with(kRebuiltSuffix)) {
    Add(Severity::kNote, object, "a VDI is being rebuilt, or its rebuilding was cut short",
        "quoin rebuild clears it away");
  } else {
    return false;
  }
  put_aside_.push_back(entry.name);
  return true;
}

Status StoreCheck::ReadNames() {
  const Names names(file_system_, layout_);
  std::vector<std::string> damaged;
  QUOIN_ASSIGN(const std::vector<NamedVdi> all, names.ListAll("", &damaged));
  for (const NamedVdi& vdi : all) names_[vdi.id].push_back(vdi.name);
  for (const std::string& name : damaged) {
    Add(Severity::kDamage, "vdis/" + name, "the file that holds its id is damaged",
        "a VDI of which this check says that it has no name is the one that it named");
  }
  return {};
}

void StoreCheck::CheckNames() {
  for (const auto& [id, names] : names_) {
    if (names.size() > 1) {
      Add(Severity::kWarning, "vdis/" + names[0],
          fmt::format("it is also named vdis/{}: a rename was cut short", names[1]),
          "the next owner of the VDI ends it");
    }
    if (folders_.count(id) > 0) continue;
    // Made or removed since the folders were listed?
    const Result<bool> there = PathExists(file_system_, layout_.Vdi(id));
    const Result<NameFacts> still = Names(file_system_, layout_).Lookup(names[0]);
    if ((there && *there) || !still || still->vdi != id) continue;
    Add(Severity::kDamage, "vdis/" + names[0],
        fmt::format("its folder, vdis/{} in the store, is missing", id.ToString()),
        fmt::format("quoin rebuild makes it again, as far as it was sealed; quoin rm {} removes "
                    "the name",
                    names[0]));
  }
}

void StoreCheck::CheckFolders() {
  for (const auto& [id, folder] : folders_) {
    const std::string object = "vdis/" + id.ToString() + folder.suffix + " in the store";
    if (folder.suffix == kNewSuffix) {
      Add(Severity::kNote, object, "a VDI is being made, or its making was cut short", kSweptNext);
    } else if (folder.suffix == kRemovedSuffix) {
      Add(Severity::kNote, object, "a VDI is being removed, or its removal was cut short",
          kSweptNext);
    } else if (names_.count(id) == 0) {
      const Result<bool> there = PathExists(file_system_, layout_.Vdi(id));
      if (there && !*there) continue;  // removed meanwhile
      Add(Severity::kDamage, object, "the VDI has no name, so nobody can reach it",
          "quoin rebuild names it");
    }
  }
}

// ------------------------------------------------------------------------------- VDIs

Status StoreCheck::CheckVdis() {
  for (const auto& [id, folder] : folders_) {
    if (!folder.suffix.empty()) continue;
    VdiCheck check(file_system_, layout_, packs_, nodes_, scratch_, scratch_folder_, id);
    const auto names = names_.find(id);
    QUOIN_ASSIGN(VdiCheckReport found,
                 check.Run(ObjectOf(id), names == names_.end() ? "" : names->second.front()));
    if (found.is_gone) continue;
    ++report_.vdis;
    report_.snapshots += found.snapshots;
    report_.layers += found.layers;
    someone_at_work_ |= found.is_owned;
    for (Finding& finding : found.findings) report_.findings.push_back(std::move(finding));
  }
  return {};
}

// A frozen layer's files are linked into the folder of each VDI that needs them, and nowhere else.
void StoreCheck::CountLinks() {
  LinkCensus census;
  std::vector<std::string> folders;
  for (const auto& [id, folder] : folders_) folders.push_back(layout_.Vdi(id) + folder.suffix);
  for (const std::string& name : put_aside_) folders.push_back(layout_.Vdis() + "/" + name);
  for (const std::string& folder : folders) {
    const std::string layers = StoreLayout::Layers(folder);
    const Result<std::vector<DirectoryEntry>> entries = file_system_.List(layers);
    if (!entries) continue;  // told by VdiCheck
    for (const DirectoryEntry& entry : *entries) {
      const std::string path = layers + "/" + entry.name;
      const Result<FileFacts> facts = file_system_.Facts(path);
      if (!facts || facts->kind != EntryKind::kFile) continue;
      LayerLinks& links = census[{facts->identity.device, facts->identity.inode}];
      ++links.found;
      links.path = path;
    }
  }
  if (someone_at_work_) return;
  for (const auto& [identity, links] : census) {
    const Result<FileFacts> facts = file_system_.Facts(links.path);
    if (!facts || facts->link_count == links.found) continue;
    Add(Severity::kWarning, links.path.substr(layout_.root().size() + 1),
        fmt::format("it has {} names, of which {} are in folders of VDIs", facts->link_count,
                    links.found),
        "a copy of the store that shares files with it must never be written");
  }
}

// ------------------------------------------------------------------------------- the rest

void StoreCheck::CheckGroups() {
  const Result<std::vector<DirectoryEntry>> entries = file_system_.List(layout_.Groups());
  if (!entries) {
    if (entries.error().code == ErrorCode::kNotFound) return;
    Add(Severity::kDamage, "groups in the store", entries.error().what);
    return;
  }
  for (const DirectoryEntry& entry : *entries) {
    const std::string object = "groups/" + entry.name + " in the store";
    if (!Id::Parse(entry.name)) {
      Add(Severity::kWarning, object, "it is no snapshot of several VDIs",
          "nothing in the store needs it");
    } else {
      Add(Severity::kNote, object,
          "a snapshot of several VDIs is decided, and perhaps not yet recorded by each",
          kSweptNext);
    }
  }
}

void StoreCheck::CheckTemporaries() {
  const Result<std::vector<DirectoryEntry>> entries = file_system_.List(layout_.AllTemporaries());
  if (!entries) return;  // made when needed
  for (const DirectoryEntry& entry : *entries) {
    if (entry.kind != EntryKind::kDirectory) {
      Add(Severity::kNote, "tmp/" + entry.name + " in the store", "a file left over from a crash",
          kSweptNext);
      continue;
    }
    const Result<std::unique_ptr<File>> lock =
        file_system_.Open(layout_.AllTemporaries() + "/" + entry.name + "/lock", {});
    const Result<bool> in_use = lock ? (*lock)->IsLockedElsewhere() : Result<bool>(false);
    if (in_use && *in_use) continue;  // of a session that lives
    Add(Severity::kNote, "tmp/" + entry.name + " in the store", "left over from a crash",
        kSweptNext);
  }
}

}  // namespace quoin
