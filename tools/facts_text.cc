#include "tools/facts_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/table.h"
#include "tools/units.h"

namespace quoin {
namespace {

std::string SizeOf(const Json& facts, const char* key) {
  return FormatSize(static_cast<uint64_t>(NumberOf(facts, key)));
}

std::string CountOf(const Json& facts, const char* key) {
  return std::to_string(NumberOf(facts, key));
}

// "2026-11-22T10:02:03.000000000Z" -> "2026-11-22 10:02:03 UTC"; "-" for none.
std::string TimeOf(const Json& facts, const char* key) {
  const std::string text = TextOf(facts, key);
  constexpr size_t kDateLength = 10;
  constexpr size_t kSecondsEnd = 19;
  if (text.size() < kSecondsEnd) return "-";
  return text.substr(0, kDateLength) + " " +
         text.substr(kDateLength + 1, kSecondsEnd - kDateLength - 1) + " UTC";
}

std::string ExactSize(const Json& facts, const char* key) {
  return fmt::format("{} ({} bytes)", SizeOf(facts, key), NumberOf(facts, key));
}

// "node2 (pid 4711)"; "" if nobody.
std::string OwnerOf(const Json& facts, const char* key) {
  const auto owner = facts.find(key);
  if (owner == facts.end() || !owner->is_object()) return {};
  return fmt::format("{} (pid {})", TextOf(*owner, "host_name"), NumberOf(*owner, "pid"));
}

std::string OrDash(std::string text) { return text.empty() ? "-" : text; }

// What a host owns, as far as it fits a line.
std::string NamesOf(const Json& vdis) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(vdis.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + vdis[i].get<std::string>();
  }
  if (vdis.size() > kShown) text += fmt::format(" and {} more", vdis.size() - kShown);
  return OrDash(text);
}

const Json& OwnerFacts(const Json& facts, const char* key) {
  static const Json kNobody = Json::object();
  const auto owner = facts.find(key);
  return owner != facts.end() && owner->is_object() ? *owner : kNobody;
}

}  // namespace

void PrintVdiTable(const Json& list) {
  Table table({{"NAME"},
               {"SIZE", Table::Align::kRight},
               {"USED", Table::Align::kRight},
               {"SNAPSHOTS", Table::Align::kRight},
               {"WRITER"},
               {"MODIFIED"}});
  for (const Json& vdi : list) {
    if (vdi.contains("error")) continue;
    table.AddRow({TextOf(vdi, "name"), SizeOf(vdi, "size_bytes"), SizeOf(vdi, "used_bytes"),
                  CountOf(vdi, "snapshots"), OrDash(OwnerOf(vdi, "writer")),
                  TimeOf(vdi, "modified")});
  }
  table.Print();
}

void PrintVdi(const Json& facts) {
  PrintFacts({{"name", TextOf(facts, "name")},
              {"id", TextOf(facts, "id")},
              {"size", ExactSize(facts, "size_bytes")},
              {"used", ExactSize(facts, "used_bytes")},
              {"unique", ExactSize(facts, "unique_bytes")},
              {"shared", ExactSize(facts, "shared_bytes")},
              {"layers", CountOf(facts, "layers")},
              {"snapshots", CountOf(facts, "snapshots")},
              {"parent", TextOf(facts, "parent")},
              {"parent snapshot", TextOf(facts, "parent_snapshot")},
              {"created", TimeOf(facts, "created")},
              {"modified", TimeOf(facts, "modified")},
              {"accessed", TimeOf(facts, "accessed")},
              {"changed", TimeOf(facts, "changed")},
              {"mode", TextOf(facts, "mode")},
              {"user and group", CountOf(facts, "uid") + ":" + CountOf(facts, "gid")},
              {"open handles", fmt::format("{}, for writing {}", NumberOf(facts, "open_handles"),
                                           NumberOf(facts, "open_for_writing"))},
              {"writer", OrDash(OwnerOf(facts, "writer"))}});
}

void PrintSnapshotTable(const Json& list) {
  Table table({{"NAME"},
               {"SIZE", Table::Align::kRight},
               {"USED", Table::Align::kRight},
               {"CREATED"},
               {"PROTECTED"}});
  for (const Json& snapshot : list) {
    table.AddRow({TextOf(snapshot, "name"), SizeOf(snapshot, "size_bytes"),
                  SizeOf(snapshot, "used_bytes"), TimeOf(snapshot, "created"),
                  FlagOf(snapshot, "protected") ? "yes" : "-"});
  }
  table.Print();
}

void PrintSnapshot(const Json& facts) {
  PrintFacts({{"name", TextOf(facts, "vdi") + "@" + TextOf(facts, "name")},
              {"id", TextOf(facts, "id")},
              {"size", ExactSize(facts, "size_bytes")},
              {"used", ExactSize(facts, "used_bytes")},
              {"created", TimeOf(facts, "created")},
              {"ordinal", CountOf(facts, "ordinal")},
              {"layer", CountOf(facts, "layer")},
              {"protected", FlagOf(facts, "protected") ? "yes" : "no"},
              {"digest", OrDash(TextOf(facts, "digest"))},
              {"mode", TextOf(facts, "mode")},
              {"user and group", CountOf(facts, "uid") + ":" + CountOf(facts, "gid")}});
}

void PrintLockTable(const Json& list) {
  Table table({{"VDI"},
               {"STATE"},
               {"HOST"},
               {"PID", Table::Align::kRight},
               {"SINCE"},
               {"EPOCH", Table::Align::kRight}});
  for (const Json& lock : list) {
    if (lock.contains("error")) continue;
    const Json& owner = OwnerFacts(lock, "owner");
    table.AddRow({TextOf(lock, "vdi"), TextOf(lock, "state"), OrDash(TextOf(owner, "host_name")),
                  CountOf(owner, "pid"), TimeOf(owner, "since"), CountOf(owner, "epoch")});
  }
  table.Print();
}

void PrintLock(const Json& facts) {
  const Json& owner = OwnerFacts(facts, "owner");
  const bool known = !owner.empty();
  PrintFacts({{"vdi", TextOf(facts, "vdi")},
              {"state", TextOf(facts, "state")},
              {"host", TextOf(owner, "host_name")},
              {"host id", TextOf(owner, "host")},
              {"boot", TextOf(owner, "boot")},
              {"session", TextOf(owner, "session")},
              {"pid", known ? CountOf(owner, "pid") : ""},
              {"since", known ? TimeOf(owner, "since") : ""},
              {"epoch", known ? CountOf(owner, "epoch") : ""}});
}

namespace {

// What its users should know of how a mount stands a daemon's death; "" if all is well.
std::string NoteOnMount(const Json& mount) {
  const std::string state = TextOf(mount, "state");
  if (state == "waiting") {
    const std::string error = TextOf(mount, "last_error");
    return fmt::format("its daemon cannot be started{}{}; all who use it wait for: quoin reload {}",
                       error.empty() ? "" : ": ", error, TextOf(mount, "mountpoint"));
  }
  if (state != "mounted") return {};
  if (mount.contains("keeper_pid") && mount["keeper_pid"].is_null()) {
    return "it has no keeper: if its daemon dies, so does the mount";
  }
  if (mount.contains("survives_kill") && !FlagOf(mount, "survives_kill")) {
    return "this kernel does not send requests again (from Linux 6.9): if its daemon is killed, those "
           "under way are lost; reload is safe";
  }
  return {};
}

}  // namespace

void PrintMountTable(const Json& list) {
  Table table({{"MOUNT"},
               {"STORE"},
               {"STATE"},
               {"PID", Table::Align::kRight},
               {"KEEPER", Table::Align::kRight},
               {"OPEN VDIS", Table::Align::kRight},
               {"SINCE"},
               {"VERSION"}});
  for (const Json& mount : list) {
    const auto number = [&](const char* key) {
      return mount.contains(key) && mount[key].is_number() ? CountOf(mount, key) : "-";
    };
    table.AddRow({TextOf(mount, "mountpoint"), OrDash(TextOf(mount, "store")),
                  TextOf(mount, "state"), number("daemon_pid"), number("keeper_pid"),
                  number("vdis_open"), TimeOf(mount, "since"), OrDash(TextOf(mount, "version"))});
  }
  table.Print();
  for (const Json& mount : list) {
    const std::string note = NoteOnMount(mount);
    if (!note.empty()) fmt::print("{}: {}\n", TextOf(mount, "mountpoint"), note);
  }
}

void PrintClusterTable(const Json& facts) {
  Table table({{"HOST"},
               {"STATE"},
               {"PID", Table::Align::kRight},
               {"VERSION"},
               {"SINCE"},
               {"OWNS", Table::Align::kRight},
               {"VDIS"}});
  for (const Json& session : facts.at("sessions")) {
    const Json& vdis = session.at("vdis");
    table.AddRow({TextOf(session, "host_name"), TextOf(session, "state"), CountOf(session, "pid"),
                  OrDash(TextOf(session, "version")), TimeOf(session, "since"),
                  std::to_string(vdis.size()), NamesOf(vdis)});
  }
  table.Print();
  const Json& others = facts.at("other_vdis");
  if (!others.empty()) fmt::print("owned by commands at work: {}\n", NamesOf(others));
}

}  // namespace quoin
