// Sizes and times as people type them and as people and scripts read them. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "blockstore/base/error.h"

namespace quoin {

// A VDI's size: "10737418240", "20G", "512M", "64KiB", "1T", any case, powers of 1024. kInvalid for
// what is no size, is negative or is no multiple of 512; kTooLarge beyond 256 TiB.
Result<uint64_t> ParseVdiSize(std::string_view text);

// "20 GiB", "1.5 MiB", "512 B": at most one decimal, never rounded up to the next unit's 1024.
std::string FormatSize(uint64_t bytes);

// "2026-11-22T10:02:03.000000000Z": exact, sorts by time. What --json prints.
std::string FormatUtc(int64_t unix_ns);
// "2026-11-22T10:02:03Z"
std::string FormatUtcSeconds(int64_t unix_s);

// Now, in nanoseconds and seconds since 1970.
int64_t UnixNow();
int64_t UnixNowSeconds();

}  // namespace quoin
