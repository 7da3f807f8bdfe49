#pragma once
// Answers to bodies of several messages.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/core/error.hpp"
#include "refrain/server/http.hpp"

namespace refrain::detail {

/// A refusal that may end soon.
inline HttpResponse try_later(int status, std::string_view code, std::string_view message) {
  HttpResponse response = http_error(status, code, message);
  response.headers.emplace_back("Retry-After", "1");
  return response;
}
inline HttpResponse unavailable(std::string_view code, std::string_view message) {
  return try_later(503, code, message);
}

/// Bounds how much is in progress.
class Admission {
 public:
  explicit Admission(std::size_t most) : most_(most) {}

  /// What one body has taken, returned at the end.
  class Place {
   public:
    Place(Admission& admission, std::size_t amount) : admission_(&admission), amount_(amount) {}
    Place(Place&& other) noexcept
        : admission_(std::exchange(other.admission_, nullptr)), amount_(other.amount_) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (admission_ != nullptr) admission_->taken_ -= amount_;
    }

   private:
    Admission* admission_;
    std::size_t amount_;
  };

  /// No value when too much is in progress.
  std::optional<Place> enter(std::size_t amount) {
    std::size_t taken = taken_;
    do {
      if (amount > most_ - taken) return std::nullopt;
    } while (!taken_.compare_exchange_weak(taken, taken + amount));
    return std::optional<Place>(std::in_place, *this, amount);
  }

 private:
  std::size_t most_;
  std::atomic<std::size_t> taken_ = 0;
};

/// The answer to a body of events, given when the last of them is done. Without that, for instance
/// after an exception, the HTTP server answers 500.
class EventsAnswer {
 public:
  EventsAnswer(std::size_t events, bool durable, Admission::Place place, HttpRespond respond)
      : left_(events), durable_(durable), place_(std::move(place)), respond_(std::move(respond)) {}

  bool is_durable() const noexcept { return durable_; }

  /// One event is done. `position` is its position in the log, 0 if that is not waited for.
  void accept(bool is_known, std::int64_t position) {
    {
      const std::lock_guard lock(mutex_);
      ++accepted_;
      if (!is_known) ++unknown_;
      position_ = std::max(position_, position);
    }
    done();
  }
  void refuse(HttpResponse reason) {
    {
      const std::lock_guard lock(mutex_);
      if (!refusal_) refusal_ = std::move(reason);
    }
    done();
  }

 private:
  void done() {
    if (left_.fetch_sub(1) != 1) return;
    if (refusal_) {
      if (accepted_ > 0) refusal_->headers.emplace_back("X-Accepted", std::to_string(accepted_));
      respond_(std::move(*refusal_));
      return;
    }
    std::string body = concat("{\"accepted\":", accepted_, ",\"unknown\":", unknown_);
    if (durable_) body += concat(",\"position\":", position_);
    respond_({.status = durable_ ? 200 : 202, .body = body + "}"});
  }

  std::atomic<std::size_t> left_;
  bool durable_;
  Admission::Place place_;
  HttpRespond respond_;
  std::mutex mutex_;
  std::int64_t accepted_ = 0;
  std::int64_t unknown_ = 0;
  std::int64_t position_ = 0;
  std::optional<HttpResponse> refusal_;
};

/// The answer to a body of requests, given when the last of them is answered.
class RequestsAnswer {
 public:
  RequestsAnswer(std::size_t requests, bool is_list, Admission::Place place, HttpRespond respond)
      : answers_(requests),
        left_(requests),
        is_list_(is_list),
        place_(std::move(place)),
        respond_(std::move(respond)) {}

  void give(std::size_t request, HttpResponse answer) {
    answers_[request] = std::move(answer);
    if (left_.fetch_sub(1) != 1) return;
    if (!is_list_) {
      respond_(std::move(answers_.front()));
      return;
    }
    std::string body = "[";
    for (HttpResponse& each : answers_) {
      if (body.size() > 1) body += ',';
      body += each.body;
      each = {};
    }
    respond_({.body = body + "]"});
  }

 private:
  std::vector<HttpResponse> answers_;
  std::atomic<std::size_t> left_;
  bool is_list_;
  Admission::Place place_;
  HttpRespond respond_;
};

}  // namespace refrain::detail
