// Where the log goes: lines with time and level, to a file of bounded size, or to the
// terminal. Through spdlog's default logger, which every room uses; set up once by the daemon's
// main.
#pragma once

#include <string>

#include "blockstore/base/error.h"

namespace quoin {

// Starts logging and returns the file's path, "" for the terminal (foreground without a file). What
// the process and its libraries print to standard error goes to the file as well. Of the files
// that it named itself, those of the last kKeptLogs sessions are kept.
Result<std::string> StartLog(const std::string& file, bool foreground, const std::string& session);

// For a command that does its work itself: warnings and errors, to standard error.
void StartCommandLog();

}  // namespace quoin
