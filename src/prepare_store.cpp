#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "refrain/data/sequence_store.hpp"
#include "src/event_buckets.hpp"
#include "src/formats.hpp"
#include "src/log_stream.hpp"
#include "src/sorted_rows.hpp"
#include "src/store_writer.hpp"

namespace refrain {
namespace {

using detail::concat;

constexpr const char* standard_input = "standard input";
constexpr std::int64_t lines_between_reports = 1 << 16;

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using FileStream = std::unique_ptr<std::FILE, CloseFile>;

/// Up to `max_bytes` from the beginning of a stream.
std::string start_of(std::FILE* stream, std::size_t max_bytes) {
  std::string start(max_bytes, '\0');
  std::size_t used = 0;
  while (used < start.size()) {
    std::clearerr(stream);
    errno = 0;
    const std::size_t got = std::fread(start.data() + used, 1, start.size() - used, stream);
    used += got;
    if (got == 0 && errno != EINTR) break;  // the end; LineReader reports an error
  }
  start.resize(used);
  return start;
}

/// The format of the first whole lines of `start`.
Format format_of_start(std::string start, const ReadOptions& options) {
  if (const std::size_t end = start.rfind('\n'); end != std::string::npos) start.resize(end + 1);
  if (start.empty()) throw DataError(standard_input, 0, "the file is empty");
  FileStream lines(::fmemopen(start.data(), start.size(), "r"));
  if (lines == nullptr) throw DataError(standard_input, 0, "cannot be read");
  detail::LineReader reader(standard_input, lines.release(), "", options.max_line_bytes);
  return detail::format_of_lines(reader, options);
}

/// A log that is open for reading, and its format.
struct Log {
  std::optional<detail::LineReader> reader;
  std::string name;
  Format format;
};

Log open_log(const std::string& path, const ReadOptions& options) {
  Log log{.reader = {}, .name = std::string(detail::file_name(path)), .format = options.format};
  if (path != "-") {
    if (is_store(path)) throw DataError(path, 0, "is a sequence store already");
    if (log.format == Format::automatic) log.format = detect_format(path, options);
    log.reader.emplace(path, options.max_line_bytes);
    return log;
  }
  log.name = standard_input;
  constexpr std::size_t sample_bytes = std::size_t{1} << 18;
  FileStream stream(::fdopen(::dup(STDIN_FILENO), "rb"));
  if (stream == nullptr) throw DataError(standard_input, 0, "cannot be read");
  std::setvbuf(stream.get(), nullptr, _IONBF, 0);
  const std::string start = start_of(stream.get(), sample_bytes);
  if (log.format == Format::automatic) log.format = format_of_start(start, options);
  log.reader.emplace(standard_input, stream.release(), start, options.max_line_bytes);
  return log;
}

/// The sizes of the buffers within the memory of StoreOptions.
struct Buffers {
  explicit Buffers(std::int64_t memory_bytes)
      : bucket_bits(memory_bytes < (std::int64_t{64} << 20) ? 4 : 6) {
    const std::int64_t share = memory_bytes / 4 / (std::int64_t{1} << bucket_bits);
    bytes =
        static_cast<std::size_t>(std::clamp(share, std::int64_t{1} << 14, std::int64_t{1} << 20));
  }

  int bucket_bits;    ///< 2^bucket_bits buckets are open at once
  std::size_t bytes;  ///< of each
};

constexpr std::size_t writer_bytes = std::size_t{1} << 17;  // of each file of the store

class Preparation {
 public:
  Preparation(const std::string& log, const std::string& store, const StoreOptions& options)
      : options_(options), buffers_(options.memory_bytes), folder_(store) {
    if (options_.read.report == nullptr) options_.read.report = &own_report_;
    Log opened = open_log(log, options_.read);
    reader_ = std::move(opened.reader);
    log_path_ = reader_->path();
    manifest_.log = std::move(opened.name);
    manifest_.format = opened.format;
    manifest_.in_file_order = options_.read.in_file_order;
    progress_.file_bytes = reader_->file_bytes();
  }

  StoreReport run() {
    if (detail::find_format(detail::event_formats, manifest_.format) != nullptr) {
      prepare_events();
    } else {
      prepare_rows(*detail::find_format(detail::row_formats, manifest_.format));
    }
    manifest_.read_as = options_.read.report->read_as;
    detail::BufferedWriter manifest(folder_.path(detail::manifest_name), writer_bytes);
    const std::string text = text_of(manifest_);
    manifest.write(text.data(), text.size());
    manifest.sync();
    folder_.commit();
    report_.rows = manifest_.source.rows;
    report_.events = manifest_.source.events + manifest_.target.events;
    report_.items = manifest_.source.items + manifest_.target.items;
    return report_;
  }

 private:
  /// A log of events: buckets by user, sorted one by one, merged by first event.
  void prepare_events() {
    detail::EventBuckets buckets(folder_.path("bucket"), buffers_.bucket_bits, 0, buffers_.bytes);
    const std::int64_t fixed_bytes =
        line_bytes() +
        static_cast<std::int64_t>(buffers_.bytes << static_cast<unsigned>(buffers_.bucket_bits));
    std::int64_t position = 0;
    const auto add = [&](const detail::StreamedEvent& event) {
      buckets.add({.position = position,
                   .time = event.time,
                   .item = event.item,
                   .user_bytes = static_cast<std::uint32_t>(event.user.size())},
                  event.user, detail::hash_of_user(event.user));
      report_.spilled_bytes +=
          static_cast<std::int64_t>(sizeof(detail::BucketEvent) + event.user.size());
      if (++position % lines_between_reports != 0) return;
      expect_memory("items", event.items.bytes(), fixed_bytes);
      show("reading", position);
    };
    bool has_times = false;
    std::int64_t items = 0;
    {
      const detail::StreamedLog log =
          detail::stream_events(*reader_, manifest_.format, options_.read, add);
      has_times = log.has_times;
      items = log.items.size();
      write_ids(detail::item_ids_name, log.items);
    }
    close_log();
    detail::BucketSorter sorter(options_.memory_bytes, has_times);
    std::vector<std::string> sorted;
    for (const detail::Bucket& bucket : buckets.finish()) {
      sorted.push_back(sorter.sort(bucket, buffers_.bucket_bits));
      ++progress_.parts;
      show("sorting", position);
    }
    detail::expect_rising_ties(log_path_, sorter.time_order());
    report_.spilled_bytes += sorter.written_bytes();
    detail::SideWriter side(folder_, "", true, writer_bytes);
    merge_rows(sorted, buffers_.bytes, side, [&](std::int64_t rows) {
      progress_.parts = rows;
      show("writing", position);
    });
    manifest_.source = side.finish(manifest_, items);
  }

  /// A log of one sequence per line, whose rows are in their order.
  void prepare_rows(const detail::RowFormat& format) {
    detail::SideWriter source(folder_, "", format.user, writer_bytes);
    std::optional<detail::SideWriter> target;
    if (format.parted) target.emplace(folder_, detail::target_prefix, false, writer_bytes);
    std::int64_t events = 0;
    std::int64_t rows = 0;
    const std::int64_t fixed_bytes = line_bytes() + 8 * static_cast<std::int64_t>(writer_bytes);
    const auto move = [&](TransferSequences& read) {
      events += read.source.rows.total() + read.target.rows.total();
      move_rows(read.source, source);
      if (target) move_rows(read.target, *target);
      if (++rows % lines_between_reports != 0) return;
      expect_memory(
          "items and users",
          read.source.items.bytes() + read.source.users.bytes() + read.target.items.bytes(),
          fixed_bytes);
      show("reading", events);
    };
    const TransferSequences tables =
        detail::stream_rows(*reader_, manifest_.format, options_.read, move);
    close_log();
    write_ids(detail::item_ids_name, tables.source.items);
    manifest_.source = source.finish(manifest_, tables.source.items.size());
    manifest_.has_target = target.has_value();
    if (!target) return;
    write_ids(concat(detail::target_prefix, detail::item_ids_name), tables.target.items);
    manifest_.target = target->finish(manifest_, tables.target.items.size());
  }

  static void move_rows(Sequences& from, detail::SideWriter& to) {
    for (std::int64_t row = 0; row < from.rows.rows(); ++row) {
      const bool has_user = !from.user.empty();
      const std::span<const std::int32_t> items = from.rows[row];
      to.begin_row(row, has_user ? from.users[from.user[static_cast<std::size_t>(row)]] : "",
                   std::ssize(items));
      to.add(items);
      to.end_row();
    }
    from.rows = {};
    from.user.clear();
  }

  void write_ids(const std::string& name, const detail::StringTable& ids) {
    detail::StringsWriter writer(folder_, name, writer_bytes);
    writer.add(ids);
    writer.finish(manifest_);
  }

  /// Bytes of the reader's block.
  std::int64_t line_bytes() const noexcept {
    return std::max(std::int64_t{1} << 20, 2 * options_.read.max_line_bytes);
  }

  /// Throws OptionError when tables that may double before the next check exceed the memory.
  void expect_memory(const char* what, std::int64_t table_bytes, std::int64_t fixed_bytes) const {
    const std::int64_t needed = 2 * table_bytes + fixed_bytes;
    if (needed <= options_.memory_bytes) return;
    throw OptionError(concat("prepare_store: the ids of the ", what,
                             " need memory_bytes (--memory) of at least ", needed, ", got ",
                             options_.memory_bytes));
  }

  void close_log() {
    report_.log_bytes = reader_->read_bytes();
    reader_.reset();
  }

  void show(const char* phase, std::int64_t events) {
    if (!options_.on_progress) return;
    progress_.phase = phase;
    progress_.events = events;
    progress_.bytes = reader_ ? reader_->read_bytes() : report_.log_bytes;
    options_.on_progress(progress_);
  }

  StoreOptions options_;
  Buffers buffers_;
  detail::StoreFolder folder_;
  ReadReport own_report_;
  std::optional<detail::LineReader> reader_;
  std::string log_path_;  ///< of messages
  detail::Manifest manifest_;
  StoreProgress progress_;
  StoreReport report_;
};

}  // namespace

StoreReport prepare_store(const std::string& log, const std::string& store,
                          const StoreOptions& options) {
  if (options.memory_bytes < StoreOptions::min_memory_bytes)
    throw OptionError(concat("prepare_store: expected memory_bytes (--memory) of at least ",
                             StoreOptions::min_memory_bytes, ", got ", options.memory_bytes));
  return Preparation(log, store, options).run();
}

}  // namespace refrain
