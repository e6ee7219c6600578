// A store in a simulated filesystem, and how tests open it as one host or another.
#pragma once

#include <memory>
#include <string>

#include "snapshots/store.h"
#include "snapshots/vdi.h"
#include "tests/support/simulated_file_system.h"

namespace quoin {

inline HostIdentity TestHost(uint8_t number = 1) {
  HostIdentity host;
  host.host = *Id::Parse(std::string(30, '0') + "0" + std::to_string(number % 10));
  host.host_name = "node" + std::to_string(number);
  host.boot = "boot-" + std::to_string(number);
  host.session = Id::Random();
  host.pid = 1000 + number;
  return host;
}

inline StoreOptions TestOptions() {
  StoreOptions options;
  options.ownership_wait = std::chrono::milliseconds(0);
  options.collector_wait = std::chrono::milliseconds(0);
  // No heartbeat comes between the steps that a test counts, and no dead owner is waited for.
  options.lease = std::chrono::hours(1);
  options.take_over_wait = std::chrono::milliseconds(0);
  return options;
}

inline Result<std::unique_ptr<Store>> OpenTestStore(SimulatedFileSystem& fs, uint8_t host = 1) {
  return Store::Open(fs, "/store", TestHost(host), TestOptions());
}

}  // namespace quoin
