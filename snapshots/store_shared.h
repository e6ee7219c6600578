// The inside of a Store, shared by its implementation files.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>

#include "metadata/request_inbox.h"
#include "snapshots/background_collector.h"
#include "snapshots/group_participant.h"
#include "snapshots/last_owners.h"
#include "snapshots/owner_request.h"
#include "snapshots/published_cache.h"
#include "snapshots/published_follower.h"
#include "snapshots/published_patience.h"
#include "snapshots/sealer.h"
#include "snapshots/store.h"
#include "snapshots/store_environment.h"
#include "snapshots/vdi.h"

namespace quoin {

struct Store::Shared {
  Shared(FileSystem& fs, const std::string& root, HostIdentity self, StoreOptions options,
         Superblock sb)
      : superblock(std::move(sb)),
        environment(fs, root, std::move(self), options, [this] { LookAfterLapse(); }),
        published(fs, *environment.options.clock),
        last_owners(fs, environment.self) {}

  const Superblock superblock;
  StoreEnvironment environment;
  PublishedCache published;
  LastOwners last_owners;
  std::unique_ptr<File> temporaries_lock;
  std::unique_ptr<Sealer> sealer;
  std::unique_ptr<BackgroundCollector> collector;
  std::unique_ptr<RequestInbox> inbox;  // null: nobody is answered

  // One change of names at a time in this process; other hosts are excluded by link().
  Mutex names_mutex{LockRank::kStoreNames};

  // Of other sessions, in which this one takes part.
  Mutex groups_mutex{LockRank::kStoreTable};
  std::unordered_map<Id, std::shared_ptr<GroupParticipant>, IdHash> groups
      QUOIN_GUARDED_BY(groups_mutex);

  Mutex table_mutex{LockRank::kStoreTable};
  std::unordered_map<Id, std::weak_ptr<Vdi>, IdHash> open_vdis QUOIN_GUARDED_BY(table_mutex);

  std::unique_ptr<PublishedFollower> follower;  // while there is an observer

  // The VDI's object if some handle is open in this process, else null.
  std::shared_ptr<Vdi> FindOpen(const Id& id);
  // All that some handle is open of; to be let go of with nothing held.
  std::vector<std::shared_ptr<Vdi>> AllOpen();
  // What the finisher has still to do, for those who look at what is published.
  void PublishAll();
  // What this process owned before its lease lapsed is owned still, or lost: by the lease's thread.
  void LookAfterLapse();
  // Tells the observer if those who read the VDI here may have cached what is no longer so.
  void TellOfNewContent(Vdi& vdi);
  // What other owners left goes to those who have it open for reading: by the follower's thread.
  void FollowPublished();
  // Requests on all open VDIs.
  uint64_t CountRequests();
  // The VDI's object, made if need be.
  std::shared_ptr<Vdi> GetVdi(const Id& id);
  // The state that a clone or a reader may rely on: what we own and have finished, else what is
  // published, recovered first if its owner died on this host.
  Result<VdiState> SharedState(Store& store, const Id& id);
  // What is published, or, where a full store keeps what was recovered from being published, that;
  // its layers stay open while the answer is held.
  Result<std::shared_ptr<const PublishedVdi>> PublishedState(Store& store, const Id& id);
  // What `act` makes of that state: once more of a newer one, if the owner removed meanwhile what the
  // state names. `act` leaves nothing behind when it fails with kNotFound.
  template <typename Act>
  auto OfPublished(Store& store, const Id& id, Act act) {
    PublishedPatience patience(*environment.options.clock);
    while (true) {
      Result<std::shared_ptr<const PublishedVdi>> found = PublishedState(store, id);
      using Made = decltype(act(**found));
      if (!found) return Made(Failure(found.error()));
      Made made = act(**found);
      if (made) return made;
      if (!patience.GoOn(made.error())) return Made(Failure(AsDamage(made.error())));
      published.Forget(id);
    }
  }
  // For those who look at a VDI that is open here.
  void PublishFactsSoon(Vdi& vdi);
  // What the open VDI knows is at least as new as what is published: it is ours, or was until it was lost,
  // and no owner after us has published anything.
  bool KnowsNewest(const Vdi& open) QUOIN_REQUIRES(open.state_mutex_);
  Error CannotDescribe(const Id& id, Error why) const;
  // Of an open VDI that knows the newest.
  static FileInfo FileOf(const Vdi& open) QUOIN_REQUIRES(open.state_mutex_);

  // The owner elsewhere does what is requested, if there is one and it answers; `told` is its answer then.
  // Otherwise `change` runs here, as below.
  template <typename Change>
  Status AsOwner(Store& store, const OwnerRequest& request, Change change,
                 OwnerAnswer* told = nullptr) {
    if (std::optional<OwnerAnswer> answer = AskOwner(request)) {
      Status status = answer->status;
      if (told != nullptr) *told = std::move(*answer);
      return status;
    }
    return AsOwnerHere(store, request.vdi, change);
  }

  // Runs `change` on the VDI as its owner.
  template <typename Change>
  Status AsOwnerHere(Store& store, const Id& id, Change change) {
    QUOIN_ASSIGN(VdiHandle handle, store.OpenVdi(id, Access::kReadWrite));
    const Status changed = change(*handle);
    const Status closed = handle.Close();
    return changed ? closed : changed;
  }

  // Makes a whole VDI under a new name. `add_layers` may put layers into the folder and the state
  // (rows, next_seq, vdi.head's parent through `top`).
  struct NewVdi {
    VdiState state;
    std::string folder;
    uint32_t top_seq = 0;
  };
  using AddLayers = std::function<Status(NewVdi&)>;
  Result<Id> MakeVdi(const std::string& name, uint64_t size_bytes, const Attributes& attributes,
                     const AddLayers& add_layers);
  Result<Id> MakeClone(Store& store, const Id& vdi, const std::string& snapshot,
                       const std::string& new_name, const Attributes& attributes, bool& is_shown);
  // Makes a VDI again that was lost, with the id that it had. Its folder is not there; names lead to
  // it already. The caller alone rebuilds.
  Status RemakeVdi(const Id& id, uint64_t size_bytes, const Attributes& attributes,
                   const AddLayers& add_layers);
  // All that is in a new VDI's folder, durably; whoever calls holds its lock.
  Status FillFolder(NewVdi& made, const WriterLock& lock, uint64_t size_bytes,
                    const Attributes& attributes, const AddLayers& add_layers);

  // Seals the VDI first if too many of its layers wait for that, so that a read never has to look
  // through more than kMaxUnsealedLayers.
  Status WaitForSealing(Vdi& vdi);

  // CopyRange without moving bytes; false if they must be moved.
  Result<bool> ShareCopy(Store& store, const CopySource& source, Vdi& target, uint64_t offset,
                         uint64_t end);

  // --- asking (store_asking.cc) ----------------------------------------------------------------
  Status OpenInbox(Store& store);
  // Whoever else owns the VDI now, by its lock; nothing if nobody does or it cannot be said.
  std::optional<LockRecord> OwnerElsewhere(const Id& vdi);
  // Nothing if it could not be asked, and nothing was done.
  std::optional<OwnerAnswer> Ask(const LockRecord& owner, const OwnerRequest& request);
  // Asks the owner to let this session have the VDI; whether it did, its lock shows. From any thread.
  void AskToHandOver(const Id& vdi, const LockRecord& owner);
  // Nothing also if nobody else owns the request's VDI.
  std::optional<OwnerAnswer> AskOwner(const OwnerRequest& request);
  // Takes the snapshots with the sessions that own the VDIs, whoever they are.
  Status TakeSnapshots(Store& store, const std::vector<NewSnapshot>& snapshots);
  // --- groups over several sessions (store_groups.cc) ------------------------------------------
  class GroupCoordinator;
  struct Part {
    LockRecord owner;
    std::vector<NewSnapshot> snapshots;
  };
  Status TakeTogether(Store& store, std::vector<Part> parts, std::vector<NewSnapshot> ours);
  Status TakePart(Store& store, const OwnerRequest& request);
  // What another session asks of this one.
  std::string Answer(Store& store, std::string_view text);
  // Publishes what was done to VDIs that are open here, so that who asked sees it.
  void PublishFor(const std::vector<Id>& vdis);
  Status Do(Store& store, const OwnerRequest& request, OwnerAnswer& answer);

  // --- sweeping (store_recovery.cc) ----------------------------------------------------------
  Status TakeTemporaries();
  Status SweepTemporaries();
  Status SweepVdiFolders();
  void SweepGroups(Store& store);
};

}  // namespace quoin
