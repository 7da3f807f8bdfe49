#pragma once
// SQLite with exceptions.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "refrain/core/error.hpp"

namespace refrain::detail {

/// One connection to a database file with page checksums. All functions throw DataError with the
/// file and the reason, std::bad_alloc when memory is exhausted. Used by one thread at a time.
class Database {
 public:
  enum class Access { read, write, create };

  Database(std::string path, Access access);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Runs statements without results.
  void run(const char* sql);
  /// The integer that a statement returns; 0 for no row.
  std::int64_t number(const char* sql);
  /// The text that a statement returns.
  std::string text(const char* sql);

  const std::string& path() const noexcept { return path_; }
  sqlite3* handle() const noexcept { return handle_.get(); }
  /// Throws for the result of a call.
  [[noreturn]] void fail(int result) const;
  void expect_ok(int result) const {
    if (result != SQLITE_OK) fail(result);
  }

 private:
  struct Close {
    void operator()(sqlite3* handle) const noexcept { sqlite3_close_v2(handle); }
  };
  std::string path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

/// A value that is bound as bytes, which may hold zeros, instead of as text.
struct Bytes {
  std::string_view value;
};

/// A prepared statement.
class Statement {
 public:
  Statement(Database& database, const char* sql);

  /// Runs a statement without results.
  template <class... Values>
  void run(const Values&... values);

 private:
  friend class Rows;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
  };
  Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// The rows of a statement for given parameters. The destructor ends the statement, and with it
/// its view of the database. Texts of a row are valid until the next row.
///
///   for (Rows rows(statement, user); rows.next();) use(rows.integer(0));
class Rows {
 public:
  template <class... Values>
  explicit Rows(Statement& statement, const Values&... values) : statement_(statement) {
    int index = 0;
    (bind(++index, values), ...);
  }
  ~Rows() {
    sqlite3_reset(handle());
    sqlite3_clear_bindings(handle());
  }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  bool next();
  std::int64_t integer(int column) const { return sqlite3_column_int64(handle(), column); }
  std::string_view text(int column) const;
  bool is_null(int column) const { return sqlite3_column_type(handle(), column) == SQLITE_NULL; }

 private:
  sqlite3_stmt* handle() const noexcept { return statement_.statement_.get(); }
  void bind(int index, std::int64_t value);
  void bind(int index, const std::optional<std::int64_t>& value);
  void bind(int index, std::string_view text);
  void bind(int index, const Bytes& bytes);

  Statement& statement_;
};

template <class... Values>
void Statement::run(const Values&... values) {
  for (Rows rows(*this, values...); rows.next();) {
  }
}

/// A transaction that writes. Without commit() the destructor rolls it back.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) {
    database_.run("BEGIN IMMEDIATE");
  }
  ~Transaction() {
    // After some errors SQLite has rolled back already.
    if (!is_done_ && sqlite3_get_autocommit(database_.handle()) == 0)
      sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit() {
    database_.run("COMMIT");
    is_done_ = true;
  }

 private:
  Database& database_;
  bool is_done_ = false;
};

}  // namespace refrain::detail
