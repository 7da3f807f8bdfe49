#include "support/system_faults.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace refrain::test {
namespace {

SystemFaults* active = nullptr;  ///< its tests call from one thread

bool concerns(int descriptor) { return active != nullptr && descriptor > 2; }

/// True when this call has to fail with EINTR.
bool interrupted() {
  if (active->plan.interruptions <= 0) return false;
  --active->plan.interruptions;
  errno = EINTR;
  return true;
}

}  // namespace

SystemFaults::SystemFaults(Plan wanted) : plan(wanted) { active = this; }
SystemFaults::~SystemFaults() { active = nullptr; }

void SystemFaults::note(const char* call) {
  if (calls_.empty() || calls_.back() != call) calls_.emplace_back(call);
}

}  // namespace refrain::test

using refrain::test::active;
using refrain::test::concerns;
using refrain::test::interrupted;

extern "C" {

ssize_t write(int descriptor, const void* from, std::size_t count) {
  if (!concerns(descriptor)) return ::syscall(SYS_write, descriptor, from, count);
  active->note("write");
  if (interrupted()) return -1;
  const std::uint64_t room =
      active->plan.disk_bytes - std::min(active->plan.disk_bytes, active->written);
  if (room == 0 && count > 0) {
    errno = ENOSPC;
    return -1;
  }
  const ssize_t put = ::syscall(
      SYS_write, descriptor, from,
      static_cast<std::size_t>(std::min<std::uint64_t>({count, active->plan.max_bytes, room})));
  if (put > 0) active->written += static_cast<std::uint64_t>(put);
  return put;
}

ssize_t pread(int descriptor, void* to, std::size_t count, off_t position) {
  if (!concerns(descriptor)) return ::syscall(SYS_pread64, descriptor, to, count, position);
  active->note("pread");
  if (interrupted()) return -1;
  const std::uint64_t at = static_cast<std::uint64_t>(position);
  const std::uint64_t left = active->plan.file_bytes - std::min(active->plan.file_bytes, at);
  const ssize_t got = ::syscall(
      SYS_pread64, descriptor, to,
      static_cast<std::size_t>(std::min<std::uint64_t>({count, active->plan.max_bytes, left})),
      position);
  if (got > 0) active->read += static_cast<std::uint64_t>(got);
  return got;
}

int fsync(int descriptor) {
  if (!concerns(descriptor)) return static_cast<int>(::syscall(SYS_fsync, descriptor));
  struct stat status = {};
  ::fstat(descriptor, &status);
  active->note(S_ISDIR(status.st_mode) ? "fsync folder" : "fsync file");
  if (interrupted()) return -1;
  if (active->fsyncs++ == active->plan.failing_fsync) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

int rename(const char* from, const char* to) noexcept {
  if (active != nullptr) {
    active->note("rename");
    if (active->plan.rename_fails) {
      errno = EIO;
      return -1;
    }
  }
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
}
