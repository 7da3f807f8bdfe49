#include "src/server/message_processor.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "refrain/core/error.hpp"

namespace refrain::serve {
namespace {

using refrain::detail::concat;

std::string reason_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& reason) {
    return reason.what();
  } catch (...) {
    return "an exception of an unknown type";
  }
}

HttpResponse unwritten(std::string_view reason) {
  return refrain::detail::unavailable("not_written", reason);
}

HttpResponse response_of(const Request& request, const Service::Answered& answered,
                         const Titles* titles) {
  if (answered.error == nullptr) return {.body = answer_text(request, answered.answers, titles)};
  try {
    std::rethrow_exception(answered.error);
  } catch (const OptionError& error) {
    return http_error(400, "invalid_request", error.what());
  } catch (...) {
    return http_error(500, "failed", reason_of(std::current_exception()));
  }
}

}  // namespace

MessageProcessor::MessageProcessor(Service& service, EventLog* log, const HttpApiOptions& options,
                                   std::size_t tasks)
    : service_(service), log_(log), options_(options), shards_(service.shards()) {
  if (log != nullptr) committer_.emplace(*log, CommitterOptions{.queue = options.events});
  queues_.emplace(shards_.size(), options.events + options.requests + tasks,
                  [this](std::size_t shard, std::vector<Work>& work) { process(shard, work); });
  if (log == nullptr) return;
  service.set_past(
      {.items = [log](const std::string& user,
                      std::int64_t count) { return log->history(user, count).items; },
       .settled = [this](std::size_t shard) { return shards_[shard].settled.load(); }});
  try {
    log_thread_ = std::thread([this] { keep_log(); });
  } catch (...) {
    service.set_past({});
    throw;
  }
}

MessageProcessor::~MessageProcessor() { finish(); }

void MessageProcessor::finish() {
  {
    const std::lock_guard lock(ending_);
    is_ending_ = true;
  }
  changed_.notify_one();
  queues_->finish();
  if (!committer_) return;
  committer_->stop();
  if (log_thread_.joinable()) log_thread_.join();
  service_.set_past({});
}

void MessageProcessor::post(EventWork work) {
  const std::size_t shard = shard_of(work.event.user, shards_.size());
  queues_->post(shard, std::move(work));
}

void MessageProcessor::post(RequestWork work) {
  const std::size_t shard = work.request.user ? shard_of(*work.request.user, shards_.size())
                                              : turn_.fetch_add(1) % shards_.size();
  queues_->post(shard, std::move(work));
}

void MessageProcessor::on_shard(const std::string& user, const ShardTask& task) {
  // The task owns the promise: if it is destroyed without running, the wait ends by an exception.
  auto done = std::make_shared<std::promise<void>>();
  std::future<void> ended = done->get_future();
  queues_->post(shard_of(user, shards_.size()),
                ShardTask([&task, done = std::move(done)](std::size_t shard) {
                  try {
                    task(shard);
                    done->set_value();
                  } catch (...) {
                    done->set_exception(std::current_exception());
                  }
                }));
  ended.get();
}

void MessageProcessor::settle(const std::string& user) {
  if (!committer_) return;
  bool is_settled = true;
  on_shard(user, [&](std::size_t shard) {
    is_settled = shards_[shard].settled == shards_[shard].submitted;
  });
  if (!is_settled) committer_->flush();
}

bool MessageProcessor::forget(std::size_t shard, const std::string& user) {
  if (committer_) committer_->flush();
  return service_.forget(shard, user);
}

void MessageProcessor::forget(std::size_t shard, std::vector<std::string> users) {
  if (!committer_ || users.empty()) return;
  std::sort(users.begin(), users.end());
  users.erase(std::unique(users.begin(), users.end()), users.end());
  committer_->flush();
  for (const std::string& user : users) service_.forget(shard, user);
}

void MessageProcessor::process(std::size_t shard, std::vector<Work>& work) {
  try {
    forget_refused(shard);
    Group group;
    for (Work& each : work) {
      if (auto* const event = std::get_if<EventWork>(&each)) {
        // The requests of the user that came before have to be answered before.
        if (group.users.contains(event->event.user)) complete(shard, group);
        group.events.push_back(event);
      } else if (auto* const request = std::get_if<RequestWork>(&each)) {
        group.requests.push_back(request);
        if (request->request.user) group.users.insert(*request->request.user);
      } else {
        complete(shard, group);
        std::get<ShardTask>(each)(shard);
      }
    }
    complete(shard, group);
  } catch (...) {
    // What was not answered gets 500 when the work is destroyed. The states may lack events.
    report(reason_of(std::current_exception()));
    std::vector<std::string> users;
    for (const Work& each : work)
      if (const auto* const event = std::get_if<EventWork>(&each))
        users.push_back(event->event.user);
    forget(shard, std::move(users));
  }
}

void MessageProcessor::complete(std::size_t shard, Group& group) {
  const Service::Snapshot now = service_.snapshot();
  if (!group.events.empty()) observe(shard, group.events, now);
  if (!group.requests.empty()) recommend(shard, group.requests, now);
  group = {};
}

void MessageProcessor::observe(std::size_t shard, const std::vector<EventWork*>& group,
                               const Service::Snapshot& now) {
  std::vector<const EventWork*> works;
  std::vector<const Event*> events;
  std::vector<bool> waits;
  std::vector<Service::Observed> observed;
  {
    // A user who left memory here would be read again with events of this group.
    const std::shared_ptr<void> hold = service_.hold(shard);
    for (EventWork* const work : group) {
      const bool is_waiting = committer_ && (work->answer->is_durable() || is_failing_);
      try {
        if (committer_) submit(shard, *work, is_waiting);
      } catch (const std::exception& error) {
        work->answer->refuse(unwritten(error.what()));
        continue;
      }
      works.push_back(work);
      events.push_back(&work->event);
      waits.push_back(is_waiting);
    }
    observed = service_.observe(shard, events, now);
  }
  std::vector<std::string> failed;
  for (std::size_t i = 0; i < works.size(); ++i) {
    const EventWork& work = *works[i];
    if (observed[i].error != nullptr) {
      if (!committer_) {
        work.answer->refuse(http_error(500, "failed", reason_of(observed[i].error)));
        continue;
      }
      failed.push_back(work.event.user);
    }
    if (!waits[i]) work.answer->accept(observed[i].is_known, 0);
  }
  forget(shard, std::move(failed));  // their states may lack the event, and are read again
}

void MessageProcessor::submit(std::size_t shard, const EventWork& work, bool waits) {
  service_.fetch(shard, work.event.user);
  const auto done = [this, shard, waits, user = work.event.user, answer = work.answer,
                     is_known = service_.knows(work.event.item)](std::int64_t position,
                                                                 const std::exception_ptr& error) {
    const bool is_refused = error != nullptr;
    if (is_refused) {
      const std::lock_guard lock(shards_[shard].mutex);
      shards_[shard].refused.push_back(user);
    }
    ++shards_[shard].settled;
    set_failing(is_refused ? reason_of(error) : std::string());
    if (!waits) return;
    is_refused ? answer->refuse(unwritten(reason_of(error))) : answer->accept(is_known, position);
  };
  const Event& event = work.event;
  if (!committer_->submit({.user = event.user, .item = event.item, .time = event.time}, done))
    throw Error("the event log accepts no events: its queue is full or it has stopped");
  ++shards_[shard].submitted;
}

void MessageProcessor::recommend(std::size_t shard, const std::vector<RequestWork*>& group,
                                 const Service::Snapshot& now) {
  std::vector<const Request*> requests;
  for (const RequestWork* const work : group) requests.push_back(&work->request);
  const std::vector<Service::Answered> answered = service_.recommend(shard, requests, now);
  for (std::size_t i = 0; i < group.size(); ++i) {
    group[i]->answer->give(group[i]->number,
                           response_of(*requests[i], answered[i], options_.titles));
  }
}

void MessageProcessor::forget_refused(std::size_t shard) {
  std::vector<std::string> users;
  {
    const std::lock_guard lock(shards_[shard].mutex);
    users.swap(shards_[shard].refused);
  }
  forget(shard, std::move(users));
}

void MessageProcessor::keep_log() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds shortest_pause{5}, probe_every{1'000};
  bool has_folded = true;
  std::unique_lock lock(ending_);
  while (!is_ending_) {
    lock.unlock();
    const Clock::time_point start = Clock::now();
    if (is_failing_) probe();
    bool is_left = false;
    try {
      if (!is_failing_) {
        is_left = log_->fold();
        has_folded = true;
      }
    } catch (const std::exception& error) {
      // The log is unchanged, and the next round tries again.
      if (std::exchange(has_folded, false))
        report(concat("the histories of the log cannot be written: ", error.what()));
    }
    // Other threads write for as long as a step took.
    Clock::duration pause = options_.fold_every;
    if (is_left) pause = std::max<Clock::duration>(Clock::now() - start, shortest_pause);
    const bool is_probing = is_failing_;
    if (is_probing) pause = std::min<Clock::duration>(pause, probe_every);
    lock.lock();
    changed_.wait_for(lock, pause, [&] { return is_ending_ || (is_failing_ && !is_probing); });
  }
}

void MessageProcessor::probe() {
  try {
    log_->append({}, {.source = "refrain.probe", .position = "1"});
    set_failing({});
  } catch (const std::exception& error) {
    set_failing(error.what());
  }
}

void MessageProcessor::set_failing(const std::string& reason) {
  const bool is_failing = !reason.empty();
  {
    const std::lock_guard lock(ending_);
    if (is_failing_.exchange(is_failing) == is_failing) return;
  }
  changed_.notify_one();
  report(is_failing ? concat("the log cannot be written: ", reason)
                    : std::string("the log is written again"));
}

void MessageProcessor::report(const std::string& what) const noexcept {
  try {
    if (options_.on_error) options_.on_error(what);
  } catch (...) {
    // A report that fails must not end a thread of the server.
  }
}

}  // namespace refrain::serve
