// The quoin command: parses the command line and calls the verb.
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "tools/daemon_log.h"
#include "tools/invocation.h"
#include "tools/units.h"
#include "tools/verbs_doctor.h"
#include "tools/verbs_gc.h"
#include "tools/verbs_lock.h"
#include "tools/verbs_mount.h"
#include "tools/verbs_pack.h"
#include "tools/verbs_rebuild.h"
#include "tools/verbs_snapshot.h"
#include "tools/verbs_store.h"
#include "tools/verbs_vdi.h"

namespace {

// "quoin snap create" for the verb that was being parsed, where more help is.
std::string WordsOf(const CLI::App& app) {
  std::string words = "quoin";
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    words += " " + at->get_name();
  }
  return words;
}

// The first argument that looks like a negative size, which the parser takes for an option; "" if
// there is none.
std::string NegativeNumberAmong(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.size() > 1 && argument[0] == '-' && argument[1] >= '0' && argument[1] <= '9') {
      return argument;
    }
  }
  return {};
}

int RefuseCommandLine(const CLI::App& app, const CLI::ParseError& problem, int argc, char** argv) {
  const std::string negative = NegativeNumberAmong(argc, argv);
  if (!negative.empty()) {
    const quoin::Result<uint64_t> size = quoin::ParseVdiSize(negative);
    if (!size) return quoin::ReportUsage(size.error(), "understand the command line");
  }
  const bool no_verb = app.get_subcommands().empty() && argc <= 1;
  const quoin::Error error{quoin::ErrorCode::kInvalid,
                           no_verb ? std::string("it names no verb") : problem.what(),
                           WordsOf(app) + " --help shows what it takes"};
  return quoin::ReportUsage(error, "understand the command line");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Virtual disks and their snapshots as files", "quoin");
  quoin::Invocation invocation;
  app.add_option("--store", invocation.store, "The store's folder (or $QUOIN_STORE)")
      ->type_name("DIR");
  app.set_version_flag("--version", std::string("quoin ") + QUOIN_VERSION);
  app.require_subcommand(1);
  quoin::AddStoreVerbs(app, invocation);
  quoin::AddDoctorVerb(app, invocation);
  quoin::AddMountVerbs(app, invocation);
  quoin::AddPackVerbs(app, invocation);
  quoin::AddGarbageVerbs(app, invocation);
  quoin::AddRebuildVerb(app, invocation);
  quoin::AddVdiVerbs(app, invocation);
  quoin::AddSnapshotVerbs(app, invocation);
  quoin::AddLockVerbs(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& problem) {
    return RefuseCommandLine(app, problem, argc, argv);
  }
  quoin::StartCommandLog();
  return invocation.action();
}
