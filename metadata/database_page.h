// A page of a VDI's database file: SQLite's 4 KiB, of which the last eight bytes are reserved and
// hold a checksum, so that a flipped bit anywhere in a database file is an error and never a
// wrong fact. The checksum covers the rest of the page and its number, so that a page in the wrong
// place is caught too. Pages are stamped on their way into the file and checked on their way out of
// it (sqlite_vfs.h, database_image.h). The WAL has SQLite's own checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quoin {

// Frozen: every database file has pages of this size with this many reserved bytes.
inline constexpr size_t kDatabasePageBytes = 4096;
inline constexpr size_t kPageChecksumBytes = 8;

// Where SQLite's file header (in the first page) says so.
inline constexpr size_t kHeaderWriteVersionOffset = 18;  // 1: rollback journal, 2: WAL
inline constexpr size_t kHeaderReadVersionOffset = 19;
inline constexpr size_t kHeaderReservedBytesOffset = 20;

// Writes the checksum into the page's last bytes. `page_number` counts from 0.
void StampPage(std::span<std::byte> page, uint64_t page_number);

// True if the checksum fits, or if the page was never written (all zeros: SQLite leaves such holes
// where a page was taken and given back in one transaction).
bool PageIsIntact(std::span<const std::byte> page, uint64_t page_number);

}  // namespace quoin
