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

StoreRequest OfVerb(const char* verb) {
  StoreRequest request;
  request.verb = verb;
  return request;
}

// Runs a request about the lock of one VDI.
int RunOnLock(const Invocation& invocation, StoreRequest request, const std::string& text,
              const std::string& act, const std::function<int(const Json&)>& print) {
  const Result<Target> target = ChooseTarget(invocation.store, {text});
  if (!target) return ReportUsage(target.error(), act);
  const Result<std::string> vdi = ParseVdiName(target->names[0]);
  if (!vdi) return ReportUsage(vdi.error(), act);
  request.vdi = *vdi;
  return RunRequest(target->root, request, print);
}

int ShowLock(const Invocation& invocation, const std::string& vdi) {
  return RunOnLock(invocation, OfVerb("lock show"), vdi, "show the lock of " + vdi, [&](const Json& lock) {
    if (invocation.json) {
      PrintJson(lock);
    } else {
      PrintLock(lock);
    }
    return kDone;
  });
}

int BreakLock(const Invocation& invocation, const std::string& vdi) {
  return RunOnLock(invocation, OfVerb("lock break"), vdi, "break the lock of " + vdi,
                   [](const Json&) { return kDone; });
}

int GrantHandOver(const Invocation& invocation, const std::string& vdi, unsigned seconds) {
  StoreRequest request = OfVerb("lock grant");
  request.duration_ms = uint64_t{seconds} * 1000;
  return RunOnLock(invocation, request, vdi, "grant a hand-over of " + vdi,
                   [](const Json&) { return kDone; });
}

constexpr unsigned kMaxGrantSeconds = 24 * 3600;

struct LockArguments {
  std::string vdi;
  bool all = false;
  unsigned seconds = 60;
};

}  // namespace

void AddLockVerbs(CLI::App& app, Invocation& invocation) {
  CLI::App* lock = AddVerbGroup(app, "lock", "See, hand over and break the right to write a VDI");
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

  CLI::App* grant = AddVerb(*lock, invocation, "grant",
                            "Let another host write a VDI that is open for writing here");
  grant->add_option("VDI", arguments->vdi, "The VDI")->required();
  grant->add_option("--for", arguments->seconds, "How long another host may come for it")
      ->type_name("SECONDS")
      ->check(CLI::Range(1U, kMaxGrantSeconds))
      ->capture_default_str();
  grant->footer("For a migration by programs that have the VDI open for writing at both ends at once. The "
                "first other host that opens it for writing has it; here it can only be read from then on.");
  SetAction(*grant, invocation, [&invocation, arguments] {
    return GrantHandOver(invocation, arguments->vdi, arguments->seconds);
  });

  CLI::App* break_verb =
      AddVerb(*lock, invocation, "break", "Declare the last owner of a VDI dead");
  break_verb->add_option("VDI", arguments->vdi, "The VDI")->required();
  break_verb->footer("Only for an owner that can never come back: a host that is off or gone.");
  SetAction(*break_verb, invocation,
            [&invocation, arguments] { return BreakLock(invocation, arguments->vdi); });
}

}  // namespace quoin
