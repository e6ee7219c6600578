#include "tools/verbs_vdi.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "tools/facts_text.h"
#include "tools/target.h"
#include "tools/units.h"

namespace quoin {
namespace {

StoreRequest RequestOf(const std::string& verb, const std::string& vdi) {
  StoreRequest request;
  request.verb = verb;
  request.vdi = vdi;
  request.uid = geteuid();
  request.gid = getegid();
  return request;
}

// The one VDI that a verb is about, in its store.
struct OneVdi {
  std::string root;
  std::string name;
};

Result<OneVdi> ChooseVdi(const Invocation& invocation, const std::string& text) {
  QUOIN_ASSIGN(const Target target, ChooseTarget(invocation.store, {text}));
  QUOIN_ASSIGN(std::string name, ParseVdiName(target.names[0]));
  return OneVdi{target.root, std::move(name)};
}

int Create(const Invocation& invocation, const std::string& vdi, const std::string& size) {
  const std::string act = "create " + vdi;
  const Result<uint64_t> size_bytes = ParseVdiSize(size);
  if (!size_bytes) return ReportUsage(size_bytes.error(), act);
  const Result<OneVdi> chosen = ChooseVdi(invocation, vdi);
  if (!chosen) return ReportUsage(chosen.error(), act);
  StoreRequest request = RequestOf("create", chosen->name);
  request.size_bytes = *size_bytes;
  return RunRequest(chosen->root, request);
}

int List(const Invocation& invocation, const std::string& prefix, bool details) {
  const std::vector<std::string> arguments =
      prefix.empty() ? std::vector<std::string>{} : std::vector<std::string>{prefix};
  const Result<Target> target = ChooseTarget(invocation.store, arguments);
  if (!target) return ReportUsage(target.error(), "list " + (prefix.empty() ? "VDIs" : prefix));
  StoreRequest request = RequestOf("list", target->names.empty() ? "" : target->names[0]);
  request.details = details || invocation.json;
  return RunRequest(target->root, request, [&](const Json& list) {
    if (invocation.json) {
      PrintJson(list);
    } else if (details) {
      PrintVdiTable(list);
    } else {
      for (const Json& vdi : list) {
        if (!vdi.contains("error")) fmt::print("{}\n", TextOf(vdi, "name"));
      }
    }
    return ReportItemErrors(list);
  });
}

int Info(const Invocation& invocation, const std::string& text) {
  const std::string act = "describe " + text;
  const Result<Target> target = ChooseTarget(invocation.store, {text});
  if (!target) return ReportUsage(target.error(), act);
  const Result<SnapshotName> name = ParseVdiOrSnapshotName(target->names[0]);
  if (!name) return ReportUsage(name.error(), act);
  StoreRequest request = RequestOf("info", name->vdi);
  request.snapshot = name->snapshot;
  return RunRequest(target->root, request, [&](const Json& facts) {
    if (invocation.json) {
      PrintJson(facts);
    } else if (name->snapshot.empty()) {
      PrintVdi(facts);
    } else {
      PrintSnapshot(facts);
    }
    return kDone;
  });
}

int Resize(const Invocation& invocation, const std::string& vdi, const std::string& size,
           bool allow_shrink) {
  const std::string act = "resize " + vdi;
  const Result<uint64_t> size_bytes = ParseVdiSize(size);
  if (!size_bytes) return ReportUsage(size_bytes.error(), act);
  const Result<OneVdi> chosen = ChooseVdi(invocation, vdi);
  if (!chosen) return ReportUsage(chosen.error(), act);
  StoreRequest request = RequestOf("resize", chosen->name);
  request.size_bytes = *size_bytes;
  request.allow_shrink = allow_shrink;
  return RunRequest(chosen->root, request);
}

int Remove(const Invocation& invocation, const std::string& vdi, bool with_snapshots) {
  const Result<OneVdi> chosen = ChooseVdi(invocation, vdi);
  if (!chosen) return ReportUsage(chosen.error(), "remove " + vdi);
  StoreRequest request = RequestOf("rm", chosen->name);
  request.with_snapshots = with_snapshots;
  return RunRequest(chosen->root, request);
}

int Rename(const Invocation& invocation, const std::string& vdi, const std::string& new_name) {
  const std::string act = fmt::format("rename {} to {}", vdi, new_name);
  const Result<Target> target = ChooseTarget(invocation.store, {vdi, new_name});
  if (!target) return ReportUsage(target.error(), act);
  for (const std::string& name : target->names) {
    const Result<std::string> valid = ParseVdiName(name);
    if (!valid) return ReportUsage(valid.error(), act);
  }
  StoreRequest request = RequestOf("mv", target->names[0]);
  request.new_name = target->names[1];
  return RunRequest(target->root, request);
}

// --- the command line ----------------------------------------------------------------------------

struct VdiArguments {
  std::string vdi;
  std::string size;
  std::string new_name;
  bool details = false;
  bool allow_shrink = false;
  bool with_snapshots = false;
};

constexpr const char* kSizeHelp = "Bytes, or a number with K, M, G or T (powers of 1024)";

void AddListing(CLI::App& app, Invocation& invocation) {
  const auto arguments = std::make_shared<VdiArguments>();
  CLI::App* list = AddVerb(app, invocation, "ls", "List VDIs");
  list->add_option("PREFIX", arguments->vdi, "Only VDIs whose names begin so: lab/");
  list->add_flag("-l", arguments->details, "With size, space used, snapshots, writer and time");
  AddJsonOption(*list, invocation);
  SetAction(*list, invocation, [&invocation, arguments] {
    return List(invocation, arguments->vdi, arguments->details);
  });

  CLI::App* info = AddVerb(app, invocation, "info", "Show all that is known of a VDI or snapshot");
  info->add_option("VDI[@SNAPSHOT]", arguments->vdi, "The VDI or snapshot")->required();
  AddJsonOption(*info, invocation);
  SetAction(*info, invocation,
            [&invocation, arguments] { return Info(invocation, arguments->vdi); });
}

void AddChanges(CLI::App& app, Invocation& invocation) {
  const auto arguments = std::make_shared<VdiArguments>();
  CLI::App* create = AddVerb(app, invocation, "create", "Make an empty VDI");
  create->add_option("VDI", arguments->vdi, "Its name; missing folders are made")->required();
  create->add_option("SIZE", arguments->size, kSizeHelp)->required();
  SetAction(*create, invocation, [&invocation, arguments] {
    return Create(invocation, arguments->vdi, arguments->size);
  });

  CLI::App* resize = AddVerb(app, invocation, "resize", "Give a VDI another size");
  resize->add_option("VDI", arguments->vdi, "The VDI")->required();
  resize->add_option("SIZE", arguments->size, kSizeHelp)->required();
  resize->add_flag("--shrink", arguments->allow_shrink, "Allow to lose what lies beyond");
  SetAction(*resize, invocation, [&invocation, arguments] {
    return Resize(invocation, arguments->vdi, arguments->size, arguments->allow_shrink);
  });

  CLI::App* remove = AddVerb(app, invocation, "rm", "Remove a VDI");
  remove->add_option("VDI", arguments->vdi, "The VDI")->required();
  remove->add_flag("--with-snapshots", arguments->with_snapshots, "Remove its snapshots too");
  SetAction(*remove, invocation, [&invocation, arguments] {
    return Remove(invocation, arguments->vdi, arguments->with_snapshots);
  });

  CLI::App* rename = AddVerb(app, invocation, "mv", "Rename a VDI or a folder of VDIs");
  rename->add_option("VDI", arguments->vdi, "The present name")->required();
  rename->add_option("NEW", arguments->new_name, "The new name; missing folders are made")
      ->required();
  SetAction(*rename, invocation, [&invocation, arguments] {
    return Rename(invocation, arguments->vdi, arguments->new_name);
  });
}

}  // namespace

void AddVdiVerbs(CLI::App& app, Invocation& invocation) {
  AddListing(app, invocation);
  AddChanges(app, invocation);
}

}  // namespace quoin
