#pragma once
/// System calls that fail, are interrupted, or do less than they were asked to: the test program's
/// own write(), pread(), fsync() and rename() stand before the C library's and pass on to the
/// system.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace refrain::test {

/// While it lives, calls of this process for files other than the standard streams go wrong as it
/// says. One at a time.
class SystemFaults {
 public:
  struct Plan {
    std::size_t most_bytes =
        std::numeric_limits<std::size_t>::max();  ///< that one write() or pread() moves
    std::uint64_t disk_bytes =
        std::numeric_limits<std::uint64_t>::max();  ///< then write() fails with ENOSPC
    std::uint64_t file_bytes =
        std::numeric_limits<std::uint64_t>::max();  ///< pread() finds the file's end here
    int interruptions = 0;                          ///< EINTR so often, of the first calls
    int failing_fsync = -1;                         ///< number of the fsync() that fails with EIO
    bool rename_fails = false;                      ///< with EIO
  };

  explicit SystemFaults(Plan plan);
  ~SystemFaults();
  SystemFaults(const SystemFaults&) = delete;
  SystemFaults& operator=(const SystemFaults&) = delete;

  /// What was called, in order: "write", "pread", "fsync file", "fsync folder", "rename"; the same
  /// call in a row once.
  const std::vector<std::string>& calls() const noexcept { return calls_; }

  Plan plan;

  void note(const char* call);
  std::uint64_t written = 0;  ///< bytes that write() moved
  std::uint64_t read = 0;     ///< bytes that pread() moved
  int fsyncs = 0;

 private:
  std::vector<std::string> calls_;
};

}  // namespace refrain::test
