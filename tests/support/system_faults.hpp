#pragma once
/// System calls that fail, are interrupted, or move fewer bytes than requested: the test program's
/// own write(), pread(), fsync() and rename() replace the C library's and call the system.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace refrain::test {

/// During its lifetime, calls of this process for files other than the standard streams fail
/// according to its plan. There is at most one object at a time.
class SystemFaults {
 public:
  struct Plan {
    /// maximum size of one write() or pread()
    std::size_t max_bytes = std::numeric_limits<std::size_t>::max();
    /// bytes written before write() fails with ENOSPC
    std::uint64_t disk_bytes = std::numeric_limits<std::uint64_t>::max();
    /// pread() reports the end of the file here
    std::uint64_t file_bytes = std::numeric_limits<std::uint64_t>::max();
    int interruptions = 0;      ///< number of first calls that fail with EINTR
    int failing_fsync = -1;     ///< number of the fsync() that fails with EIO
    bool rename_fails = false;  ///< with EIO
  };

  explicit SystemFaults(Plan plan);
  ~SystemFaults();
  SystemFaults(const SystemFaults&) = delete;
  SystemFaults& operator=(const SystemFaults&) = delete;

  /// Names of the calls in order: "write", "pread", "fsync file", "fsync folder", "rename";
  /// repeated calls appear once.
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
