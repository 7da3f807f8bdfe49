#include "refrain/server/event_log.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "src/server/database.hpp"
#include "src/server/history_bytes.hpp"
#include "src/server/log_file.hpp"
#include "src/server/log_names.hpp"
#include "src/server/recent_events.hpp"

namespace refrain {

using detail::concat;
using detail::Database;
using detail::max_cached_names;
using detail::Names;
using detail::Positions;
using detail::Recent;
using detail::Rows;
using detail::Statement;
using detail::StoredHistory;
using detail::Transaction;
using detail::up_to;
using detail::UserEvent;

namespace {

void expect_name(const char* what, std::string_view name) {
  const auto fail = [&](const auto&... got) {
    throw OptionError(concat("event log: expected a ", what, " of 1 to ", EventLog::max_name_bytes,
                             " bytes without NUL, got ", got...));
  };
  if (name.empty()) fail("an empty one");
  if (name.size() > EventLog::max_name_bytes) fail("one of ", name.size(), " bytes");
  if (name.find('\0') != std::string_view::npos) fail("one with NUL");
}

void expect_positive(const char* what, std::int64_t value) {
  if (value < 1)
    throw OptionError(concat("event log: expected a positive ", what, ", got ", value));
}

}  // namespace

class EventLog::Impl {
 public:
  Impl(const std::string& path, const EventLogOptions& options)
      : options_(options),
        path_(detail::expect_log_path(path, options.create)),
        lock_(path_),
        writer_(detail::open_log(path_, options.check)),
        reader_(std::make_unique<Database>(path_, Database::Access::write)) {
    detail::set_cache(*writer_, options.cache_bytes / 2);
    detail::set_cache(*reader_, options.cache_bytes / 2);
    // Also removes what a killed erase() left there.
    detail::empty_write_ahead_log(*writer_);
    load();
  }

  std::int64_t append(std::span<const LogEvent> events, const SourcePosition* source) {
    for (const LogEvent& event : events) expect_valid(event);
    if (source != nullptr) expect_name("source", source->source);
    const std::scoped_lock lock(writing_);
    const std::int64_t first = positions_.newest + 1;
    if (events.empty() && source == nullptr) return first;
    std::vector<std::pair<std::int64_t, UserEvent>> added;
    added.reserve(events.size());
    try {
      Transaction transaction(*writer_);
      for (const LogEvent& event : events) {
        const std::int64_t position = first + static_cast<std::int64_t>(added.size());
        const std::int64_t user = user_ids_.find_or_add(event.user, position);
        const std::int64_t item = item_ids_.find_or_add(event.item, 0);
        add_event_.run(position, user, item, event.time);
        added.emplace_back(user, UserEvent{position, item});
      }
      if (source != nullptr)
        set_source_.run(std::string_view(source->source), std::string_view(source->position));
      transaction.commit();
    } catch (...) {
      user_ids_.forget_added();
      item_ids_.forget_added();
      throw;
    }
    const std::scoped_lock recent_lock(in_memory_);
    for (const auto& [user, event] : added) recent_[user].push_back(event);
    positions_.newest += static_cast<std::int64_t>(added.size());
    counts_.unfolded += static_cast<std::int64_t>(added.size());
    counts_.users += user_ids_.keep_added();
    counts_.items += item_ids_.keep_added();
    counts_.position = positions_.newest;
    return first;
  }

  std::optional<std::string> source_position(std::string_view source) {
    const std::scoped_lock lock(reading_);
    Rows rows(get_source_, source);
    if (!rows.next()) return std::nullopt;
    return std::string(rows.text(0));
  }

  UserHistory history(std::string_view name, std::int64_t count, std::int64_t after) {
    if (count < 0 || after < 0)
      throw OptionError(concat("history: expected a count and a position of at least 0, got ",
                               count, " and ", after));
    const std::scoped_lock lock(reading_);
    const auto user = find_user(name);
    if (!user) return {};
    // The events in memory first: fold() may move them into the row meanwhile, never back. One more
    // than requested shows that the history is not complete.
    const std::vector<UserEvent> recent = recent_of(*user, count);
    StoredHistory stored = stored_history(*reader_, read_history_, *user);
    const std::int64_t in_row = stored.events.empty() ? 0 : stored.events.back().position;
    for (const UserEvent& event : recent) {
      if (event.position > in_row) stored.events.push_back(event);
    }
    UserHistory history;
    if (stored.events.empty()) return history;
    history.position = stored.events.back().position;
    auto begin = std::find_if(stored.events.begin(), stored.events.end(),
                              [&](const UserEvent& event) { return event.position > after; });
    const std::int64_t left = stored.events.end() - begin;
    history.complete = stored.left_out <= after && left <= count;
    begin += std::max<std::int64_t>(0, left - count);
    for (; begin != stored.events.end(); ++begin) history.items.push_back(item_name(begin->item));
    return history;
  }

  bool fold(std::int64_t events) {
    expect_positive("number of events", events);
    const std::scoped_lock lock(writing_);
    if (positions_.pass_end == 0 && has_folded_rows_) return remove_folded(events);
    return fold_users(events);
  }

  bool erase(std::string_view name) {
    const std::scoped_lock lock(copying_, writing_);
    const auto user = user_ids_.find(std::string(name));
    if (user) erase_user(*user, std::string(name));
    // The bytes that the transaction has overwritten are still in the write-ahead log.
    const std::scoped_lock reading_lock(reading_);
    if (!detail::empty_write_ahead_log(*writer_)) {
      throw DataError(path_, 0,
                      "the user is erased, but another program reads the file, so that bytes of "
                      "the user are left in its write-ahead log: erase the user again");
    }
    return user.has_value();
  }

  std::int64_t put(std::span<const StateSnapshot> snapshots) {
    const std::scoped_lock lock(writing_);
    std::int64_t stored = 0;
    Transaction transaction(*writer_);
    for (const StateSnapshot& snapshot : snapshots) {
      const auto user = user_ids_.find(snapshot.user);
      if (!user) continue;
      put_snapshot_.run(*user, std::string_view(snapshot.model), snapshot.position,
                        detail::Bytes{snapshot.bytes});
      stored += sqlite3_changes(writer_->handle());
    }
    transaction.commit();
    return stored;
  }

  std::optional<StateSnapshot> snapshot(std::string_view user, std::string_view model) {
    const std::scoped_lock lock(reading_);
    Rows rows(get_snapshot_, user, model);
    if (!rows.next()) return std::nullopt;
    return StateSnapshot{.user = std::string(user),
                         .model = std::string(model),
                         .position = rows.integer(0),
                         .bytes = std::string(rows.text(1))};
  }

  std::int64_t erase_snapshots_except(std::string_view model, std::int64_t count) {
    expect_positive("number of snapshots", count);
    const std::scoped_lock lock(writing_);
    Transaction transaction(*writer_);
    erase_other_snapshots_.run(model, count);
    const std::int64_t erased = sqlite3_changes(writer_->handle());
    transaction.commit();
    return erased;
  }

  void for_each_item(const std::function<void(std::string_view, std::int64_t)>& visit) {
    const std::scoped_lock lock(copying_);
    Database log(path_, Database::Access::read);
    Statement items(log, "SELECT id, name, count FROM items");
    std::unordered_map<std::int64_t, std::int64_t> recent;
    std::unique_lock writing_lock(writing_);
    for (const auto& [user, events] : recent_) {
      for (const UserEvent& event : events) ++recent[event.item];
    }
    // The first row fixes the state of the file that is read.
    Rows rows(items);
    bool has_row = rows.next();
    writing_lock.unlock();
    for (; has_row; has_row = rows.next()) {
      const auto found = recent.find(rows.integer(0));
      visit(rows.text(1), rows.integer(2) + (found == recent.end() ? 0 : found->second));
    }
  }

  Counts counts() {
    const std::scoped_lock lock(in_memory_);
    return counts_;
  }

  void backup(const std::string& path) {
    const std::scoped_lock lock(copying_);
    detail::copy_log(path_, path);
  }

 private:
  /// Fills the memory from the file.
  void load() {
    for (Rows rows(read_positions_); rows.next();) {
      const std::string_view name = rows.text(0);
      const std::int64_t value = rows.integer(1);
      if (name == "newest") positions_.newest = value;
      if (name == "folded") positions_.folded = value;
      if (name == "pass_end") positions_.pass_end = value;
      if (name == "pass_user") positions_.pass_user = value;
    }
    positions_.newest = std::max(positions_.newest, positions_.folded);
    std::vector<std::pair<std::int64_t, UserEvent>> recent;
    Statement events(*writer_, "SELECT position, user, item FROM events ORDER BY position");
    for (Rows rows(events); rows.next();) {
      const std::int64_t position = rows.integer(0);
      const std::int64_t user = rows.integer(1);
      positions_.newest = std::max(positions_.newest, position);
      if (positions_.is_folded(user, position)) {
        has_folded_rows_ = true;
        continue;
      }
      recent.emplace_back(user, UserEvent{position, rows.integer(2)});
    }
    counts_.unfolded = static_cast<std::int64_t>(recent.size());
    // User by user, which is faster than a search for each event.
    std::stable_sort(recent.begin(), recent.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    auto last = recent_.end();
    for (const auto& [user, event] : recent) {
      if (last == recent_.end() || last->first != user)
        last = recent_.emplace_hint(recent_.end(), user, std::vector<UserEvent>());
      last->second.push_back(event);
    }
    counts_.users = writer_->number("SELECT count(*) FROM users");
    counts_.items = writer_->number("SELECT count(*) FROM items");
    counts_.position = positions_.newest;
  }

  void write_positions(const Positions& positions) {
    set_position_.run(std::string_view("newest"), positions.newest);
    set_position_.run(std::string_view("folded"), positions.folded);
    set_position_.run(std::string_view("pass_end"), positions.pass_end);
    set_position_.run(std::string_view("pass_user"), positions.pass_user);
  }

  StoredHistory stored_history(Database& database, Statement& statement, std::int64_t user) {
    Rows rows(statement, user);
    if (!rows.next()) return {};
    auto history = detail::parse_history(rows.text(0));
    if (!history)
      throw DataError(database.path(), 0, concat("is damaged: the history of user number ", user));
    return *std::move(history);
  }

  /// The newest count + 1 events of a user in memory.
  std::vector<UserEvent> recent_of(std::int64_t user, std::int64_t count) {
    const std::scoped_lock lock(in_memory_);
    const auto found = recent_.find(user);
    if (found == recent_.end()) return {};
    const auto size = static_cast<std::int64_t>(found->second.size());
    return {found->second.end() - (size > count ? count + 1 : size), found->second.end()};
  }

  std::optional<std::int64_t> find_user(std::string_view name) {
    Rows rows(find_user_, name);
    if (!rows.next()) return std::nullopt;
    return rows.integer(0);
  }

  const std::string& item_name(std::int64_t item) {
    if (const auto found = item_names_.find(item); found != item_names_.end()) return found->second;
    Rows rows(read_item_, item);
    if (!rows.next()) throw DataError(path_, 0, concat("is damaged: it has no item number ", item));
    if (item_names_.size() >= max_cached_names) item_names_.clear();
    return item_names_.emplace(item, rows.text(0)).first->second;
  }

  /// Moves the events of the next users of a pass into their histories.
  bool fold_users(std::int64_t count) {
    Positions after = positions_;
    if (after.pass_end == 0) {
      if (recent_.empty()) return false;
      after.pass_end = after.newest;
      after.pass_user = 0;
    }
    // Only this thread changes recent_, so that it may be read without a lock.
    auto user = recent_.lower_bound(after.pass_user);
    Transaction transaction(*writer_);
    std::unordered_map<std::int64_t, std::int64_t> items;
    std::vector<std::int64_t> users;
    for (std::int64_t done = 0; user != recent_.end() && done < count; ++user) {
      const std::span<const UserEvent> events = up_to(user->second, after.pass_end);
      if (events.empty()) continue;
      StoredHistory history = stored_history(*writer_, write_read_history_, user->first);
      detail::add(history, events, options_.history);
      put_history_.run(user->first, detail::Bytes{detail::history_bytes(history)});
      for (const UserEvent& event : events) {
        ++items[event.item];
        if (options_.keep_events) keep_event_.run(event.position);
      }
      users.push_back(user->first);
      done += static_cast<std::int64_t>(events.size());
    }
    for (const auto& [item, events] : items) count_item_.run(events, item);
    const std::int64_t end = after.pass_end;
    if (user == recent_.end()) {
      after.folded = end;
      after.pass_end = after.pass_user = 0;
    } else {
      after.pass_user = user->first;
    }
    write_positions(after);
    transaction.commit();

    positions_ = after;
    has_folded_rows_ = true;
    const std::scoped_lock lock(in_memory_);
    for (const std::int64_t folded : users) {
      const auto found = recent_.find(folded);
      const std::size_t moved = up_to(found->second, end).size();
      counts_.unfolded -= static_cast<std::int64_t>(moved);
      if (moved == found->second.size()) {
        recent_.erase(found);
      } else {
        found->second.erase(found->second.begin(),
                            found->second.begin() + static_cast<std::ptrdiff_t>(moved));
      }
    }
    return true;
  }

  /// Removes rows of events that are in the histories.
  bool remove_folded(std::int64_t count) {
    const std::int64_t oldest = writer_->number("SELECT min(position) FROM events");
    const bool has_rows = oldest != 0 && oldest <= positions_.folded;
    // Removing a row costs much less than folding it.
    const std::int64_t end = has_rows && count < (positions_.folded - oldest) / 8
                                 ? oldest + 8 * count
                                 : positions_.folded;
    if (has_rows) {
      Transaction transaction(*writer_);
      remove_events_.run(end);
      transaction.commit();
    }
    has_folded_rows_ = end < positions_.folded;
    return has_folded_rows_;
  }

  void erase_user(std::int64_t user, const std::string& name) {
    // Folded events by position, as a history and the kept events have some in common.
    std::map<std::int64_t, std::int64_t> folded;
    for (const UserEvent& event : stored_history(*writer_, write_read_history_, user).events)
      folded[event.position] = event.item;
    for (Rows rows(read_kept_, user); rows.next();) folded[rows.integer(0)] = rows.integer(1);
    std::unordered_map<std::int64_t, std::int64_t> items;
    for (const auto& [position, item] : folded) ++items[item];
    const auto found = recent_.find(user);
    const std::vector<UserEvent> recent =
        found == recent_.end() ? std::vector<UserEvent>() : found->second;
    for (const UserEvent& event : recent) items.try_emplace(event.item, 0);
    std::unordered_set<std::int64_t> of_others;
    for (const auto& [other, events] : recent_) {
      if (other == user) continue;
      for (const UserEvent& event : events) {
        if (items.contains(event.item)) of_others.insert(event.item);
      }
    }

    Transaction transaction(*writer_);
    for (Statement* const erase :
         {&erase_events_, &erase_kept_, &erase_history_, &erase_snapshots_, &erase_user_})
      erase->run(user);
    std::int64_t erased_items = 0;
    for (const auto& [item, events] : items) {
      count_item_.run(-events, item);
      if (of_others.contains(item)) continue;
      erase_item_.run(item);
      erased_items += sqlite3_changes(writer_->handle());
    }
    write_positions(positions_);
    // A reader sees the user before or after, in the file as in memory.
    const std::scoped_lock reading_lock(reading_);
    transaction.commit();
    user_ids_.forget(name);
    item_ids_.forget_all();
    item_names_.clear();
    const std::scoped_lock lock(in_memory_);
    recent_.erase(user);
    counts_.unfolded -= static_cast<std::int64_t>(recent.size());
    counts_.users -= 1;
    counts_.items -= erased_items;
  }

  // Locks are taken in this order: copying_, writing_, reading_, in_memory_.
  std::mutex copying_;    ///< reads of long duration
  std::mutex writing_;    ///< the writer; also read access to recent_ and positions_
  std::mutex reading_;    ///< the reader
  std::mutex in_memory_;  ///< changes of recent_ and counts_

  EventLogOptions options_;
  std::string path_;
  detail::LogLock lock_;
  std::unique_ptr<Database> writer_;
  std::unique_ptr<Database> reader_;
  Recent recent_;
  Counts counts_;
  Positions positions_;
  /// `events` holds rows that are in the histories
  bool has_folded_rows_ = false;
  std::unordered_map<std::int64_t, std::string> item_names_;

  // Statements of the writer.
  Names user_ids_{*writer_, "SELECT id FROM users WHERE name = ?",
                  "INSERT INTO users(name, since) VALUES(?, ?) RETURNING id"};
  Names item_ids_{*writer_, "SELECT id FROM items WHERE name = ?",
                  "INSERT INTO items(name, count) VALUES(?, ?) RETURNING id"};
  Statement add_event_{*writer_, "INSERT INTO events VALUES(?, ?, ?, ?)"};
  Statement set_source_{*writer_, "INSERT OR REPLACE INTO sources VALUES(?, ?)"};
  Statement read_positions_{*writer_, "SELECT name, value FROM positions"};
  Statement set_position_{*writer_, "INSERT OR REPLACE INTO positions VALUES(?, ?)"};
  Statement write_read_history_{*writer_, "SELECT events FROM histories WHERE user = ?"};
  Statement put_history_{*writer_, "INSERT OR REPLACE INTO histories VALUES(?, ?)"};
  Statement count_item_{*writer_, "UPDATE items SET count = count + ? WHERE id = ?"};
  Statement keep_event_{*writer_,
                        "INSERT INTO kept_events(user, position, item, time) "
                        "SELECT user, position, item, time FROM events WHERE position = ?"};
  Statement remove_events_{*writer_, "DELETE FROM events WHERE position <= ?"};
  Statement read_kept_{*writer_, "SELECT position, item FROM kept_events WHERE user = ?"};
  Statement erase_events_{*writer_, "DELETE FROM events WHERE user = ?"};
  Statement erase_kept_{*writer_, "DELETE FROM kept_events WHERE user = ?"};
  Statement erase_history_{*writer_, "DELETE FROM histories WHERE user = ?"};
  Statement erase_snapshots_{*writer_, "DELETE FROM snapshots WHERE user = ?"};
  Statement erase_user_{*writer_, "DELETE FROM users WHERE id = ?"};
  Statement erase_item_{*writer_, "DELETE FROM items WHERE id = ? AND count <= 0"};
  Statement put_snapshot_{*writer_,
                          "INSERT INTO snapshots(user, model, position, bytes) "
                          "SELECT id, ?2, ?3, ?4 FROM users WHERE id = ?1 AND since <= ?3 "
                          "ON CONFLICT(user, model) DO UPDATE SET position = excluded.position, "
                          "bytes = excluded.bytes WHERE excluded.position >= position"};
  Statement erase_other_snapshots_{*writer_,
                                   "DELETE FROM snapshots WHERE id IN "
                                   "(SELECT id FROM snapshots WHERE model <> ? LIMIT ?)"};
  // Statements of the reader.
  Statement get_source_{*reader_, "SELECT position FROM sources WHERE name = ?"};
  Statement find_user_{*reader_, "SELECT id FROM users WHERE name = ?"};
  Statement read_history_{*reader_, "SELECT events FROM histories WHERE user = ?"};
  Statement read_item_{*reader_, "SELECT name FROM items WHERE id = ?"};
  Statement get_snapshot_{*reader_,
                          "SELECT position, bytes FROM snapshots "
                          "WHERE user = (SELECT id FROM users WHERE name = ?) AND model = ?"};
};

EventLog::EventLog(const std::string& path, const EventLogOptions& options) {
  expect_positive("length of histories", options.history);
  expect_positive("size of the cache", options.cache_bytes);
  impl_ = std::make_unique<Impl>(path, options);
}
EventLog::~EventLog() = default;

void EventLog::expect_valid(const LogEvent& event) {
  expect_name("user", event.user);
  expect_name("item", event.item);
}

std::int64_t EventLog::append(std::span<const LogEvent> events) {
  return impl_->append(events, nullptr);
}
std::int64_t EventLog::append(std::span<const LogEvent> events, const SourcePosition& source) {
  return impl_->append(events, &source);
}
std::optional<std::string> EventLog::source_position(std::string_view source) const {
  return impl_->source_position(source);
}
UserHistory EventLog::history(std::string_view user, std::int64_t count, std::int64_t after) const {
  return impl_->history(user, count, after);
}
bool EventLog::fold(std::int64_t events) { return impl_->fold(events); }
bool EventLog::erase(std::string_view user) { return impl_->erase(user); }
std::int64_t EventLog::put(std::span<const StateSnapshot> snapshots) {
  return impl_->put(snapshots);
}
std::optional<StateSnapshot> EventLog::snapshot(std::string_view user,
                                                std::string_view model) const {
  return impl_->snapshot(user, model);
}
std::int64_t EventLog::erase_snapshots_except(std::string_view model, std::int64_t count) {
  return impl_->erase_snapshots_except(model, count);
}
void EventLog::for_each_item(
    const std::function<void(std::string_view, std::int64_t)>& visit) const {
  impl_->for_each_item(visit);
}
EventLog::Counts EventLog::counts() const { return impl_->counts(); }
void EventLog::backup(const std::string& path) const { impl_->backup(path); }

}  // namespace refrain
