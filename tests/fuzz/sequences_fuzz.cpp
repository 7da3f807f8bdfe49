/// Rows of items, with and without users and targets: rows that are read, written in the same
/// format and read again stay the same.

#include <array>

#include "fuzz/program.hpp"
#include "refrain/data/readers.hpp"

namespace refrain::fuzz {
namespace {

constexpr std::array formats{Format::user_items, Format::user_item_list, Format::sequence_csv,
                             Format::transfer_csv, Format::automatic};

std::string items_of(const Sequences& sequences, std::int64_t row, char separator) {
  std::string text;
  for (const std::int32_t item : sequences.rows[row]) {
    if (!text.empty()) text += separator;
    text += sequences.items[item];
  }
  return text;
}

/// The rows as a file of this format. The byte order mark and CRLF protect an id that begins with
/// such a mark or ends with CR.
std::string text_of(const TransferSequences& rows, Format format) {
  std::string text = "\xEF\xBB\xBF";
  for (std::int64_t row = 0; row < rows.source.rows.rows(); ++row) {
    const auto user = [&] {
      return std::string(rows.source.users[rows.source.user[static_cast<std::size_t>(row)]]);
    };
    if (format == Format::user_items) text += user() + " " + items_of(rows.source, row, ' ');
    if (format == Format::user_item_list) text += user() + "\t" + items_of(rows.source, row, ',');
    if (format == Format::sequence_csv) text += items_of(rows.source, row, ',');
    if (format == Format::transfer_csv) {
      if (const std::string source = items_of(rows.source, row, ','); !source.empty())
        text += source + ",";
      text += "," + items_of(rows.target, row, ',');
    }
    text += "\r\n";
  }
  return text;
}

void same(const Sequences& a, const Sequences& b) {
  require(a.rows == b.rows, "rows come back");
  require(a.user == b.user, "users come back");
  for (const auto table : {&Sequences::users, &Sequences::items}) {
    require((a.*table).size() == (b.*table).size(), "as many ids come back");
    for (std::int32_t i = 0; i < (a.*table).size(); ++i)
      require((a.*table)[i] == (b.*table)[i], "ids come back");
  }
}

void check(const Sequences& sequences) {
  require(!sequences.rows.empty(), "there is a row");
  require(sequences.user.empty() ||
              sequences.user.size() == static_cast<std::size_t>(sequences.rows.rows()),
          "all rows have a user, or none");
  sequences.rows.for_each([&](std::int32_t item) {
    require(!sequences.items[item].empty() && is_utf8(sequences.items[item]),
            "no item is empty, and all are UTF-8");
  });
}

TransferSequences read(const std::string& path, const ReadOptions& options) {
  if (options.format == Format::transfer_csv) return read_transfer(path, options);
  return {.source = read_sequences(path, options), .target = {}};
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  ReadReport report;
  ReadOptions options{.format = formats[choices.next() % formats.size()], .report = &report};
  const unsigned strictness = choices.next();
  options.skip_bad_lines = strictness & 7;
  if ((strictness & 8) != 0) options.max_line_bytes = 24;
  const std::string& path = file_with("rows", choices.rest());
  TransferSequences rows;
  try {
    if (!accepted(path, [&] { rows = read(path, options); })) return;
  } catch (const OptionError&) {
    require(options.format == Format::automatic,
            "only a detected format may be one of source and target");
    return;
  }
  check(rows.source);
  if (options.format == Format::automatic) return;
  require(report.lines == report.blank_lines + static_cast<std::int64_t>(report.bad_lines.size()) +
                              rows.source.rows.rows(),
          "every line is blank, bad or a row");
  const std::string& again = file_with("again", text_of(rows, options.format));
  const TransferSequences back = read(again, {.format = options.format, .max_line_bytes = 1 << 22});
  same(rows.source, back.source);
  same(rows.target, back.target);
}

std::vector<std::string> seeds() {
  return {
      std::string("\0\0", 2) + "1 10 11 12\n2 20\n\n",
      std::string("\1\0", 2) + "u 1\t5,6 ,7\r\nu2\t8\n",
      std::string("\2\1", 2) +
          "\xEF\xBB\xBF"
          "1,2,3\n,\n4\n",
      std::string("\3\2", 2) + "1,2,3,,7,8\n,9\n4,,5\n",
      std::string("\4\x08", 2) + "a b c d\ne f g\n",
      std::string("\4\0", 2) + "1,2,,3\n",
      std::string("\4\0", 2) + "[1,2]\n# x\n{\"a\":1}\n",
  };
}

}  // namespace refrain::fuzz
