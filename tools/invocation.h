// One run of the command: the options that every verb has, and what the verb named on the command
// line does. Owned by main; each family of verbs (verbs_*.h) adds its own to the parser.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "blockstore/base/error.h"
#include "tools/json.h"
#include "tools/store_request.h"

namespace quoin {

enum ExitStatus : int { kDone = 0, kFailed = 1, kWrongUsage = 2 };

struct Invocation {
  std::string store;  // --store, before or after the verb
  bool json = false;  // --json, for listings
  // Set by the parser to the verb's work, run by main after it; returns the exit status.
  std::function<int()> action;
};

// A verb with --store.
CLI::App* AddVerb(CLI::App& parent, Invocation& invocation, const std::string& name,
                  const std::string& description);
// A verb that only groups others ("snap", "lock").
CLI::App* AddVerbGroup(CLI::App& parent, const std::string& name, const std::string& description);
void AddJsonOption(CLI::App& verb, Invocation& invocation);
// What runs when the verb is named.
void SetAction(CLI::App& verb, Invocation& invocation, std::function<int()> action);

// Prints "quoin: <what>" and, indented, what next, to standard error; returns the status.
int Report(const Error& error, ExitStatus status);
// The same for a command line that cannot be right: "quoin: cannot <act>: <what>".
int ReportUsage(const Error& error, const std::string& act);

// Prints a listing's errors ("error" members of its items); kFailed if there is one.
int ReportItemErrors(const Json& list);

void PrintJson(const Json& value);

// Runs the request on the store and gives its result to `print`, whose status is returned.
int RunRequest(const std::string& root, const StoreRequest& request,
               const std::function<int(const Json& result)>& print);
// A request whose success says nothing.
int RunRequest(const std::string& root, const StoreRequest& request);

}  // namespace quoin
