#include "tools/daemon_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "tools/daemon.h"

namespace quoin {
namespace {

namespace fs = boost::filesystem;

constexpr size_t kMaxLogBytes = 16 << 20;
constexpr size_t kOlderParts = 2;  // of one session's log
constexpr size_t kKeptLogs = 50;
constexpr std::chrono::seconds kFlushEvery{1};

// Removes the oldest logs of sessions, so that a host that mounts often is not filled with them.
void RemoveOldLogs(const std::string& folder) {
  std::vector<std::pair<std::time_t, fs::path>> logs;
  boost::system::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    boost::system::error_code gone;
    const std::time_t written = fs::last_write_time(entry->path(), gone);
    if (!gone && entry->path().extension() == ".log") logs.emplace_back(written, entry->path());
  }
  if (logs.size() <= kKeptLogs) return;
  std::sort(logs.begin(), logs.end());
  logs.resize(logs.size() - kKeptLogs);
  for (const auto& [written, path] : logs) fs::remove(path, error);
}

Result<std::string> ChooseFile(const std::string& file, const std::string& session) {
  if (!file.empty()) return file;
  const std::string folder = DefaultLogDir();
  boost::system::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return Fail(ErrorCode::kAccessDenied,
                fmt::format("cannot make the log's folder {}: {}", folder, error.message()),
                "name another file by --log FILE");
  }
  RemoveOldLogs(folder);
  return folder + "/" + session + ".log";
}

Status SendStandardErrorTo(const std::string& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (descriptor < 0) return FailSystem(errno, fmt::format("cannot open the log {}", path));
  dup2(descriptor, STDERR_FILENO);
  close(descriptor);
  return {};
}

}  // namespace

void StartCommandLog() {
  auto logger =
      std::make_shared<spdlog::logger>("quoin", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("quoin: %v");
  logger->set_level(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
}

std::string DefaultLogDir() {
  const char* folder = std::getenv("QUOIN_LOG_DIR");
  return folder != nullptr && *folder != '\0' ? folder : "/var/log/quoin";
}

Result<std::string> StartLog(const std::string& file, bool foreground, const std::string& session) {
  std::string path;
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (foreground && file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    QUOIN_ASSIGN(path, ChooseFile(file, session));
    if (!foreground) QUOIN_TRY(SendStandardErrorTo(path));
    try {
      sink =
          std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, kMaxLogBytes, kOlderParts);
    } catch (const spdlog::spdlog_ex& problem) {
      return Fail(ErrorCode::kIo, fmt::format("cannot open the log {}: {}", path, problem.what()),
                  "name another file by --log FILE");
    }
  }
  auto logger = std::make_shared<spdlog::logger>("quoin", std::move(sink));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  logger->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
  spdlog::flush_every(kFlushEvery);
  return path;
}

}  // namespace quoin
