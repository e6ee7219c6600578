#include "tools/verbs_snapshot.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "metadata/names.h"
#include "tools/facts_text.h"
#include "tools/target.h"

namespace quoin {
namespace {

// The one snapshot that a verb is about, in its store.
struct OneSnapshot {
  std::string root;
  SnapshotName name;
};

Result<OneSnapshot> ChooseSnapshot(const Invocation& invocation, const std::string& text) {
  QUOIN_ASSIGN(const Target target, ChooseTarget(invocation.store, {text}));
  QUOIN_ASSIGN(SnapshotName name, ParseSnapshotName(target.names[0]));
  return OneSnapshot{target.root, std::move(name)};
}

StoreRequest RequestOf(const std::string& verb, const SnapshotName& name) {
  StoreRequest request;
  request.verb = verb;
  request.vdi = name.vdi;
  request.snapshot = name.snapshot;
  request.uid = geteuid();
  request.gid = getegid();
  return request;
}

int CreateSnapshots(const Invocation& invocation, const std::vector<std::string>& texts) {
  const std::string act = "take a snapshot";
  const Result<Target> target = ChooseTarget(invocation.store, texts);
  if (!target) return ReportUsage(target.error(), act);
  StoreRequest request = RequestOf("snap create", {});
  for (const std::string& text : target->names) {
    const Result<SnapshotName> name = ParseSnapshotName(text);
    if (!name) return ReportUsage(name.error(), act);
    request.snapshots.push_back(*name);
  }
  return RunRequest(target->root, request);
}

int ListSnapshots(const Invocation& invocation, const std::string& text) {
  const std::string act = "list the snapshots of " + text;
  const Result<Target> target = ChooseTarget(invocation.store, {text});
  if (!target) return ReportUsage(target.error(), act);
  const Result<std::string> vdi = ParseVdiName(target->names[0]);
  if (!vdi) return ReportUsage(vdi.error(), act);
  return RunRequest(target->root, RequestOf("snap ls", {*vdi, ""}), [&](const Json& list) {
    if (invocation.json) {
      PrintJson(list);
    } else {
      PrintSnapshotTable(list);
    }
    return kDone;
  });
}

int RemoveSnapshot(const Invocation& invocation, const std::string& text) {
  const Result<OneSnapshot> chosen = ChooseSnapshot(invocation, text);
  if (!chosen) return ReportUsage(chosen.error(), "remove " + text);
  return RunRequest(chosen->root, RequestOf("snap rm", chosen->name));
}

int RenameSnapshot(const Invocation& invocation, const std::string& text,
                   const std::string& new_name) {
  const std::string act = fmt::format("rename {} to {}", text, new_name);
  const Result<OneSnapshot> chosen = ChooseSnapshot(invocation, text);
  if (!chosen) return ReportUsage(chosen.error(), act);
  const Status valid = ValidateSnapshotName(new_name);
  if (!valid) return ReportUsage(valid.error(), act);
  StoreRequest request = RequestOf("snap rename", chosen->name);
  request.new_name = new_name;
  return RunRequest(chosen->root, request);
}

int ProtectSnapshot(const Invocation& invocation, const std::string& text, bool protect) {
  const Result<OneSnapshot> chosen = ChooseSnapshot(invocation, text);
  if (!chosen) return ReportUsage(chosen.error(), (protect ? "protect " : "unprotect ") + text);
  StoreRequest request = RequestOf("snap protect", chosen->name);
  request.protect = protect;
  return RunRequest(chosen->root, request);
}

int Clone(const Invocation& invocation, const std::string& text, const std::string& new_name) {
  const std::string act = fmt::format("clone {} as {}", text, new_name);
  const Result<Target> target = ChooseTarget(invocation.store, {text, new_name});
  if (!target) return ReportUsage(target.error(), act);
  const Result<SnapshotName> name = ParseSnapshotName(target->names[0]);
  if (!name) return ReportUsage(name.error(), act);
  const Result<std::string> clone = ParseVdiName(target->names[1]);
  if (!clone) return ReportUsage(clone.error(), act);
  StoreRequest request = RequestOf("clone", *name);
  request.new_name = *clone;
  return RunRequest(target->root, request);
}

int Rollback(const Invocation& invocation, const std::string& text) {
  const Result<OneSnapshot> chosen = ChooseSnapshot(invocation, text);
  if (!chosen) return ReportUsage(chosen.error(), "roll back to " + text);
  return RunRequest(chosen->root, RequestOf("rollback", chosen->name), [&](const Json& result) {
    if (invocation.json) {
      PrintJson(result);
    } else {
      fmt::print("{} is as in {}; what it held is kept as {}@{}\n", chosen->name.vdi,
                 chosen->name.snapshot, chosen->name.vdi, TextOf(result, "safety_snapshot"));
    }
    return kDone;
  });
}

// --- the command line ----------------------------------------------------------------------------

struct SnapshotArguments {
  std::string name;
  std::vector<std::string> names;
  std::string new_name;
};

constexpr const char* kSnapshotForm = "VDI@SNAPSHOT";

// A verb about one snapshot that needs nothing else.
void AddOneSnapshotVerb(CLI::App& parent, Invocation& invocation, const std::string& name,
                        const std::string& description,
                        const std::function<int(const std::string&)>& run) {
  const auto arguments = std::make_shared<SnapshotArguments>();
  CLI::App* verb = AddVerb(parent, invocation, name, description);
  verb->add_option(kSnapshotForm, arguments->name, "The snapshot")->required();
  SetAction(*verb, invocation, [arguments, run] { return run(arguments->name); });
}

void AddSnapGroup(CLI::App& app, Invocation& invocation) {
  CLI::App* snap = AddVerbGroup(app, "snap", "Take, list and remove snapshots");
  const auto arguments = std::make_shared<SnapshotArguments>();
  CLI::App* create = AddVerb(*snap, invocation, "create", "Take a snapshot of one or more VDIs");
  create->add_option(kSnapshotForm, arguments->names, "Several at once are one instant")
      ->required();
  SetAction(*create, invocation,
            [&invocation, arguments] { return CreateSnapshots(invocation, arguments->names); });

  CLI::App* list = AddVerb(*snap, invocation, "ls", "List the snapshots of a VDI, oldest first");
  list->add_option("VDI", arguments->name, "The VDI")->required();
  AddJsonOption(*list, invocation);
  SetAction(*list, invocation,
            [&invocation, arguments] { return ListSnapshots(invocation, arguments->name); });

  CLI::App* rename = AddVerb(*snap, invocation, "rename", "Rename a snapshot");
  rename->add_option(kSnapshotForm, arguments->name, "The snapshot")->required();
  rename->add_option("NEW", arguments->new_name, "Its new name, without the VDI's")->required();
  SetAction(*rename, invocation, [&invocation, arguments] {
    return RenameSnapshot(invocation, arguments->name, arguments->new_name);
  });

  AddOneSnapshotVerb(*snap, invocation, "rm", "Remove a snapshot",
                     [&](const std::string& name) { return RemoveSnapshot(invocation, name); });
  AddOneSnapshotVerb(
      *snap, invocation, "protect", "Keep a snapshot from being removed",
      [&](const std::string& name) { return ProtectSnapshot(invocation, name, true); });
  AddOneSnapshotVerb(
      *snap, invocation, "unprotect", "Allow a snapshot to be removed again",
      [&](const std::string& name) { return ProtectSnapshot(invocation, name, false); });
}

}  // namespace

void AddSnapshotVerbs(CLI::App& app, Invocation& invocation) {
  AddSnapGroup(app, invocation);

  const auto arguments = std::make_shared<SnapshotArguments>();
  CLI::App* clone = AddVerb(app, invocation, "clone", "Make a new VDI from a snapshot");
  clone->add_option(kSnapshotForm, arguments->name, "The snapshot")->required();
  clone->add_option("NEW", arguments->new_name, "The new VDI; missing folders are made")
      ->required();
  SetAction(*clone, invocation, [&invocation, arguments] {
    return Clone(invocation, arguments->name, arguments->new_name);
  });

  CLI::App* rollback = AddVerb(app, invocation, "rollback",
                               "Give a VDI a snapshot's content, keeping what it held as another");
  rollback->add_option(kSnapshotForm, arguments->name, "The snapshot")->required();
  AddJsonOption(*rollback, invocation);
  SetAction(*rollback, invocation,
            [&invocation, arguments] { return Rollback(invocation, arguments->name); });
}

}  // namespace quoin
