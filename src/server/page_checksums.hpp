#pragma once
// Checksums of the pages of an SQLite database.

namespace refrain::detail {

/// Bytes at the end of each page that hold its checksum: the reserved bytes of the file format.
inline constexpr int page_checksum_bytes = 8;
inline constexpr int page_bytes = 4096;

/// Registers, once, a VFS of SQLite that writes a checksum into each page of a database file and
/// compares it when the page is read; a difference is SQLITE_IOERR_DATA. Returns its name for
/// sqlite3_open_v2(). The pages of such a database have page_bytes and page_checksum_bytes reserved
/// bytes. Its other files (write-ahead log, journal) are those of SQLite, which checks them itself.
const char* page_checksum_vfs();

}  // namespace refrain::detail
