#include "cmnrec/data.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/error.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::cmnrec {
namespace {

std::vector<std::int64_t> numbers(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

}  // namespace

examples::CommandFiles common_files(const Options& options) {
  examples::CommandFiles files{.read = examples::named_files("--data", options.data.files),
                               .replaced = {},
                               .appended = {{"--log", options.run.log}}};
  files.read.push_back({"--config", options.run.config});
  return files;
}

Sequences read_behaviour(const DataOptions& options) {
  if (options.files.empty()) throw OptionError("--data: expected a file");
  Sequences all;
  ReadReport report;
  for (std::size_t i = 0; i < options.files.size(); ++i) {
    const std::string& path = options.files[i];
    Sequences more =
        read_sequences(path, examples::read_options(path, options.format, options.skip_bad_lines,
                                                    options.in_file_order, report));
    examples::tell_reading(path, report);
    if (i == 0) {
      all = std::move(more);
      continue;
    }
    if (const std::int64_t known = examples::shared_users(all, more); known > 0) {
      examples::say(
          "{}: {} of its {} users are in a file before it, too: their items come behind those\n",
          path, known, more.rows.rows());
    }
    append(all, more);
  }
  return all;
}

Vocabulary vocabulary_of(const Sequences& behaviour, const DataOptions& options) {
  Vocabulary vocabulary = Vocabulary::build(behaviour, {.min_count = options.min_item_count});
  if (vocabulary.items() < 2) {
    throw OptionError(examples::concat("--min-item-count ", options.min_item_count,
                                       ": expected at least 2 items to be left, got ",
                                       vocabulary.items(), " of ", behaviour.items.size()));
  }
  return vocabulary;
}

std::uint64_t PreparedData::fingerprint() const { return DataHash().add(rows).add(split).value(); }

PreparedData prepare(const Sequences& behaviour, const Vocabulary& vocabulary,
                     const DataOptions& options) {
  const CutOptions pieces{.length = options.length + 1, .min_length = options.min_length};
  if (options.min_length < 2 || options.min_length > options.length + 1) {
    throw OptionError(examples::concat("--min-length: expected 2 to ", options.length + 1,
                                       " items with --length ", options.length, ", got ",
                                       options.min_length));
  }
  const RaggedIds users = encode(behaviour, vocabulary);
  PreparedData data;
  if (options.leave_last_out) {
    const LeaveLastOut parts = split_leave_last_out(users);
    data.rows = cut(parts.train, pieces).rows;
    data.split.train = numbers(0, data.rows.rows());
    const auto add = [&](const HeldOut& held_out, std::vector<std::int64_t>& part) {
      for (std::int64_t row = 0; row < held_out.rows.rows(); ++row) {
        if (static_cast<std::int64_t>(held_out.rows[row].size()) < options.min_length) continue;
        part.push_back(data.rows.rows());
        data.rows.push_back(held_out.rows[row]);
      }
    };
    add(parts.valid, data.split.valid);
    add(parts.test, data.split.test);
  } else {
    examples::expect_split(options.split);
    data.rows = cut(users, pieces).rows;
    data.split = split_random(
        data.rows.rows(),
        {.train = options.split[0], .valid = options.split[1], .test = options.split[2]},
        options.split_seed);
  }
  for (const auto& [name, part] : {std::pair{"training", &data.split.train},
                                   {"validation", &data.split.valid},
                                   {"test", &data.split.test}}) {
    if (part->empty()) {
      throw OptionError(examples::concat("the ", name, " part has no sequence: ", users.rows(),
                                         " users gave ", data.rows.rows(), " sequences of ",
                                         options.min_length, " to ", options.length + 1,
                                         " items; see --min-length, --min-item-count and --split"));
    }
  }
  return data;
}

SequenceBatch shifted(const SequenceBatch& batch, std::int64_t steps) {
  const auto moved = [steps](const Tensor& ids) {
    Tensor out = Tensor::full(ids.shape(), padding_id, DType::i32);
    const std::int64_t kept = ids.size(1) - steps;
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      const std::int64_t row = b * ids.size(1);
      std::copy_n(ids.data<std::int32_t>() + row, kept, out.data<std::int32_t>() + row + steps);
    }
    return out;
  };
  return steps == 0 ? batch : SequenceBatch{moved(batch.ids), moved(batch.targets)};
}

Tensor last_column(const Tensor& ids) {
  const std::int64_t steps = ids.size(1);
  Tensor last({ids.size(0)}, DType::i32);
  for (std::int64_t b = 0; b < ids.size(0); ++b) {
    last.data<std::int32_t>()[b] = ids.data<std::int32_t>()[b * steps + steps - 1];
  }
  return last;
}

Tensor only_last_column(const Tensor& ids) {
  const std::int64_t steps = ids.size(1);
  Tensor last = Tensor::full(ids.shape(), padding_id, DType::i32);
  for (std::int64_t b = 0; b < ids.size(0); ++b) {
    const std::int64_t at = b * steps + steps - 1;
    last.data<std::int32_t>()[at] = ids.data<std::int32_t>()[at];
  }
  return last;
}

}  // namespace refrain::cmnrec
