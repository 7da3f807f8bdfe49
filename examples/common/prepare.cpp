#include "common/prepare.hpp"

#include <fmt/core.h>

#include "common/behaviour.hpp"
#include "common/concat.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/text.hpp"
#include "refrain/data/sequence_store.hpp"
#include "refrain/train/interrupt.hpp"
#include "refrain/train/progress.hpp"

namespace refrain::examples {
namespace {

constexpr double bytes_per_mb = 1e6;

struct Interrupted {};

std::string note_of(const StoreProgress& progress) {
  const double read = static_cast<double>(progress.bytes) / bytes_per_mb;
  if (progress.parts > 0) return fmt::format("{}: {}", progress.phase, with_commas(progress.parts));
  if (progress.file_bytes == 0) return fmt::format("{}: {:.0f} MB", progress.phase, read);
  return fmt::format("{}: {:.0f} of {:.0f} MB", progress.phase, read,
                     static_cast<double>(progress.file_bytes) / bytes_per_mb);
}

}  // namespace

Outcome prepare_log(const LogOptions& log, const PrepareOptions& options) {
  if (log.files.size() != 1)
    throw OptionError(
        concat("--data: expected one file, or - for the standard input, got ", log.files.size()));
  if (options.store.empty()) throw OptionError("--out: expected the name of a folder, got none");
  const std::string& file = log.files.front();
  ReadReport read;
  StoreOptions store{.read = read_options(log), .memory_bytes = options.memory_bytes};
  store.read.report = &read;
  const InterruptGuard guard;
  Progress progress({.label = "prepare", .unit = "events"});
  store.on_progress = [&](const StoreProgress& now) {
    if (InterruptGuard::requested()) throw Interrupted();
    progress.set_note(note_of(now));
    progress.advance(now.events - progress.done());
  };
  StoreReport report;
  try {
    report = prepare_store(file, options.store, store);
  } catch (const Interrupted&) {
    progress.finish();
    say("prepare: interrupted; nothing was written\n");
    return Outcome::interrupted;
  }
  progress.finish();
  report_reading(file, read);
  const double seconds = progress.elapsed_seconds();
  fmt::print("{}: {}, {}, {} in {:.1f} s, {:.1f} MB/s\n", options.store,
             counted(report.rows, "sequence"), counted(report.events, "event"),
             counted(report.items, "item"), seconds,
             static_cast<double>(report.log_bytes) / bytes_per_mb / seconds);
  return Outcome::done;
}

}  // namespace refrain::examples
