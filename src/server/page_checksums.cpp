#include "src/server/page_checksums.hpp"

#include <sqlite3.h>

#include <cstdint>
#include <cstring>

#include "refrain/core/detail/xxh64.hpp"
#include "refrain/core/error.hpp"

namespace refrain::detail {
namespace {

sqlite3_vfs* system_vfs() {
  static sqlite3_vfs* const found = sqlite3_vfs_find(nullptr);
  return found;
}

/// The file of the system's VFS, which follows ours in memory.
sqlite3_file* system_file(sqlite3_file* file) { return file + 1; }

/// A call of the system's file.
template <auto method, class Result, class... Arguments>
Result forward(sqlite3_file* file, Arguments... arguments) {
  sqlite3_file* const system = system_file(file);
  return (system->pMethods->*method)(system, arguments...);
}

/// XXH64 of the page's content and its offset, so that a page in the wrong place is found.
std::uint64_t checksum(const unsigned char* page, sqlite3_int64 offset) {
  Xxh64 hash;
  hash.update(page, page_bytes - page_checksum_bytes);
  hash.update(&offset, sizeof offset);
  return hash.digest();
}

bool is_page(int count, sqlite3_int64 offset) {
  return count == page_bytes && offset % page_bytes == 0;
}

int read(sqlite3_file* file, void* to, int count, sqlite3_int64 offset) {
  const int result = forward<&sqlite3_io_methods::xRead, int>(file, to, count, offset);
  if (result == SQLITE_IOERR_SHORT_READ && is_page(count, offset)) {
    // A page behind the end is zeros; one that the end cuts is damaged.
    sqlite3_int64 size = 0;
    const int found = forward<&sqlite3_io_methods::xFileSize, int>(file, &size);
    if (found != SQLITE_OK) return found;
    return size > offset ? SQLITE_IOERR_DATA : result;
  }
  if (result != SQLITE_OK || !is_page(count, offset)) return result;
  const auto* const page = static_cast<const unsigned char*>(to);
  std::uint64_t stored = 0;
  std::memcpy(&stored, page + page_bytes - page_checksum_bytes, sizeof stored);
  return stored == checksum(page, offset) ? SQLITE_OK : SQLITE_IOERR_DATA;
}

int write(sqlite3_file* file, const void* from, int count, sqlite3_int64 offset) {
  if (!is_page(count, offset))
    return forward<&sqlite3_io_methods::xWrite, int>(file, from, count, offset);
  unsigned char page[page_bytes];
  std::memcpy(page, from, page_bytes - page_checksum_bytes);
  const std::uint64_t sum = checksum(page, offset);
  std::memcpy(page + page_bytes - page_checksum_bytes, &sum, sizeof sum);
  return forward<&sqlite3_io_methods::xWrite, int>(file, static_cast<const void*>(page), count,
                                                   offset);
}

/// No memory mapping, so that every page passes through read().
int fetch(sqlite3_file*, sqlite3_int64, int, void** page) {
  *page = nullptr;
  return SQLITE_OK;
}
int unfetch(sqlite3_file*, sqlite3_int64, void*) { return SQLITE_OK; }

using Methods = sqlite3_io_methods;
constexpr Methods methods{
    .iVersion = 3,
    .xClose = forward<&Methods::xClose>,
    .xRead = read,
    .xWrite = write,
    .xTruncate = forward<&Methods::xTruncate>,
    .xSync = forward<&Methods::xSync>,
    .xFileSize = forward<&Methods::xFileSize>,
    .xLock = forward<&Methods::xLock>,
    .xUnlock = forward<&Methods::xUnlock>,
    .xCheckReservedLock = forward<&Methods::xCheckReservedLock>,
    .xFileControl = forward<&Methods::xFileControl>,
    .xSectorSize = forward<&Methods::xSectorSize>,
    .xDeviceCharacteristics = forward<&Methods::xDeviceCharacteristics>,
    .xShmMap = forward<&Methods::xShmMap>,
    .xShmLock = forward<&Methods::xShmLock>,
    .xShmBarrier = forward<&Methods::xShmBarrier>,
    .xShmUnmap = forward<&Methods::xShmUnmap>,
    .xFetch = fetch,
    .xUnfetch = unfetch,
};

int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* opened) {
  sqlite3_vfs* const system = system_vfs();
  // Other files are the system's own objects, in the same memory.
  if ((flags & SQLITE_OPEN_MAIN_DB) == 0) return system->xOpen(system, name, file, flags, opened);
  file->pMethods = nullptr;
  const int result = system->xOpen(system, name, system_file(file), flags, opened);
  // SQLite closes a file whose methods are set, also after a failure.
  if (system_file(file)->pMethods != nullptr) file->pMethods = &methods;
  return result;
}

}  // namespace

const char* page_checksum_vfs() {
  static sqlite3_vfs vfs;
  static const bool is_registered = [] {
    if (system_vfs() == nullptr) return false;
    vfs = *system_vfs();
    vfs.zName = "refrain-page-checksums";
    vfs.szOsFile += static_cast<int>(sizeof(sqlite3_file));
    vfs.xOpen = open;
    vfs.pNext = nullptr;
    return sqlite3_vfs_register(&vfs, 0) == SQLITE_OK;
  }();
  if (!is_registered) throw Error("SQLite has no file system");
  return vfs.zName;
}

}  // namespace refrain::detail
