#include "src/event_buckets.hpp"

#include <utility>

#include "refrain/data/sequences.hpp"
#include "src/sorted_rows.hpp"

namespace refrain::detail {
namespace {

constexpr std::size_t read_buffer_bytes = std::size_t{1} << 16;
constexpr std::size_t write_buffer_bytes = std::size_t{1} << 16;

/// Calls function(event, user) for the events of a bucket.
template <class Function>
void for_each_event(const Bucket& bucket, Function&& function) {
  BufferedReader file(bucket.path, read_buffer_bytes);
  std::string user;
  while (!file.at_end()) {
    const BucketEvent event = file.get<BucketEvent>();
    user.resize(event.user_bytes);
    file.read(user.data(), user.size());
    function(event, std::string_view(user));
  }
}

}  // namespace

std::int64_t Bucket::sort_bytes() const noexcept {
  // An event: user, item and time of Interactions (16), order and rows of group_by_user() (8), and
  // the buffer of its sort (4). A user: id, slots and ends of a StringTable that grows (52, and
  // twice the id), places of group_by_user() (28), the first position (8), and the last time (9).
  return 28 * events + 108 * runs + 2 * run_bytes +
         static_cast<std::int64_t>(read_buffer_bytes + write_buffer_bytes);
}

std::uint64_t hash_of_user(std::string_view user) noexcept {
  Xxh64 hash;
  hash.update(user.data(), user.size());
  return hash.digest();
}

EventBuckets::EventBuckets(const std::string& path, int bits, int skipped, std::size_t buffer_bytes)
    : bits_(bits), skipped_(skipped), buffer_bytes_(buffer_bytes) {
  parts_.resize(std::size_t{1} << bits);
  for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i].bucket.path = concat(path, ".", i);
}

void EventBuckets::add(const BucketEvent& event, std::string_view user, std::uint64_t hash) {
  Part& part = parts_[static_cast<std::size_t>((hash << skipped_) >> (64 - bits_))];
  if (part.file == nullptr)
    part.file = std::make_unique<BufferedWriter>(part.bucket.path, buffer_bytes_);
  part.file->put(event);
  part.file->write(user.data(), user.size());
  if (part.bucket.events++ > 0 && part.last_user == user) return;
  ++part.bucket.runs;
  part.bucket.run_bytes += static_cast<std::int64_t>(user.size());
  part.last_user = user;
}

std::vector<Bucket> EventBuckets::finish() {
  std::vector<Bucket> buckets;
  for (Part& part : parts_) {
    if (part.file == nullptr) continue;
    part.file->flush();
    buckets.push_back(std::move(part.bucket));
  }
  parts_.clear();
  return buckets;
}

std::string BucketSorter::sort(const Bucket& bucket, int used) {
  const std::int64_t needed = bucket.sort_bytes() + reserved_bytes;
  if (needed <= memory_bytes_) return sort_whole(bucket);
  if (bucket.runs > 1 && used + division_bits <= 64) return sort_divided(bucket, used);
  throw OptionError(concat("prepare_store: the ", bucket.events,
                           " events of one user need memory_bytes (--memory) of at least ", needed,
                           ", got ", memory_bytes_));
}

std::string BucketSorter::sort_whole(const Bucket& bucket) {
  Interactions events;
  TimeOrder order;
  std::vector<std::int64_t> first;  // position of each user's first event
  const std::size_t count = static_cast<std::size_t>(bucket.events);
  events.user.reserve(count);
  events.item.reserve(count);
  if (has_times_) events.time.reserve(count);
  for_each_event(bucket, [&](const BucketEvent& event, std::string_view user) {
    events.user.push_back(events.users.intern(user));
    events.item.push_back(event.item);
    if (has_times_) {
      events.time.push_back(event.time);
      order.add(events.user.back(), event.time);
    }
    if (events.user.back() == std::ssize(first)) first.push_back(event.position);
  });
  remove_file(bucket.path);
  time_order_.add(order);
  order = {};
  const Sequences rows = group_by_user(std::move(events));
  const std::string path = bucket.path + ".rows";
  SortedRowsWriter writer(path, write_buffer_bytes);
  for (std::int64_t row = 0; row < rows.rows.rows(); ++row) {
    const std::span<const std::int32_t> items = rows.rows[row];
    writer.begin_row(first[static_cast<std::size_t>(row)],
                     rows.users[rows.user[static_cast<std::size_t>(row)]], std::ssize(items));
    writer.add(items);
    writer.end_row();
  }
  written_bytes_ += writer.finish();
  return path;
}

std::string BucketSorter::sort_divided(const Bucket& bucket, int used) {
  const std::size_t buffers = std::size_t{1} << division_bits;
  EventBuckets parts(bucket.path, division_bits, used, write_buffer_bytes);
  for_each_event(bucket, [&](const BucketEvent& event, std::string_view user) {
    parts.add(event, user, hash_of_user(user));
    written_bytes_ += static_cast<std::int64_t>(sizeof event + user.size());
  });
  remove_file(bucket.path);
  std::vector<std::string> sorted;
  for (const Bucket& part : parts.finish()) sorted.push_back(sort(part, used + division_bits));
  const std::string path = bucket.path + ".rows";
  SortedRowsWriter writer(path, write_buffer_bytes);
  merge_rows(sorted, write_buffer_bytes * buffers / (sorted.size() + 1), writer);
  written_bytes_ += writer.finish();
  return path;
}

}  // namespace refrain::detail
