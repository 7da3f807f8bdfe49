#include <algorithm>
#include <cmath>

#include "src/columns.hpp"
#include "src/formats.hpp"
#include "src/log_stream.hpp"
#include "src/time_columns.hpp"

namespace refrain::detail {
namespace {

constexpr const char* order_unknown = "so the order of a user's events is unknown: ";
constexpr const char* or_in_file_order =
    "or, if each user's events are in time order in the file, set in_file_order (--in-file-order)";

std::string unread_times(std::string_view column) {
  return concat("column ", quoted(column), " looks like times and is not read, ", order_unknown,
                "name it with time_column (--time-column) to read it, remove it, ",
                or_in_file_order);
}

/// The text that a report adds when the times of an ignored column fall.
std::string falling_times(std::string_view column) {
  return concat("; warning: the times in ", column,
                " fall from line to line, so the newest event of a user is taken as the "
                "oldest: reverse the order of the lines, or read the times");
}

using EventFunction = std::function<void(const StreamedEvent&)>;

/// Turns lines into events. A refused line changes nothing.
class EventLines {
 public:
  /// Events go to `function`, or into memory when it is empty.
  EventLines(const EventFormat& format, const ReadOptions& options, std::int64_t file_bytes,
             EventFunction function = {})
      : format_(format),
        needs_header_(format.header),
        in_file_order_(options.in_file_order),
        keep_ratings_(options.keep_ratings),
        file_bytes_(file_bytes),
        options_(options),
        function_(std::move(function)) {
    if (in_file_order_) ignore_time(format_.time, {});
  }

  std::string accept(const Line& line) {
    if (const char* problem = split(line); problem != nullptr) return problem;
    if (count_ != format_.columns) {
      return concat("expected ", format_.columns, " fields separated by ",
                    format_.separator.text.empty() ? "blanks" : quoted(format_.separator.text),
                    ", got ", count_);
    }
    // Only new ids are checked, and they are few. Logs are often sorted by user, so the last user
    // is compared first.
    const bool is_same_user = !events_.user.empty() && events_.users[user_number_] == user_;
    std::int32_t user = is_same_user ? user_number_ : events_.users.find(user_);
    if (user == absent_id) {
      if (std::string reason = check_id("user", user_); !reason.empty()) return reason;
    }
    std::int32_t item = events_.items.find(item_);
    if (item == absent_id) {
      if (std::string reason = check_id("item", item_); !reason.empty()) return reason;
    }
    float rating = 0;
    if (format_.rating >= 0 && !(parse(rating_, rating) && std::isfinite(rating))) {
      return concat("rating ", quoted(rating_), " is not a number",
                    has_decimal_comma(rating_) ? ": write a decimal point" : "");
    }
    std::int64_t time = 0;
    if (format_.time >= 0) {
      if (std::string reason = time_parser_.parse(time_, line.number, time); !reason.empty())
        return reason;
    }
    user_number_ = user == absent_id ? events_.users.intern(user_) : user;
    store(line, item == absent_id ? events_.items.intern(item_) : item, rating, time);
    return {};
  }

  /// Counts bytes for an estimate of the number of lines to come.
  void count_bytes(const Line& line) noexcept { bytes_ += line.text().size() + 1; }

  bool needs_header() const noexcept { return needs_header_; }

  /// Reads the columns' positions from the header line. Returns the reason of a failure, or an
  /// empty string.
  std::string accept_header(const Line& line) {
    needs_header_ = false;
    std::vector<std::string_view> names;
    if (format_.format == Format::ratings_csv) {
      format_.separator = table_separator(line.text(), [&](const auto& header) {
        EventFormat found = format_;
        return name_columns(header, options_, found).empty();
      });
    }
    if (const char* problem = detail::split(line, format_.separator, names); problem != nullptr)
      return problem;
    if (std::string reason = name_columns(names, options_, format_); !reason.empty()) return reason;
    if (in_file_order_) ignore_time_column(names);
    columns_read_ = columns_text(names);
    return format_.time >= 0 || in_file_order_ ? std::string() : missing_time(names);
  }

  /// The name of an unread column whose sampled fields all look like times, in a table without a
  /// time column; empty when there is none. Final after the last line.
  std::string_view column_of_times() const noexcept {
    return is_sampled() && !times_.empty() ? std::string_view(times_.front().name)
                                           : std::string_view();
  }
  /// A warning about the times that in_file_order ignores, or an empty string. Final after the last
  /// line.
  std::string time_warning() const {
    return ignored_order_.is_falling() ? falling_times(ignored_name_) : std::string();
  }
  /// True when the sample is complete.
  bool has_sample() const noexcept { return sampled_ == max_sample; }

  /// The columns of the header that are read, and those that are not; empty without a header.
  const std::string& columns_read() const noexcept { return columns_read_; }

  Interactions take() && { return std::move(events_); }
  bool empty() const noexcept { return count_of_events_ == 0; }
  bool has_times() const noexcept { return format_.time >= 0; }

 private:
  static constexpr int max_sample = 20;
  static constexpr std::int32_t max_checked_users = 4096;

  /// An unread column whose sampled fields all look like times.
  struct Times {
    int column;
    std::string name;
  };

  bool is_sampled() const noexcept { return sampled_ > 0; }

  /// The reason why a table without a time column cannot be read, or an empty string. Fields decide
  /// about columns whose names are not those of times.
  std::string missing_time(const std::vector<std::string_view>& names) {
    for (int column = 0; column < format_.columns; ++column) {
      const std::string_view name = names[static_cast<std::size_t>(column)];
      if (is_read(column)) continue;
      if (is_time_name(name)) return unread_times(name);
      times_.push_back({column, std::string(name)});
    }
    if (format_.rating < 0) return {};
    return concat(
        "the table has ratings (column ", quoted(names[static_cast<std::size_t>(format_.rating)]),
        ") and no times, ", order_unknown,
        "add a column \"timestamp\" (a date as in ISO 8601, or a number such as seconds since "
        "1970), ",
        or_in_file_order);
  }

  void ignore_time_column(const std::vector<std::string_view>& names) {
    int column = find_column(names, Role::time).column;
    for (int other = 0; other < format_.columns && column < 0; ++other) {
      if (!is_read(other) && is_time_name(names[static_cast<std::size_t>(other)])) column = other;
    }
    if (column >= 0 && !is_read(column))
      ignore_time(column, concat("column ", quoted(names[static_cast<std::size_t>(column)])));
  }
  void ignore_time(int column, std::string name) {
    format_.time = -1;
    ignored_time_ = column;
    ignored_name_ = name.empty() ? concat("field ", column + 1) : std::move(name);
  }

  /// Empties the table of users. For a stream it holds users whose ids have been checked, and not
  /// all of them.
  void forget_users() {
    events_.users = {};
    ignored_order_.forget_users();
  }

  /// Follows the times that in_file_order ignores, as long as they can be parsed.
  void follow_ignored_time(const Line& line) {
    std::int64_t time = 0;
    if (time_parser_.parse(time_, line.number, time).empty()) {
      ignored_order_.add(user_number_, time);
    } else {
      ignored_time_ = -1;
      ignored_order_ = {};
    }
  }

  bool is_read(int column) const noexcept {
    return column == format_.user || column == format_.item || column == format_.rating ||
           column == format_.time;
  }

  std::string columns_text(const std::vector<std::string_view>& names) const {
    std::string text, others;
    for (const auto& [meaning, column] :
         {std::pair("user", format_.user), std::pair("item", format_.item),
          std::pair("rating", format_.rating), std::pair("time", format_.time)}) {
      if (column < 0) continue;
      text += concat(text.empty() ? "" : ", ", meaning, " ",
                     quoted(names[static_cast<std::size_t>(column)]));
    }
    if (format_.time < 0) text += ", no time: events stay in the file's order";
    for (int column = 0; column < format_.columns; ++column) {
      if (is_read(column)) continue;
      others += concat(others.empty() ? "" : ", ", quoted(names[static_cast<std::size_t>(column)]));
    }
    return others.empty() ? text : concat(text, "; not read: ", others);
  }

  const char* split(const Line& line) {
    count_ = 0;
    fields_.clear();
    FieldSplitter splitter(line.begin, line.end, format_.separator);
    for (std::string_view field; splitter.next(field); ++count_) {
      if (count_ == format_.user) user_ = field;
      if (count_ == format_.item) item_ = field;
      if (count_ == format_.rating) rating_ = field;
      if (count_ == format_.time || count_ == ignored_time_) time_ = field;
      if (!times_.empty() && sampled_ < max_sample) fields_.push_back(field);
    }
    return splitter.problem();
  }

  void store(const Line& line, std::int32_t item, float rating, std::int64_t time) {
    ++count_of_events_;
    if (ignored_time_ >= 0) follow_ignored_time(line);
    if (function_) {
      function_({user_, item, time, events_.items});
      if (events_.users.size() >= max_checked_users) forget_users();
    } else {
      keep(line, item, rating, time);
    }
    if (fields_.empty()) return;
    ++sampled_;
    std::erase_if(times_, [&](const Times& times) {
      return !looks_like_time(trim(fields_[static_cast<std::size_t>(times.column)]));
    });
  }

  void keep(const Line& line, std::int32_t item, float rating, std::int64_t time) {
    if (events_.user.size() == events_.user.capacity()) reserve(line);
    events_.user.push_back(user_number_);
    events_.item.push_back(item);
    if (format_.time >= 0) events_.time.push_back(time);
    if (format_.rating >= 0 && keep_ratings_) events_.rating.push_back(rating);
  }

  /// Reserves memory for all events, estimated from the bytes of the lines so far. Unused pages
  /// cost no memory; growing by doubling would hold the columns twice.
  void reserve(const Line& line) {
    constexpr std::size_t sample = 4096;
    const std::size_t events = events_.user.size();
    std::size_t capacity = std::max(sample, events * 2);
    if (events == sample && file_bytes_ > 0) {
      const double lines = static_cast<double>(line.number);
      capacity =
          std::max(capacity, static_cast<std::size_t>(1.25 * static_cast<double>(file_bytes_) /
                                                      (static_cast<double>(bytes_) / lines)));
    }
    events_.user.reserve(capacity);
    events_.item.reserve(capacity);
    if (format_.time >= 0) events_.time.reserve(capacity);
    if (format_.rating >= 0 && keep_ratings_) events_.rating.reserve(capacity);
  }

  EventFormat format_;
  bool needs_header_;
  bool in_file_order_;
  bool keep_ratings_;
  std::int64_t file_bytes_;
  const ReadOptions& options_;
  TimeParser time_parser_;
  int ignored_time_ = -1;  ///< column of the times that in_file_order ignores
  std::string ignored_name_;
  TimeOrder ignored_order_;
  std::string columns_read_;
  std::size_t bytes_ = 0;
  int count_ = 0;
  std::string_view user_, item_, rating_, time_;
  std::vector<std::string_view> fields_;  ///< fields of the line, while unread columns are sampled
  std::vector<Times> times_;
  int sampled_ = 0;
  std::int32_t user_number_ = 0;
  std::int64_t count_of_events_ = 0;
  Interactions events_;
  EventFunction function_;
};

/// Gives all lines of a log to `lines`.
void read_lines(LineReader& reader, EventLines& lines, const EventFormat& format,
                const ReadOptions& options) {
  const std::string& path = reader.path();
  if (!format.header) expect_no_column_options(options, path, format.format);
  if (options.in_file_order && !options.time_column.empty())
    throw OptionError(
        "time_column (--time-column): expected no in_file_order (--in-file-order) beside it, which "
        "reads no times");
  const auto expect_no_unread_times = [&] {
    if (const std::string_view column = lines.column_of_times(); !column.empty())
      throw DataError(path, 1, unread_times(column));
  };
  for_each_line(reader, options, description(format.format), [&](const Line& line) -> std::string {
    lines.count_bytes(line);
    if (!lines.needs_header()) {
      std::string reason = lines.accept(line);
      if (lines.has_sample()) expect_no_unread_times();
      return reason;
    }
    if (const std::string reason = lines.accept_header(line); !reason.empty())
      throw DataError(path, line.number, reason);
    return {};
  });
  if (lines.empty()) throw DataError(path, 0, "holds no events");
  expect_no_unread_times();
  if (options.report != nullptr) {
    options.report->read_as = description(format.format);
    if (!lines.columns_read().empty())
      options.report->read_as += concat(": ", lines.columns_read());
    options.report->read_as += lines.time_warning();
  }
}

}  // namespace

void expect_rising_ties(const std::string& path, const TimeOrder& order) {
  if (!order.is_falling() || order.ties() == 0) return;
  throw DataError(
      path, 0,
      concat("the file is in falling time order, and ", order.ties(),
             order.ties() == 1 ? " event has" : " events have",
             " the same time as the event before of the same user: equal times keep the "
             "order of the lines, which would be the reverse one. Reverse the order of the "
             "lines, so that the oldest event comes first, or give the time of day; or, if "
             "the lines are in time order, set in_file_order (--in-file-order)"));
}

StreamedLog stream_events(LineReader& reader, Format format, const ReadOptions& options,
                          const EventFunction& function) {
  const EventFormat& events = *find_format(event_formats, format);
  EventLines lines(events, options, reader.file_bytes(), function);
  read_lines(reader, lines, events, options);
  const bool has_times = lines.has_times();
  return {std::move(lines).take().items, has_times};
}

Interactions read_events(const std::string& path, const EventFormat& format,
                         const ReadOptions& options) {
  LineReader reader(path, options.max_line_bytes);
  EventLines lines(format, options, reader.file_bytes());
  read_lines(reader, lines, format, options);
  Interactions events = std::move(lines).take();
  TimeOrder order;
  for (std::size_t i = 0; i < events.time.size() && !order.never_falls(events.size()); ++i)
    order.add(events.user[i], events.time[i]);
  expect_rising_ties(path, order);
  return events;
}

}  // namespace refrain::detail
