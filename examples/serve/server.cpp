#include "serve/server.hpp"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <istream>
#include <mutex>
#include <ostream>
#include <streambuf>
#include <string>
#include <thread>
#include <vector>

#include "common/concat.hpp"

namespace refrain::serve {
namespace {

/// Lines that wait for one shard; a full queue blocks the reader.
class Queue {
 public:
  struct Entry {
    std::int64_t line;
    Message message;
    Clock::duration parsing;
    /// for a change of tasks or filters: those for the lines after it
    Service::Snapshot after = {};
  };

  void push(Entry entry) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return entries_.size() < max_entries; });
    entries_.push_back(std::move(entry));
    if (entries_.size() == 1) came_.notify_one();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    came_.notify_one();
  }
  /// Waits for entries and takes all of them; takes nothing when the queue is closed and empty.
  void take(std::vector<Entry>& entries) {
    entries.clear();
    std::unique_lock lock(mutex_);
    came_.wait(lock, [&] { return closed_ || !entries_.empty(); });
    entries_.swap(entries);
    room_.notify_one();
  }

 private:
  static constexpr std::size_t max_entries = 1024;
  std::mutex mutex_;
  std::condition_variable came_;
  std::condition_variable room_;
  std::vector<Entry> entries_;
  bool closed_ = false;
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
        queues_(options.shards),
        reports_(options.shards, empty_) {}

  ServerReport run() {
    const Clock::time_point start = Clock::now();
    const bool alone = queues_.size() == 1;
    std::vector<std::thread> threads;
    for (std::size_t shard = 0; !alone && shard < queues_.size(); ++shard)
      threads.emplace_back([this, shard, now = now_] { work(shard, now); });
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
        read(text, report, alone);
      }
      if (in_.rdbuf()->in_avail() <= 0)
        flush();  // the client may wait for answers before it writes more
    }
    for (Queue& queue : queues_) queue.close();
    for (std::thread& thread : threads) thread.join();
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

  void read(const std::string& text, ServerReport& report, bool alone) {
    const std::int64_t line = report.lines;
    guarded(line, nullptr, report, [&] {
      const Clock::time_point start = Clock::now();
      Message message = parse_message(text);
      if (std::holds_alternative<Event>(message) || std::holds_alternative<Request>(message)) {
        const std::size_t shard = shard_of_message(message, line);
        Queue::Entry entry{line, std::move(message), Clock::now() - start};
        alone ? answer(shard, entry, now_) : queues_[shard].push(std::move(entry));
      } else {
        const std::string answer = changed(line, message);
        take_snapshot(line, alone);
        write(answer);
      }
    });
  }

  /// Changes tasks or filters as the message says, and returns its answer.
  std::string changed(std::int64_t line, const Message& message) {
    if (const auto* load = std::get_if<Load>(&message))
      return done_line(line, "loaded", service_.load(load->file));
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

  /// Appends an entry with the new tasks and filters to every queue, between the lines before and
  /// after the change.
  void take_snapshot(std::int64_t line, bool alone) {
    now_ = service_.snapshot();
    for (Queue& queue : queues_) {
      if (!alone) queue.push({line, {}, {}, now_});
    }
  }

  std::size_t shard_of_message(const Message& message, std::int64_t line) const {
    if (const auto* event = std::get_if<Event>(&message))
      return shard_of(event->user, queues_.size());
    if (const auto* request = std::get_if<Request>(&message); request->user)
      return shard_of(*request->user, queues_.size());
    return static_cast<std::size_t>(line) % queues_.size();
  }

  void answer(std::size_t shard, const Queue::Entry& entry, const Service::Snapshot& now) {
    const auto* const event = std::get_if<Event>(&entry.message);
    if (out_failed_ && event == nullptr) return;
    ServerReport& report = reports_[shard];
    guarded(entry.line, &entry.message, report, [&] {
      const Clock::time_point start = Clock::now();
      if (event != nullptr) {
        if (!service_.observe(shard, *event, now)) ++report.unknown_items;
      } else {
        const Request& request = std::get<Request>(entry.message);
        write(answer_line(entry.line, request, service_.recommend(shard, request, now), titles_));
      }
      const Clock::duration time = entry.parsing + (Clock::now() - start);
      (event != nullptr ? report.events : report.requests).add(time);
    });
  }

  void work(std::size_t shard, Service::Snapshot now) {
    std::vector<Queue::Entry> entries;
    for (queues_[shard].take(entries); !entries.empty(); queues_[shard].take(entries)) {
      for (Queue::Entry& entry : entries) {
        if (entry.after != nullptr) {
          now = std::move(entry.after);
        } else {
          answer(shard, entry, now);
        }
      }
      flush();
    }
  }

  Service& service_;
  std::istream& in_;
  std::ostream& out_;
  std::mutex writing_;
  std::atomic<bool> out_failed_ = false;
  ServerReport empty_;
  const Titles* titles_;
  Service::Snapshot now_;  ///< for the next line
  std::vector<Queue> queues_;
  std::vector<ServerReport> reports_;
};

}  // namespace

std::size_t shard_of(const std::string& user, std::size_t shards) {
  return std::hash<std::string>()(user) % shards;
}

ServerReport serve(Service& service, const ServerOptions& options, std::istream& in,
                   std::ostream& out) {
  return Server(service, options, in, out).run();
}

}  // namespace refrain::serve
