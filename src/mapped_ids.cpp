#include "refrain/data/detail/mapped_ids.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "refrain/core/error.hpp"
#include "src/whole_file.hpp"

namespace refrain::detail {
namespace {

/// The mapped ranges of this process, which the handler of SIGBUS reads without a lock.
struct Range {
  std::atomic<std::uintptr_t> begin{0};  ///< 0: free
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> is_lost{false};
};
std::array<Range, 1024> ranges;
std::mutex ranges_mutex;  // of changes
std::uintptr_t page_bytes = 0;
struct sigaction action_before = {};

/// Maps zeros from the page of an address to the end of its range. Returns false when the address
/// is in no range.
bool replace_lost_pages(const void* address) noexcept {
  const std::uintptr_t at = reinterpret_cast<std::uintptr_t>(address);
  for (Range& range : ranges) {
    const std::uintptr_t begin = range.begin.load(std::memory_order_acquire);
    const std::uintptr_t end = range.end.load(std::memory_order_acquire);
    if (begin == 0 || at < begin || at >= end) continue;
    const std::uintptr_t page = at / page_bytes * page_bytes;
    void* const zeros = ::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zeros == MAP_FAILED) return false;
    range.is_lost.store(true);
    return true;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool is_replaced = replace_lost_pages(info->si_addr);
  errno = error;
  if (is_replaced) return;
  if ((action_before.sa_flags & SA_SIGINFO) != 0) {
    action_before.sa_sigaction(signal, info, context);
  } else if (action_before.sa_handler != SIG_DFL && action_before.sa_handler != SIG_IGN) {
    action_before.sa_handler(signal);
  } else {
    // The instruction runs again and gets the signal's default action.
    ::signal(signal, SIG_DFL);
  }
}

void install_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigemptyset(&action.sa_mask);
    if (::sigaction(SIGBUS, &action, &action_before) != 0)
      throw Error(concat("MappedIds: cannot handle SIGBUS: ", std::strerror(errno)));
  });
}

/// The length of an open file in bytes, or -1.
std::int64_t length_of(int descriptor) noexcept {
  struct stat status = {};
  return ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)
             ? static_cast<std::int64_t>(status.st_size)
             : -1;
}

}  // namespace

MappedIds::MappedIds(const std::string& path, std::int64_t count)
    : path_(path), count_(static_cast<std::size_t>(count)) {
  expect_path(path);
  do {
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) throw DataError(path, 0, concat("cannot be opened: ", std::strerror(errno)));
  map();
}

MappedIds::MappedIds(std::string path, int descriptor, std::int64_t count)
    : path_(std::move(path)), descriptor_(descriptor), count_(static_cast<std::size_t>(count)) {
  map();
}

void MappedIds::map() {
  try {
    expect_length();
    if (count_ == 0) return;
    install_handler();
    const std::size_t bytes = count_ * sizeof(std::int32_t);
    const std::lock_guard lock(ranges_mutex);
    Range* free = nullptr;
    for (Range& range : ranges) {
      if (free == nullptr && range.begin == 0) free = &range;
    }
    if (free == nullptr)
      throw Error(concat(path_, ": expected at most ", ranges.size(), " mapped files"));
    void* const address = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor_, 0);
    if (address == MAP_FAILED)
      throw DataError(path_, 0, concat("cannot be mapped into memory: ", std::strerror(errno)));
    ids_ = static_cast<const std::int32_t*>(address);
    free->is_lost = false;
    free->end = reinterpret_cast<std::uintptr_t>(address) + bytes;
    free->begin.store(reinterpret_cast<std::uintptr_t>(address), std::memory_order_release);
    is_lost_ = &free->is_lost;
  } catch (...) {
    close();
    throw;
  }
}

MappedIds::~MappedIds() {
  if (ids_ != nullptr) {
    const std::lock_guard lock(ranges_mutex);
    for (Range& range : ranges) {
      if (range.begin == reinterpret_cast<std::uintptr_t>(ids_)) range.begin = 0;
    }
    ::munmap(const_cast<std::int32_t*>(ids_), count_ * sizeof(std::int32_t));
  }
  close();
}

void MappedIds::close() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void MappedIds::expect_length() const {
  expect_intact();
  const std::int64_t expected = static_cast<std::int64_t>(count_ * sizeof(std::int32_t));
  if (const std::int64_t got = length_of(descriptor_); got != expected)
    throw DataError(path_, 0, concat("expected a file of ", expected, " bytes, got ", got));
}

void MappedIds::throw_lost() const {
  throw DataError(path_, 0,
                  concat("the file of ", count_ * sizeof(std::int32_t),
                         " bytes shrank or its disk failed while it was read"));
}

}  // namespace refrain::detail
