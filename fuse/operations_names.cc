// Requests that find, make, rename and remove names.
#include <fmt/format.h>
#include <linux/fs.h>

#include <cerrno>
#include <utility>

#include "fuse/attributes.h"
#include "fuse/operations.h"

namespace quoin {
namespace {

constexpr mode_t kPermissionBits = 0777;

// What a folder answers to a change of its entries that it does not have.
Error RefuseChangeIn(const Node& folder, const std::string& act) {
  if (folder.key.kind == NodeKind::kRoot) {
    return {ErrorCode::kNotPermitted,
            fmt::format("cannot {} here: the top folder is fixed", act), "use vdis/"};
  }
  return {ErrorCode::kReadOnly, fmt::format("cannot {} here: the folder is read-only", act), {}};
}

// What a name leads to, if to anything.
std::optional<NodeKey> SubjectOf(const Tree& tree, const Node& folder, const std::string& name) {
  const Result<NodeKey> key = tree.Identify(folder, name);
  return key ? std::optional<NodeKey>(*key) : std::nullopt;
}

}  // namespace

Entry Operations::RememberEntry(const Node& parent, const std::string& name, const Found& found) {
  const std::shared_ptr<Node> node = inodes_.Remember(
      found.key, parent, name, found.snapshot.has_value() ? &*found.snapshot : nullptr);
  Entry entry{node->number, found.attributes, kNameSeconds, AttributeSeconds(found)};
  if (IsFixed(found.key.kind)) entry.name_seconds = kFixedSeconds;
  entry.attributes.st_ino = node->number;
  return entry;
}

void Operations::AnswerEntry(Request request, const Node& parent, const std::string& name,
                             const Found& found, double name_seconds) {
  Entry entry = RememberEntry(parent, name, found);
  if (!IsFixed(found.key.kind)) entry.name_seconds = name_seconds;
  if (!request.AnswerEntry(entry)) inodes_.Forget(entry.number, 1);
}

void Operations::Lookup(Request request, fuse_ino_t parent, const char* name) {
  const std::shared_ptr<Node> folder = Find(request, parent);
  if (folder == nullptr) return;
  auto answer = [this, folder, name = std::string(name)](Request to_answer) {
    NameLease& lease = notifier_.LeaseOf(folder->key.kind);
    const uint64_t changes = lease.changes();
    const Result<Found> found = tree_.Look(*folder, name);
    if (found) {
      const bool is_on_the_way = IsFolder(found->key.kind) && !IsFixed(found->key.kind);
      AnswerEntry(std::move(to_answer), *folder, name, *found,
                  is_on_the_way ? lease.GrantOnTheWay(changes) : kNameSeconds);
    } else if (found.error().code == ErrorCode::kInvalid) {
      to_answer.Refuse(ENOENT);  // nothing can have such a name; who wants to make it is told so
    } else {
      to_answer.Refuse(found.error());
    }
  };
  if (IsFixed(folder->key.kind) && !HoldsVdis(folder->key.kind) && !MirrorsVdis(folder->key.kind)) {
    answer(std::move(request));
  } else {
    lanes_.looks.Post([answer = std::move(answer), request = std::move(request)]() mutable {
      answer(std::move(request));
    });
  }
}

void Operations::Forget(Request request, fuse_ino_t number, uint64_t references) {
  inodes_.Forget(number, references);
  request.AnswerNone();
}

void Operations::ForgetMany(Request request, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) inodes_.Forget(forgets[i].ino, forgets[i].nlookup);
  request.AnswerNone();
}

void Operations::ReadLink(Request request, fuse_ino_t number) {
  const std::shared_ptr<Node> node = Find(request, number);
  if (node == nullptr) return;
  if (node->key.kind != NodeKind::kLatest) return request.Refuse(EINVAL);
  lanes_.looks.Post([this, node, request = std::move(request)]() mutable {
    const Result<std::string> target = tree_.LatestTarget(node->key.vdi);
    if (target) {
      request.AnswerText(*target);
    } else {
      request.Refuse(target.error());
    }
  });
}

Status Operations::TakeSnapshot(const Node& folder, const std::string& name) {
  QUOIN_ASSIGN(const std::string vdi, tree_.VdiName(folder));
  return store_.CreateSnapshots({{vdi, name}});
}

std::optional<KeptSession::Begun> Operations::BegunBefore(const Request& request) {
  if ((request.unique() & kSentAgain) == 0) return std::nullopt;
  return kept_.FindBegun(request.unique());
}

bool Operations::WasMadeSince(const Found& found, int64_t since_ns) {
  if (found.snapshot) return found.snapshot->created_ns >= since_ns;
  if (found.key.kind != NodeKind::kVdi) return false;
  const Result<VdiInfo> info = store_.Describe(found.key.vdi);
  return info && info->created_ns >= since_ns;
}

bool Operations::IsGone(const std::optional<KeptSession::Begun>& before, const Node& folder,
                        const std::string& name) const {
  if (!before || !before->subject) return false;
  const Result<NodeKey> now = tree_.Identify(folder, name);
  return now ? !(*now == *before->subject) : now.error().code == ErrorCode::kNotFound;
}

// A file that is created is a new VDI, or, in the folder of a VDI's snapshots, a new snapshot. One that is
// there and was made since this very request was begun is what it made before its daemon died.
Result<Found> Operations::MakeFile(const Node& parent, const std::string& name, mode_t mode,
                                   const Request& request) {
  const fuse_ctx& caller = request.caller();
  if (const std::optional<KeptSession::Begun> before = BegunBefore(request)) {
    Result<Found> found = tree_.Look(parent, name);
    if (found && WasMadeSince(*found, before->begun_ns)) return found;
  }
  const CacheNotifier::OwnChange own;
  if (parent.key.kind == NodeKind::kSnapshotVdi) {
    QUOIN_TRY(TakeSnapshot(parent, name));
  } else if (HoldsVdis(parent.key.kind)) {
    QUOIN_ASSIGN(const std::string path, inodes_.PathIn(parent, name));
    Attributes attributes;
    attributes.mode = mode & kPermissionBits;
    attributes.uid = caller.uid;
    attributes.gid = caller.gid;
    QUOIN_ASSIGN(const Id id, store_.CreateVdi(path, 0, attributes));
    static_cast<void>(id);
  } else {
    return Failure(RefuseChangeIn(parent, "create a file"));
  }
  return tree_.Look(parent, name);
}

void Operations::MakeNode(Request request, fuse_ino_t parent, const char* name, mode_t mode,
                          dev_t) {
  const std::shared_ptr<Node> folder = Find(request, parent);
  if (folder == nullptr) return;
  if (!S_ISREG(mode)) return request.Refuse(EPERM);
  lanes_.changes.Post([this, folder, name = std::string(name), mode,
              request = std::move(request)]() mutable {
    const BegunRequest begun(kept_, request.unique(), std::nullopt);
    const Result<Found> made = MakeFile(*folder, name, mode, request);
    if (!made) return request.Refuse(made.error());
    const pid_t caller = request.caller().pid;
    const Entry entry = RememberEntry(*folder, name, *made);
    if (const auto node = inodes_.Find(entry.number); node->snapshot.has_value()) {
      inodes_.SetCreator(*node, caller);
    }
    if (!request.AnswerEntry(entry)) inodes_.Forget(entry.number, 1);
  });
}

void Operations::MakeFolder(Request request, fuse_ino_t parent, const char* name, mode_t) {
  const std::shared_ptr<Node> folder = Find(request, parent);
  if (folder == nullptr) return;
  if (!HoldsVdis(folder->key.kind)) {
    return request.Refuse(RefuseChangeIn(*folder, "make a folder"));
  }
  lanes_.changes.Post([this, folder, name = std::string(name), request = std::move(request)]() mutable {
    const CacheNotifier::OwnChange own;
    const bool is_repeat = BegunBefore(request).has_value();
    const BegunRequest begun(kept_, request.unique(), std::nullopt);
    const Result<Found> made =
        inodes_.PathIn(*folder, name)
            .and_then([&](const std::string& path) {
              Status status = store_.MakeFolder(path);
              // The kernel had looked before it asked: nothing of this name was there.
              const bool was_ours =
                  is_repeat && !status && status.error().code == ErrorCode::kExists;
              return was_ours ? Status() : status;
            })
            .and_then([&] { return tree_.Look(*folder, name); });
    if (made) {
      AnswerEntry(std::move(request), *folder, name, *made, kNameSeconds);
    } else {
      request.Refuse(made.error());
    }
  });
}

Status Operations::RemoveVdi(const Node& folder, const std::string& name) {
  QUOIN_ASSIGN(const std::string path, inodes_.PathIn(folder, name));
  const Status removed = store_.RemoveVdi(path, false);
  if (removed || removed.error().code != ErrorCode::kBusy) return removed;
  QUOIN_ASSIGN(const NodeKey key, tree_.Identify(folder, name));
  if (!open_files_.WaitUntilUnused(inodes_.NumberOf(key), nullptr)) return removed;
  return store_.RemoveVdi(path, false);
}

void Operations::Unlink(Request request, fuse_ino_t parent, const char* name) {
  const std::shared_ptr<Node> folder = Find(request, parent);
  if (folder == nullptr) return;
  const bool in_snapshots = folder->key.kind == NodeKind::kSnapshotVdi;
  if (!HoldsVdis(folder->key.kind) && !in_snapshots) {
    return request.Refuse(RefuseChangeIn(*folder, "remove a file"));
  }
  lanes_.changes.Post([this, folder, in_snapshots, name = std::string(name),
              request = std::move(request)]() mutable {
    const CacheNotifier::OwnChange own;
    const std::optional<KeptSession::Begun> before = BegunBefore(request);
    const BegunRequest begun(kept_, request.unique(), SubjectOf(tree_, *folder, name));
    if (IsGone(before, *folder, name)) {
      request.Done();
    } else if (!in_snapshots) {
      request.Done(RemoveVdi(*folder, name));
    } else if (name == kLatestName) {
      request.Refuse(EPERM);
    } else {
      request.Done(store_.RemoveSnapshot(folder->key.vdi, name));
    }
  });
}

void Operations::RemoveFolder(Request request, fuse_ino_t parent, const char* name) {
  const std::shared_ptr<Node> folder = Find(request, parent);
  if (folder == nullptr) return;
  if (!HoldsVdis(folder->key.kind)) {
    return request.Refuse(RefuseChangeIn(*folder, "remove a folder"));
  }
  lanes_.changes.Post([this, folder, name = std::string(name), request = std::move(request)]() mutable {
    const CacheNotifier::OwnChange own;
    const std::optional<KeptSession::Begun> before = BegunBefore(request);
    const BegunRequest begun(kept_, request.unique(), SubjectOf(tree_, *folder, name));
    if (IsGone(before, *folder, name)) return request.Done();
    request.Done(inodes_.PathIn(*folder, name).and_then([this](const std::string& path) {
      return store_.RemoveFolder(path);
    }));
  });
}

void Operations::SymbolicLink(Request request, const char*, fuse_ino_t, const char*) {
  request.Refuse(EPERM);
}

void Operations::Link(Request request, fuse_ino_t, fuse_ino_t, const char*) {
  request.Refuse(EPERM);
}

Status Operations::RenameInVdis(const Node& from, const std::string& name, const Node& to,
                                const std::string& new_name,
                                const std::optional<KeptSession::Begun>& before) {
  QUOIN_ASSIGN(const NodeKey key, tree_.Identify(from, name));
  const Result<NodeKey> there = tree_.Identify(to, new_name);
  // Both names lead to a VDI whose renaming was cut short; whoever owns it next settles that.
  const bool is_half_done = before && there && *there == key;
  if (there && !is_half_done) {
    return Fail(ErrorCode::kExists, fmt::format("cannot rename {}: {} exists", name, new_name),
                "remove it first, or choose another name");
  }
  QUOIN_ASSIGN(const std::string path, inodes_.PathIn(from, name));
  QUOIN_ASSIGN(const std::string new_path, inodes_.PathIn(to, new_name));
  QUOIN_TRY(store_.Rename(path, new_path));
  if (key.kind == NodeKind::kFolder) inodes_.MoveFolder(key.folder_number, to, new_name);
  return {};
}

Status Operations::RenameEntry(const Node& from, const std::string& name, const Node& to,
                               const std::string& new_name,
                               const std::optional<KeptSession::Begun>& before) {
  const CacheNotifier::OwnChange own;
  if (HoldsVdis(from.key.kind) && HoldsVdis(to.key.kind)) {
    return RenameInVdis(from, name, to, new_name, before);
  }
  if (!HoldsVdis(from.key.kind) && from.key.kind != NodeKind::kSnapshotVdi) {
    return Failure(RefuseChangeIn(from, "rename"));
  }
  if (!(from.key == to.key)) {
    if (!HoldsVdis(to.key.kind) && to.key.kind != NodeKind::kSnapshotVdi) {
      return Failure(RefuseChangeIn(to, "move something"));
    }
    // EXDEV would make mv copy, and a copy into a folder of snapshots begins with taking one.
    return Fail(ErrorCode::kNotPermitted,
                fmt::format("cannot move {}: a snapshot stays with its VDI", name), "copy it");
  }
  if (name == kLatestName) {
    return Fail(ErrorCode::kNotPermitted, "cannot rename latest: it always is the newest snapshot");
  }
  return store_.RenameSnapshot(from.key.vdi, name, new_name);
}

void Operations::Rename(Request request, fuse_ino_t parent, const char* name,
                        fuse_ino_t new_parent, const char* new_name, unsigned flags) {
  const std::shared_ptr<Node> from = Find(request, parent);
  if (from == nullptr) return;
  const std::shared_ptr<Node> to = Find(request, new_parent);
  if (to == nullptr) return;
  // Nothing is ever replaced by a rename, so RENAME_NOREPLACE asks for nothing more.
  if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) != 0) return request.Refuse(EINVAL);
  lanes_.changes.Post([this, from, to, name = std::string(name), new_name = std::string(new_name),
              request = std::move(request)]() mutable {
    const std::optional<KeptSession::Begun> before = BegunBefore(request);
    const std::optional<NodeKey> subject = SubjectOf(tree_, *from, name);
    const BegunRequest begun(kept_, request.unique(), subject);
    const auto was_renamed = [&] {
      const Result<NodeKey> there = tree_.Identify(*to, new_name);
      return IsGone(before, *from, name) && there && *there == *before->subject;
    };
    if (was_renamed()) {
      if (before->subject->kind == NodeKind::kFolder) {
        inodes_.MoveFolder(before->subject->folder_number, *to, new_name);
      }
      return request.Done();
    }
    const Status renamed = RenameEntry(*from, name, *to, new_name, before);
    request.Done(renamed || !was_renamed() ? renamed : Status());
  });
}

}  // namespace quoin
