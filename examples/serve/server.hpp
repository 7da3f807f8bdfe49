#pragma once
/// Answers messages on one or more threads.

#include <cstddef>
#include <cstdint>
#include <iosfwd>

#include "refrain/serve/service.hpp"
#include "refrain/serve/work_queues.hpp"
#include "serve/latency.hpp"

namespace refrain::serve {

/// Statistics of a run.
struct ServerReport {
  std::int64_t lines = 0;
  std::int64_t errors = 0;
  std::int64_t unknown_items = 0;  ///< events of items that the model does not know
  double seconds = 0;              ///< from the first line to the last answer
  Latency events;
  Latency requests;
};

struct ServerOptions {
  std::size_t shards = 1;
  bool keep_times = false;  ///< measure the latency of each message; otherwise only count messages
  const Titles* titles = nullptr;  ///< of items, for answers; null: none
};

/// Longer lines are answered by an error.
constexpr std::size_t max_line_bytes = std::size_t{1} << 20;

/// Reads messages until the input ends or `out` fails, and writes the answers.
///
/// With one shard everything happens in the order of the lines. With more, each shard is a thread
/// that answers the lines of its users in their order, and answers of different users may overtake
/// each other. The number of shards does not change an answer: a line is answered by the tasks and
/// filters of the moment when it was read. An invalid line is answered by an error, and reading
/// continues. After `out` has failed, which its state shows, events that were read still count, and
/// requests are not answered. A latency is the time from the start of parsing a line until its
/// answer is written, without the time in a queue.
ServerReport serve(Service& service, const ServerOptions& options, std::istream& in,
                   std::ostream& out);

}  // namespace refrain::serve
