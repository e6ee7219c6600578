#include "fuse/control_files.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace quoin {

ControlFiles::ControlFiles(Store& store, const Metrics& metrics,
                           std::function<std::string()> status_json)
    : store_(store), metrics_(metrics), status_json_(std::move(status_json)) {}

std::string ControlFiles::Content(NodeKind kind) const {
  switch (kind) {
    case NodeKind::kStatus:
      return Status();
    case NodeKind::kMetrics:
      return metrics_.ToText(store_.Activity());
    default:
      return QUOIN_VERSION "\n";
  }
}

std::string ControlFiles::Status() const {
  std::string text;
  if (status_json_) {
    text = status_json_();
  } else {
    text = nlohmann::json{{"store", store_.root()},
                          {"version", QUOIN_VERSION},
                          {"vdis_open", store_.open_vdis()}}
               .dump();
  }
  if (text.empty() || text.back() != '\n') text += '\n';
  return text;
}

}  // namespace quoin
