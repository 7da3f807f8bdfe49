#include "refrain/distributed/local_group.hpp"

#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "src/ranks.hpp"

namespace refrain {
namespace {

/// The place where the ranks of a group meet. A collective has two phases: all ranks post their
/// buffers; then each copies what it receives. No rank leaves before all have copied.
class Meeting {
 public:
  struct Post {
    Collective collective;
    int root;
    std::string text;
    std::span<const std::span<const std::byte>> to;
    std::span<const std::span<std::byte>> from;
  };

  Meeting(int ranks, const LocalGroupOptions& options)
      : options_(options), posts_(at(ranks)), is_here_(at(ranks)), has_ended_(at(ranks)) {}

  void delay(int rank, std::int64_t call) const {
    if (options_.delay) std::this_thread::sleep_for(options_.delay(rank, call));
  }

  void meet(int rank, const Post& post) {
    std::unique_lock lock(mutex_);
    if (failure_.empty()) arrive(rank, post);
    const std::int64_t meeting = meetings_;
    const auto is_over = [&] { return !failure_.empty() || meetings_ > meeting || is_complete(); };
    if (!changed_.wait_for(lock, options_.deadline, is_over)) fail(late(rank));
    if (!failure_.empty()) throw CommunicationError(failure_);
    lock.unlock();
    for (std::size_t other = 0; other < posts_.size(); ++other) {
      const std::span<std::byte> into = post.from[other];
      if (!into.empty()) std::memcpy(into.data(), posts_[other].to[at(rank)].data(), into.size());
    }
    lock.lock();
    if (++copied_ == std::ssize(posts_)) {
      ++meetings_;
      arrived_ = copied_ = 0;
      is_here_.assign(is_here_.size(), false);
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return meetings_ > meeting; });
  }

  /// A rank has returned, or thrown an exception with this message.
  void end(int rank, const std::string& error) {
    const std::lock_guard lock(mutex_);
    has_ended_[at(rank)] = true;
    if (!error.empty()) {
      fail(error);
    } else if (arrived_ > 0) {
      fail(left(rank));
    }
  }

 private:
  bool is_complete() const { return arrived_ == std::ssize(posts_); }

  void arrive(int rank, const Post& post) {
    posts_[at(rank)] = post;
    is_here_[at(rank)] = true;
    ++arrived_;
    for (int other = 0; other < std::ssize(posts_); ++other) {
      if (has_ended_[at(other)]) fail(left(other));
    }
    if (!is_complete()) return;
    const std::string problem = mismatch();
    if (!problem.empty()) fail(problem);
    changed_.notify_all();
  }

  /// Stores the first error for all ranks.
  void fail(const std::string& message) {
    if (failure_.empty()) failure_ = message;
    changed_.notify_all();
  }

  std::string left(int rank) const {
    std::string text = detail::concat("rank ", rank, " has ended");
    for (std::size_t other = 0; other < posts_.size(); ++other) {
      if (is_here_[other]) return detail::concat(text, "; expected ", posts_[other].text);
    }
    return text;
  }

  std::string late(int rank) const {
    std::string missing;
    for (std::size_t other = 0; other < posts_.size(); ++other) {
      if (!is_here_[other]) missing += detail::concat(missing.empty() ? "rank " : ", rank ", other);
    }
    return detail::concat("rank ", rank, ": ", posts_[at(rank)].text, ": no answer from ", missing,
                          " within ", options_.deadline.count(), " ms");
  }

  /// How the calls of two ranks differ; empty when all agree.
  std::string mismatch() const {
    const Post& first = posts_.front();
    for (std::size_t rank = 1; rank < posts_.size(); ++rank) {
      const Post& post = posts_[rank];
      if (post.collective != first.collective || post.root != first.root) {
        return detail::concat("rank 0 called ", first.text, ", rank ", rank, " called ", post.text);
      }
    }
    for (std::size_t from = 0; from < posts_.size(); ++from) {
      for (std::size_t to = 0; to < posts_.size(); ++to) {
        const std::size_t sent = posts_[from].to[to].size();
        const std::size_t expected = posts_[to].from[from].size();
        if (sent == expected) continue;
        return detail::concat(first.text, ": rank ", to, " expected ", expected,
                              " bytes from rank ", from, ", got ", sent);
      }
    }
    return {};
  }

  const LocalGroupOptions& options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Post> posts_;
  std::vector<bool> is_here_, has_ended_;
  std::ptrdiff_t arrived_ = 0, copied_ = 0;
  std::int64_t meetings_ = 0;
  std::string failure_;
};

class LocalRank final : public Communicator {
 public:
  LocalRank(int rank, int ranks, Meeting& meeting)
      : Communicator(rank, std::vector<std::string>(at(ranks), "this process")),
        meeting_(meeting) {}

 private:
  void transfer(const Transfer& transfer) override {
    meeting_.delay(rank(), transfer.call);
    const std::string root = transfer.collective == Collective::broadcast
                                 ? detail::concat(" from rank ", transfer.root)
                                 : std::string();
    meeting_.meet(rank(), {.collective = transfer.collective,
                           .root = transfer.root,
                           .text = transfer.str() + root,
                           .to = transfer.to,
                           .from = transfer.from});
  }
  void end_all(const std::string& message) override { meeting_.end(rank(), message); }

  Meeting& meeting_;
};

}  // namespace

LocalGroup::LocalGroup(int ranks, LocalGroupOptions options)
    : ranks_(ranks), options_(std::move(options)) {
  if (ranks < 1 || ranks > 1024)
    throw OptionError(detail::concat("LocalGroup: expected ranks from 1 to 1024, got ", ranks));
  if (options_.deadline.count() <= 0) {
    throw OptionError(detail::concat("LocalGroup: expected a deadline of at least 1 ms, got ",
                                     options_.deadline.count()));
  }
}

void LocalGroup::run(const std::function<void(Communicator&)>& body) const {
  Meeting meeting(ranks_, options_);
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto run_rank = [&](int rank) {
    LocalRank communicator(rank, ranks_, meeting);
    std::string error;
    const auto keep = [&](const char* what) {
      error = detail::concat(communicator.text(), " failed: ", what);
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    };
    try {
      body(communicator);
    } catch (const std::exception& exception) {
      keep(exception.what());
    } catch (...) {
      keep("an exception of an unknown type");
    }
    meeting.end(rank, error);
  };
  {
    std::vector<std::jthread> threads;
    for (int rank = 1; rank < ranks_; ++rank) threads.emplace_back(run_rank, rank);
    run_rank(0);
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace refrain
