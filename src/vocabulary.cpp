#include "refrain/data/vocabulary.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <numeric>

#include "src/items_of_rows.hpp"
#include "src/spooled_rows.hpp"

namespace refrain {
namespace {

constexpr std::string_view signature = "refrain-vocabulary 1";
constexpr std::string_view checksum_label = "checksum ";

bool is_plain(char c) noexcept { return c > ' ' && c <= '~' && c != '%' && c != '"' && c != '\\'; }

void escape(std::string_view name, std::string& out) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  for (const char c : name) {
    if (is_plain(c)) {
      out += c;
    } else {
      const unsigned code = static_cast<unsigned char>(c);
      out += '%';
      out += digits[code >> 4];
      out += digits[code & 15];
    }
  }
}

/// Inverts escape(). False when escape() cannot have written this text.
bool unescape(std::string_view text, std::string& name) {
  name.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_plain(text[i])) {
      name += text[i];
      continue;
    }
    unsigned code = 0;
    if (text[i] != '%' || i + 2 >= text.size()) return false;
    const char* const end = text.data() + i + 3;
    const auto [stop, error] = std::from_chars(text.data() + i + 1, end, code, 16);
    if (error != std::errc() || stop != end) return false;
    name += static_cast<char>(code);
    i += 2;
  }
  std::string again;
  escape(name, again);
  return !name.empty() && again == text;
}

/// FNV-1a as 16 hexadecimal digits.
std::string checksum(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016" PRIx64, hash);
  return digits.data();
}

template <class Number>
bool parse(std::string_view text, Number& number) noexcept {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

/// A line for an error message, shortened when it is long.
std::string shown(std::string_view line) {
  return detail::concat("\"", line.substr(0, 60), line.size() > 60 ? "...\"" : "\"");
}

detail::StringTable distinct(std::span<const std::string> names) {
  detail::StringTable table;
  for (const std::string& name : names) {
    const std::int32_t known = table.size();
    if (table.intern(name) != known)
      throw OptionError(
          detail::concat("Vocabulary: expected distinct names, got ", shown(name), " twice"));
  }
  return table;
}

void expect_min_count(std::int64_t min_count) {
  if (min_count < 0)
    throw OptionError(detail::concat("Vocabulary: expected min_count >= 0, got ", min_count));
}

/// Number of occurrences of each item.
std::vector<std::int64_t> occurrences(const Sequences& sequences) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(sequences.items.size()), 0);
  sequences.rows.for_each([&](std::int32_t item) {
    detail::expect_item(sequences, item);
    ++counts[static_cast<std::size_t>(item)];
  });
  return counts;
}

std::string header(std::int32_t items, bool specials) {
  return detail::concat(signature, " items=", items, " specials=", specials ? 1 : 0, "\n");
}

}  // namespace

Vocabulary::Vocabulary(const detail::StringTable& names, std::span<const std::int64_t> counts,
                       Options options)
    : has_specials_(options.specials) {
  if (counts.size() != static_cast<std::size_t>(names.size())) {
    throw OptionError(detail::concat("Vocabulary: expected a count for each of ", names.size(),
                                     " names, got ", counts.size()));
  }
  expect_min_count(options.min_count);
  if (const auto bad =
          std::find_if(counts.begin(), counts.end(), [](std::int64_t count) { return count < 0; });
      bad != counts.end()) {
    throw OptionError(detail::concat("Vocabulary: expected counts >= 0, got ", *bad,
                                     " at position ", bad - counts.begin()));
  }
  std::vector<std::int32_t> order(counts.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count_of = [&](std::int32_t name) { return counts[static_cast<std::size_t>(name)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return count_of(a) > count_of(b); });
  for (const std::int32_t name : order) {
    if (count_of(name) < options.min_count) break;
    names_.intern(names[name]);
    counts_.push_back(count_of(name));
  }
}

Vocabulary::Vocabulary(std::span<const std::string> names, std::span<const std::int64_t> counts,
                       Options options)
    : Vocabulary(distinct(names), counts, options) {}

Vocabulary Vocabulary::build(const Sequences& sequences, Options options) {
  return Vocabulary(sequences.items, occurrences(sequences), options);
}

Vocabulary Vocabulary::extended(const Sequences& sequences, std::int64_t min_count) const {
  expect_min_count(min_count);
  const std::vector<std::int64_t> found = occurrences(sequences);
  detail::StringTable names = names_;
  std::vector<std::int64_t> counts(counts_.size(), 0);
  for (std::int32_t item = 0; item < sequences.items.size(); ++item) {
    const std::string_view name = sequences.items[item];
    const std::int64_t count = found[static_cast<std::size_t>(item)];
    if (const std::int32_t known = names_.find(name); known != absent_id) {
      counts[static_cast<std::size_t>(known)] = count;
    } else if (count >= min_count) {
      names.intern(name);
      counts.push_back(count);
    }
  }
  return Vocabulary(names, counts, {.min_count = 0, .specials = has_specials_});
}

std::int32_t Vocabulary::find(std::string_view item) const noexcept {
  const std::int32_t number = names_.find(item);
  if (number != absent_id) return first_item() + number;
  return has_specials_ ? unknown_id : absent_id;
}

std::string_view Vocabulary::name(std::int32_t id) const {
  static constexpr std::array<std::string_view, special_ids> special_names{"[PAD]", "[TCL]",
                                                                           "[MASK]", "[UNK]"};
  if (id < 0 || id >= size())
    throw OptionError(
        detail::concat("Vocabulary: expected an id from 0 to ", size() - 1, ", got ", id));
  return id < first_item() ? special_names[static_cast<std::size_t>(id)]
                           : names_[id - first_item()];
}

std::int64_t Vocabulary::count(std::int32_t id) const {
  if (id < 0 || id >= size())
    throw OptionError(
        detail::concat("Vocabulary: expected an id from 0 to ", size() - 1, ", got ", id));
  return id < first_item() ? 0 : counts_[static_cast<std::size_t>(id - first_item())];
}

std::string Vocabulary::serialize() const {
  std::string text = header(items(), has_specials_);
  for (std::int32_t i = 0; i < items(); ++i) {
    text += std::to_string(counts_[static_cast<std::size_t>(i)]);
    text += ' ';
    escape(names_[i], text);
    text += '\n';
  }
  const std::string sum = checksum(text);
  return text.append(checksum_label).append(sum).append("\n");
}

Vocabulary Vocabulary::deserialize(std::string_view text, const std::string& origin) {
  std::int64_t line_number = 0;
  const auto damaged = [&](const std::string& reason) {
    return DataError(origin, line_number, "damaged vocabulary: " + reason);
  };
  std::string_view rest = text;
  const auto next_line = [&] {
    ++line_number;
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) throw damaged("it is truncated");
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return line;
  };

  const std::string_view first = next_line();
  if (!first.starts_with(signature))
    throw damaged(detail::concat("expected \"", signature, "\", got ", shown(first)));
  const std::size_t equals = first.find("items=");
  std::int32_t items = -1;
  if (equals != std::string_view::npos)
    std::from_chars(first.data() + equals + 6, first.data() + first.size(), items);
  const bool specials = first.ends_with("specials=1");
  if (items < 0 || detail::concat(first, "\n") != header(items, specials))
    throw damaged(detail::concat("expected a header \"", signature,
                                 " items=N specials=0 or 1\", got ", shown(first)));

  detail::StringTable names;
  std::vector<std::int64_t> counts;
  std::string name;
  for (std::int32_t i = 0; i < items; ++i) {
    const std::string_view line = next_line();
    const std::size_t blank = line.find(' ');
    std::int64_t count = -1;
    if (blank == std::string_view::npos || !parse(line.substr(0, blank), count) || count < 0 ||
        line.substr(0, blank) != std::to_string(count)) {
      throw damaged(detail::concat("expected \"count name\", got ", shown(line)));
    }
    if (!counts.empty() && count > counts.back())
      throw damaged(detail::concat("expected a count of at most ", counts.back(),
                                   ", the count of the item before it, got ", count));
    if (!unescape(line.substr(blank + 1), name))
      throw damaged(
          detail::concat("expected a name in printable ASCII and %XX, got ", shown(line)));
    if (names.intern(name) != i) throw damaged(detail::concat("item \"", name, "\" appears twice"));
    counts.push_back(count);
  }
  const std::string_view body = text.substr(0, text.size() - rest.size());
  const std::string_view last = next_line();
  if (last != detail::concat(checksum_label, checksum(body)))
    throw damaged(
        detail::concat("expected \"", checksum_label, checksum(body), "\", got ", shown(last)));
  if (!rest.empty())
    throw damaged(
        detail::concat("expected nothing after the checksum, got ", rest.size(), " bytes"));
  return Vocabulary(names, counts, {.min_count = 0, .specials = specials});
}

bool operator==(const Vocabulary& a, const Vocabulary& b) {
  if (a.has_specials_ != b.has_specials_ || a.counts_ != b.counts_) return false;
  for (std::int32_t i = 0; i < a.items(); ++i) {
    if (a.names_[i] != b.names_[i]) return false;
  }
  return true;
}

RaggedIds encode(const Sequences& sequences, const Vocabulary& vocabulary, UnknownItems unknown) {
  if (unknown == UnknownItems::keep && !vocabulary.has_specials()) {
    throw OptionError(
        "encode: expected a vocabulary with special ids for UnknownItems::keep, got one without");
  }
  std::vector<std::int32_t> id_of(static_cast<std::size_t>(sequences.items.size()));
  for (std::int32_t item = 0; item < sequences.items.size(); ++item) {
    id_of[static_cast<std::size_t>(item)] = vocabulary.find(sequences.items[item]);
  }
  const auto encode_to = [&](auto& rows) {
    for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
      for (const std::int32_t item : sequences.rows[row]) {
        detail::expect_item(sequences, item);
        const std::int32_t id = id_of[static_cast<std::size_t>(item)];
        if (id >= vocabulary.first_item() || unknown == UnknownItems::keep) rows.add(id);
      }
      rows.end_row();
    }
    sequences.rows.expect_intact();
  };
  if (sequences.rows.file() != nullptr) {
    detail::SpooledRows rows(detail::folder_of(sequences.rows.file()->path()),
                             sequences.rows.rows());
    encode_to(rows);
    return rows.finish();
  }
  RaggedIds rows;
  rows.reserve(sequences.rows.rows(), sequences.rows.total());
  encode_to(rows);
  return rows;
}

}  // namespace refrain
