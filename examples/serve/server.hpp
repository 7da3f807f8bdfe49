#pragma once
/// From lines to answers, on one thread or several.

#include <cstddef>
#include <cstdint>
#include <iosfwd>

#include "serve/latency.hpp"
#include "serve/service.hpp"

namespace refrain::serve {

/// What a run did.
struct ServerReport {
  std::int64_t lines = 0;
  std::int64_t errors = 0;
  double seconds = 0;  ///< from the first line to the last answer
  Latency events;
  Latency requests;
};

struct ServerOptions {
  std::size_t shards = 1;
  bool keep_times = false;  ///< how long each message took; otherwise they are only counted
};

/// Longer lines are passed over without being kept.
constexpr std::size_t longest_line_bytes = std::size_t{1} << 20;

/// Which shard a user belongs to.
std::size_t shard_of(const std::string& user, std::size_t shards);

/// Reads messages until the input ends, or `out` takes no more, and writes the answers.
///
/// With one shard everything happens in the order of the lines. With more, each is a thread that
/// answers its own users' lines in their order, and answers of different users may overtake each
/// other; the answers are those of one shard, since a line is answered by the tasks that are loaded
/// when it is read. What is wrong with a line is written as its answer, and the next line is read.
/// When `out` fails, which its state says afterwards, the events that were read still count, and
/// requests are no longer answered.
/// A latency is the time from the start of parsing a line to its answer being written, without
/// waiting in a queue.
ServerReport serve(Service& service, const ServerOptions& options, std::istream& in,
                   std::ostream& out);

}  // namespace refrain::serve
