#pragma once
// Events in temporary files by a hash of their user, and the rows of each file.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/store_writer.hpp"
#include "src/time_columns.hpp"

namespace refrain::detail {

/// One event and its place in the log.
struct BucketEvent {
  std::int64_t position;
  std::int64_t time;
  std::int32_t item;
  std::uint32_t user_bytes;  ///< the user's id follows in the file
};

/// A file of events, in the order of the log.
struct Bucket {
  std::string path;
  std::int64_t events = 0;
  /// number of events whose user is not that of the event before: at least that of the users
  std::int64_t runs = 0;
  std::int64_t run_bytes = 0;  ///< bytes of these users' ids

  /// Upper bound of the memory for sorting the events.
  std::int64_t sort_bytes() const noexcept;
};

/// Distributes events to files by some bits of the hash of their user.
class EventBuckets {
 public:
  /// Files "PATH.0", ... for 2^bits values of the bits above the `skipped` highest ones.
  EventBuckets(const std::string& path, int bits, int skipped, std::size_t buffer_bytes);

  void add(const BucketEvent& event, std::string_view user, std::uint64_t hash);
  /// Writes the last bytes and returns the files that hold events.
  std::vector<Bucket> finish();

 private:
  struct Part {
    Bucket bucket;
    std::unique_ptr<BufferedWriter> file;
    std::string last_user;
  };
  int bits_;
  int skipped_;
  std::size_t buffer_bytes_;
  std::vector<Part> parts_;
};

std::uint64_t hash_of_user(std::string_view user) noexcept;

/// Turns buckets into files of sorted rows.
class BucketSorter {
 public:
  /// Memory that is left for other things while a bucket is sorted.
  static constexpr std::int64_t reserved_bytes = std::int64_t{1} << 20;

  /// `memory_bytes`: for sorting one bucket, with the reserved bytes.
  BucketSorter(std::int64_t memory_bytes, bool has_times)
      : memory_bytes_(memory_bytes), has_times_(has_times) {}

  /// Writes the rows of a bucket that was chosen by the `used` highest bits of the hash to a file
  /// of sorted rows, removes the bucket, and returns the path of the file. A bucket that needs more
  /// memory is divided first. Throws OptionError when the events of one user need more memory.
  std::string sort(const Bucket& bucket, int used);

  /// The order of each user's times in the log, of all buckets so far.
  const TimeOrder& time_order() const noexcept { return time_order_; }
  /// Bytes written to temporary files.
  std::int64_t written_bytes() const noexcept { return written_bytes_; }

 private:
  std::string sort_whole(const Bucket& bucket);
  std::string sort_divided(const Bucket& bucket, int used);

  std::int64_t memory_bytes_;
  bool has_times_;
  TimeOrder time_order_;
  std::int64_t written_bytes_ = 0;
};

/// Number of bits that divide a bucket.
inline constexpr int division_bits = 4;

}  // namespace refrain::detail
