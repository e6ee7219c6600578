// Asking the sessions that own VDIs, on whatever host, for what only an owner can do; and answering them.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>

#include "metadata/request_call.h"
#include "snapshots/store_shared.h"

namespace quoin {
namespace {

// What a request takes that moves a VDI's data.
constexpr std::chrono::hours kDataPatience{24 * 7};

// Set in a thread that answers another session: it does what it can itself, and asks nobody further.
thread_local bool is_answering = false;

class Answering {
 public:
  Answering() { is_answering = true; }
  ~Answering() { is_answering = false; }
};

Error CannotBeKnown(const LockRecord& owner, Error why) {
  why.what = fmt::format("cannot learn whether it was done: {} was asked, and {}",
                         DescribeHolder(owner), why.what);
  why.next = "quoin snap ls, quoin info and quoin status --cluster show how things are";
  return why;
}

}  // namespace

Status Store::Shared::OpenInbox(Store& store) {
  QUOIN_ASSIGN(inbox, RequestInbox::Open(
                          environment.storage, environment.lease,
                          environment.layout.Session(environment.self.host, environment.self.session),
                          [this, &store](std::string_view text) { return Answer(store, text); }));
  environment.ask_to_hand_over = [this](const Id& vdi, const LockRecord& owner) {
    AskToHandOver(vdi, owner);
  };
  return {};
}

std::optional<LockRecord> Store::Shared::OwnerElsewhere(const Id& vdi) {
  if (const std::shared_ptr<Vdi> open = FindOpen(vdi); open && open->is_owner()) return std::nullopt;
  const Result<LockStatus> lock =
      WriterLock::Inspect(environment.storage, environment.layout.Vdi(vdi));
  if (!lock || !lock->held || lock->damaged || lock->record.clean) return std::nullopt;
  if (lock->record.session == environment.self.session) return std::nullopt;
  return lock->record;
}

std::optional<OwnerAnswer> Store::Shared::Ask(const LockRecord& owner, const OwnerRequest& request) {
  RequestPatience patience;
  if (request.verb == OwnerVerb::kSeal) patience.answered_within = kDataPatience;
  // An open waits for it, no longer than for the lock.
  if (request.verb == OwnerVerb::kHandOver) {
    patience.begun_within = patience.answered_within = environment.options.ownership_wait;
  }
  Result<std::string> told = CallSession(environment.storage, environment.layout, environment.sessions,
                                         owner.host, owner.session, request.Encode(), patience);
  if (told) {
    OwnerAnswer answer = OwnerAnswer::Decode(*told);
    if (!answer.status && answer.status.error().code == ErrorCode::kUnsupported) return std::nullopt;
    return answer;
  }
  if (told.error().code != ErrorCode::kIo) {
    spdlog::info("{} could not be asked: {}", DescribeHolder(owner), told.error().what);
    return std::nullopt;
  }
  OwnerAnswer unknown;
  unknown.status = Failure(CannotBeKnown(owner, std::move(told).error()));
  return unknown;
}

std::optional<OwnerAnswer> Store::Shared::AskOwner(const OwnerRequest& request) {
  if (is_answering) return std::nullopt;
  const std::optional<LockRecord> owner = OwnerElsewhere(request.vdi);
  if (!owner) return std::nullopt;
  return Ask(*owner, request);
}

void Store::Shared::AskToHandOver(const Id& vdi, const LockRecord& owner) {
  const OwnerRequest request{.verb = OwnerVerb::kHandOver, .vdi = vdi};
  const std::optional<OwnerAnswer> answer = Ask(owner, request);
  if (answer && !answer->status && answer->status.error().code != ErrorCode::kBusy) {
    spdlog::info("vdi {}: {} did not hand it over: {}", vdi.ToString(), DescribeHolder(owner),
                 answer->status.error().what);
  }
}

Status Store::GrantHandOver(const Id& vdi, std::chrono::milliseconds duration) {
  OwnerRequest request{.verb = OwnerVerb::kGrantHandOver, .vdi = vdi};
  request.duration_ms = static_cast<uint64_t>(duration.count());
  return shared_->AsOwner(*this, request, [&](Vdi& v) { return v.GrantHandOver(duration); });
}

Status Store::Shared::TakeSnapshots(Store& store, const std::vector<NewSnapshot>& snapshots) {
  std::vector<Part> parts;
  std::vector<NewSnapshot> ours;
  for (const NewSnapshot& each : snapshots) {
    const std::optional<LockRecord> owner = OwnerElsewhere(each.vdi);
    if (!owner) {
      ours.push_back(each);
      continue;
    }
    auto part = std::find_if(parts.begin(), parts.end(), [&](const Part& known) {
      return known.owner.session == owner->session;
    });
    if (part == parts.end()) part = parts.insert(part, {*owner, {}});
    part->snapshots.push_back(each);
  }
  if (parts.empty()) return store.TakeSnapshotsHere(ours, Id(), nullptr);
  if (parts.size() == 1 && ours.empty()) {
    OwnerRequest request;
    request.verb = OwnerVerb::kTakeSnapshots;
    request.snapshots = snapshots;
    if (const std::optional<OwnerAnswer> answer = Ask(parts.front().owner, request)) {
      return answer->status;
    }
    // It may be dead: becoming the owners ourselves shows that, or says who is in the way.
    return store.TakeSnapshotsHere(snapshots, Id(), nullptr);
  }
  return TakeTogether(store, std::move(parts), std::move(ours));
}

std::string Store::Shared::Answer(Store& store, std::string_view text) {
  const Answering answering;
  OwnerAnswer answer;
  const Result<OwnerRequest> request = OwnerRequest::Decode(text);
  if (!request) {
    answer.status = Failure(request.error());
    return answer.Encode();
  }
  answer.status = Do(store, *request, answer);
  if (answer.status && request->group.IsNull()) PublishFor(request->Vdis());
  return answer.Encode();
}

void Store::Shared::PublishFor(const std::vector<Id>& vdis) {
  for (const Id& id : vdis) {
    const std::shared_ptr<Vdi> open = FindOpen(id);
    if (open == nullptr) continue;
    if (const Status finished = open->FinishFrozen(); !finished) {
      spdlog::warn("vdi {}: what another session asked for is done, and not published yet: {}",
                   id.ToString(), finished.error().what);
    }
  }
}

Status Store::Shared::Do(Store& store, const OwnerRequest& request, OwnerAnswer& answer) {
  switch (request.verb) {
    case OwnerVerb::kTakeSnapshots: {
      for (const auto& each : request.snapshots) QUOIN_TRY(ValidateSnapshotName(each.name));
      return store.TakeSnapshotsHere(request.snapshots, Id(), nullptr);
    }
    case OwnerVerb::kJoinGroup:
    case OwnerVerb::kHoldGroup:
    case OwnerVerb::kSwapGroup:
    case OwnerVerb::kDecideGroup:
    case OwnerVerb::kLeaveGroup:
      for (const auto& each : request.snapshots) QUOIN_TRY(ValidateSnapshotName(each.name));
      return TakePart(store, request);
    case OwnerVerb::kRemoveSnapshot:
      return store.RemoveSnapshot(request.vdi, request.snapshot);
    case OwnerVerb::kRenameSnapshot:
      return store.RenameSnapshot(request.vdi, request.snapshot, request.new_name);
    case OwnerVerb::kProtectSnapshot:
      return store.ProtectSnapshot(request.vdi, request.snapshot, request.flag);
    case OwnerVerb::kRollback: {
      QUOIN_ASSIGN(answer.text, store.Rollback(request.vdi, request.snapshot));
      return {};
    }
    case OwnerVerb::kResize:
      return store.ResizeVdi(request.vdi, request.size_bytes, request.flag,
                             /*through_handle=*/false);
    case OwnerVerb::kSetAttributes:
      return store.SetAttributes(request.vdi, request.attributes);
    case OwnerVerb::kSeal: {
      QUOIN_ASSIGN(answer.counts, store.SealVdi(request.vdi, request.flag));
      return {};
    }
    case OwnerVerb::kGrantHandOver:
      return store.GrantHandOver(request.vdi, std::chrono::milliseconds(request.duration_ms));
    case OwnerVerb::kHandOver: {
      const std::shared_ptr<Vdi> open = FindOpen(request.vdi);
      return open == nullptr ? Status() : open->HandOver();
    }
  }
  return Fail(ErrorCode::kUnsupported, "an unknown request");
}

Result<ClusterReport> Store::DescribeCluster() {
  constexpr std::chrono::seconds kPatience{5};
  StoreEnvironment& environment = shared_->environment;
  QUOIN_ASSIGN(std::vector<ListedSession> listed,
               ListSessions(environment.storage, environment.layout, kPatience));
  ClusterReport report;
  std::map<Id, size_t> places;  // by session
  for (ListedSession& session : listed) {
    places[session.record.session] = report.sessions.size();
    report.sessions.push_back({std::move(session), {}});
  }
  QUOIN_ASSIGN(std::vector<NamedVdi> vdis, ListAll(""));
  std::sort(vdis.begin(), vdis.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (const NamedVdi& vdi : vdis) {
    const Result<LockStatus> lock = InspectLock(vdi.id);
    if (!lock || lock->damaged || lock->record.clean) continue;
    const auto place = places.find(lock->record.session);
    if (place != places.end()) {
      report.sessions[place->second].vdis.push_back(vdi.name);
    } else if (lock->held) {
      report.other_vdis.push_back(vdi.name);
    }
  }
  return report;
}

}  // namespace quoin
