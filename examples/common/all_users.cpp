#include "common/all_users.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <span>
#include <string_view>

#include "common/answers.hpp"
#include "common/concat.hpp"
#include "common/parts.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/core/text.hpp"
#include "refrain/data/data_hash.hpp"
#include "refrain/train/evaluate.hpp"
#include "refrain/train/interrupt.hpp"
#include "refrain/train/progress.hpp"
#include "refrain/train/replaced_file.hpp"

namespace refrain::examples {
namespace {

/// Formats the answers of a batch on all threads and writes them in order.
class BatchWriter {
 public:
  explicit BatchWriter(const AnswerFormat& format) : format_(format) {}

  /// `first`: the number of the first answer in the output, from 1.
  void write(const std::vector<Answered>& answers, std::int64_t first, ReplacedFile& file) {
    constexpr std::int64_t grain = 16;
    const std::int64_t count = std::ssize(answers);
    texts_.resize(static_cast<std::size_t>((count + grain - 1) / grain));
    parallel_tasks(std::ssize(texts_), [&](std::int64_t task, int) {
      std::string& text = texts_[static_cast<std::size_t>(task)];
      text.clear();
      for (std::int64_t i = task * grain; i < std::min(count, (task + 1) * grain); ++i) {
        const Answered& each = answers[static_cast<std::size_t>(i)];
        format_.append(text, first + i, each.request, each.answer);
      }
    });
    for (const std::string& text : texts_) file.write(text.data(), text.size());
  }

 private:
  const AnswerFormat& format_;
  std::vector<std::string> texts_;
};

/// One run: the parts of one process.
class Run {
 public:
  Run(const AllUsers& all, const Parts& parts, const PartFolder& folder, const AnswerFormat& format)
      : all_(all),
        parts_(parts),
        folder_(folder),
        format_(format),
        extension_(format.output() == Output::csv ? "csv" : "jsonl"),
        writer_(format) {}

  std::string name(std::int64_t part) const { return parts_.name(part, extension_); }
  bool is_finished(std::int64_t part) const { return folder_.has(name(part)); }

  /// Computes and writes a part. Returns false if a signal interrupted it.
  bool write(std::int64_t part, Progress& progress) {
    ReplacedFile file(folder_.file(name(part)));
    if (part == 0) file.write(format_.heading().data(), format_.heading().size());
    const std::int64_t begin = parts_.begin(part), count = parts_.end(part) - begin;
    for (std::int64_t done = 0; done < count; done += all_.batch) {
      if (InterruptGuard::requested()) return false;
      const std::int64_t end = std::min(done + all_.batch, count);
      const std::vector<Answered> answers = all_.answer(begin + done, begin + end);
      writer_.write(answers, (begin + done) * all_.tasks + 1, file);
      for (const Answered& each : answers) {
        by_frequency_ += each.answer.is_by_frequency;
        with_unknown_ += !each.answer.unknown.empty();
      }
      scored_ += end - done;
      progress.advance(end - done);
    }
    folder_.expect_own();
    file.commit();
    return true;
  }

  /// Number of users that were scored.
  std::int64_t scored() const noexcept { return scored_; }

  /// "; 3 answers by frequency, because no item of the history is known"
  std::string notes() const {
    std::string text;
    if (by_frequency_ > 0) {
      text += concat("; ", counted(by_frequency_, "answer"),
                     " by frequency, because no item of the history is known");
    }
    if (with_unknown_ > 0)
      text += concat("; unknown items were skipped in ", counted(with_unknown_, "answer"));
    return text;
  }

 private:
  const AllUsers& all_;
  const Parts& parts_;
  const PartFolder& folder_;
  const AnswerFormat& format_;
  std::string extension_;
  BatchWriter writer_;
  std::int64_t scored_ = 0;
  std::int64_t by_frequency_ = 0;
  std::int64_t with_unknown_ = 0;
};

nlohmann::ordered_json settings_of(const RecommendOptions& options, const RunOptions& run,
                                   const std::optional<Titles>& titles, const AllUsers& all,
                                   const Parts& parts) {
  nlohmann::ordered_json settings = all.settings;
  settings["titles"] = hash_of(titles);
  settings["users"] = parts.users;
  settings["part_users"] = parts.part_users;
  settings["parts"] = parts.count();
  settings["count"] = options.count;
  settings["keep_seen"] = options.keep_seen;
  settings["output"] = name_of(options.output);
  settings["device"] = name_of(run.device);
  return settings;
}

std::string users_per_second(std::int64_t users, double seconds) {
  const double rate = seconds > 0 ? static_cast<double>(users) / seconds : 0;
  return with_commas(static_cast<std::int64_t>(rate));
}

}  // namespace

std::int64_t users_at_once(std::int64_t targets) noexcept {
  constexpr std::int64_t most = 128, elements = std::int64_t{1} << 24;
  return std::clamp<std::int64_t>(elements / std::max<std::int64_t>(targets, 1), least_batch, most);
}

std::string hash_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  DataHash hash;
  std::vector<char> block(1 << 20);
  while (in) {
    in.read(block.data(), static_cast<std::streamsize>(block.size()));
    hash.add(std::string_view(block.data(), static_cast<std::size_t>(in.gcount())));
  }
  if (!in.eof()) throw DataError(path, 0, "cannot be read");
  return hash.text();
}

std::string hash_of(const Sequences& sequences) {
  DataHash hash;
  hash.add(sequences.rows).add(std::span<const std::int32_t>(sequences.user));
  for (const refrain::detail::StringTable* table : {&sequences.items, &sequences.users}) {
    hash.add(std::int64_t{table->size()});
    for (std::int32_t i = 0; i < table->size(); ++i) hash.add((*table)[i]);
  }
  return hash.text();
}

std::string hash_of(const std::optional<Titles>& titles) {
  if (!titles) return {};
  DataHash hash;
  for (std::int32_t i = 0; i < titles->items.size(); ++i)
    hash.add(titles->items[i]).add(titles->titles[static_cast<std::size_t>(i)]);
  return hash.text();
}

Outcome recommend_all(const RecommendOptions& options, const RunOptions& run,
                      const std::optional<Titles>& titles, const AllUsers& all) {
  const Parts parts{.users = all.users, .part_users = options.part_users};
  const PartFolder folder(options.folder, settings_of(options, run, titles, all, parts),
                          options.force);
  const AnswerFormat format(options.output, titles);
  Run process(all, parts, folder, format);
  std::vector<std::int64_t> open;
  std::int64_t users = 0;
  for (std::int64_t part = 0; part < parts.count(); ++part) {
    if (!options.share.has(part) || process.is_finished(part)) continue;
    open.push_back(part);
    users += parts.end(part) - parts.begin(part);
  }
  const InterruptGuard guard;
  Progress progress({.label = options.folder, .total = users, .unit = "users"});
  std::int64_t written = 0;
  bool is_complete = true;
  for (const std::int64_t part : open) {
    if (process.is_finished(part)) {
      progress.advance(parts.end(part) - parts.begin(part));  // by another process
      continue;
    }
    is_complete = process.write(part, progress);
    if (!is_complete) break;
    ++written;
  }
  progress.finish();
  std::int64_t finished = 0;
  for (std::int64_t part = 0; part < parts.count(); ++part) finished += process.is_finished(part);
  const double seconds = progress.elapsed_seconds();
  fmt::print("{}: wrote {}; finished parts: {} of {}; {} users in {}, {} users/s{}\n",
             options.folder, counted(written, "part"), with_commas(finished),
             with_commas(parts.count()), with_commas(process.scored()), clock_time(seconds),
             users_per_second(process.scored(), seconds), process.notes());
  if (is_complete) return Outcome::done;
  say("interrupted: the part that was being written is discarded; the same command continues with "
      "it\n");
  return Outcome::interrupted;
}

}  // namespace refrain::examples
