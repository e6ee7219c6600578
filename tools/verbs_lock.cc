#include "tools/verbs_lock.h"

#include <fmt/format.h>

#include <memory>

#include "tools/facts_text.h"
#include "tools/target.h"

namespace quoin {
namespace {

int ListLocks(const Invocation& invocation, bool all) {
  const Result<Target> target = ChooseTarget(invocation.store, {});
  if (!target) return ReportUsage(target.error(), "list locks");
  StoreRequest request;
  request.verb = "lock ls";
  request.all = all;
  return RunRequest(target->root, request, [&](const Json& list) {
    if (invocation.json) {
      PrintJson(list);
    } else {
      PrintLockTable(list);
    }
    return ReportItemErrors(list);
  });
}

// Runs a verb about the lock of one VDI.
int RunOnLock(const Invocation& invocation, const std::string& verb, const std::string& text,
              const std::string& act, const std::function<int(const Json&)>& print) {
  const Result<Target> target = ChooseTarget(invocation.store, {text});
  if (!target) return ReportUsage(target.error(), act);
  const Result<std::string> vdi = ParseVdiName(target->names[0]);
  if (!vdi) return ReportUsage(vdi.error(), act);
  StoreRequest request;
  request.verb = verb;
  request.vdi = *vdi;
  return RunRequest(target->root, request, print);
}

int ShowLock(const Invocation& invocation, const std::string& vdi) {
  return RunOnLock(invocation, "lock show", vdi, "show the lock of " + vdi, [&](const Json& lock) {
    if (invocation.json) {
      PrintJson(lock);
    } else {
      PrintLock(lock);
    }
    return kDone;
  });
}

int BreakLock(const Invocation& invocation, const std::string& vdi) {
  return RunOnLock(invocation, "lock break", vdi, "break the lock of " + vdi,
                   [](const Json&) { return kDone; });
}

struct LockArguments {
  std::string vdi;
  bool all = false;
};

}  // namespace

void AddLockVerbs(CLI::App& app, Invocation& invocation) {
  CLI::App* lock = AddVerbGroup(app, "lock", "See and break the right to write a VDI");
  const auto arguments = std::make_shared<LockArguments>();

  CLI::App* list = AddVerb(*lock, invocation, "ls", "List VDIs that are owned or need recovery");
  list->add_flag("-a,--all", arguments->all, "List the free ones too");
  AddJsonOption(*list, invocation);
  SetAction(*list, invocation,
            [&invocation, arguments] { return ListLocks(invocation, arguments->all); });

  CLI::App* show = AddVerb(*lock, invocation, "show", "Show who owns or last owned a VDI");
  show->add_option("VDI", arguments->vdi, "The VDI")->required();
  AddJsonOption(*show, invocation);
  SetAction(*show, invocation,
            [&invocation, arguments] { return ShowLock(invocation, arguments->vdi); });

  CLI::App* break_verb =
      AddVerb(*lock, invocation, "break", "Declare the last owner of a VDI dead");
  break_verb->add_option("VDI", arguments->vdi, "The VDI")->required();
  break_verb->footer("Only for an owner that can never come back: a host that is off or gone.");
  SetAction(*break_verb, invocation,
            [&invocation, arguments] { return BreakLock(invocation, arguments->vdi); });
}

}  // namespace quoin
