// Where everything lies in a store's folder. Paths only; touches no file.
#pragma once

#include <cstdint>
#include <string>

#include "blockstore/base/id.h"

namespace quoin {

class StoreLayout {
 public:
  // `session` names the folder under tmp/ for files on their way to a name; "" is tmp/ itself.
  explicit StoreLayout(std::string root, const std::string& session = "")
      : root_(std::move(root)),
        temporaries_(AllTemporaries() + (session.empty() ? "" : "/" + session)) {}

  const std::string& root() const { return root_; }
  std::string Superblock() const { return root_ + "/quoin.store"; }
  // What `quoin doctor` has found (storage_findings.h).
  std::string StorageFindings() const { return root_ + "/quoin.storage"; }
  std::string Names() const { return root_ + "/names"; }
  std::string Vdis() const { return root_ + "/vdis"; }
  std::string Groups() const { return root_ + "/groups"; }
  std::string Hosts() const { return root_ + "/hosts"; }
  // What one session tells the others of itself, and they it (lease.h).
  std::string Session(const Id& host, const Id& session) const {
    return Hosts() + "/" + SessionName(host, session);
  }
  static std::string SessionName(const Id& host, const Id& session) {
    return host.ToString() + "-" + session.ToString();
  }
  static std::string Heartbeat(const std::string& session) { return session + "/heartbeat"; }
  // The heartbeat of a session that another one has declared dead.
  static std::string DeadHeartbeat(const std::string& session) { return session + "/dead"; }
  // What other sessions ask of it (request_folder.h).
  static std::string Requests(const std::string& session) { return session + "/requests"; }
  std::string Packs() const { return root_ + "/packs"; }
  // What collectors and sealers agree by (collection_lock.h).
  std::string Collection() const { return root_ + "/gc"; }
  std::string CollectionLock() const { return Collection() + "/lock"; }
  std::string CollectionTurn() const { return Collection() + "/turn"; }
  std::string CollectionGeneration() const { return Collection() + "/generation"; }
  std::string CollectorLock() const { return Collection() + "/collector.lock"; }
  // Space put by for a collection on a full store (reserve_file.h).
  std::string CollectionReserve() const { return Collection() + "/reserve"; }
  // Maps that a VDI's database may name before its published.db does (map_pins.h).
  std::string Pins() const { return Collection() + "/pins"; }
  std::string Pin(const Id& vdi) const { return Pins() + "/" + vdi.ToString(); }
  std::string DeadLists() const { return Collection() + "/dead"; }
  std::string DeadList(uint64_t generation) const {
    return DeadLists() + "/" + std::to_string(generation);
  }
  // Files on their way to a name, one folder for each session; a folder whose `lock` file nobody
  // holds is garbage.
  std::string AllTemporaries() const { return root_ + "/tmp"; }
  const std::string& Temporaries() const { return temporaries_; }
  std::string TemporariesLock() const { return temporaries_ + "/lock"; }
  std::string TemporariesOf(const Id& session) const {
    return AllTemporaries() + "/" + session.ToString();
  }
  // A fresh path in Temporaries().
  std::string NewTemporary() const { return Temporaries() + "/" + Id::Random().ToString(); }

  std::string Vdi(const Id& id) const { return Vdis() + "/" + id.ToString(); }
  // A VDI's folder before its name is linked, and after its removal has been decided.
  std::string UnfinishedVdi(const Id& id) const { return Vdi(id) + ".new"; }
  std::string RemovedVdi(const Id& id) const { return Vdi(id) + ".removed"; }
  // One that a rebuild makes, until it is whole; and what was there and could not be read.
  std::string RebuiltVdi(const Id& id) const { return Vdi(id) + ".rebuilt"; }
  std::string DamagedVdi(const Id& id) const { return Vdi(id) + ".damaged"; }

  // Inside a VDI's folder.
  static std::string WriterLock(const std::string& vdi) { return vdi + "/writer.lock"; }
  // The one that came after so many others (writer_lock.h).
  static std::string WriterLock(const std::string& vdi, uint64_t number) {
    return WriterLock(vdi) + (number == 0 ? "" : "." + std::to_string(number));
  }
  static std::string Database(const std::string& vdi) { return vdi + "/vdi.db"; }
  static std::string Published(const std::string& vdi) { return vdi + "/published.db"; }
  static std::string Layers(const std::string& vdi) { return vdi + "/layers"; }

 private:
  std::string root_;
  std::string temporaries_;
};

}  // namespace quoin
