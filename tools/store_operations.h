// The one place where requests become calls on a Store: run by the command itself when no daemon
// of this host has the store mounted, and by a daemon for the commands that ask it, so that a verb
// behaves the same either way. Stateless; from any thread.
#pragma once

#include "snapshots/store.h"
#include "tools/store_request.h"

namespace quoin {

// Answers every request, with an error for a verb that it does not know (kUnsupported). Every
// error says "cannot <act>: <reason>". `progress` hears of long work, if it is not null; from any
// thread, one at a time.
StoreAnswer RunStoreRequest(Store& store, const StoreRequest& request,
                            const ProgressSink& progress = nullptr);

// "cannot <act>: <what>", unless the error says already what cannot be done.
Error InForm(Error error, const std::string& act);

}  // namespace quoin
