// Where the sessions of a store ask each other for things: SESSION/requests/, one folder for each session
// that answers (request_inbox.h), written to by whoever asks (request_call.h). Names and forms of the
// files in it:
//
//   <id>          a request that nobody has begun with; it appears whole, by a rename
//   <id>.taken    the session has begun with it: renamed, so that it is either taken back by who asked
//                 or begun with, never both
//   <id>.answer   its answer; appears whole, and is removed by who asked
//   bell          there is something new: the one name that an idle session looks for
//   <id>.new      on its way to one of these names; <id> is 32 hexadecimal digits
//
// A request is "quoin request 1\n" and any bytes, an answer "quoin answer 1 done\n" and any bytes, or
// "quoin answer 1 late\n" if the session was out of reach when it was asked, and has done nothing.
// Nothing is synced: what a crash loses is answered by nobody, as if the session had died.
//
// Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "blockstore/base/id.h"

namespace quoin {

// A snapshot of thousands of VDIs.
inline constexpr uint64_t kMaxRequestBytes = uint64_t{4} << 20;

namespace request_folder {

inline constexpr std::string_view kRequestHead = "quoin request 1\n";
inline constexpr std::string_view kDoneHead = "quoin answer 1 done\n";
inline constexpr std::string_view kLateHead = "quoin answer 1 late\n";

inline std::string Bell(const std::string& folder) { return folder + "/bell"; }
inline std::string Request(const std::string& folder, const Id& id) {
  return folder + "/" + id.ToString();
}
inline std::string Taken(const std::string& folder, const Id& id) {
  return Request(folder, id) + ".taken";
}
inline std::string Answer(const std::string& folder, const Id& id) {
  return Request(folder, id) + ".answer";
}
inline std::string OnItsWay(const std::string& folder) {
  return folder + "/" + Id::Random().ToString() + ".new";
}

// What follows the head; nothing if the bytes begin otherwise.
inline std::optional<std::string_view> After(std::string_view head, std::string_view bytes) {
  if (!bytes.starts_with(head)) return std::nullopt;
  return bytes.substr(head.size());
}

}  // namespace request_folder
}  // namespace quoin
