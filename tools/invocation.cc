#include "tools/invocation.h"

#include <fmt/format.h>

#include <cstdio>

#include "tools/progress_bar.h"
#include "tools/store_client.h"
#include "tools/store_operations.h"

namespace quoin {

CLI::App* AddVerb(CLI::App& parent, Invocation& invocation, const std::string& name,
                  const std::string& description) {
  CLI::App* verb = parent.add_subcommand(name, description);
  verb->add_option("--store", invocation.store, "The store's folder")->type_name("DIR");
  return verb;
}

CLI::App* AddVerbGroup(CLI::App& parent, const std::string& name, const std::string& description) {
  CLI::App* group = parent.add_subcommand(name, description);
  group->require_subcommand(1);
  return group;
}

void AddJsonOption(CLI::App& verb, Invocation& invocation) {
  verb.add_flag("--json", invocation.json, "Print JSON");
}

void SetAction(CLI::App& verb, Invocation& invocation, std::function<int()> action) {
  verb.callback([&invocation, action = std::move(action)] { invocation.action = action; });
}

int Report(const Error& error, ExitStatus status) {
  std::fflush(stdout);
  fmt::print(stderr, "quoin: {}\n", error.what);
  if (!error.next.empty()) fmt::print(stderr, "  {}\n", error.next);
  return status;
}

int ReportUsage(const Error& error, const std::string& act) {
  return Report(InForm(error, act), kWrongUsage);
}

int ReportItemErrors(const Json& list) {
  int status = kDone;
  for (const Json& item : list) {
    const auto error = item.find("error");
    if (error != item.end()) status = Report(ErrorFromJson(*error), kFailed);
  }
  return status;
}

void PrintJson(const Json& value) { fmt::print("{}\n", JsonText(value)); }

int RunRequest(const std::string& root, const StoreRequest& request,
               const std::function<int(const Json& result)>& print) {
  ProgressBar bar(request.verb);
  StoreClient client(root, [&bar](uint64_t done, uint64_t all) { bar.Show(done, all); });
  StoreRequest asked = request;
  asked.tells_progress = true;
  const Result<Json> result = client.Run(asked);
  bar.Clear();
  if (!result) return Report(result.error(), kFailed);
  return print(*result);
}

int RunRequest(const std::string& root, const StoreRequest& request) {
  return RunRequest(root, request, [](const Json&) { return kDone; });
}

}  // namespace quoin
