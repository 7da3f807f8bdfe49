#include "refrain/data/sequences.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <string>
#include <utility>

#include "src/items_of_rows.hpp"

namespace refrain {
namespace {

/// The number in `table` of each string of `more`; adds new strings.
std::vector<std::int32_t> intern_all(detail::StringTable& table, const detail::StringTable& more) {
  std::vector<std::int32_t> number(static_cast<std::size_t>(more.size()));
  for (std::int32_t i = 0; i < more.size(); ++i)
    number[static_cast<std::size_t>(i)] = table.intern(more[i]);
  return number;
}

std::int64_t numeric_id(std::string_view id) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), value);
  if (error != std::errc() || end != id.data() + id.size()) {
    throw DataError("split_domains", 0,
                    detail::concat("expected numeric item ids, got \"", id, "\""));
  }
  return value;
}

/// Joins the rows of each user in their order. Users keep the order of first appearance.
void join_rows_of_users(Sequences& sequences) {
  constexpr std::int32_t none = -1;
  std::vector<std::int32_t> row_of(static_cast<std::size_t>(sequences.users.size()), none);
  std::vector<std::int32_t> users;
  std::vector<std::int32_t> target;  // for each row, the row that it is joined to
  for (const std::int32_t user : sequences.user) {
    std::int32_t& own = row_of[static_cast<std::size_t>(user)];
    if (own == none) {
      own = static_cast<std::int32_t>(users.size());
      users.push_back(user);
    }
    target.push_back(own);
  }
  if (users.size() == target.size()) return;
  std::vector<std::int32_t> order(target.size());
  std::iota(order.begin(), order.end(), 0);
  const auto target_of = [&](std::int32_t row) { return target[static_cast<std::size_t>(row)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return target_of(a) < target_of(b); });
  RaggedIds joined;
  joined.reserve(static_cast<std::int64_t>(users.size()), sequences.rows.total());
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && target_of(order[i]) != target_of(order[i - 1])) joined.end_row();
    for (const std::int32_t item : sequences.rows[order[i]]) joined.add(item);
  }
  joined.end_row();
  sequences.rows = std::move(joined);
  sequences.user = std::move(users);
}

}  // namespace

Sequences group_by_user(Interactions interactions) {
  const std::size_t events = interactions.user.size();
  const std::size_t users = static_cast<std::size_t>(interactions.users.size());
  // A counting sort by user keeps the order of the file within each user.
  std::vector<std::size_t> begin(users + 1, 0);
  for (const std::int32_t user : interactions.user) ++begin[static_cast<std::size_t>(user) + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  if (events > static_cast<std::size_t>(max_rows))
    throw Error(detail::concat("group_by_user: expected at most 2^32 - 1 events, got ", events));
  std::vector<std::uint32_t> order(events);
  {
    std::vector<std::size_t> next(begin.begin(), begin.end() - 1);
    for (std::size_t i = 0; i < events; ++i)
      order[next[static_cast<std::size_t>(interactions.user[i])]++] = static_cast<std::uint32_t>(i);
  }
  Sequences sequences;
  sequences.rows.reserve(interactions.users.size(), interactions.size());
  const auto earlier = [&](std::uint32_t a, std::uint32_t b) {
    return interactions.time[a] < interactions.time[b];
  };
  for (std::size_t user = 0; user < users; ++user) {
    const auto first = order.begin() + static_cast<std::ptrdiff_t>(begin[user]);
    const auto last = order.begin() + static_cast<std::ptrdiff_t>(begin[user + 1]);
    if (!interactions.time.empty() && !std::is_sorted(first, last, earlier))
      std::stable_sort(first, last, earlier);
    for (auto at = first; at != last; ++at) sequences.rows.add(interactions.item[*at]);
    sequences.rows.end_row();
  }
  sequences.user.resize(users);
  std::iota(sequences.user.begin(), sequences.user.end(), 0);
  sequences.items = std::move(interactions.items);
  sequences.users = std::move(interactions.users);
  return sequences;
}

void append(Sequences& sequences, const Sequences& more) {
  const bool named = (sequences.rows.empty() || !sequences.user.empty()) &&
                     (more.rows.empty() || !more.user.empty());
  const std::vector<std::int32_t> item = intern_all(sequences.items, more.items);
  for (std::int64_t row = 0; row < more.rows.rows(); ++row) {
    for (const std::int32_t id : more.rows[row]) {
      detail::expect_item(more, id);
      sequences.rows.add(item[static_cast<std::size_t>(id)]);
    }
    sequences.rows.end_row();
  }
  if (named) {
    const std::vector<std::int32_t> user = intern_all(sequences.users, more.users);
    for (const std::int32_t id : more.user)
      sequences.user.push_back(user[static_cast<std::size_t>(id)]);
    join_rows_of_users(sequences);
  } else {
    sequences.users = detail::StringTable();
    sequences.user.clear();
  }
}

TransferSequences split_domains(const Sequences& sequences, std::int64_t first_target_id) {
  TransferSequences parts;
  struct Place {
    bool target;
    std::int32_t number;
  };
  std::vector<Place> place(static_cast<std::size_t>(sequences.items.size()));
  for (std::int32_t item = 0; item < sequences.items.size(); ++item) {
    const std::string_view id = sequences.items[item];
    const bool target = numeric_id(id) >= first_target_id;
    place[static_cast<std::size_t>(item)] = {
        target, (target ? parts.target : parts.source).items.intern(id)};
  }
  for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
    for (const std::int32_t item : sequences.rows[row]) {
      detail::expect_item(sequences, item);
      const Place& to = place[static_cast<std::size_t>(item)];
      (to.target ? parts.target : parts.source).rows.add(to.number);
    }
    parts.source.rows.end_row();
    parts.target.rows.end_row();
  }
  for (Sequences* part : {&parts.source, &parts.target}) {
    part->users = sequences.users;
    part->user = sequences.user;
  }
  return parts;
}

CutSequences cut(const RaggedIds& rows, CutOptions options) {
  if (options.min_length < 1 || options.length < options.min_length) {
    throw OptionError(detail::concat("cut: expected 1 <= min_length <= length, got min_length ",
                                     options.min_length, " and length ", options.length));
  }
  CutSequences pieces;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const std::size_t ids = rows[row].size();
    const std::size_t length = static_cast<std::size_t>(options.length);
    const std::size_t oldest = ids % length;
    if (oldest >= static_cast<std::size_t>(options.min_length)) {
      pieces.rows.push_part(rows, row, 0, oldest);
      pieces.origin.push_back(row);
    }
    for (std::size_t begin = oldest; begin < ids; begin += length) {
      pieces.rows.push_part(rows, row, begin, length);
      pieces.origin.push_back(row);
    }
  }
  return pieces;
}

}  // namespace refrain
