#include "src/server/database.hpp"

#include <cstring>
#include <new>
#include <utility>

#include "src/server/page_checksums.hpp"

namespace refrain::detail {
namespace {

/// What an extended result code of SQLite means for the file.
std::string reason_of(int code, sqlite3* handle) {
  const std::string message = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code);
  const int system_error = handle != nullptr ? sqlite3_system_errno(handle) : 0;
  const std::string because =
      system_error != 0 ? concat(": ", std::strerror(system_error)) : std::string();
  if (code == SQLITE_IOERR_DATA) return "is damaged: a page differs from its checksum";
  switch (code & 0xff) {
    case SQLITE_FULL:
      return "cannot be written: the disk is full";
    case SQLITE_CORRUPT:
      return concat("is damaged: ", message);
    case SQLITE_NOTADB:
      return "is damaged or not an SQLite database";
    case SQLITE_IOERR:
      return concat("cannot be read or written", because);
    case SQLITE_CANTOPEN:
      return concat("cannot be opened", because);
    case SQLITE_READONLY:
      return "cannot be written: it is read-only";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "is in use by another program";
    default:
      return concat("SQLite reports: ", message);
  }
}

}  // namespace

Database::Database(std::string path, Access access) : path_(std::move(path)) {
  const int flags =
      SQLITE_OPEN_NOMUTEX | (access == Access::read     ? SQLITE_OPEN_READONLY
                             : access == Access::create ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                                        : SQLITE_OPEN_READWRITE);
  sqlite3* opened = nullptr;
  const int result = sqlite3_open_v2(path_.c_str(), &opened, flags, page_checksum_vfs());
  handle_.reset(opened);
  expect_ok(result);
  sqlite3_extended_result_codes(opened, 1);
  // Another program may read the file for a moment.
  sqlite3_busy_timeout(opened, 1'000);
  if (access != Access::read && sqlite3_db_readonly(opened, "main") != 0) fail(SQLITE_READONLY);
}

void Database::fail(int result) const {
  if ((result & 0xff) == SQLITE_NOMEM) throw std::bad_alloc();
  const int code = handle_ != nullptr && sqlite3_errcode(handle()) != SQLITE_OK
                       ? sqlite3_extended_errcode(handle())
                       : result;
  throw DataError(path_, 0, reason_of(code, handle()));
}

void Database::run(const char* sql) {
  expect_ok(sqlite3_exec(handle(), sql, nullptr, nullptr, nullptr));
}

std::int64_t Database::number(const char* sql) {
  Statement statement(*this, sql);
  Rows rows(statement);
  return rows.next() ? rows.integer(0) : 0;
}

std::string Database::text(const char* sql) {
  Statement statement(*this, sql);
  Rows rows(statement);
  return rows.next() ? std::string(rows.text(0)) : std::string();
}

Statement::Statement(Database& database, const char* sql) : database_(database) {
  sqlite3_stmt* prepared = nullptr;
  database_.expect_ok(sqlite3_prepare_v3(database_.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT,
                                         &prepared, nullptr));
  statement_.reset(prepared);
}

bool Rows::next() {
  const int result = sqlite3_step(handle());
  if (result == SQLITE_ROW) return true;
  if (result != SQLITE_DONE) statement_.database_.fail(result);
  return false;
}

std::string_view Rows::text(int column) const {
  const void* const bytes = sqlite3_column_blob(handle(), column);
  const int count = sqlite3_column_bytes(handle(), column);
  return bytes == nullptr
             ? std::string_view()
             : std::string_view(static_cast<const char*>(bytes), static_cast<std::size_t>(count));
}

// Texts outlive the statement's use of them, so they are not copied.

void Rows::bind(int index, std::int64_t value) {
  statement_.database_.expect_ok(sqlite3_bind_int64(handle(), index, value));
}

void Rows::bind(int index, const std::optional<std::int64_t>& value) {
  statement_.database_.expect_ok(value.has_value() ? sqlite3_bind_int64(handle(), index, *value)
                                                   : sqlite3_bind_null(handle(), index));
}

void Rows::bind(int index, std::string_view text) {
  statement_.database_.expect_ok(
      sqlite3_bind_text64(handle(), index, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void Rows::bind(int index, const Bytes& bytes) {
  // A null pointer would be NULL instead of no bytes.
  const char* const data = bytes.value.empty() ? "" : bytes.value.data();
  statement_.database_.expect_ok(
      sqlite3_bind_blob64(handle(), index, data, bytes.value.size(), SQLITE_STATIC));
}

}  // namespace refrain::detail
