#include "src/server/log_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "src/server/page_checksums.hpp"

namespace refrain::detail {
namespace {

namespace fs = std::filesystem;

/// Identifies the files of this class among SQLite's: "RfEL".
constexpr std::int64_t application = 0x5266454c;
/// Of the schema; a change that older programs cannot read increases it.
constexpr std::int64_t version = 1;

/// positions   name -> number: the newest position that is no longer in a row (`newest`), and how
///             far fold() is (`folded`, `pass_end`, `pass_user`)
/// events      appended events, in order; without an index, so that an event is one row at the end
/// histories   the newest events of each user up to `folded`, see history_bytes.hpp
/// kept_events events that fold() has processed, if they are kept
/// items.count events of an item that fold() has processed
/// users.since position of the user's first event
constexpr const char* schema = R"(
  CREATE TABLE positions(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, since INTEGER NOT NULL);
  CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
                     count INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE events(position INTEGER PRIMARY KEY, user INTEGER NOT NULL, item INTEGER NOT NULL,
                      time INTEGER);
  CREATE TABLE kept_events(user INTEGER NOT NULL, position INTEGER NOT NULL, item INTEGER NOT NULL,
                           time INTEGER, PRIMARY KEY(user, position)) WITHOUT ROWID;
  CREATE TABLE histories(user INTEGER PRIMARY KEY, events BLOB NOT NULL);
  CREATE TABLE snapshots(id INTEGER PRIMARY KEY, user INTEGER NOT NULL, model TEXT NOT NULL,
                         position INTEGER NOT NULL, bytes BLOB NOT NULL, UNIQUE(user, model));
  CREATE TABLE sources(name TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
)";

std::string because(const char* action, int error) {
  return concat(action, ": ", std::strerror(error));
}

std::uint32_t big_endian(const unsigned char* bytes) {
  return std::uint32_t{bytes[0]} << 24U | std::uint32_t{bytes[1]} << 16U |
         std::uint32_t{bytes[2]} << 8U | bytes[3];
}

[[noreturn]] void fail_version(const std::string& path, std::int64_t found) {
  throw DataError(path, 0,
                  concat("is an event log of format ", found, "; expected format ", version,
                         found > version ? ": a newer version of Refrain has written it" : ""));
}

/// Looks at the header of a file before SQLite opens it, which may change the files beside it.
void expect_log_header(const std::string& path) {
  std::array<unsigned char, 100> header{};
  std::ifstream in(path, std::ios::binary);
  if (!in) throw DataError(path, 0, because("cannot be opened", errno));
  in.read(reinterpret_cast<char*>(header.data()), header.size());
  constexpr std::string_view magic("SQLite format 3\0", 16);
  if (in.gcount() != static_cast<std::streamsize>(header.size()) ||
      std::memcmp(header.data(), magic.data(), magic.size()) != 0)
    throw DataError(path, 0, "is not an event log: it is no SQLite database");
  if (const std::uint32_t found = big_endian(&header[68]); found != application)
    throw DataError(path, 0, "is not an event log: it is an SQLite database of another program");
  if (const std::uint32_t found = big_endian(&header[60]); found != version)
    fail_version(path, found);
  if (header[16] * 256 + header[17] != page_bytes || header[20] != page_checksum_bytes)
    throw DataError(path, 0, "is damaged: its header has another size of pages");
}

void sync(const std::string& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) throw DataError(path, 0, because("cannot be opened", errno));
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (result != 0) throw DataError(path, 0, because("cannot be synced to disk", error));
}

/// Removes the empty write-ahead log that SQLite makes for a file, when the file is then refused.
class UnusedFiles {
 public:
  explicit UnusedFiles(const std::string& path) : path_(path) {}
  ~UnusedFiles() {
    std::error_code error;
    if (std::uncaught_exceptions() == exceptions_ || fs::file_size(path_ + "-wal", error) != 0)
      return;
    for (const char* const end : {"-wal", "-shm"}) fs::remove(path_ + end, error);
  }
  UnusedFiles(const UnusedFiles&) = delete;
  UnusedFiles& operator=(const UnusedFiles&) = delete;

 private:
  const std::string& path_;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace

LogLock::LogLock(const std::string& path) {
  const std::string name = path + ".lock";
  descriptor_ = ::open(name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    throw DataError(path, 0, because("cannot be locked: its lock file cannot be created", errno));
  int result = 0;
  do {
    result = ::flock(descriptor_, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  const int error = errno;
  ::close(descriptor_);
  throw DataError(
      path, 0,
      error == EWOULDBLOCK ? "is in use by another process" : because("cannot be locked", error));
}

LogLock::~LogLock() { ::close(descriptor_); }

std::string expect_log_path(const std::string& path, bool create) {
  if (path.empty()) throw OptionError("event log: expected a path, got an empty one");
  if (path.find('\0') != std::string::npos)
    throw OptionError("event log: expected a path, got one with a NUL byte");
  std::error_code error;
  fs::path whole = fs::absolute(path, error);
  if (!error) whole = fs::weakly_canonical(whole, error);
  if (error) throw DataError(path, 0, concat("cannot be opened: ", error.message()));
  const fs::file_status status = fs::status(whole, error);
  if (!fs::exists(status)) {
    if (status.type() != fs::file_type::not_found)
      throw DataError(path, 0, concat("cannot be opened: ", error.message()));
    if (!create) throw DataError(path, 0, "does not exist");
    if (!fs::is_directory(whole.parent_path(), error))
      throw DataError(path, 0, "cannot be created: its folder does not exist");
    return whole.string();
  }
  if (!fs::is_regular_file(status)) throw DataError(path, 0, "is not a regular file");
  // A process that was killed while it created the log leaves any bytes and a journal, by which
  // SQLite restores the empty file.
  if (fs::file_size(whole, error) > 0 && !fs::exists(whole.string() + "-journal", error))
    expect_log_header(whole.string());
  return whole.string();
}

std::unique_ptr<Database> open_log(const std::string& path, bool check) {
  const UnusedFiles unused(path);
  auto log = std::make_unique<Database>(path, Database::Access::create);
  // A file that turns out to be damaged keeps its write-ahead log.
  const auto keep_write_ahead_log = [&](int keep) {
    log->expect_ok(
        sqlite3_db_config(log->handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep, nullptr));
  };
  keep_write_ahead_log(1);
  log->run("PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY");
  int reserved = page_checksum_bytes;
  if (log->number("PRAGMA page_count") == 0) {
    log->run(concat("PRAGMA page_size=", page_bytes).c_str());
    log->expect_ok(
        sqlite3_file_control(log->handle(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved));
    Transaction creation(*log);
    log->run(schema);
    log->run(
        concat("PRAGMA application_id=", application, "; PRAGMA user_version=", version).c_str());
    creation.commit();
  }
  if (log->number("PRAGMA application_id") != application)
    throw DataError(path, 0, "is not an event log");
  if (const std::int64_t found = log->number("PRAGMA user_version"); found != version)
    fail_version(path, found);
  if (check) {
    if (const std::string found = log->text("PRAGMA quick_check(1)"); found != "ok")
      throw DataError(path, 0, concat("is damaged: ", found));
  }
  if (const std::string mode = log->text("PRAGMA journal_mode=WAL"); mode != "wal")
    throw DataError(path, 0, "cannot be written: SQLite cannot use a write-ahead log here");
  keep_write_ahead_log(0);
  return log;
}

void set_cache(Database& database, std::int64_t bytes) {
  database.run(concat("PRAGMA cache_size=", bytes / page_bytes).c_str());
}

bool empty_write_ahead_log(Database& database) {
  const int result = sqlite3_wal_checkpoint_v2(database.handle(), "main",
                                               SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  if ((result & 0xff) == SQLITE_BUSY) return false;
  database.expect_ok(result);
  return true;
}

void copy_log(const std::string& path, const std::string& to) {
  if (to.empty() || to.find('\0') != std::string::npos)
    throw OptionError("backup: expected a path, got an empty one or one with a NUL byte");
  std::error_code error;
  fs::path target = fs::absolute(to, error);
  if (!error) target = fs::weakly_canonical(target, error);
  if (error) throw DataError(to, 0, concat("cannot be written: ", error.message()));
  for (const char* const end : {"", "-wal", "-shm", "-journal", ".lock"}) {
    if (target.string() == path + end)
      throw OptionError(concat("backup: '", to, "' belongs to the log itself"));
  }
  const fs::file_status status = fs::status(target, error);
  if (fs::exists(status) && !fs::is_regular_file(status))
    throw DataError(to, 0, "is not a regular file, so it is not replaced");
  if (fs::exists(target.string() + "-wal", error))
    throw DataError(to, 0, "is in use: there is a write-ahead log beside it");

  const std::string copy = target.string() + ".tmp";
  const auto remove_copy = [&] {
    for (const char* const end : {"", "-journal"}) fs::remove(copy + end, error);
  };
  remove_copy();
  try {
    Database log(path, Database::Access::read);
    try {
      Statement(log, "VACUUM INTO ?").run(std::string_view(copy));
    } catch (const DataError& failed) {
      throw DataError(to, 0, concat("the copy failed: ", failed.what()));
    }
    sync(copy, O_RDONLY);
    fs::rename(copy, target, error);
    if (error) throw DataError(to, 0, concat("cannot be replaced: ", error.message()));
    sync(target.parent_path().string(), O_RDONLY | O_DIRECTORY);
  } catch (...) {
    remove_copy();
    throw;
  }
}

}  // namespace refrain::detail
