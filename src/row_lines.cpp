#include "src/columns.hpp"
#include "src/formats.hpp"
#include "src/log_stream.hpp"
#include "src/utf8.hpp"

namespace refrain::detail {
namespace {

/// Turns lines into rows of source items and, where the format has them, target items.
class RowLines {
 public:
  explicit RowLines(const RowFormat& format) : format_(format) {}

  std::string accept(const Line& line) {
    std::string_view user;
    Line rest = line;
    if (!format_.user_end.empty()) {
      const std::size_t length = line.text().find(format_.user_end);
      if (length == std::string_view::npos)
        return concat("expected a user id and a tab before the items, got ", quoted(line.text()));
      user = trim(line.text().substr(0, length));
      rest.begin += length + format_.user_end.size();
    }
    if (const char* problem = split(rest, format_.items, fields_); problem != nullptr)
      return problem;
    std::size_t first = 0;
    if (format_.user && format_.user_end.empty()) user = fields_[first++];
    if (format_.user) {
      if (std::string reason = check_id("user", user); !reason.empty()) return reason;
      if (rows_.source.users.find(user) != absent_id)
        return concat("duplicate line of user ", quoted(user));
    }
    if (first == fields_.size()) return "expected items after the user id, got none";
    std::size_t parting = fields_.size();
    const bool is_ascii = detail::is_ascii(rest.text());
    for (std::size_t i = first; i < fields_.size(); ++i) {
      fields_[i] = trim(fields_[i]);
      if (!is_ascii && !is_utf8(fields_[i]))
        return concat("item id ", quoted(fields_[i]), " (field ", i + 1, ") is not UTF-8");
      if (!fields_[i].empty()) continue;
      if (!format_.parted || parting != fields_.size()) return concat("field ", i + 1, " is empty");
      parting = i;
    }
    if (format_.parted && parting == fields_.size())
      return "expected an empty field between source and target items, got none";
    if (format_.parted && parting + 1 == fields_.size())
      return "expected target items after the empty field, got none";
    add(rows_.source, first, parting);
    if (format_.parted) add(rows_.target, parting + 1, fields_.size());
    if (format_.user) rows_.source.user.push_back(rows_.source.users.intern(user));
    return {};
  }

  TransferSequences take() && { return std::move(rows_); }
  TransferSequences& rows() noexcept { return rows_; }

 private:
  void add(Sequences& to, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) to.rows.add(to.items.intern(fields_[i]));
    to.rows.end_row();
  }

  RowFormat format_;
  std::vector<std::string_view> fields_;
  TransferSequences rows_;
};

/// Calls function(rows) after each line.
template <class Function>
TransferSequences read_rows(LineReader& reader, const RowFormat& format, const ReadOptions& options,
                            const Function& function) {
  expect_no_column_options(options, reader.path(), format.format);
  RowLines lines(format);
  const std::string read_as = description(format.format);
  bool is_empty = true;
  for_each_line(reader, options, read_as, [&](const Line& line) {
    std::string reason = lines.accept(line);
    if (reason.empty()) {
      is_empty = false;
      function(lines.rows());
    }
    return reason;
  });
  if (is_empty) throw DataError(reader.path(), 0, "holds no sequences");
  if (options.report != nullptr) options.report->read_as = read_as;
  return std::move(lines).take();
}

}  // namespace

TransferSequences read_rows(const std::string& path, const RowFormat& format,
                            const ReadOptions& options) {
  LineReader reader(path, options.max_line_bytes);
  return read_rows(reader, format, options, [](const TransferSequences&) {});
}

TransferSequences stream_rows(LineReader& reader, Format format, const ReadOptions& options,
                              const std::function<void(TransferSequences&)>& function) {
  return read_rows(reader, *find_format(row_formats, format), options, function);
}

}  // namespace refrain::detail
