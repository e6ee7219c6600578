#include "metadata/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "blockstore/base/atomic_file.h"

namespace quoin {
namespace {

constexpr uint32_t kFolderMode = 0755;
constexpr size_t kNameFileBytes = 33;  // an id and a line end

// One part of a name; `whole` is for messages.
Status ValidatePart(std::string_view part, std::string_view whole) {
  if (part.empty() || part == "." || part == "..") {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a name", whole),
                "a name has parts between single '/', and none is empty, '.' or '..'");
  }
  if (part.size() > kMaxNamePartBytes) {
    return Fail(ErrorCode::kNameTooLong,
                fmt::format("the name '{:.40}...' has a part of {} bytes", whole, part.size()),
                fmt::format("each part has at most {} bytes", kMaxNamePartBytes));
  }
  if (part.find('\0') != std::string_view::npos || part.find('@') != std::string_view::npos) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a name", whole),
                "a name has no '@' (it stands between a VDI and its snapshot) and no NUL");
  }
  return {};
}

bool IsPart(std::string_view part) {
  return part.find('/') == std::string_view::npos && ValidatePart(part, part).has_value();
}

std::string Join(const std::string& folder, const std::string& part) {
  return folder.empty() ? part : folder + "/" + part;
}

Failure NoSuch(const std::string& name) {
  return Fail(ErrorCode::kNotFound, fmt::format("there is no vdis/{}", name));
}

// Says the seam's error in the users' terms; the codes are the same.
Failure InUsersTerms(Error error, std::string_view act, const std::string& name) {
  switch (error.code) {
    case ErrorCode::kExists:
      error.what = fmt::format("cannot {} vdis/{}: the name is taken", act, name);
      break;
    case ErrorCode::kNotFound:
      error.what = fmt::format("cannot {} vdis/{}: there is no such folder", act, name);
      break;
    case ErrorCode::kNotDirectory:
      error.what = fmt::format("cannot {} vdis/{}: part of its path is a VDI", act, name);
      break;
    case ErrorCode::kNotEmpty:
      error.what = fmt::format("cannot {} vdis/{}: the folder is not empty", act, name);
      break;
    default:
      error.what = fmt::format("cannot {} vdis/{}: {}", act, name, error.what);
  }
  return Failure(std::move(error));
}

Result<Id> ReadNameFile(FileSystem& file_system, const std::string& path, const std::string& name) {
  const Result<std::string> text = ReadWholeFile(file_system, path, kNameFileBytes);
  if (!text && text.error().code != ErrorCode::kCorrupt) return Failure(text.error());
  std::optional<Id> id;
  if (text && text->size() == kNameFileBytes && text->back() == '\n') {
    id = Id::Parse(std::string_view(*text).substr(0, kNameFileBytes - 1));
  }
  if (!id || id->IsNull()) {
    return Fail(ErrorCode::kCorrupt, fmt::format("the name file of vdis/{} is damaged", name),
                "quoin check tells which VDIs have no name");
  }
  return *id;
}

}  // namespace

Status ValidateVdiName(std::string_view name) {
  if (name.size() > kMaxNameBytes) {
    return Fail(ErrorCode::kNameTooLong, fmt::format("a name of {} bytes is too long", name.size()),
                fmt::format("a name has at most {} bytes", kMaxNameBytes));
  }
  size_t begin = 0;
  while (true) {
    const size_t end = name.find('/', begin);
    if (end == std::string_view::npos) return ValidatePart(name.substr(begin), name);
    QUOIN_TRY(ValidatePart(name.substr(begin, end - begin), name));
    begin = end + 1;
  }
}

Status ValidateSnapshotName(std::string_view name) {
  QUOIN_TRY(ValidatePart(name, name));
  if (name.find('/') != std::string_view::npos) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a snapshot's name", name),
                "a snapshot's name has no '/'");
  }
  if (name == "latest") {
    return Fail(ErrorCode::kInvalid, "'latest' is not a snapshot's name",
                "it always means the newest snapshot");
  }
  return {};
}

Names::Names(FileSystem& file_system, StoreLayout layout)
    : file_system_(file_system), layout_(std::move(layout)) {}

std::string Names::PathOf(const std::string& name) const { return Join(layout_.Names(), name); }

Result<Id> Names::IdIn(const std::string& path, const FileFacts& facts,
                       const std::string& name) const {
  const SettledFiles<Id>::Look look = ids_.At(path, facts);
  if (look.known) return *look.known;
  QUOIN_ASSIGN(const Id id, ReadNameFile(file_system_, path, name));
  ids_.Remember(path, look, id);
  return id;
}

Result<NameFacts> Names::Lookup(const std::string& name) const {
  if (!name.empty()) {
    const Status valid = ValidateVdiName(name);
    if (!valid && valid.error().code == ErrorCode::kNameTooLong) return Failure(valid.error());
    if (!valid) return NoSuch(name);  // nothing can have that name
  }
  const std::string path = name.empty() ? layout_.Names() : PathOf(name);
  const Result<FileFacts> found = file_system_.Facts(path);
  if (!found && found.error().code == ErrorCode::kNotFound) return NoSuch(name);
  if (!found) return InUsersTerms(found.error(), "look up", name);
  NameFacts facts;
  facts.is_folder = found->kind == EntryKind::kDirectory;
  facts.mtime_ns = found->mtime_ns;
  facts.mode = found->mode;
  if (facts.is_folder) {
    facts.folder_number = found->identity.inode;
    return facts;
  }
  if (found->kind != EntryKind::kFile) {
    return Fail(ErrorCode::kCorrupt, fmt::format("vdis/{} is neither a VDI nor a folder", name));
  }
  const Result<Id> id = IdIn(path, *found, name);
  if (!id && id.error().code == ErrorCode::kNotFound) return NoSuch(name);  // removed just now
  if (!id) return Failure(id.error());
  facts.vdi = *id;
  facts.is_double = found->link_count > 1;
  return facts;
}

Result<std::vector<NameEntry>> Names::List(const std::string& folder) const {
  QUOIN_ASSIGN(const NameFacts facts, Lookup(folder));
  if (!facts.is_folder) {
    return Fail(ErrorCode::kNotDirectory, fmt::format("vdis/{} is a VDI, not a folder", folder));
  }
  const Result<std::vector<DirectoryEntry>> found =
      file_system_.List(folder.empty() ? layout_.Names() : PathOf(folder));
  if (!found) return InUsersTerms(found.error(), "list", folder);
  std::vector<NameEntry> entries;
  for (const DirectoryEntry& entry : *found) {
    // What someone else put here (a link, "x@y") can be no VDI.
    if (entry.kind == EntryKind::kOther || !IsPart(entry.name)) continue;
    entries.push_back({entry.name, entry.kind == EntryKind::kDirectory});
  }
  std::sort(entries.begin(), entries.end(),
            [](const NameEntry& a, const NameEntry& b) { return a.name < b.name; });
  return entries;
}

Result<std::vector<NamedVdi>> Names::ListAll(const std::string& folder,
                                             std::vector<std::string>* damaged) const {
  std::vector<NamedVdi> all;
  std::vector<std::string> pending = {folder};  // folders, the next one last
  while (!pending.empty()) {
    const std::string current = std::move(pending.back());
    pending.pop_back();
    const Result<std::vector<NameEntry>> entries = List(current);
    const bool is_top = current == folder;
    if (!entries && (is_top || entries.error().code != ErrorCode::kNotFound)) {
      return Failure(entries.error());
    }
    if (!entries) continue;  // removed while we walked
    std::vector<std::string> folders;
    for (const NameEntry& entry : *entries) {
      const std::string name = Join(current, entry.name);
      if (entry.is_folder) {
        folders.push_back(name);
        continue;
      }
      const std::string path = PathOf(name);
      const Result<Id> id = file_system_.Facts(path).and_then(
          [&](const FileFacts& facts) { return IdIn(path, facts, name); });
      if (id) {
        all.push_back({name, *id});
      } else if (id.error().code == ErrorCode::kCorrupt) {
        if (damaged != nullptr) damaged->push_back(name);
      } else if (id.error().code != ErrorCode::kNotFound) {
        return Failure(id.error());
      }
    }
    pending.insert(pending.end(), folders.rbegin(), folders.rend());
  }
  return all;
}

Status Names::Claim(const std::string& name, const Id& id) const {
  QUOIN_TRY(ValidateVdiName(name));
  const Status claimed =
      PublishNewFile(file_system_, PathOf(name), layout_.NewTemporary(), id.ToString() + "\n");
  if (claimed) return {};
  // The name may be there already, and only its folder could not be synced.
  const Result<NameFacts> there = Lookup(name);
  if (there && !there->is_folder && there->vdi == id) (void)Release(name);
  return InUsersTerms(claimed.error(), "create", name);
}

Status Names::Release(const std::string& name) const {
  QUOIN_TRY(ValidateVdiName(name));
  const std::string path = PathOf(name);
  const Result<FileFacts> facts = file_system_.Facts(path);
  if (facts && facts->kind == EntryKind::kDirectory) {
    return Fail(ErrorCode::kIsDirectory, fmt::format("vdis/{} is a folder", name));
  }
  if (!facts && facts.error().code == ErrorCode::kNotFound) return NoSuch(name);
  if (!facts) return InUsersTerms(facts.error(), "remove", name);
  const Status removed = file_system_.Remove(path);
  if (!removed) return InUsersTerms(removed.error(), "remove", name);
  return file_system_.SyncDirectory(ParentPath(path));
}

Status Names::Rename(const std::string& from, const std::string& to) const {
  QUOIN_TRY(ValidateVdiName(from));
  QUOIN_TRY(ValidateVdiName(to));
  QUOIN_ASSIGN(const NameFacts facts, Lookup(from));
  if (facts.is_folder) {
    return Fail(ErrorCode::kIsDirectory, fmt::format("vdis/{} is a folder", from));
  }
  if (from == to) return {};
  const std::string old_path = PathOf(from);
  const std::string new_path = PathOf(to);
  const Status linked = file_system_.Link(old_path, new_path);
  if (!linked) return InUsersTerms(linked.error(), "create", to);
  // The new name must be durable before the old one goes, or a crash could lose both.
  Status status = file_system_.SyncDirectory(ParentPath(new_path));
  if (status) status = file_system_.Remove(old_path);
  if (!status) {
    (void)file_system_.Remove(new_path);  // back to one name; if this fails too, ResolveDouble
    return InUsersTerms(status.error(), "rename", from);
  }
  return file_system_.SyncDirectory(ParentPath(old_path));
}

Result<std::vector<std::string>> Names::ResolveDouble(const Id& id) const {
  QUOIN_ASSIGN(const std::vector<NamedVdi> all, ListAll("", nullptr));
  std::vector<std::string> names;
  for (const NamedVdi& vdi : all) {
    if (vdi.id == id) names.push_back(vdi.name);
  }
  std::sort(names.begin(), names.end());
  while (names.size() > 1) {
    QUOIN_TRY(Release(names.back()));
    names.pop_back();
  }
  return names;
}

Status Names::MakeFolder(const std::string& folder) const {
  QUOIN_TRY(ValidateVdiName(folder));
  const std::string path = PathOf(folder);
  const Status made = file_system_.MakeDirectory(path, kFolderMode);
  if (!made) return InUsersTerms(made.error(), "create", folder);
  return file_system_.SyncDirectory(ParentPath(path));
}

Status Names::RemoveFolder(const std::string& folder) const {
  QUOIN_TRY(ValidateVdiName(folder));
  const std::string path = PathOf(folder);
  const Status removed = file_system_.RemoveDirectory(path);
  if (removed) return file_system_.SyncDirectory(ParentPath(path));
  switch (removed.error().code) {
    case ErrorCode::kNotFound:
      return NoSuch(folder);
    case ErrorCode::kNotDirectory:
      return Fail(ErrorCode::kNotDirectory, fmt::format("vdis/{} is not a folder", folder));
    case ErrorCode::kExists:  // what some systems say instead of "not empty"
      return Fail(ErrorCode::kNotEmpty,
                  fmt::format("cannot remove vdis/{}: the folder is not empty", folder));
    default:
      return InUsersTerms(removed.error(), "remove", folder);
  }
}

Status Names::RenameFolder(const std::string& from, const std::string& to) const {
  QUOIN_TRY(ValidateVdiName(from));
  QUOIN_TRY(ValidateVdiName(to));
  QUOIN_ASSIGN(const NameFacts facts, Lookup(from));
  if (!facts.is_folder) {
    return Fail(ErrorCode::kNotDirectory, fmt::format("vdis/{} is a VDI, not a folder", from));
  }
  const Result<NameFacts> target = Lookup(to);
  if (target && !target->is_folder) {
    return Fail(ErrorCode::kExists, fmt::format("cannot create vdis/{}: the name is taken", to));
  }
  const std::string old_path = PathOf(from);
  const std::string new_path = PathOf(to);
  const Status renamed = file_system_.Rename(old_path, new_path);
  if (!renamed) return InUsersTerms(renamed.error(), "create", to);
  QUOIN_TRY(file_system_.SyncDirectory(ParentPath(new_path)));
  if (ParentPath(new_path) == ParentPath(old_path)) return {};
  return file_system_.SyncDirectory(ParentPath(old_path));
}

}  // namespace quoin
