#include "refrain/data/readers.hpp"

#include "src/formats.hpp"
#include "src/log_stream.hpp"
#include "src/store_files.hpp"

namespace refrain {
namespace {

Format chosen_format(const std::string& path, const ReadOptions& options) {
  return options.format == Format::automatic ? detect_format(path, options) : options.format;
}

}  // namespace

Interactions read_interactions(const std::string& path, const ReadOptions& options) {
  if (is_store(path))
    throw OptionError(detail::concat("read_interactions: ", path,
                                     " is a sequence store, which holds sequences: use "
                                     "read_sequences"));
  const Format format = chosen_format(path, options);
  const detail::EventFormat* const events = detail::find_format(detail::event_formats, format);
  if (events == nullptr)
    throw OptionError(detail::concat("read_interactions: ", path, " is of format ", name(format),
                                     ", which holds sequences"));
  return detail::read_events(path, *events, options);
}

Sequences read_sequences(const std::string& path, const ReadOptions& options) {
  if (is_store(path)) return detail::read_store(path, options, false).source;
  const Format format = chosen_format(path, options);
  if (const detail::EventFormat* const events = detail::find_format(detail::event_formats, format);
      events != nullptr) {
    return group_by_user(detail::read_events(path, *events, options));
  }
  const detail::RowFormat* const rows = detail::find_format(detail::row_formats, format);
  if (rows == nullptr || rows->parted) {
    throw OptionError(detail::concat("read_sequences: ", path, " is of format ", name(format),
                                     ": use read_transfer"));
  }
  return detail::read_rows(path, *rows, options).source;
}

TransferSequences read_transfer(const std::string& path, const ReadOptions& options) {
  if (is_store(path)) return detail::read_store(path, options, true);
  const Format format = chosen_format(path, options);
  const detail::RowFormat* const rows = detail::find_format(detail::row_formats, format);
  if (rows == nullptr || !rows->parted) {
    throw OptionError(detail::concat("read_transfer: ", path, " is of format ", name(format),
                                     ", which has no targets"));
  }
  return detail::read_rows(path, *rows, options);
}

}  // namespace refrain
