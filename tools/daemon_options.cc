#include "tools/daemon_options.h"

namespace quoin {
namespace {

std::chrono::milliseconds TimeOf(const Json& json, const char* key,
                                 std::chrono::milliseconds otherwise) {
  return std::chrono::milliseconds(NumberOf(json, key, otherwise.count()));
}

}  // namespace

Json DaemonOptions::ToJson() const {
  return Json{{"store", store},
              {"mountpoint", mount_point},
              {"threads", threads},
              {"ownership_wait_ms", ownership_wait.count()},
              {"lease_ms", lease.count()},
              {"seals", seals},
              {"seal_delay_ms", seal_delay.count()},
              {"cache_bytes", cache_bytes},
              {"log", log},
              {"foreground", foreground}};
}

DaemonOptions DaemonOptions::FromJson(const Json& json) {
  DaemonOptions options;
  options.store = TextOf(json, "store");
  options.mount_point = TextOf(json, "mountpoint");
  options.threads = static_cast<unsigned>(NumberOf(json, "threads", options.threads));
  options.ownership_wait = TimeOf(json, "ownership_wait_ms", options.ownership_wait);
  options.lease = TimeOf(json, "lease_ms", options.lease);
  options.seals = FlagOf(json, "seals");
  options.seal_delay = TimeOf(json, "seal_delay_ms", options.seal_delay);
  options.cache_bytes = static_cast<uint64_t>(
      NumberOf(json, "cache_bytes", static_cast<int64_t>(options.cache_bytes)));
  options.log = TextOf(json, "log");
  options.foreground = FlagOf(json, "foreground");
  return options;
}

}  // namespace quoin
