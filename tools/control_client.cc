#include "tools/control_client.h"

#include <fmt/format.h>

#include "tools/control_server.h"
#include "tools/local_socket.h"
#include "tools/store_request.h"

namespace quoin {
namespace {

constexpr std::chrono::milliseconds kSendPatience{10'000};

Failure Unanswered(const MountRecord& daemon, const Error& reason) {
  return Fail(reason.code,
              fmt::format("cannot learn whether it was done: the daemon of {} (pid {}) gave no "
                          "answer: {}",
                          daemon.mount_point, daemon.daemon_pid, reason.what),
              fmt::format("quoin status {}; its log is {}", daemon.mount_point,
                          daemon.log.empty() ? "its terminal" : daemon.log));
}

}  // namespace

Result<Json> AskDaemon(const std::string& run_dir, const MountRecord& daemon, const Json& request,
                       std::chrono::milliseconds patience, const ProgressSink& progress) {
  Result<Descriptor> socket = ConnectTo(SocketPath(run_dir, daemon.session));
  if (!socket) {
    // It listens before its record appears, so nobody at the socket means nobody at all.
    if (socket.error().code == ErrorCode::kNotFound) RemoveMountRecord(run_dir, daemon.session);
    return Failure(socket.error());
  }
  const Status sent = SendLine(socket->number(), JsonLine(request), kSendPatience);
  if (!sent) return Unanswered(daemon, sent.error());
  LineReceiver receiver(socket->number());
  for (;;) {
    const Result<std::string> line = receiver.Receive(kMaxControlAnswerBytes, patience);
    if (!line) return Unanswered(daemon, line.error());
    Result<Json> answer = ParseJsonObject(
        *line, fmt::format("the answer of the daemon of {}", daemon.mount_point));
    if (!answer || !TakeProgress(*answer, progress)) return answer;
  }
}

Json StatusRequest() {
  StoreRequest request;
  request.verb = "status";
  return request.ToJson();
}

}  // namespace quoin
