#include "serve/server.hpp"

#include <atomic>
#include <exception>
#include <istream>
#include <mutex>
#include <optional>
#include <ostream>
#include <streambuf>
#include <string>
#include <vector>

#include "common/concat.hpp"

namespace refrain::serve {
namespace {

/// A line that waits for its shard.
struct Entry {
  std::int64_t line;
  Message message;
  Clock::duration parsing;
  Service::Snapshot now;  ///< the tasks and filters when the line was read
};

enum class LineRead { good, too_long, none };

/// Reads a line without its line end; `text` receives the beginning of a line that is too long.
LineRead next_line(std::streambuf& in, std::string& text) {
  using Traits = std::streambuf::traits_type;
  text.clear();
  LineRead line = LineRead::good;
  for (;;) {
    const Traits::int_type next = in.sbumpc();
    if (Traits::eq_int_type(next, Traits::eof())) return text.empty() ? LineRead::none : line;
    const char character = Traits::to_char_type(next);
    if (character == '\n') return line;
    if (text.size() < max_line_bytes) {
      text.push_back(character);
    } else {
      line = LineRead::too_long;
    }
  }
}

class Server {
 public:
  Server(Service& service, const ServerOptions& options, std::istream& in, std::ostream& out)
      : service_(service),
        in_(in),
        out_(out),
        empty_{.events = Latency(options.keep_times), .requests = Latency(options.keep_times)},
        titles_(options.titles),
        now_(service.snapshot()),
        reports_(options.shards, empty_) {}

  ServerReport run() {
    const Clock::time_point start = Clock::now();
    if (reports_.size() > 1) {
      constexpr std::size_t most_waiting = 1024;  // for a shard; then the reader waits
      queues_.emplace(reports_.size(), most_waiting,
                      [this](std::size_t shard, std::vector<Entry>& entries) {
                        for (const Entry& entry : entries) answer(shard, entry);
                        flush();
                      });
    }
    ServerReport report = empty_;
    std::string text;
    while (!out_failed_) {
      const LineRead line = next_line(*in_.rdbuf(), text);
      if (line == LineRead::none) break;
      ++report.lines;
      if (line == LineRead::too_long) {
        refuse(report, report.lines,
               examples::concat("expected a line of at most ", max_line_bytes,
                                " bytes, got a longer one"));
      } else if (text.find_first_not_of(" \t\r") != std::string::npos) {
        read(text, report);
      }
      if (in_.rdbuf()->in_avail() <= 0)
        flush();  // the client may wait for answers before it writes more
    }
    if (queues_) queues_->finish();
    flush();
    for (const ServerReport& part : reports_) {
      report.errors += part.errors;
      report.unknown_items += part.unknown_items;
      report.events.add(part.events);
      report.requests.add(part.requests);
    }
    report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return report;
  }

 private:
  void write(const std::string& answer) {
    const std::lock_guard lock(writing_);
    out_ << answer << '\n';
    out_failed_ = !out_;
  }

  void flush() {
    const std::lock_guard lock(writing_);
    out_failed_ = !out_.flush();
  }

  void refuse(ServerReport& report, std::int64_t line, std::string_view reason,
              const Message* message = nullptr) {
    ++report.errors;
    write(error_line(line, reason, message));
  }

  /// Runs `function` and writes its exception as the answer to the line, so that no line ends the
  /// program.
  template <class Function>
  void guarded(std::int64_t line, const Message* message, ServerReport& report,
               Function&& function) {
    try {
      function();
    } catch (const std::exception& error) {
      refuse(report, line, error.what(), message);
    }
  }

  void read(const std::string& text, ServerReport& report) {
    const std::int64_t line = report.lines;
    guarded(line, nullptr, report, [&] {
      const Clock::time_point start = Clock::now();
      Message message = parse_message(text);
      if (std::holds_alternative<Event>(message) || std::holds_alternative<Request>(message)) {
        const std::size_t shard = shard_of_message(message, line);
        Entry entry{line, std::move(message), Clock::now() - start, now_};
        queues_ ? queues_->post(shard, std::move(entry)) : answer(shard, entry);
      } else {
        const std::string answer = changed(line, message);
        now_ = service_.snapshot();
        write(answer);
      }
    });
  }

  /// Changes tasks or filters as the message says, and returns its answer.
  std::string changed(std::int64_t line, const Message& message) {
    if (const auto* load = std::get_if<Load>(&message))
      return done_line(line, "loaded", service_.load(load->file, {}));
    if (const auto* unload = std::get_if<Unload>(&message)) {
      service_.unload(unload->task);
      return done_line(line, "unloaded", unload->task);
    }
    if (const auto* set = std::get_if<SetFilter>(&message))
      return filter_line(line, *set, service_.set_filter(set->filter, set->items));
    const DropFilter& drop = std::get<DropFilter>(message);
    service_.drop_filter(drop.filter);
    return done_line(line, "dropped_filter", drop.filter);
  }

  std::size_t shard_of_message(const Message& message, std::int64_t line) const {
    if (const auto* event = std::get_if<Event>(&message))
      return shard_of(event->user, reports_.size());
    if (const auto* request = std::get_if<Request>(&message); request->user)
      return shard_of(*request->user, reports_.size());
    return static_cast<std::size_t>(line) % reports_.size();
  }

  void answer(std::size_t shard, const Entry& entry) {
    const auto* const event = std::get_if<Event>(&entry.message);
    if (out_failed_ && event == nullptr) return;
    ServerReport& report = reports_[shard];
    guarded(entry.line, &entry.message, report, [&] {
      const Clock::time_point start = Clock::now();
      if (event != nullptr) {
        if (!service_.observe(shard, *event, entry.now)) ++report.unknown_items;
      } else {
        const Request& request = std::get<Request>(entry.message);
        write(answer_line(entry.line, request, service_.recommend(shard, request, entry.now),
                          titles_));
      }
      const Clock::duration time = entry.parsing + (Clock::now() - start);
      (event != nullptr ? report.events : report.requests).add(time);
    });
  }

  Service& service_;
  std::istream& in_;
  std::ostream& out_;
  std::mutex writing_;
  std::atomic<bool> out_failed_ = false;
  ServerReport empty_;
  const Titles* titles_;
  Service::Snapshot now_;                    ///< for the next line
  std::vector<ServerReport> reports_;        ///< of the shards
  std::optional<WorkQueues<Entry>> queues_;  ///< without a value: one shard, on this thread
};

}  // namespace

ServerReport serve(Service& service, const ServerOptions& options, std::istream& in,
                   std::ostream& out) {
  return Server(service, options, in, out).run();
}

}  // namespace refrain::serve
