#include "refrain/data/transfer_dataset.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "refrain/data/data_hash.hpp"

namespace refrain {
namespace {

/// The same items in the same order, with ids from 0.
Vocabulary without_specials(const Vocabulary& vocabulary) {
  std::vector<std::string> names;
  for (std::int32_t id = vocabulary.first_item(); id < vocabulary.size(); ++id)
    names.emplace_back(vocabulary.name(id));
  return Vocabulary(names, vocabulary.item_counts(), {.min_count = 0, .specials = false});
}

/// A hash of users that is independent of the order of their rows. A user without an id is
/// represented by the items of the row.
std::string hash_of_users(const TransferSequences& users, std::span<const std::int64_t> rows) {
  std::vector<std::uint64_t> hashes;
  for (const std::int64_t row : rows) {
    DataHash user;
    if (!users.source.user.empty()) {
      user.add(users.source.users[users.source.user[static_cast<std::size_t>(row)]]);
    } else {
      for (const Sequences* side : {&users.source, &users.target}) {
        user.add(static_cast<std::int64_t>(side->rows[row].size()));
        for (const std::int32_t item : side->rows[row]) user.add(side->items[item]);
      }
    }
    hashes.push_back(user.value());
  }
  std::sort(hashes.begin(), hashes.end());
  return DataHash().add(std::span<const std::uint64_t>(hashes)).text();
}

/// A hash of rows that is independent of their order.
std::string hash_of_rows(const RaggedIds& rows) {
  std::uint64_t sum = 0;
  for (std::int64_t row = 0; row < rows.rows(); ++row) sum += DataHash().add(rows[row]).value();
  std::string text(16, '0');
  for (auto digit = text.rbegin(); digit != text.rend(); ++digit, sum /= 16)
    *digit = "0123456789abcdef"[sum % 16];
  return text;
}

}  // namespace

TransferDataset make_transfer_dataset(const TransferSequences& users, const Vocabulary& source,
                                      const TransferDatasetOptions& options,
                                      const Vocabulary* targets) {
  TransferDataset data;
  data.targets =
      targets != nullptr
          ? *targets
          : Vocabulary::build(users.target, {.min_count = options.min_count, .specials = false});
  data.sources = encode(users.source, source);
  const RaggedIds labels = encode(users.target, data.targets);
  data.users = labels.rows();
  for (std::int64_t row = 0; row < data.users; ++row) data.seen.push_back({});
  Split split = split_random(data.users, options.fractions, options.split_seed);
  data.test_hash = hash_of_users(users, split.test);
  const auto examples_of = [&](std::vector<std::int64_t>& rows) {
    std::erase_if(rows, [&](std::int64_t row) { return data.sources[row].empty(); });
    return transfer_examples(labels, rows);
  };
  data.training = examples_of(split.train);
  data.validation = examples_of(split.valid);
  data.test = examples_of(split.test);
  return data;
}

TransferDataset make_next_item_dataset(const Sequences& log, const Vocabulary& source,
                                       std::int64_t length, std::int64_t training_places) {
  if (length < 1 || training_places < 0) {
    throw OptionError(detail::concat(
        "make_next_item_dataset: expected length >= 1 and training_places >= 0, got ", length,
        " and ", training_places));
  }
  TransferDataset data;
  data.targets = without_specials(source);
  const RaggedIds rows = encode(log, source);
  data.users = rows.rows();
  data.test_hash = hash_of_rows(rows);  // an additional event changes the user's last item
  const auto add = [&](TransferExamples& part, std::span<const std::int32_t> row,
                       std::int64_t place) {
    const std::span<const std::int32_t> history = row.first(static_cast<std::size_t>(place));
    part.source.push_back(data.sources.rows());
    part.target.push_back(row[static_cast<std::size_t>(place)] - source.first_item());
    data.sources.push_back(history.last(static_cast<std::size_t>(std::min(place, length))));
    for (const std::int32_t id : history) data.seen.add(id - source.first_item());
    data.seen.end_row();
  };
  for (std::int64_t user = 0; user < rows.rows(); ++user) {
    const std::span<const std::int32_t> row = rows[user];
    const std::int64_t last = static_cast<std::int64_t>(row.size()) - 1;
    if (last < 3) continue;
    for (std::int64_t place = std::max<std::int64_t>(1, last - 1 - training_places);
         place < last - 1; ++place) {
      add(data.training, row, place);
    }
    add(data.validation, row, last - 1);
    add(data.test, row, last);
  }
  return data;
}

TransferExamples sample_examples(const TransferExamples& examples, double share,
                                 std::uint64_t seed) {
  if (!(share > 0 && share <= 1))
    throw OptionError(detail::concat("sample_examples: expected a share in (0,1], got ", share));
  std::vector<std::int64_t> rows = examples.source;
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  Random random(seed, 0x666577);
  random.shuffle(rows);
  rows.resize(static_cast<std::size_t>(
      std::max(1.0, std::round(share * static_cast<double>(rows.size())))));
  std::sort(rows.begin(), rows.end());
  TransferExamples kept;
  for (std::size_t i = 0; i < examples.target.size(); ++i) {
    if (!std::binary_search(rows.begin(), rows.end(), examples.source[i])) continue;
    kept.source.push_back(examples.source[i]);
    kept.target.push_back(examples.target[i]);
  }
  return kept;
}

}  // namespace refrain
