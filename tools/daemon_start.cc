#include "tools/daemon_start.h"

namespace quoin {

Json DaemonStart::ToJson() const {
  return Json{{"mount", options.ToJson()}, {"fuse", fuse_device},  {"session", session},
              {"heads", heads},            {"channel", channel},   {"keeper_pid", keeper_pid},
              {"restarts", restarts},      {"why", why}};
}

DaemonStart DaemonStart::FromJson(const Json& json) {
  DaemonStart start;
  const auto mount = json.find("mount");
  if (mount != json.end() && mount->is_object()) start.options = DaemonOptions::FromJson(*mount);
  start.fuse_device = static_cast<int>(NumberOf(json, "fuse", -1));
  start.session = static_cast<int>(NumberOf(json, "session", -1));
  start.heads = static_cast<int>(NumberOf(json, "heads", -1));
  start.channel = static_cast<int>(NumberOf(json, "channel", -1));
  start.keeper_pid = NumberOf(json, "keeper_pid");
  start.restarts = static_cast<uint64_t>(NumberOf(json, "restarts"));
  start.why = TextOf(json, "why");
  return start;
}

}  // namespace quoin
